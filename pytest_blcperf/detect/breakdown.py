"""The capture's time by mode, thread, role, process, CPU, library, class of function, and system call."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pytest_blcperf.detect.rules import Rules
from pytest_blcperf.detect.view import Floats, Ints, View
from pytest_blcperf.model.recording import (
    MODE_GUEST_KERNEL,
    MODE_GUEST_USER,
    MODE_HYPERVISOR,
    MODE_KERNEL,
    MODE_USER,
)
from pytest_blcperf.model.syscalls import Syscalls

_MODES = {
    MODE_USER: "user",
    MODE_KERNEL: "kernel",
    MODE_HYPERVISOR: "hypervisor",
    MODE_GUEST_KERNEL: "guest kernel",
    MODE_GUEST_USER: "guest user",
}
_SYSCALL = re.compile(r"__(?:x64|ia32|arm64)_(?:compat_)?sys_(\w+)")
NO_FRAMES = "[no frames]"


@dataclass(frozen=True)
class Part:
    """A row of a breakdown: its time in the event's unit, and as a part of the whole."""

    name: str
    time: float
    share: float


def by_mode(view: View) -> tuple[Part, ...]:
    """User, kernel, hypervisor, guests."""
    capture = view.capture
    times = np.bincount(capture.mode, weights=capture.weight)
    return _parts([_MODES.get(mode, "unknown") for mode in range(len(times))], times, view)


def by_thread(view: View) -> tuple[Part, ...]:
    """Every thread, `name (thread id)`."""
    names = [f"{thread.name} ({thread.thread})" for thread in view.capture.threads]
    return _parts(names, view.time_by_thread, view)


def by_role(view: View, rules: Rules) -> tuple[Part, ...]:
    """Threads by what they are for: by the preset, else by their name without its number."""
    return _parts([rules.role(thread.name) for thread in view.capture.threads], view.time_by_thread, view)


def by_process(view: View) -> tuple[Part, ...]:
    """Every process, `name (process id)`."""
    names = [f"{thread.process_name or thread.name} ({thread.process})" for thread in view.capture.threads]
    return _parts(names, view.time_by_thread, view)


def by_cpu(view: View) -> tuple[Part, ...]:
    """Every CPU."""
    cpus, which = np.unique(view.capture.cpu, return_inverse=True)
    times = np.bincount(which, weights=view.capture.weight, minlength=len(cpus))
    return _parts([f"CPU {cpu}" if cpu >= 0 else "unknown" for cpu in cpus.tolist()], times, view)


def by_library(view: View) -> tuple[Part, ...]:
    """The file whose code ran, by self time."""
    return _by_function(view, [function.file for function in view.capture.functions])


def by_class(view: View, rules: Rules) -> tuple[Part, ...]:
    """The class of the function that ran, by self time."""
    return _by_function(view, rules.classify(view.capture.functions))


def by_syscall(view: View) -> tuple[Part, ...]:
    """System calls by the time inside them, by the kernel's entry functions on the stack; empty without kernel samples.

    How often they were called is not known from samples: see `traced_syscalls`.
    """
    functions = view.capture.functions
    called = np.array([bool(_SYSCALL.match(function.name)) for function in functions], bool)
    offsets, frames = view.capture.stack_offsets, view.capture.stack_functions
    positions = np.flatnonzero(called[frames])
    stack = np.searchsorted(offsets, positions, "right") - 1
    # The outermost of a stack's: a compat call may go through a native one.
    outermost = np.append(stack[1:] != stack[:-1], True) if len(stack) else np.zeros(0, bool)
    times = np.bincount(
        frames[positions[outermost]], weights=view.weight_by_stack[stack[outermost]], minlength=len(functions)
    )
    names = [_SYSCALL.sub(r"\1", function.name) for function in functions]
    return tuple(part for part in _parts(names, times, view) if part.time > 0)


@dataclass(frozen=True)
class SyscallRow:
    """A system call in the window: how often, and for how long by the wall clock (ns), waiting included."""

    name: str
    calls: float
    time_ns: float


def traced_syscalls(syscalls: Syscalls) -> tuple[SyscallRow, ...]:
    """All processes together, scaled to the whole window, most time first."""
    sums: dict[str, tuple[float, float]] = {}
    for one in syscalls.counts:
        calls, time = sums.get(one.name, (0.0, 0.0))
        sums[one.name] = (calls + one.calls * syscalls.scale, time + one.time_ns * syscalls.scale)
    rows = [SyscallRow(name, calls, time) for name, (calls, time) in sums.items()]
    return tuple(sorted(rows, key=lambda row: (-row.time_ns, -row.calls, row.name)))


def _by_function(view: View, names: Sequence[str]) -> tuple[Part, ...]:
    missing = view.total - float(view.self_time.sum())
    return _parts([*names, NO_FRAMES], np.append(view.self_time, missing), view)


def _parts(names: Sequence[str], times: Floats | Ints, view: View) -> tuple[Part, ...]:
    """Rows of one name joined, those without time left out, the largest first."""
    joined: dict[str, float] = {}
    for name, time in zip(names, np.asarray(times, np.float64).tolist(), strict=True):
        joined[name] = joined.get(name, 0.0) + time
    whole = view.total or 1.0
    rows = [Part(name, time, time / whole) for name, time in joined.items() if time > 1e-9 * whole]
    return tuple(sorted(rows, key=lambda row: (-row.time, row.name)))
