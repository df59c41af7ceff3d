"""What py-spy and `profiling.sampling` write: stacks as lines of text, read as untrusted input.

py-spy's `raw` format: `frame;frame;frame count`, root first, a frame being `name (file:line)` with the first line of
the function (`--function`). The `collapsed` format of `profiling.sampling` begins with `tid:N;`, a frame is
`file:name:line` with the base name of the file and the line that was running.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

MAX_LINE = 1 << 20
MAX_LINES = 2_000_000

_LINE = re.compile(r"(.*) (\d{1,18})\s*\Z", re.DOTALL)
_PY_SPY = re.compile(r"(.*?) \((.*):(\d{1,9})\)\Z", re.DOTALL)
_SAMPLING = re.compile(r"(.*?):(.*):(-?\d{1,9})\Z", re.DOTALL)
_THREAD = re.compile(r"tid:\d+")


class SpiedFrame(NamedTuple):
    """A frame as the tool names it; `line` is the function's first for py-spy, else the one that was running."""

    name: str
    file: str
    line: int


@dataclass(frozen=True)
class SpiedStacks:
    """Stacks, leaf first, and how many samples each has; `broken` lines could not be read."""

    stacks: tuple[tuple[SpiedFrame, ...], ...]
    counts: tuple[int, ...]
    broken: int = 0


def read_spied(lines: Iterable[str]) -> SpiedStacks:
    """The stacks of a file of either tool; at most MAX_LINES of MAX_LINE characters, the others are broken."""
    stacks: dict[tuple[SpiedFrame, ...], int] = {}
    broken = 0
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        parsed = _parsed(line) if number < MAX_LINES and len(line) <= MAX_LINE else None
        if parsed is None:
            broken += 1
            continue
        frames, count = parsed
        stacks[frames] = stacks.get(frames, 0) + count
    return SpiedStacks(tuple(stacks), tuple(stacks.values()), broken)


def _parsed(line: str) -> tuple[tuple[SpiedFrame, ...], int] | None:
    found = _LINE.match(line)
    if found is None:
        return None
    parts = found[1].split(";")
    if _THREAD.fullmatch(parts[0]):
        del parts[0]
    return tuple(_frame(part) for part in reversed(parts) if part), int(found[2])


def _frame(text: str) -> SpiedFrame:
    """What is neither form is a frame the tool made up, such as `<GC>` or `process 12:"python"`."""
    found = _PY_SPY.match(text)
    if found is not None:
        return SpiedFrame(found[1], found[2], int(found[3]))
    found = _SAMPLING.match(text)
    if found is not None:
        return SpiedFrame(found[2], found[1], int(found[3]))
    return SpiedFrame(text, "", 0)


class Places:
    """Finds the function a frame is in among those a process has: rows of (file, first line, name)."""

    def __init__(self, places: Sequence[tuple[str, int, str]]) -> None:
        self._by_file: dict[tuple[str, str], list[tuple[int, str, int]]] = {}
        for index, (file, line, name) in enumerate(places):
            key = file.rsplit("/", 1)[-1], name
            self._by_file.setdefault(key, []).append((line, file, index))
        for rows in self._by_file.values():
            rows.sort()

    def find(self, frame: SpiedFrame) -> int | None:
        """The row of the function, None where there is none. Of several the one that begins last before the line."""
        key = frame.file.rsplit("/", 1)[-1], frame.name.rsplit(".", 1)[-1]
        before = [row for row in self._by_file.get(key, ()) if row[0] <= max(frame.line, 1)]
        exact = [row for row in before if row[1] == frame.file] or before
        return exact[-1][2] if exact else None
