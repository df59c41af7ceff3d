"""Places of bytecode pointers that were found before, in the user's cache directory, one small file an interpreter.

A place is a property of the interpreter's build, told from the files it consists of. What is read is checked: a place
that is wrong all the same shows in every profile, as samples without a function.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_blcperf.bench.pointer_place import PointerPlace, places
from pytest_blcperf.symbols.unwind_machine import MACHINES

FORMAT = "blcperf.pointer/1"
"""To be raised when places are looked for otherwise."""
MAX_BYTES = 4096


def cache_file(python: Sequence[str]) -> Path | None:
    """Where the place of that interpreter is kept; None when it is no file of this machine that can be told again,
    such as one that is started through another program.
    """
    if len(python) != 1:
        return None
    try:
        identity = [_identity(path) for path in _files(Path(python[0]))]
    except OSError:
        return None
    root = os.environ.get("XDG_CACHE_HOME", "")
    # A relative path is to be ignored (XDG Base Directory Specification).
    folder = Path(root) if Path(root).is_absolute() else Path("~/.cache").expanduser()
    text = json.dumps([FORMAT, platform.machine(), platform.release(), identity])
    return folder / "blcperf" / "pointers" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


def _files(program: Path) -> Iterator[Path]:
    """The program, and the library that has the interpreter in it where it is a shared one."""
    real = program.resolve(strict=True)
    yield real
    for folder in ("lib", "lib64"):
        yield from sorted((real.parent.parent / folder).glob("libpython*.so*"))


def _identity(path: Path) -> tuple[str, int, int, int, int]:
    status = path.stat()
    return str(path), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def remembered(path: Path | None, machine: str) -> PointerPlace | None:
    """What is kept there; None when there is nothing, or nothing that could have been written by this version."""
    if path is None or machine not in MACHINES:
        return None
    try:
        with path.open("rb") as file:
            data = json.loads(file.read(MAX_BYTES))
        register, slot, hits = data["register"], data["slot"], data["hits"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    known = [(place.register, place.slot) for place in places(MACHINES[machine])]
    if not isinstance(hits, float) or not 0 <= hits <= 1 or (register, slot) not in known:
        return None
    return PointerPlace(register, slot, hits)


def remember(path: Path | None, place: PointerPlace) -> None:
    """Keep it. Where nothing can be written, nothing is raised."""
    if path is None:
        return
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            temporary.write_text(json.dumps({"register": place.register, "slot": place.slot, "hits": place.hits}))
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
