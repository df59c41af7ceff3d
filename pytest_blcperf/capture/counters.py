"""Counters of this thread or process, to be read around each round: CPU time, context switches, page faults,
migrations, instructions. Standard library only: it runs inside the process that is measured.

Where the kernel refuses to count kernel mode (kernel.perf_event_paranoid above 1, unprivileged), switches and faults
come from getrusage(2), which counts the same, and migrations are missing.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_blcperf.capture import perf_event as abi
from pytest_blcperf.capture.perf_names import NamedEvent, find
from pytest_blcperf.capture.refusal import refused

SOFTWARE = ("task-clock", "context-switches", "page-faults", "cpu-migrations")
HARDWARE = ("instructions",)
_BY_USAGE = ("context-switches", "page-faults")
_TIMES = abi.READ_ENABLED | abi.READ_RUNNING


@dataclass(frozen=True)
class _Group:
    """Events on one thread, read at once: the leader's descriptor and what is counted, in order."""

    leader: int
    names: tuple[str, ...]
    descriptors: tuple[int, ...]
    grouped: bool


class Counters:
    """Counters that run from now on. `names` is what `read` gives; `missing` are (name, reason) of the rest.

    Of the calling thread; with `all_threads` of all threads of this process, those to come included (a group cannot be
    inherited, so each event is then read on its own). Raises PermissionDenied when no event can be opened at all.
    """

    def __init__(self, all_threads: bool = False) -> None:
        self.missing: dict[str, str] = {}
        self._usage = resource.RUSAGE_SELF if all_threads else resource.RUSAGE_THREAD
        self._groups: list[_Group] = []
        threads = [int(name.name) for name in Path("/proc/self/task").iterdir()] if all_threads else [0]
        try:
            self._user_only = not _may_count_kernel()
            wanted = [name for name in SOFTWARE if not self._user_only or name == "task-clock"]
            for thread in threads:
                self._open(thread, wanted, grouped=not all_threads, inherit=all_threads)
            self._open_hardware(threads, all_threads)
        except OSError as error:
            self.close()
            raise refused(error) from error
        if self._user_only:
            self.missing["cpu-migrations"] = "sudo sysctl kernel.perf_event_paranoid=1, or give CAP_PERFMON"
        self.names = tuple(name for name in (*SOFTWARE, *HARDWARE) if name not in self.missing)
        self._base = self._by_usage()

    def _open(self, thread: int, names: list[str], grouped: bool, inherit: bool) -> None:
        opened: list[int] = []
        try:
            for name in names:
                leader = opened[0] if grouped and opened else -1
                opened.append(
                    abi.open_event(self._attributes(find(name), grouped, inherit, leader < 0), thread, group=leader)
                )
            # What joins a running group counts only from the next context switch on, so the leader starts last.
            for descriptor in opened[:1] if grouped else opened:
                abi.enable(descriptor)
        except OSError as error:
            for descriptor in opened:
                os.close(descriptor)
            # A thread that ended meanwhile counts nothing any more.
            if error.errno != errno.ESRCH:
                raise
            return
        self._groups.append(_Group(opened[0], tuple(names), tuple(opened), grouped))

    def _open_hardware(self, threads: list[int], inherit: bool) -> None:
        # Apart from the software events: a group stands still while the processor has no counter free for it.
        for name in HARDWARE:
            try:
                for thread in threads:
                    self._open(thread, [name], grouped=False, inherit=inherit)
            except OSError as error:
                self.missing[name] = f"no hardware counters here: {error.strerror}"
                return

    def _attributes(self, event: NamedEvent, grouped: bool, inherit: bool, leads: bool) -> abi.Attributes:
        flags = abi.FLAG_EXCLUDE_HYPERVISOR | (abi.FLAG_INHERIT if inherit else 0)
        flags |= abi.FLAG_EXCLUDE_KERNEL if self._user_only else 0
        return abi.Attributes(
            type=event.type,
            size=ctypes.sizeof(abi.Attributes),
            config=event.config,
            read_format=(abi.READ_GROUP if grouped else 0) | _TIMES,
            flags=flags | (abi.FLAG_DISABLED if leads else 0),
        )

    def read(self) -> dict[str, int]:
        """What was counted since the beginning; task-clock in ns.

        A hardware counter that shared the processor's registers with others is scaled up to the whole time.
        """
        total = dict.fromkeys(self.names, 0)
        for group in self._groups:
            for name, value in self._values(group):
                if name in total:
                    total[name] += value
        if self._user_only:
            total |= {name: value - self._base[name] for name, value in self._by_usage().items()}
        return total

    def _values(self, group: _Group) -> Iterator[tuple[str, int]]:
        if group.grouped:
            numbers = _words(os.read(group.leader, 24 + 8 * len(group.names)))
            yield from zip(group.names, numbers[3:], strict=True)
            return
        for name, descriptor in zip(group.names, group.descriptors, strict=True):
            value, enabled, running = _words(os.read(descriptor, 24))
            yield name, value * enabled // running if 0 < running < enabled else value

    def _by_usage(self) -> dict[str, int]:
        usage = resource.getrusage(self._usage)
        return dict(zip(_BY_USAGE, (usage.ru_nvcsw + usage.ru_nivcsw, usage.ru_minflt + usage.ru_majflt), strict=True))

    def close(self) -> None:
        """Give the descriptors back. Again: nothing."""
        for group in self._groups:
            for descriptor in group.descriptors:
                os.close(descriptor)
        self._groups.clear()


def _words(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"={len(data) // 8}Q", data)


def _may_count_kernel() -> bool:
    """Whether kernel mode can be counted on this thread. Raises OSError when the kernel opens no event at all."""
    attributes = abi.Attributes(type=abi.TYPE_SOFTWARE, size=ctypes.sizeof(abi.Attributes), config=abi.DUMMY)
    try:
        os.close(abi.open_event(attributes, 0))
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM):
            raise
        attributes.flags = abi.FLAG_EXCLUDE_KERNEL | abi.FLAG_EXCLUDE_HYPERVISOR
        os.close(abi.open_event(attributes, 0))
        return False
    return True
