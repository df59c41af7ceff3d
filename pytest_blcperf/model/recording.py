"""What the kernel recorded of some processes, before any address has a name: what `capture` hands to `symbols`."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]
Booleans = npt.NDArray[np.bool_]

MODE_UNKNOWN, MODE_KERNEL, MODE_USER, MODE_HYPERVISOR, MODE_GUEST_KERNEL, MODE_GUEST_USER = range(6)
"""PERF_RECORD_MISC_CPUMODE: where the processor was when the sample was taken."""

REGISTERS = {
    "x86_64": (
        *("ax", "bx", "cx", "dx", "si", "di", "bp", "sp", "ip", "flags", "cs", "ss"),
        *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
    ),
    "aarch64": (*(f"x{number}" for number in range(30)), "lr", "sp", "pc"),
}
"""By machine, the columns of `SampleBatch.registers`: the kernel's order of the mask that is asked for."""


@dataclass(frozen=True, eq=False)
class SampleBatch:
    """Some samples in the order of time, as columns of n rows. A long recording is a sequence of these.

    `time` is ns of CLOCK_MONOTONIC; `period` what the sample stands for, in the unit of its event (ns of CPU time for
    the clocks); `event` an index into the events of the recording; `mode` one of MODE_…; `address` the sampled one.

    `chain[chain_offsets[i]:chain_offsets[i + 1]]` are the kernel's addresses of sample i, leaf first, and after them
    the user addresses that frame pointers gave, from `chain_offsets[i] + kernel_depth[i]` on; context markers are left
    out.

    `registers` (n × len(REGISTERS[machine])) are the user registers, all 0 where `has_registers` is False (a kernel
    thread). `stack[stack_offsets[i]:stack_offsets[i + 1]]` are the bytes from the stack pointer upwards, as many as the
    kernel could copy. Offsets have n + 1 entries, the first 0.
    """

    machine: str
    time: Ints
    process: Ints
    thread: Ints
    cpu: Ints
    period: Ints
    event: Ints
    mode: Bytes
    address: Words
    chain_offsets: Ints
    kernel_depth: Ints
    chain: Words
    has_registers: Booleans
    registers: Words
    stack_offsets: Ints
    stack: Bytes

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True)
class Mapping:
    """An executable mapping: from `time` on (ns of CLOCK_MONOTONIC, 0: from the beginning) [start, end) of `process`
    holds `path` from the file offset `offset` on. `path` is as the process sees it, or `[vdso]`, `//anon`, …; bytes
    that are no UTF-8 are surrogates in it (`os.fsencode`). `process` is -1 for the kernel's own, in perf's files.

    `device` (major, minor), `inode` and `generation` are 0 where unknown; `build_id` is hexadecimal, "" where unknown.
    """

    process: int
    start: int
    end: int
    offset: int
    path: str
    time: int = 0
    device: tuple[int, int] = (0, 0)
    inode: int = 0
    generation: int = 0
    build_id: str = ""


@dataclass(frozen=True)
class ThreadName:
    """From `time` on the thread is called `name`; `executed` when an exec gave it that name (its mappings are gone)."""

    process: int
    thread: int
    time: int
    name: str
    executed: bool = False


@dataclass(frozen=True)
class Fork:
    """A new thread, or a process when `process` is not `parent_process`: it begins with its parent's mappings."""

    process: int
    parent_process: int
    thread: int
    parent_thread: int
    time: int


@dataclass(frozen=True)
class Event:
    """An event that was sampled. `unit` is what periods count: `ns`, `cycles`, `instructions`, `events`."""

    name: str
    unit: str
    rate: int = 0
    """Samples per second that were asked for, 0 when a period was."""
    period: int = 0


@dataclass(frozen=True)
class RecordingHealth:
    """How much of a recording is not there. `lost` samples the ring had no room for, `throttled` pauses by the kernel,
    `broken` records that could not be read, `outside` samples cut off because they lie outside the window.
    """

    samples: int = 0
    lost: int = 0
    throttled: int = 0
    broken: int = 0
    outside: int = 0


@dataclass(frozen=True, eq=False)
class Recording:
    """A recording without its samples, which are large and come as batches.

    The window is [start_ns, end_ns) of CLOCK_MONOTONIC. Lists of what happened are in the order of time.
    """

    machine: str
    events: tuple[Event, ...]
    start_ns: int
    end_ns: int
    mappings: tuple[Mapping, ...]
    names: tuple[ThreadName, ...]
    forks: tuple[Fork, ...]
    health: RecordingHealth = field(default_factory=RecordingHealth)
    warnings: tuple[tuple[str, str], ...] = ()
    """(code, text) pairs, as in `Warning`."""
