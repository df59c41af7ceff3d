"""Which sampling backend works inside this process, found out by opening an event on it.

The backends that look from outside are tried by `bench/choose_backend.py`.
"""

from __future__ import annotations

import os
import signal

from pytest_blcperf.capture.backends import ALL, OUTSIDE, PERF_SIGNAL, TIMER
from pytest_blcperf.capture.refusal import refused
from pytest_blcperf.capture.samples import Sampler
from pytest_blcperf.errors import PermissionDenied, UsageError


def choose(requested: str, rate: int) -> tuple[str, str]:
    """(backend, reason) for "auto", "perf-signal" or "timer"; `rate` in samples per second. A backend that looks from
    outside cannot look at the process it is in, and "auto" is taken instead.

    Raises PermissionDenied when "perf-signal" is asked for and refused, or nothing works; UsageError for other names.
    """
    if requested != "auto" and requested not in ALL:
        raise UsageError(f"unknown sampling backend {requested!r}", f"choose auto, {', '.join(ALL)}")
    if requested in OUTSIDE:
        requested = "auto"
    if requested == TIMER:
        _require_timer()
        return TIMER, "asked for"
    refusal = perf_refusal(rate)
    if refusal is None:
        return PERF_SIGNAL, "asked for" if requested == PERF_SIGNAL else "perf_event_open works in this process"
    if requested == PERF_SIGNAL:
        raise refusal
    _require_timer()
    return TIMER, refusal.message


def perf_refusal(rate: int) -> PermissionDenied | None:
    """None when an event with a ring can be opened on this thread, else the error that says why not.

    Never inferred from perf_event_paranoid: distributions give it other meanings, and filters do not show in it.
    """
    try:
        from pytest_blcperf.capture import perf_event
    except ImportError as error:
        return PermissionDenied(f"this Python cannot call perf_event_open: {error}", "use --blcperf-backend=timer")
    descriptor = -1
    try:
        descriptor = perf_event.open_event(perf_event.cpu_clock(10**9 // rate), 0)
        perf_event.largest_ring(descriptor).close()
    except OSError as error:
        return refused(error)
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    return None


def open_sampler(name: str, rate: int) -> Sampler:
    """A sampler of the backend that `choose` named, not opened yet. Raises UsageError for other names."""
    if name == PERF_SIGNAL:
        from pytest_blcperf.capture.perf_signal import PerfSignalSampler

        return PerfSignalSampler(rate)
    if name == TIMER:
        from pytest_blcperf.capture.interval_timer import TimerSampler

        return TimerSampler(rate)
    raise UsageError(f"unknown sampling backend {name!r}", "choose perf-signal or timer")


def _require_timer() -> None:
    if not hasattr(signal, "setitimer"):
        raise PermissionDenied("this system has no interval timers", "profile on Linux")
