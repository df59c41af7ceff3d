"""Unwind tables by build-id in the user's cache directory. What is read there is checked, and made again when wrong.

A file is a line of JSON (the columns, their types and lengths, a checksum of the rest), then the columns. Any of the
user's programs may have written it, so that nothing in it is believed before it was checked.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_blcperf.symbols.unwind_machine import MACHINES
from pytest_blcperf.symbols.unwind_table import (
    BY_EXPRESSION,
    EXPRESSION,
    NOT_COVERED,
    REGISTER,
    UNDEFINED,
    VALUE_EXPRESSION,
    UnwindRules,
    UnwindTable,
)

FORMAT = "blcperf.unwind/1"
"""To be raised whenever tables are made differently: old files are then made again."""
MAX_BYTES = 512 << 20
"""Of all files together. The longest unused ones are removed."""
MAX_FILE_BYTES = 256 << 20
MAX_HEADER_BYTES = 1 << 20

_BUILD_ID = re.compile(r"[0-9a-f]{8,128}")
_COLUMNS: dict[str, str] = {"pc": "<u8", "rule": "<i4"}
_RULE_COLUMNS: dict[str, str] = {
    "cfa_register": "<i2",
    "cfa_offset": "<i4",
    "how": "|u1",
    "value": "<i4",
    "signal": "|b1",
}


class CacheFileError(Exception):
    """A cache file is not what this version writes; the text says why."""


class TableCache:
    """A folder of tables. Without one that can be written, tables are made each time; nothing is raised for that."""

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def table(self, build_id: str, kind: str, make: Callable[[], UnwindTable]) -> UnwindTable:
        """The table of that kind (`eh_frame`, `debug_frame`) of the file with that build-id: the cached one, else made.

        `make` may raise; then nothing is cached.
        """
        if not _BUILD_ID.fullmatch(build_id):
            return make()
        path = self._folder / f"{build_id}.{kind}"
        try:
            found = decoded(_read(path))
            # The time of the last use, by which files are removed: mounts seldom keep times of access.
            os.utime(path)
            return found
        except (OSError, CacheFileError):
            made = make()
            self._write(path, made)
            return made

    def _write(self, path: Path, table: UnwindTable) -> None:
        data = encoded(table)
        if len(data) > min(MAX_FILE_BYTES, self._max_bytes):
            return
        temporary = path.with_name(f".{os.getpid()}-{os.urandom(4).hex()}.tmp")
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._make_room(len(data))
            try:
                temporary.write_bytes(data)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError:
            return

    def _make_room(self, size: int) -> None:
        files = []
        for path in self._folder.iterdir():
            with suppress(OSError):
                status = path.lstat()
                files.append((status.st_mtime_ns, status.st_size, path))
        total = size + sum(file[1] for file in files)
        for _, length, path in sorted(files):
            if total <= self._max_bytes:
                break
            with suppress(OSError):
                path.unlink()
            total -= length


def user_cache() -> TableCache:
    """The cache in the user's cache directory (XDG Base Directory Specification)."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    # A relative path is to be ignored, says the specification.
    folder = Path(root) if Path(root).is_absolute() else Path("~/.cache").expanduser()
    return TableCache(folder / "blcperf" / "unwind")


def encoded(table: UnwindTable) -> bytes:
    """The bytes of a cache file."""
    columns = _arrays(table)
    body = b"".join(array.tobytes() for array in columns.values()) + b"".join(table.rules.expressions)
    header = {
        "format": FORMAT,
        "machine": table.machine,
        "rows": len(table),
        "rules": len(table.rules),
        "expressions": [len(expression) for expression in table.rules.expressions],
        "problems": table.problems,
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    return json.dumps(header).encode() + b"\n" + body


def decoded(data: bytes) -> UnwindTable:
    """The table in the bytes of a cache file. Raises CacheFileError."""
    line, newline, body = data.partition(b"\n")
    header = _header(line if newline and len(line) <= MAX_HEADER_BYTES else b"")
    if hashlib.sha256(body).hexdigest() != header.get("sha256"):
        raise CacheFileError("another checksum")
    registers = MACHINES[header["machine"]].registers
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(_COLUMNS, (header["rows"],))
    shapes |= dict.fromkeys(_RULE_COLUMNS, (header["rules"],))
    shapes["how"] = shapes["value"] = (header["rules"], registers)
    columns = {}
    place = 0
    for name, kind in {**_COLUMNS, **_RULE_COLUMNS}.items():
        number = math.prod(shapes[name])
        size = number * np.dtype(kind).itemsize
        if place + size > len(body):
            raise CacheFileError("too short")
        columns[name] = np.frombuffer(body, kind, number, place).reshape(shapes[name])
        place += size
    expressions = []
    for length in header["expressions"]:
        expressions.append(body[place : place + length])
        place += length
    if place != len(body):
        raise CacheFileError("another length")
    rules = UnwindRules(**{name: columns[name] for name in _RULE_COLUMNS}, expressions=tuple(expressions))
    table = UnwindTable(header["machine"], columns["pc"], columns["rule"], rules, header["problems"])
    _check(table, registers)
    return table


def _read(path: Path) -> bytes:
    """Raises OSError and CacheFileError."""
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise CacheFileError("too long")
    return data


def _arrays(table: UnwindTable) -> dict[str, npt.NDArray[np.generic]]:
    columns = {name: np.asarray(getattr(table, name), kind) for name, kind in _COLUMNS.items()}
    return columns | {name: np.asarray(getattr(table.rules, name), kind) for name, kind in _RULE_COLUMNS.items()}


def _header(line: bytes) -> dict[str, Any]:
    try:
        header = json.loads(line)
    except (ValueError, RecursionError):
        raise CacheFileError("no header") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT or header.get("machine") not in [*MACHINES]:
        raise CacheFileError("another format")
    lengths = header.get("expressions")
    numbers = [header.get("rows"), header.get("rules"), *(lengths if isinstance(lengths, list) else [None])]
    if not all(type(number) is int and 0 <= number <= MAX_FILE_BYTES for number in numbers):
        raise CacheFileError("lengths that are none")
    problems = header.get("problems")
    if not isinstance(problems, dict) or not all(type(number) is int for number in problems.values()):
        raise CacheFileError("problems that are none")
    return header


def _check(table: UnwindTable, registers: int) -> None:
    """What the unwinder relies on, as it indexes with these numbers."""
    rules = table.rules
    by_expression = rules.cfa_register == BY_EXPRESSION
    expressions = np.isin(rules.how, (EXPRESSION, VALUE_EXPRESSION))
    good = (
        (table.pc[1:] > table.pc[:-1]).all()
        and ((table.rule >= NOT_COVERED) & (table.rule < len(rules))).all()
        and (by_expression | ((rules.cfa_register >= 0) & (rules.cfa_register < registers))).all()
        and _below(rules.cfa_offset[by_expression], len(rules.expressions))
        and (rules.how <= UNDEFINED).all()
        and _below(rules.value[expressions], len(rules.expressions))
        and _below(rules.value[rules.how == REGISTER], registers)
    )
    if not good:
        raise CacheFileError("numbers out of range")


def _below(numbers: npt.NDArray[np.int32], limit: int) -> bool:
    return bool(((numbers >= 0) & (numbers < limit)).all())
