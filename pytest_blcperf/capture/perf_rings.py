"""The rings of a recording, one a CPU, as large as the kernel lets this user lock."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import resource
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pytest_blcperf.capture import perf_event as abi
from pytest_blcperf.capture.recording_plan import MIN_RING_BYTES
from pytest_blcperf.errors import PermissionDenied

_CPUS = Path("/sys/devices/system/cpu/online")
_MLOCK = Path("/proc/sys/kernel/perf_event_mlock_kb")
_DEFAULT_MLOCK_KIB = 516


def online_cpus(path: Path = _CPUS) -> list[int]:
    """CPUs of this machine that are on, whatever this process may run on."""
    try:
        return list(_numbers(path.read_text("ascii")))
    except (OSError, ValueError):
        return sorted(os.sched_getaffinity(0))


def _numbers(text: str) -> Iterator[int]:
    """`0-3,8` as numbers."""
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def sizes_to_try(wanted: int, rings: int, budget: int) -> list[int]:
    """Ring sizes in bytes (powers of two), best first: the wanted one, which a privileged user gets; then what fits
    the budget (bytes that may be locked) in `rings` rings with a header page each; then halves of that.
    """
    largest = 1 << (wanted.bit_length() - 1)
    fitting = max(budget // max(rings, 1) - mmap.PAGESIZE, MIN_RING_BYTES)
    size = min(largest, 1 << (fitting.bit_length() - 1))
    sizes = [largest, size] if size < largest else [largest]
    while sizes[-1] > MIN_RING_BYTES:
        sizes.append(sizes[-1] >> 1)
    return sizes


def lock_budget(cpus: int) -> int:
    """Bytes of rings that an unprivileged user may lock: kernel.perf_event_mlock_kb a CPU, and RLIMIT_MEMLOCK."""
    try:
        kib = int(_MLOCK.read_text("ascii"))
    except (OSError, ValueError):
        kib = _DEFAULT_MLOCK_KIB
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    return (kib << 10) * cpus + (1 << 40 if limit == resource.RLIM_INFINITY else limit)


class Rings:
    """A ring for each CPU, owned by an event on this thread that never happens, so that it outlives every target.

    Raises OSError, and PermissionDenied when not even the smallest rings are granted.
    """

    def __init__(self, cpus: Sequence[int], wanted: int) -> None:
        self._owners: dict[int, int] = {}
        self.rings: list[abi.Ring] = []
        try:
            for cpu in cpus:
                self._owners[cpu] = abi.open_event(_silent(), 0, cpu)
            self.size = self._map(sizes_to_try(wanted, len(cpus), lock_budget(len(cpus))))
        except BaseException:
            self.close()
            raise

    def owner(self, cpu: int) -> int:
        """The descriptor to share the ring of a CPU with."""
        return self._owners[cpu]

    def _map(self, sizes: Iterable[int]) -> int:
        for size in sizes:
            try:
                for owner in self._owners.values():
                    self.rings.append(abi.Ring(owner, size))
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOMEM):
                    raise
                self._unmap()
                continue
            return size
        raise PermissionDenied(
            f"the kernel grants no rings of {MIN_RING_BYTES >> 10} KiB for {len(self._owners)} CPUs "
            f"(kernel.perf_event_mlock_kb is {_read(_MLOCK)})",
            "close other profilers of this user, or: sudo sysctl kernel.perf_event_mlock_kb=2048",
        )

    def _unmap(self) -> None:
        for ring in self.rings:
            ring.close()
        self.rings.clear()

    def close(self) -> None:
        """Give everything back. Again: nothing."""
        self._unmap()
        for owner in self._owners.values():
            os.close(owner)
        self._owners.clear()


def _silent() -> abi.Attributes:
    return abi.Attributes(
        type=abi.TYPE_SOFTWARE,
        size=ctypes.sizeof(abi.Attributes),
        config=abi.DUMMY,
        flags=abi.FLAG_DISABLED | abi.FLAG_EXCLUDE_KERNEL | abi.FLAG_EXCLUDE_HYPERVISOR | abi.FLAG_USE_CLOCKID,
        clockid=time.CLOCK_MONOTONIC,
    )


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except OSError:
        return "unreadable"
