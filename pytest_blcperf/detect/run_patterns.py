"""Every pattern asked about one capture."""

from __future__ import annotations

from collections.abc import Callable

from pytest_blcperf.detect.patterns import (
    allocator_pressure,
    cpu_spike,
    garbage_collection,
    hot_thread,
    json_or_regex,
    kernel_heavy,
    lock_contention,
    page_faults,
    spinlock,
    syscall_storm,
)
from pytest_blcperf.detect.rules import Rules
from pytest_blcperf.detect.view import View
from pytest_blcperf.model.finding import Certainty, Finding

PATTERNS: tuple[Callable[[View, Rules], Finding], ...] = (
    lock_contention.find,
    spinlock.find,
    syscall_storm.find,
    cpu_spike.find,
    allocator_pressure.find,
    page_faults.find,
    garbage_collection.find,
    json_or_regex.find,
    hot_thread.find,
    kernel_heavy.find,
)

_ORDER = (Certainty.FOUND, Certainty.UNJUDGED, Certainty.NOT_FOUND)


def findings(view: View, rules: Rules) -> tuple[Finding, ...]:
    """What every pattern says: found first, the largest first, then what could not be judged, then the rest."""
    every = [find(view, rules) for find in PATTERNS]
    return tuple(sorted(every, key=lambda one: (_ORDER.index(one.certainty), -one.confidence * one.value)))
