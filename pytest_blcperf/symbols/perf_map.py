"""Names of JIT code from perf maps: `/tmp/perf-PID.map`, a line `START SIZE name` (hexadecimal) for each function.

The format is that of `Documentation/jit-interface.txt` in Linux' tools/perf.
"""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from pathlib import Path

import numpy as np

from pytest_blcperf.symbols.symbol_table import MAX_NAME, RawSymbols, SymbolTable

MAX_BYTES = 256 << 20
MAX_LINES = 2_000_000


def perf_map(process: int, proc: Path = Path("/proc")) -> tuple[SymbolTable | None, tuple[str, ...]]:
    """(the perf map of a process, what is wrong with it); no map when there is none that may be trusted.

    In a container the process writes its own number for itself, into its own `/tmp`: looked for through
    `/proc/PID/root` first. A map must belong to the process's user or to root, and be no link: anybody may write to
    `/tmp`, and would otherwise choose our names.
    """
    problems: list[str] = []
    for path in _candidates(process, proc):
        try:
            data = _trusted(path, _owners(process, proc))
        except FileNotFoundError:
            continue
        except OSError as error:
            problems.append(f"{os.strerror(error.errno) if error.errno else error}: {path}")
            continue
        if data is None:
            problems.append(f"belongs to another user, and is not read: {path}")
            continue
        table, said = parsed(data)
        return table, (*problems, *(f"{one}: {path}" for one in said))
    return None, tuple(problems)


def parsed(data: bytes) -> tuple[SymbolTable, tuple[str, ...]]:
    """(the table of a perf map, what is wrong with it). Of lines for one address the last counts: code is replaced."""
    starts, ends, names, bad = [], [], [], 0
    lines = data.split(b"\n", MAX_LINES)
    cut = len(lines) > MAX_LINES
    for line in lines[:MAX_LINES]:
        try:
            start_text, size_text, name = line.split(b" ", 2)
            start, size = int(start_text, 16), int(size_text, 16)
        except ValueError:
            bad += bool(line.strip())
            continue
        if size <= 0 or start < 0 or start + size >= 2**64:
            bad += 1
            continue
        starts.append(start)
        ends.append(start + size)
        names.append(name[:MAX_NAME].decode("utf-8", "backslashreplace").strip())
    said = [f"{bad} lines of the perf map cannot be read"] if bad else []
    said += [f"the perf map has more than {MAX_LINES} lines"] if cut else []
    return latest(starts, ends, names), tuple(said)


def latest(starts: Sequence[int], ends: Sequence[int], names: Sequence[str]) -> SymbolTable:
    """A table in which a later range takes what it covers away from earlier ones."""
    start = np.array(starts, np.uint64)
    end = np.array(ends, np.uint64)
    owner = np.arange(len(start))
    order = np.argsort(start, kind="stable")
    reach = np.maximum.accumulate(end[order]) if len(start) else end
    if (start[order][1:] < reach[:-1]).any():
        pieces = np.array([*_pieces(starts, ends)], np.uint64).reshape(-1, 3)
        start, end, owner = pieces[:, 0], pieces[:, 1], pieces[:, 2].astype(np.int64)
    kept = [names[index] for index in owner.tolist()]
    return SymbolTable(RawSymbols(start, end - start, end, np.zeros(len(start), np.int64), kept))


def _pieces(starts: Sequence[int], ends: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """(start, end, range) of what each range keeps: at every place the last range that holds it is the one."""
    boundaries = sorted({*starts, *ends})
    order = sorted(range(len(starts)), key=starts.__getitem__)
    holding: list[tuple[int, int]] = []
    following = 0
    for place, after in itertools.pairwise(boundaries):
        while following < len(order) and starts[order[following]] <= place:
            heappush(holding, (-order[following], ends[order[following]]))
            following += 1
        while holding and holding[0][1] <= place:
            heappop(holding)
        if holding:
            yield place, after, -holding[0][0]


def _candidates(process: int, proc: Path) -> Iterator[Path]:
    inside = _number_inside(process, proc)
    yield proc / str(process) / "root/tmp" / f"perf-{inside}.map"
    yield Path("/tmp") / f"perf-{process}.map"


def _number_inside(process: int, proc: Path) -> int:
    """The process's number in its own PID namespace: the last in `NSpid`."""
    for line in _status(process, proc):
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    return process


def _owners(process: int, proc: Path) -> set[int]:
    """The users whose map is believed: root, ourselves, and the process's effective one."""
    owners = {0, os.geteuid()}
    for line in _status(process, proc):
        if line.startswith("Uid:"):
            owners.add(int(line.split()[2]))
    return owners


def _status(process: int, proc: Path) -> list[str]:
    try:
        return (proc / str(process) / "status").read_text("utf-8", "replace").splitlines()
    except OSError:
        return []


def _trusted(path: Path, owners: set[int]) -> bytes | None:
    """The file's bytes, None when it is no plain file of these owners. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid not in owners:
            return None
        return file.read(MAX_BYTES)
