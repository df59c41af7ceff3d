"""Names of address ranges: a sorted table, searched for many addresses at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pytest_blcperf.symbols.elf import string_at

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

MAX_NAME = 16 << 10
"""Characters of a name that are kept. Templates make names of some thousands."""
_MAX_NESTING = 16


class Names(Protocol):
    """Names by number, decoded when they are asked for."""

    def __getitem__(self, index: int, /) -> str: ...


@dataclass(frozen=True, eq=False)
class TableNames:
    """The names that begin at these offsets of an ELF string table."""

    strings: bytes
    offsets: Ints

    def __getitem__(self, index: int) -> str:
        return string_at(self.strings, int(self.offsets[index]), MAX_NAME)


@dataclass(frozen=True, eq=False)
class RawSymbols:
    """Symbols as they were found, n of them in any order: [start, start + size), or where `size` is 0 up to the next
    symbol and not beyond `limit`. Of several at one address the one of the highest `rank` is preferred.
    """

    start: Words
    size: Words
    limit: Words
    rank: Ints
    names: Names

    def __len__(self) -> int:
        return len(self.start)


class SymbolTable:
    """Address ranges with names. An index into it is a range, named by the best of the symbols that begin there.

    Of symbols at one address the best is: with a size, a function, not weak, global (together `rank`), then the one
    with fewer leading underscores, the longer one, the first in the alphabet. These are the rules of `perf`, made
    complete. A range inside another one hides it there. A symbol without a size inside a range is a label, and left
    out; elsewhere it reaches up to the next symbol.
    """

    def __init__(self, symbols: RawSymbols) -> None:
        order = np.lexsort((-symbols.rank, symbols.start))
        start = symbols.start[order]
        first = np.flatnonzero(np.append(True, start[1:] != start[:-1])) if len(start) else np.zeros(0, np.int64)
        size = np.maximum.reduceat(symbols.size[order], first) if len(first) else symbols.size[:0]
        limit = np.maximum.reduceat(symbols.limit[order], first) if len(first) else symbols.limit[:0]
        members = np.append(first, len(start))
        begin = start[first]
        # A sum beyond 2**64 wraps around to less than it began with.
        end = np.where(begin + size < begin, np.uint64(2**64 - 1), begin + size)
        kept = (size > 0) | ~_inside_earlier(begin, end)
        following = np.append(begin[kept][1:], np.uint64(2**64 - 1))
        self.start = begin[kept]
        self.end = np.where(size[kept] > 0, end[kept], np.maximum(self.start, np.minimum(following, limit[kept])))
        self._names = symbols.names
        self._rank = symbols.rank
        self._order = order
        self._members = members[:-1][kept], members[1:][kept]
        self._enclosing = _enclosing(self.start, self.end)
        self._known: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.start)

    def find(self, addresses: Words) -> Ints:
        """By address, the index of the innermost range that holds it; -1 where there is none."""
        found = np.searchsorted(self.start, addresses, "right").astype(np.int64) - 1
        if not len(self.start):
            return found
        for _ in range(_MAX_NESTING):
            outside = np.flatnonzero((found >= 0) & (addresses >= self.end[found]))
            if not len(outside):
                return found
            found[outside] = self._enclosing[found[outside]]
        found[(found >= 0) & (addresses >= self.end[found])] = -1
        return found

    def name(self, index: int) -> str:
        """The best name of a range."""
        if index not in self._known:
            first, last = (int(bounds[index]) for bounds in self._members)
            symbols = self._order[first:last]
            best = symbols[self._rank[symbols] == self._rank[symbols[0]]].tolist()
            self._known[index] = min((_unversioned(self._names[one]) for one in best), key=_preference)
        return self._known[index]


def _preference(name: str) -> tuple[int, int, str]:
    return len(name) - len(name.lstrip("_")), -len(name), name


def _unversioned(name: str) -> str:
    """`memcpy@@GLIBC_2.14` is `memcpy`; `memcpy@plt` keeps its ending."""
    plain, at, version = name.partition("@")
    return name if not at or not plain or version == "plt" else plain


def _inside_earlier(start: Words, end: Words) -> npt.NDArray[np.bool_]:
    """Whether each range begins inside one that begins before it."""
    if not len(start):
        return np.zeros(0, np.bool_)
    reach = np.maximum.accumulate(end)
    return np.append(False, start[1:] < reach[:-1])


def _enclosing(start: Words, end: Words) -> Ints:
    """By range, the innermost earlier one that reaches over its beginning; -1 without one."""
    found = np.full(len(start), -1, np.int64)
    inside = _inside_earlier(start, end)
    # Only clusters of overlapping ranges are walked: a range inside another, and what stands before it.
    overlapping = np.flatnonzero(inside | np.append(inside[1:], False))
    open_ranges: list[tuple[int, int]] = []
    columns = (overlapping.tolist(), start[overlapping].tolist(), end[overlapping].tolist())
    for index, begin, stop in zip(*columns, strict=True):
        while open_ranges and open_ranges[-1][1] <= begin:
            open_ranges.pop()
        if open_ranges:
            found[index] = open_ranges[-1][0]
        open_ranges.append((index, stop))
    return found
