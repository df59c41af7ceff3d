"""Names of JIT code from jitdump files, which know when code was where: `jit-PID.dump`.

The format is that of `Documentation/jitdump-specification.txt` in Linux' tools/perf. A runtime maps the first page of
the file executable, so its path stands among the process's mappings.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pytest_blcperf.symbols.symbol_table import MAX_NAME

MAX_BYTES = 1 << 30
MAX_CODES = 2_000_000
MAX_LINES = 8_000_000

_NAMED = re.compile(r"(?:^|/)jit-\d+\.dump$")
_MAGIC = 0x4A695444
_HEADER = "IIIIIIQQ"
_PREFIX = "IIQ"
_LOAD, _MOVE, _DEBUG_INFO, _CLOSE = 0, 1, 2, 3
_ARCHITECTURE_CLOCK = 1
_UNTIMED = "the jitdump counts time in processor cycles: code that was replaced may get its successor's name"
_UNREADABLE = "a record of the jitdump cannot be read"


@dataclass(frozen=True)
class JitCode:
    """From `time` on (ns of CLOCK_MONOTONIC, 0: always) [start, end) holds the function `name`.

    `lines` are (address where it begins, source file, line) in order of address, empty where the runtime wrote none.
    """

    start: int
    end: int
    time: int
    name: str
    lines: Sequence[tuple[int, str, int]] = ()


def is_jitdump(path: str) -> bool:
    """Whether the path of a mapping is that of a jitdump file."""
    return bool(_NAMED.search(path))


def parsed(data: bytes) -> tuple[tuple[JitCode, ...], tuple[str, ...]]:
    """(the codes of a jitdump file in order of time, what is wrong with it). Never raises.

    A file whose process was killed ends within a record: what stands before it counts.
    """
    order = _byte_order(data)
    if not order:
        return (), ("not a jitdump file",)
    header = struct.unpack_from(order + _HEADER, data)
    timed = not header[7] & _ARCHITECTURE_CLOCK
    # A dictionary, as a set that keeps its order: a hostile file has millions of bad records.
    said: dict[str, None] = {} if timed else {_UNTIMED: None}
    latest: dict[int, JitCode] = {}
    found: list[JitCode] = []
    waiting: dict[int, list[tuple[int, str, int]]] = {}
    lines_left = MAX_LINES
    for kind, time, body in _records(data, header[2], order, said):
        if kind == _DEBUG_INFO and lines_left > 0:
            address, lines = _lines(body, order)
            lines_left -= len(lines)
            waiting[address] = lines
        if kind not in (_LOAD, _MOVE):
            continue
        code = _loaded(body, order, time, waiting) if kind == _LOAD else _moved(body, order, time, latest)
        if code is None:
            said[_UNREADABLE] = None
            continue
        if len(found) >= MAX_CODES:
            said[f"the jitdump has more than {MAX_CODES} functions"] = None
            break
        latest[code.start] = code
        found.append(code if timed else replace(code, time=0))
    return tuple(sorted(found, key=lambda one: one.time)), tuple(said)


def _byte_order(data: bytes) -> str:
    if len(data) < struct.calcsize("<" + _HEADER):
        return ""
    return next((order for order in "<>" if struct.unpack_from(order + "I", data)[0] == _MAGIC), "")


def _records(data: bytes, start: int, order: str, said: dict[str, None]) -> Iterator[tuple[int, int, bytes]]:
    """(kind, time, body) of each record. One that contradicts itself ends the file."""
    prefix = struct.Struct(order + _PREFIX)
    while start + prefix.size <= len(data):
        kind, size, time = prefix.unpack_from(data, start)
        if size < prefix.size or start + size > len(data):
            said["the jitdump ends within a record"] = None
            return
        yield kind, time, data[start + prefix.size : start + size]
        start += size
        if kind == _CLOSE:
            return


def _loaded(body: bytes, order: str, time: int, waiting: dict[int, list[tuple[int, str, int]]]) -> JitCode | None:
    """A function, with the lines that were written before it."""
    layout = struct.Struct(order + "IIQQQQ")
    if len(body) < layout.size:
        return None
    _pid, _tid, _vma, address, size, _index = layout.unpack_from(body)
    name = body[layout.size : layout.size + MAX_NAME].partition(b"\0")[0].decode("utf-8", "backslashreplace")
    lines = waiting.pop(address, [])
    return _code(address, size, time, name, lines)


def _moved(body: bytes, order: str, time: int, codes: dict[int, JitCode]) -> JitCode | None:
    layout = struct.Struct(order + "IIQQQQQ")
    if len(body) < layout.size:
        return None
    _pid, _tid, _vma, old, new, size, _index = layout.unpack_from(body)
    code = codes.get(old)
    if code is None:
        return None
    return _code(new, size, time, code.name, [(line[0] - old + new, *line[1:]) for line in code.lines])


def _code(start: int, size: int, time: int, name: str, lines: list[tuple[int, str, int]]) -> JitCode | None:
    end = start + size
    if not size or end >= 2**64 or time >= 2**63:
        return None
    return JitCode(start, end, time, name, tuple(sorted(line for line in lines if start <= line[0] < end)))


def _lines(body: bytes, order: str) -> tuple[int, list[tuple[int, str, int]]]:
    """(the address of a function that comes later, its lines). A name of 0xff means that of the line before."""
    header = struct.Struct(order + "QQ")
    entry = struct.Struct(order + "Qii")
    found: list[tuple[int, str, int]] = []
    if len(body) < header.size:
        return 0, found
    address, number = header.unpack_from(body)
    start, file = header.size, ""
    while number > len(found) and start + entry.size <= len(body):
        place, line, _discriminator = entry.unpack_from(body, start)
        start += entry.size
        end = body.find(b"\0", start)
        if end < 0:
            break
        name = body[start:end]
        file = file if name == b"\xff" else name[:MAX_NAME].decode("utf-8", "backslashreplace")
        found.append((place, file, line))
        start = end + 1
    return address, found
