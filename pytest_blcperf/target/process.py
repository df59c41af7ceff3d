"""Processes to profile: finding them, their children and threads, and telling them from later ones."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_blcperf.errors import TargetError

PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """A process for its whole life: its number, and its start in clock ticks since boot. An exec changes neither."""

    pid: int
    start_ticks: int


@dataclass(frozen=True)
class Processes:
    """A target: all threads of some processes, new threads too; `children` adds their children, new ones too."""

    processes: tuple[Process, ...]
    children: bool = False


@dataclass(frozen=True)
class WholeSystem:
    """A target: everything that runs on this machine."""


def start_ticks(pid: int) -> int | None:
    """Start of a process in clock ticks since boot, field 22 of /proc/PID/stat (proc(5)); None when it is gone or a
    zombie, which runs nothing any more.
    """
    fields = _status(pid)
    return None if fields is None or fields[0] in (b"Z", b"X") else int(fields[19])


def find(pid: int) -> Process:
    """The process that has this number now. Raises TargetError (also for the number of a thread)."""
    ticks = start_ticks(pid) if pid > 0 else None
    if ticks is None:
        raise TargetError(f"there is no running process {pid}", "list processes with: ps -e")
    leader = thread_group(pid)
    if leader not in (pid, None):
        raise TargetError(f"{pid} is a thread of process {leader}", f"profile the process: --pid {leader}")
    return Process(pid, ticks)


def is_running(process: Process) -> bool:
    """Whether that very process still runs."""
    return start_ticks(process.pid) == process.start_ticks


def thread_group(pid: int) -> int | None:
    """The process of a thread id, None when it is gone."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in (PROC / str(pid) / "status").read_text("ascii", "replace").splitlines():
            if line.startswith("Tgid:"):
                return int(line.split()[1])
    return None


def threads(pid: int) -> list[int]:
    """Thread ids of a process, in order; empty when it is gone."""
    try:
        return sorted(int(entry) for entry in os.listdir(PROC / str(pid) / "task"))  # noqa: PTH208
    except OSError:
        return []


def every_process() -> list[int]:
    """Numbers of all processes that this user can see."""
    return sorted(int(entry) for entry in os.listdir(PROC) if entry.isdigit())  # noqa: PTH208


def with_descendants(roots: Iterable[int]) -> list[int]:
    """The numbers in `roots`, then those of their children and children's children that run now."""
    children: dict[int, list[int]] = {}
    for pid in every_process():
        fields = _status(pid)
        if fields is not None and fields[0] not in (b"Z", b"X"):
            children.setdefault(int(fields[1]), []).append(pid)
    found: dict[int, None] = {}
    waiting = list(roots)
    while waiting:
        pid = waiting.pop(0)
        if pid not in found:
            found[pid] = None
            waiting += children.get(pid, [])
    return list(found)


def thread_name(pid: int, thread: int) -> str | None:
    """The name of a thread, None when it is gone."""
    try:
        return (PROC / str(pid) / "task" / str(thread) / "comm").read_text("utf-8", "backslashreplace").rstrip("\n")
    except OSError:
        return None


class Watch:
    """Tells when all of some processes have ended. Costs one descriptor a process.

    Raises TargetError when one of them has ended already, or its number belongs to another process now.
    """

    def __init__(self, processes: Iterable[Process]) -> None:
        self._poll = select.poll()
        self._running: set[int] = set()
        try:
            for process in processes:
                self._add(process)
        except BaseException:
            self.close()
            raise

    def _add(self, process: Process) -> None:
        try:
            descriptor = os.pidfd_open(process.pid)
        except ProcessLookupError as error:
            raise gone(process) from error
        self._running.add(descriptor)
        self._poll.register(descriptor, select.POLLIN)
        # The descriptor pins whatever has the number now: is it the one that was chosen?
        if not is_running(process):
            raise gone(process)

    def any_running(self) -> bool:
        """Whether at least one still runs."""
        for descriptor, _ in self._poll.poll(0):
            self._poll.unregister(descriptor)
            self._running.discard(descriptor)
            os.close(descriptor)
        return bool(self._running)

    def close(self) -> None:
        """Give the descriptors back. Again: nothing."""
        for descriptor in self._running:
            os.close(descriptor)
        self._running.clear()


def gone(process: Process) -> TargetError:
    """The error for a process that ended before it could be profiled."""
    now = start_ticks(process.pid)
    what = "has ended" if now is None else "has ended, and its number belongs to another process now"
    return TargetError(f"process {process.pid} {what}", "start it again, and profile the new process")


def _status(pid: int) -> list[bytes] | None:
    """The fields of /proc/PID/stat from the state, field 3, on; None when it is gone."""
    try:
        # A name may hold spaces and parentheses.
        return (PROC / str(pid) / "stat").read_bytes().rpartition(b") ")[2].split()
    except OSError:
        return None


def names(pids: Iterable[int]) -> Iterator[tuple[int, int, str]]:
    """(process, thread, name) of every thread of the processes that run."""
    for pid in pids:
        for thread in threads(pid):
            name = thread_name(pid, thread)
            if name is not None:
                yield pid, thread, name
