"""What a trigger's levels are now: CPU, memory, threads and I/O of the watched processes, pressure of the machine."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

import psutil

from pytest_blcperf.window.trigger import Reading


class Reader(Protocol):
    """The present value of one condition's source."""

    def read(self) -> Reading:
        """The value, None while there is none."""

    def close(self) -> None:
        """Give back what was taken: sockets, signal handlers, files."""


class Level:
    """Reads with one function and holds nothing."""

    def __init__(self, read: Callable[[], Reading]) -> None:
        self.read = read

    def close(self) -> None:
        """Nothing to give back."""


class Rate:
    """The growth a second of a counter that only grows, between one reading and the next; the first gives None.

    `counters` are one a process (by pid): one that has ended takes its count with it and must not make the sum fall.
    """

    def __init__(self, counters: Callable[[], Mapping[int, float]], clock: Callable[[], float]) -> None:
        self._counters = counters
        self._clock = clock
        self._before: Mapping[int, float] | None = None
        self._read_at = 0.0

    def read(self) -> Reading:
        """See `Reader`; per second of the clock."""
        now, counters, before = self._clock(), self._counters(), self._before
        elapsed, self._before, self._read_at = now - self._read_at, counters, now
        if before is None or elapsed <= 0:
            return None
        return sum(max(0.0, value - before[pid]) for pid, value in counters.items() if pid in before) / elapsed

    def close(self) -> None:
        """Nothing to give back."""


Processes = Callable[[], Iterable[psutil.Process]]
"""The processes that are watched, asked for at every reading: children come and go."""


def cpu_percent(processes: Processes, clock: Callable[[], float]) -> Reader:
    """Percent of one CPU, user and kernel time together, as `top` counts: four busy threads are 400."""

    def seconds(process: psutil.Process) -> float:
        times = process.cpu_times()
        return float(100 * (times.user + times.system))

    return Rate(lambda: _by_process(processes, seconds), clock)


def io_rate(processes: Processes, clock: Callable[[], float]) -> Reader:
    """Bytes a second through read and write calls, page cache included."""

    def transferred(process: psutil.Process) -> float:
        counters = process.io_counters()
        return float(counters.read_chars + counters.write_chars)

    return Rate(lambda: _by_process(processes, transferred), clock)


def resident_bytes(processes: Processes) -> Reader:
    """Resident memory in bytes, shared pages counted once a process."""
    return Level(lambda: _total(_by_process(processes, lambda process: float(process.memory_info().rss))))


def thread_count(processes: Processes) -> Reader:
    """Threads of all processes together."""
    return Level(lambda: _total(_by_process(processes, lambda process: float(process.num_threads()))))


def pressure(resource: str, folder: Path = Path("/proc/pressure")) -> Reader:
    """Percent of the last 10 seconds in which some task was stalled: `some avg10` of the kernel's pressure stall
    information for cpu, memory or io; None where the kernel has none.
    """

    def read() -> Reading:
        try:
            match = re.search(r"^some avg10=([0-9.]+)", (folder / resource).read_text(encoding="ascii"), re.MULTILINE)
        except (OSError, ValueError):
            return None
        return float(match[1]) if match else None

    return Level(read)


def _by_process(processes: Processes, value: Callable[[psutil.Process], float]) -> dict[int, float]:
    values = {}
    for process in processes():
        try:
            values[process.pid] = value(process)
        except (psutil.Error, AttributeError):
            continue  # ended, or not ours to look at
    return values


def _total(values: Mapping[int, float]) -> Reading:
    return sum(values.values()) if values else None
