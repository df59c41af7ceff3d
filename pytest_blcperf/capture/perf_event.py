"""perf_event_open through ctypes: events, their rings, and the records in them. No policy, no numpy.

Layouts are those of `include/uapi/linux/perf_event.h`; see perf_event_open(2). 64-bit x86 and ARM.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import mmap
import os
import struct
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

TYPE_HARDWARE = 0
TYPE_SOFTWARE = 1
TYPE_TRACEPOINT = 2
CPU_CLOCK = 0
DUMMY = 9

SAMPLE_IP = 1 << 0
SAMPLE_TID = 1 << 1
SAMPLE_TIME = 1 << 2
SAMPLE_ADDRESS = 1 << 3
SAMPLE_READ = 1 << 4
SAMPLE_CALLCHAIN = 1 << 5
SAMPLE_ID = 1 << 6
SAMPLE_CPU = 1 << 7
SAMPLE_PERIOD = 1 << 8
SAMPLE_STREAM_ID = 1 << 9
SAMPLE_RAW = 1 << 10
SAMPLE_BRANCH_STACK = 1 << 11
SAMPLE_REGISTERS_USER = 1 << 12
SAMPLE_STACK_USER = 1 << 13
SAMPLE_IDENTIFIER = 1 << 16

READ_ENABLED = 1 << 0
READ_RUNNING = 1 << 1
READ_ID = 1 << 2
READ_GROUP = 1 << 3
READ_LOST = 1 << 4

BRANCH_HARDWARE_INDEX = 1 << 17
BRANCH_COUNTERS = 1 << 19

FLAG_DISABLED = 1 << 0
FLAG_INHERIT = 1 << 1
FLAG_EXCLUDE_USER = 1 << 4
FLAG_EXCLUDE_KERNEL = 1 << 5
FLAG_EXCLUDE_HYPERVISOR = 1 << 6
FLAG_EXCLUDE_IDLE = 1 << 7
FLAG_MMAP = 1 << 8
FLAG_COMM = 1 << 9
FLAG_FREQUENCY = 1 << 10
FLAG_TASK = 1 << 13
FLAG_WATERMARK = 1 << 14
FLAG_SAMPLE_ID_ALL = 1 << 18
FLAG_EXCLUDE_CALLCHAIN_KERNEL = 1 << 21
FLAG_EXCLUDE_CALLCHAIN_USER = 1 << 22
FLAG_MMAP2 = 1 << 23
FLAG_COMM_EXEC = 1 << 24
FLAG_USE_CLOCKID = 1 << 25
FLAG_BUILD_ID = 1 << 34
FLAG_INHERIT_THREAD = 1 << 35

RECORD_BROKEN = 0
"""Not a type of the kernel's (they begin at 1): the rest of the data cannot be walked."""
RECORD_MMAP = 1
RECORD_LOST = 2
RECORD_COMM = 3
RECORD_EXIT = 4
RECORD_THROTTLE = 5
RECORD_FORK = 7
RECORD_SAMPLE = 9
RECORD_MMAP2 = 10
RECORD_LOST_SAMPLES = 13

MISC_MODE = 7
MISC_COMM_EXEC = 1 << 13
MISC_MMAP_DATA = 1 << 13
MISC_MMAP_BUILD_ID = 1 << 14

ENABLE = 0x2400
DISABLE = 0x2401
SET_OUTPUT = 0x2405
ID = 0x80082407

OPEN_CGROUP = 1 << 2

RING_BYTES = (512 << 10, 256 << 10, 64 << 10, 32 << 10)
"""Ring sizes to try. An unprivileged user may lock 516 KiB a CPU (kernel.perf_event_mlock_kb), ring header included."""

_SYSCALL = {"x86_64": 298, "aarch64": 241}
_OPEN_CLOEXEC = 1 << 3
_F_SETSIG = 10
_F_SETOWN_EX = 15
_F_OWNER_TID = 0
_HEAD_OFFSET = 1024
_HEADER = struct.Struct("=IHH")
_U64 = struct.Struct("=Q")
_SAMPLE = struct.Struct("=QIIQQ")
_LOST = struct.Struct("=QQ")


class Attributes(ctypes.Structure):
    """`struct perf_event_attr`, 128 bytes (PERF_ATTR_SIZE_VER7). Its bit field is the integer `flags`."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample_period", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
        ("wakeup_events", ctypes.c_uint32),
        ("bp_type", ctypes.c_uint32),
        ("config1", ctypes.c_uint64),
        ("config2", ctypes.c_uint64),
        ("branch_sample_type", ctypes.c_uint64),
        ("sample_regs_user", ctypes.c_uint64),
        ("sample_stack_user", ctypes.c_uint32),
        ("clockid", ctypes.c_int32),
        ("sample_regs_intr", ctypes.c_uint64),
        ("aux_watermark", ctypes.c_uint32),
        ("sample_max_stack", ctypes.c_uint16),
        ("reserved_2", ctypes.c_uint16),
        ("aux_sample_size", ctypes.c_uint32),
        ("reserved_3", ctypes.c_uint32),
        ("sig_data", ctypes.c_uint64),
    )


def cpu_clock(period_ns: int) -> Attributes:
    """A disabled event: every `period_ns` of CPU time, if in user mode, a `Sample` stamped with CLOCK_MONOTONIC.

    That is the clock of `time.perf_counter_ns`. Kernel mode is left out, as it takes more rights than the default.
    """
    return Attributes(
        type=TYPE_SOFTWARE,
        size=ctypes.sizeof(Attributes),
        config=CPU_CLOCK,
        sample_period=period_ns,
        sample_type=SAMPLE_IP | SAMPLE_TID | SAMPLE_TIME | SAMPLE_PERIOD,
        flags=FLAG_DISABLED | FLAG_EXCLUDE_KERNEL | FLAG_EXCLUDE_HYPERVISOR | FLAG_SAMPLE_ID_ALL | FLAG_USE_CLOCKID,
        wakeup_events=1,
        clockid=time.CLOCK_MONOTONIC,
    )


def open_event(attributes: Attributes, thread: int, cpu: int = -1, group: int = -1, flags: int = 0) -> int:
    """A descriptor (close-on-exec) of an event on the thread id `thread` (0: this thread), on `cpu` (-1: any).

    With OPEN_CGROUP in `flags`, `thread` is a descriptor of a cgroup's folder. `group` is the leader's descriptor.
    Raises OSError; ENOSYS also where this module does not know the system call's number.
    """
    machine = os.uname().machine
    if not sys.platform.startswith("linux") or machine not in _SYSCALL or sys.maxsize < 1 << 32:
        raise OSError(errno.ENOSYS, f"perf_event_open is not supported on {sys.platform} {machine}")
    descriptor: int = _library().syscall(
        ctypes.c_long(_SYSCALL[machine]),
        ctypes.byref(attributes),
        ctypes.c_int(thread),
        ctypes.c_int(cpu),
        ctypes.c_int(group),
        ctypes.c_ulong(_OPEN_CLOEXEC | flags),
    )
    if descriptor < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return descriptor


@functools.lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def enable(descriptor: int) -> None:
    """Let the event count. Raises OSError."""
    fcntl.ioctl(descriptor, ENABLE, 0)


def disable(descriptor: int) -> None:
    """Stop the event. Raises OSError."""
    fcntl.ioctl(descriptor, DISABLE, 0)


def share_ring(descriptor: int, owner: int) -> None:
    """Let the event write to the ring of `owner`, an event of the same CPU. Raises OSError."""
    fcntl.ioctl(descriptor, SET_OUTPUT, owner)


def identifier(descriptor: int) -> int:
    """The number that stands for the event in its samples, and in those of the events its children inherit."""
    return int(_U64.unpack(fcntl.ioctl(descriptor, ID, bytes(8)))[0])


def send_signal(descriptor: int, number: int, thread: int) -> None:
    """Send signal `number` to the thread id `thread` at every wake-up of the event. Raises OSError."""
    fcntl.fcntl(descriptor, _F_SETSIG, number)
    fcntl.fcntl(descriptor, _F_SETOWN_EX, struct.pack("=ii", _F_OWNER_TID, thread))
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_ASYNC)


class Ring:
    """The ring of an event, `size` bytes of data (a power of two pages). Raises OSError (EPERM: above the mlock limit).

    `drain` has no memory barriers: its reader is the sampled thread itself, or reads a ring whose event is disabled.
    `drain_into` may run beside the writer.
    The kernel does not copy the mapping to a forked child, where reading it would be a segmentation fault.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        self.size = size
        self._memory = mmap.mmap(descriptor, mmap.PAGESIZE + size)
        # Slices of the mapping are views that must be released before it can be closed.
        self._view = memoryview(self._memory)
        self._bytes = self._view[_HEAD_OFFSET : _HEAD_OFFSET + 16]
        self._head_tail = self._bytes.cast("Q")

    @property
    def used(self) -> int:
        """Bytes waiting to be drained."""
        return self._head_tail[0] - self._head_tail[1]

    def drain(self) -> bytes:
        """The records that are waiting, copied, their space given back to the kernel."""
        head, tail = self._head_tail
        length = min(head - tail, self.size)
        begin = tail % self.size
        first = min(length, self.size - begin)
        base = mmap.PAGESIZE
        data = self._memory[base + begin : base + begin + first] + self._memory[base : base + length - first]
        self._head_tail[1] = head
        return data

    def drain_into(self, buffer: memoryview) -> int:
        """Copy the records that are waiting to the beginning of `buffer`, which has room for `size` bytes, and give
        their space back to the kernel. The number of bytes.
        """
        head, tail = self._head_tail
        length = min(head - tail, self.size)
        if length:
            _load_fence()
            begin = mmap.PAGESIZE + tail % self.size
            first = min(length, mmap.PAGESIZE + self.size - begin)
            buffer[:first] = self._view[begin : begin + first]
            buffer[first:length] = self._view[mmap.PAGESIZE : mmap.PAGESIZE + length - first]
            self._head_tail[1] = head
        return length

    def close(self) -> None:
        """Unmap. Again: nothing."""
        for view in (self._head_tail, self._bytes, self._view):
            view.release()
        self._memory.close()


_FENCE = threading.Lock()


def _load_fence() -> None:
    """Keep the loads after it behind those before it. x86-64 does by itself; elsewhere the release of a lock followed
    by its acquisition does.
    """
    if os.uname().machine != "x86_64":
        for _ in range(2):
            with _FENCE:
                pass


def largest_ring(descriptor: int, sizes: Iterable[int] = RING_BYTES) -> Ring:
    """The ring of the first size, of at least a page, that the kernel grants. Raises the last OSError."""
    refused = OSError(errno.EINVAL, "no ring size to try")
    for size in sizes:
        try:
            return Ring(descriptor, max(size, mmap.PAGESIZE))
        except OSError as error:
            refused = error
    raise refused


class Record(NamedTuple):
    """A record without its header. `type` is one of RECORD_…, or another that the kernel has."""

    type: int
    misc: int
    body: bytes


class Sample(NamedTuple):
    """The body of a sample of `cpu_clock`: `time` in ns of CLOCK_MONOTONIC, `period` in ns of CPU time."""

    address: int
    process: int
    thread: int
    time: int
    period: int


def walk(data: bytes) -> Iterator[Record]:
    """The records of drained data. A length that cannot be right ends the walk with one RECORD_BROKEN."""
    offset = 0
    while offset < len(data):
        left = len(data) - offset
        kind, misc, size = _HEADER.unpack_from(data, offset) if left >= _HEADER.size else (0, 0, 0)
        if not _HEADER.size <= size <= left:
            yield Record(RECORD_BROKEN, 0, data[offset:])
            return
        yield Record(kind, misc, data[offset + _HEADER.size : offset + size])
        offset += size


def decode_sample(body: bytes) -> Sample | None:
    """The body of a RECORD_SAMPLE of `cpu_clock`, None when it is too short."""
    return Sample(*_SAMPLE.unpack_from(body)) if len(body) >= _SAMPLE.size else None


def decode_lost(body: bytes) -> int:
    """The number of records that a RECORD_LOST stands for; 1 when its body is too short to say."""
    return int(_LOST.unpack_from(body)[1]) if len(body) >= _LOST.size else 1
