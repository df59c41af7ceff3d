"""Records of raw_syscalls:sys_enter and sys_exit → calls and time by process and number. The bytes may be anything.

A sample holds, in 64-bit words after its header: process and thread, time, then the size of the payload (32 bits) and
the payload: common_type (16 bits), flags (16), common_pid (32), the call's number (64), and what is not read here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pytest_blcperf.capture import perf_event as abi
from pytest_blcperf.capture.records import index_records
from pytest_blcperf.model.recording import Booleans, Ints, Words

SAMPLE_TYPE = abi.SAMPLE_TID | abi.SAMPLE_TIME | abi.SAMPLE_RAW
ENDLESS = {"x86_64": (15, 60, 231), "aarch64": (93, 94, 139)}
"""rt_sigreturn, exit, exit_group: these do not return to their caller."""
BEGINNINGS = {"x86_64": (56, 57, 58, 435), "aarch64": (220, 435)}
"""clone, fork, vfork, clone3: a new thread returns from these without having entered them."""
_WORDS = 6
_HIGHEST_NUMBER = 1 << 20
_ROW_LIMIT = 50_000
"""Different processes × numbers; calls beyond count as those of process -1."""


@dataclass(frozen=True, eq=False)
class Crossings:
    """Entries into and returns from system calls, n rows."""

    time: Ints
    process: Ints
    thread: Ints
    number: Ints
    entering: Booleans

    def __len__(self) -> int:
        return len(self.time)

    def rows(self, chosen: Ints | Booleans) -> Crossings:
        """Some rows."""
        return Crossings(*(getattr(self, name)[chosen] for name in _COLUMNS))


_COLUMNS = ("time", "process", "thread", "number", "entering")


def joined(parts: Sequence[Crossings]) -> Crossings:
    """Rows of several, one after another."""
    if not parts:
        return decode(np.zeros(0, np.uint64), 0, 0)
    return Crossings(*(np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS))


def decode(words: Words, enter: int, leave: int) -> Crossings:
    """The crossings in drained records; `enter` and `leave` are the numbers of the two tracepoints."""
    index = index_records(words, [(0, len(words))])
    at = index.position[(index.type == abi.RECORD_SAMPLE) & (index.size >= _WORDS)]
    who, payload, low, high = (words[at + word] for word in (1, 3, 4, 5))
    kind = (payload >> np.uint64(32) & np.uint64(0xFFFF)).astype(np.int64)
    number = (low >> np.uint64(32) | high << np.uint64(32)).view(np.int64)
    found = Crossings(
        time=words[at + 2].view(np.int64),
        process=(who & np.uint64(0xFFFFFFFF)).astype(np.uint32).view(np.int32).astype(np.int64),
        thread=(who >> np.uint64(32)).astype(np.uint32).view(np.int32).astype(np.int64),
        number=number,
        entering=kind == enter,
    )
    return found.rows(np.isin(kind, (enter, leave)) & (number >= 0) & (number < _HIGHEST_NUMBER))


class SyscallSums:
    """Sums over stretches in which everything was traced. Memory grows with processes and threads, not with calls."""

    def __init__(self, machine: str) -> None:
        self._endless = np.array(ENDLESS.get(machine, ()), np.int64)
        self._beginnings = np.array(BEGINNINGS.get(machine, ()), np.int64)
        self._seen = np.zeros(0, np.int64)
        self._inside = joined([])
        self.sums: dict[tuple[int, int], tuple[int, int]] = {}
        """(process, number) → (calls, ns)."""

    def add(self, found: Crossings, begin_ns: int) -> None:
        """Some crossings of a stretch that began at `begin_ns`, none older than those added before."""
        both = joined([self._inside, found])
        both = both.rows(np.lexsort((both.time, both.thread)))
        both = both.rows(_first_of_doubles(both))
        follows = _same_thread(both)
        paired = follows & ~both.entering[1:] & both.entering[:-1] & (both.number[1:] == both.number[:-1])
        length = np.zeros(len(both), np.int64)
        length[:-1][paired] = (both.time[1:] - both.time[:-1])[paired]
        # A thread's first crossing is a return: it was inside when the stretch began.
        lonely = ~both.entering & ~np.append(False, follows)[: len(both)] & ~np.isin(both.thread, self._seen)
        lonely &= ~np.isin(both.number, self._beginnings)
        length[lonely] = both.time[lonely] - begin_ns
        self._seen = np.union1d(self._seen, both.thread)
        last = np.append(~follows, True)[: len(both)]
        waiting = last & both.entering
        self._inside = both.rows(waiting)
        # An entry counts when its call is over, or the stretch is.
        self._sum(both.rows(both.entering & ~waiting), length[both.entering & ~waiting], calls=True)
        self._sum(both.rows(lonely), length[lonely], calls=False)

    def end_stretch(self, end_ns: int) -> None:
        """Calls that are still going on have taken until now."""
        left, self._inside, self._seen = self._inside, joined([]), np.zeros(0, np.int64)
        length = np.maximum(end_ns - left.time, 0)
        length[np.isin(left.number, self._endless)] = 0
        self._sum(left, length, calls=True)

    def _sum(self, found: Crossings, length: Ints, *, calls: bool) -> None:
        pairs, which = np.unique(found.process * _HIGHEST_NUMBER + found.number, return_inverse=True)
        counts = np.bincount(which, minlength=len(pairs)) * calls
        times = np.bincount(which, weights=np.maximum(length, 0), minlength=len(pairs))
        for pair, count, time in zip(pairs.tolist(), counts.tolist(), times.tolist(), strict=True):
            key = divmod(pair, _HIGHEST_NUMBER)
            if key not in self.sums and len(self.sums) >= _ROW_LIMIT:
                key = (-1, key[1])
            before = self.sums.get(key, (0, 0))
            self.sums[key] = (before[0] + count, before[1] + round(time))


def _same_thread(found: Crossings) -> Booleans:
    """Whether a row's successor is of the same thread (n - 1)."""
    same: Booleans = found.thread[1:] == found.thread[:-1]
    return same


def _first_of_doubles(found: Crossings) -> Booleans:
    """Without what stands there twice, because a thread inherited the events and was opened too: a call cannot be
    entered or left twice in a row.
    """
    twice = _same_thread(found) & (found.entering[1:] == found.entering[:-1]) & (found.number[1:] == found.number[:-1])
    return np.append(True, ~twice)[: len(found)]
