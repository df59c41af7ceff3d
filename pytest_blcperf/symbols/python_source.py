"""On which line functions of a Python source begin, without running or compiling what may be anybody's."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

MAX_BYTES = 4 << 20

_DEFINITION = re.compile(r"([ \t]*)(?:(?:async[ \t]+)?(def)|class)[ \t]+(\w+)")
_DECORATOR = re.compile(r"([ \t]*)@")


def first_lines(path: Path) -> dict[str, int]:
    """Qualified name → first line (1-based, that of the first decorator), of names the file defines once; {} when it
    cannot be read. A definition that is quoted in a text is taken for one: then its name is not unique, or nobody asks.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return {}
            return lines_of(file.read(MAX_BYTES).decode("utf-8", "replace"))
    except OSError:
        return {}


def lines_of(source: str) -> dict[str, int]:
    """See `first_lines`."""
    found: dict[str, list[int]] = {"<module>": [1]}
    outer: list[tuple[int, str]] = []
    decorated: dict[int, int] = {}
    for number, line in enumerate(source.splitlines(), 1):
        decorator = _DECORATOR.match(line)
        if decorator:
            decorated.setdefault(len(decorator[1].expandtabs()), number)
            continue
        definition = _DEFINITION.match(line)
        if not definition:
            continue
        indent = len(definition[1].expandtabs())
        while outer and outer[-1][0] >= indent:
            outer.pop()
        name = (outer[-1][1] if outer else "") + definition[3]
        found.setdefault(name, []).append(decorated.pop(indent, number))
        decorated.clear()
        outer.append((indent, name + (".<locals>." if definition[2] else ".")))
    return {name: lines[0] for name, lines in found.items() if len(lines) == 1}
