"""From a plan to `struct perf_event_attr`, with what this kernel knows of it."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import time
from dataclasses import dataclass, replace

from pytest_blcperf.capture import perf_event as abi
from pytest_blcperf.capture.perf_names import CLOCKS, NamedEvent
from pytest_blcperf.capture.recording_plan import RecordingPlan

REGISTER_MASKS = {"x86_64": 0xFF0FFF, "aarch64": (1 << 33) - 1}
"""By machine, the registers of `model.recording.REGISTERS`: PERF_REG_X86_…, PERF_REG_ARM64_…."""

_TRACKING = abi.FLAG_MMAP | abi.FLAG_MMAP2 | abi.FLAG_COMM | abi.FLAG_COMM_EXEC | abi.FLAG_TASK


@dataclass(frozen=True)
class Features:
    """What newer kernels know: inheriting to threads only (5.13), build-ids in mappings (5.12), exact losses (6.0)."""

    inherit_thread: bool = True
    build_id: bool = True
    read_lost: bool = True


@dataclass(frozen=True)
class Inheritance:
    """Who gets the events of a thread besides itself."""

    threads: bool
    processes: bool


def sampling(
    event: NamedEvent, plan: RecordingPlan, inheritance: Inheritance, features: Features, tracking: bool
) -> abi.Attributes:
    """A disabled event. With `tracking` it also reports mappings, names, new and ended threads: one event should."""
    flags = abi.FLAG_DISABLED | abi.FLAG_SAMPLE_ID_ALL | abi.FLAG_USE_CLOCKID | abi.FLAG_WATERMARK
    flags |= abi.FLAG_EXCLUDE_HYPERVISOR | abi.FLAG_EXCLUDE_IDLE
    flags |= 0 if plan.user else abi.FLAG_EXCLUDE_USER
    flags |= 0 if plan.kernel else abi.FLAG_EXCLUDE_KERNEL | abi.FLAG_EXCLUDE_CALLCHAIN_KERNEL
    flags |= 0 if plan.frame_pointers else abi.FLAG_EXCLUDE_CALLCHAIN_USER
    if tracking:
        flags |= _TRACKING | (abi.FLAG_BUILD_ID if features.build_id else 0)
    flags |= inheritance_flags(inheritance, features)
    period, by_rate = interval(event, plan)
    return abi.Attributes(
        type=event.type,
        size=ctypes.sizeof(abi.Attributes),
        config=event.config,
        sample_period=period,
        sample_type=sample_type(plan),
        read_format=abi.READ_LOST if features.read_lost else 0,
        flags=flags | (abi.FLAG_FREQUENCY if by_rate else 0),
        # Nobody waits for a wake-up: rings are drained by the clock, and a wake-up costs the target.
        wakeup_events=(1 << 32) - 1,
        sample_regs_user=REGISTER_MASKS[os.uname().machine] if plan.stack_bytes else 0,
        sample_stack_user=plan.stack_bytes,
        clockid=time.CLOCK_MONOTONIC,
    )


def inheritance_flags(inheritance: Inheritance, features: Features) -> int:
    """The flags that let new threads, or new processes too, have the event."""
    if not (inheritance.threads or inheritance.processes):
        return 0
    to_threads_only = features.inherit_thread and not inheritance.processes
    return abi.FLAG_INHERIT | (abi.FLAG_INHERIT_THREAD if to_threads_only else 0)


def sample_type(plan: RecordingPlan) -> int:
    """The fields of a sample."""
    fields = (
        abi.SAMPLE_IDENTIFIER | abi.SAMPLE_IP | abi.SAMPLE_TID | abi.SAMPLE_TIME | abi.SAMPLE_CPU | abi.SAMPLE_PERIOD
    )
    if plan.kernel or plan.frame_pointers:
        fields |= abi.SAMPLE_CALLCHAIN
    if plan.stack_bytes:
        fields |= abi.SAMPLE_REGISTERS_USER | abi.SAMPLE_STACK_USER
    return fields


def interval(event: NamedEvent, plan: RecordingPlan) -> tuple[int, bool]:
    """(sample_period or sample_freq, whether it is a frequency). Clocks have exact periods, which the kernel would
    otherwise have to find by trial.
    """
    if plan.period:
        return plan.period, False
    if event.is_tracepoint:
        return 1, False
    return (10**9 // plan.rate, False) if event.name in CLOCKS else (plan.rate, True)


@functools.lru_cache(maxsize=1)
def features() -> Features:
    """What this kernel knows, found out by opening events on this thread. Raises OSError when it opens none at all."""
    found = Features()
    refused: OSError | None = None
    for tried in (
        found,
        replace(found, read_lost=False),
        replace(found, read_lost=False, inherit_thread=False),
        Features(False, False, False),
    ):
        try:
            os.close(abi.open_event(_probe(tried), 0))
        except OSError as error:
            refused = error
            if error.errno not in (errno.EINVAL, errno.E2BIG):
                raise
            continue
        return tried
    raise refused or OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def _probe(tried: Features) -> abi.Attributes:
    dummy = NamedEvent("dummy", abi.TYPE_SOFTWARE, abi.DUMMY, "events")
    plan = RecordingPlan(kernel=False, stack_bytes=0, period=1)
    return sampling(dummy, plan, Inheritance(True, False), tried, tracking=True)
