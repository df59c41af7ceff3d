"""The names of the sampling backends, as settings and runs hold them. Profiles of different ones are never compared."""

from __future__ import annotations

BYTECODE = "perf-bytecode"
"""Samples taken by the controller; the leaf from the bytecode pointer, the stack from a signal handler."""
TRAMPOLINE = "perf-trampoline"
"""Samples taken by the controller, Python functions from the stubs of the perf trampoline; all threads."""
PERF_SIGNAL = "perf-signal"
"""Samples taken by the measured process, the stack from its signal handler."""
SAMPLING = "profiling.sampling"
"""The standard library's sampling profiler (3.15), on another CPU."""
PY_SPY = "py-spy"
"""py-spy, on another CPU."""
TIMER = "timer"
"""An interval timer and a signal handler: inclusive time only."""
CALLGRIND = "callgrind"
"""valgrind counts instructions in place of time; only where it is asked for."""

SELF_TIME = (BYTECODE, TRAMPOLINE)
"""Those whose leaf is the function that was running. The others tell inclusive time: their self time was 3 to 11
percentage points off, on a busy machine (docs/sampling.md)."""
OUTSIDE = (BYTECODE, TRAMPOLINE, SAMPLING, PY_SPY)
"""Those that look at the measured process from another one."""
INSIDE = (PERF_SIGNAL, TIMER)
"""Those with a sampler in the measured process."""
ALL = (BYTECODE, TRAMPOLINE, PERF_SIGNAL, SAMPLING, PY_SPY, TIMER)
