"""What was mapped where, and when: from (process, time, address) to a mapping, its file and its bias."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pytest_blcperf.errors import UsageError
from pytest_blcperf.model.recording import Fork, Mapping, Recording, ThreadName
from pytest_blcperf.symbols.elf import ElfError
from pytest_blcperf.symbols.objects import CodeObject, Objects

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

VERSION_LIMIT = 20_000_000
"""Rows of one process's index. A JIT with 100,000 mappings makes 200,000; nested ones, in hostile files, grow with the
square."""


class _Piece(NamedTuple):
    start: int
    end: int
    mapping: int


class _Change(NamedTuple):
    """From `time` on [start, end) holds `mapping` (-1: nothing)."""

    time: int
    start: int
    end: int
    mapping: int


@dataclass(frozen=True, eq=False)
class _Index:
    """A process's mappings as versions of the intervals between all their boundaries, sorted by (interval, time)."""

    boundaries: Words
    times: Ints
    keys: Ints
    mapping: Ints

    def locate(self, time: Ints, address: Words) -> Ints:
        interval = np.searchsorted(self.boundaries, address, "right").astype(np.int64)
        key = interval * (len(self.times) + 1) + np.searchsorted(self.times, time, "right")
        version = np.searchsorted(self.keys, key, "right") - 1
        # The last version of an earlier interval says nothing about this one.
        found = (version >= 0) & (self.keys[version] // (len(self.times) + 1) == interval)
        return np.where(found, self.mapping[version], -1)


class AddressSpaces:
    """The mappings of all processes of a recording, over time.

    A new mapping hides what it overlaps, an exec takes all away, a forked process begins with its parent's. What was
    unmapped stays until something else takes its place: the kernel does not tell.
    """

    def __init__(
        self, mappings: Sequence[Mapping], names: Iterable[ThreadName] = (), forks: Iterable[Fork] = ()
    ) -> None:
        self.mappings = tuple(mappings)
        self._changes = _changes(self.mappings, names, forks)
        self._times = {
            process: np.array([change.time for change in changes], np.int64)
            for process, changes in self._changes.items()
        }
        sizes = np.cumsum([1, *(len(times) + 1 for times in self._times.values())])
        self._first_layout = dict(zip(self._times, sizes.tolist(), strict=False))
        self._indices: dict[int, _Index] = {}

    def locate(self, process: Ints, time: Ints, address: Words) -> Ints:
        """The mapping (an index into `mappings`) that held each address then, -1 where none did. Columns of one length.

        Raises UsageError when a process's mappings overlap in too many ways to be indexed.
        """
        found = np.full(len(address), -1, np.int64)
        for number, rows in _groups(process):
            index = self._index(number)
            if index is not None:
                found[rows] = index.locate(time[rows], address[rows])
        return found

    def layout(self, process: Ints, time: Ints) -> Ints:
        """A number for the mappings a process had at a time: samples with equal numbers saw the same ones.

        0 is for processes without mappings.
        """
        found = np.zeros(len(process), np.int64)
        for number, rows in _groups(process):
            if number in self._times:
                found[rows] = self._first_layout[number] + np.searchsorted(self._times[number], time[rows], "right")
        return found

    def _index(self, process: int) -> _Index | None:
        changes = self._changes.get(process)
        if changes and process not in self._indices:
            self._indices[process] = _indexed(changes)
        return self._indices.get(process)


def address_spaces(recording: Recording) -> AddressSpaces:
    """The address spaces of a recording's processes."""
    return AddressSpaces(recording.mappings, recording.names, recording.forks)


class MappedCode(NamedTuple):
    """By mapping: an index into `objects`, and what to subtract (modulo 2**64) from an address for the link address,
    the one of symbol tables. Where no file can be read, and in the memory of JITs, that is 0.
    """

    objects: tuple[CodeObject, ...]
    object_of: Ints
    bias: Words


def mapped_code(mappings: Sequence[Mapping], objects: Objects) -> MappedCode:
    """The code objects of all mappings, opened. To be called while the processes live. See `Objects`."""
    found: dict[tuple[CodeObject, int], int] = {}
    object_of = np.zeros(len(mappings), np.int64)
    bias = np.zeros(len(mappings), np.uint64)
    for index, mapping in enumerate(mappings):
        code = objects.of(mapping)
        # Memory without a file is named by its address, which means something in its own process only.
        owner = 0 if code.elf else mapping.process
        object_of[index] = found.setdefault((code, owner), len(found))
        bias[index] = _bias(code, mapping)
    return MappedCode(tuple(code for code, _ in found), object_of, bias)


def _bias(code: CodeObject, mapping: Mapping) -> int:
    try:
        return code.elf.bias(mapping.start, mapping.offset) % 2**64 if code.elf else 0
    except ElfError:
        return 0


def _groups(values: Ints) -> Iterable[tuple[int, Ints]]:
    """Each distinct value with the rows that hold it."""
    if not len(values):
        return
    if (values == values[0]).all():
        yield int(values[0]), np.arange(len(values))
        return
    order = np.argsort(values, kind="stable")
    bounds = np.flatnonzero(np.diff(values[order])) + 1
    for rows in np.split(order, bounds):
        yield int(values[rows[0]]), rows


def _changes(
    mappings: Sequence[Mapping], names: Iterable[ThreadName], forks: Iterable[Fork]
) -> dict[int, list[_Change]]:
    """By process, what changed, in the order of time. At one time: forks, then execs, then mappings."""
    events: list[tuple[int, int, int, Fork | ThreadName | Mapping]] = []
    events += [(fork.time, 0, 0, fork) for fork in forks if fork.process != fork.parent_process]
    events += [(name.time, 1, 0, name) for name in names if name.executed]
    events += [(mapping.time, 2, index, mapping) for index, mapping in enumerate(mappings)]
    events.sort(key=lambda event: event[:3])
    changes: dict[int, list[_Change]] = {}
    current = _Current()
    for time, _, index, event in events:
        mine = changes.setdefault(event.process, [])
        if isinstance(event, Fork):
            inherited = current.fork(event.parent_process, event.process)
            mine += [_Change(time, 0, 2**64, -1)] if inherited else []
            mine += [_Change(time, *piece) for piece in inherited]
        elif isinstance(event, ThreadName):
            current.clear(event.process)
            mine.append(_Change(time, 0, 2**64, -1))
        elif 0 <= event.start < event.end <= 2**64:
            current.map(event.process, _Piece(event.start, event.end, index))
            mine.append(_Change(time, event.start, event.end, index))
    return changes


class _Current:
    """By process, what is mapped now: pieces that do not overlap, sorted."""

    def __init__(self) -> None:
        self._pieces: dict[int, list[_Piece]] = {}

    def fork(self, parent: int, child: int) -> list[_Piece]:
        """The pieces the child begins with: none when nothing is known of the parent, and then it keeps its own."""
        pieces = self._pieces.get(parent, [])
        if pieces:
            self._pieces[child] = pieces.copy()
        return pieces

    def clear(self, process: int) -> None:
        self._pieces.pop(process, None)

    def map(self, process: int, piece: _Piece) -> None:
        pieces = self._pieces.setdefault(process, [])
        first = bisect_left(pieces, piece.start, key=lambda one: one.end - 1)
        last = first
        kept = []
        while last < len(pieces) and pieces[last].start < piece.end:
            hidden = pieces[last]
            if hidden.start < piece.start:
                kept.append(hidden._replace(end=piece.start))
            if hidden.end > piece.end:
                kept.append(hidden._replace(start=piece.end))
            last += 1
        pieces[first:last] = sorted([*kept, piece])


def _indexed(changes: Sequence[_Change]) -> _Index:
    """Raises UsageError beyond VERSION_LIMIT."""
    start = np.array([change.start for change in changes], np.uint64)
    # The largest end, 2**64, does not fit; nothing is executable in the last byte.
    last = np.array([min(change.end, 2**64 - 1) for change in changes], np.uint64)
    time = np.array([change.time for change in changes], np.int64)
    mapping = np.array([change.mapping for change in changes], np.int64)
    boundaries = np.unique(np.concatenate([start, last]))
    times = np.unique(time)
    first = np.searchsorted(boundaries, start, "right").astype(np.int64)
    number = np.searchsorted(boundaries, last, "right") - first
    if number.sum() > VERSION_LIMIT:
        raise UsageError(
            f"the mappings of a process overlap in {int(number.sum()):,} ways, more than {VERSION_LIMIT:,}",
            "the recording is damaged, or was made to be slow to read",
        )
    change = np.repeat(np.arange(len(changes)), number)
    within = np.arange(len(change)) - np.repeat(np.cumsum(number) - number, number)
    interval = first[change] + within
    key = interval * (len(times) + 1) + np.searchsorted(times, time[change], "right")
    order = np.argsort(key, kind="stable")
    return _Index(boundaries, times, key[order], mapping[change][order])
