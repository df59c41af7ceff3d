"""Captures of a Python process by py-spy, where the kernel refuses its own events. Joins capture, store and model."""

from __future__ import annotations

import sys
from dataclasses import replace

from pytest_blcperf.capture.backends import PY_SPY
from pytest_blcperf.capture.perf_attach import Target
from pytest_blcperf.capture.spied_stacks import SpiedStacks
from pytest_blcperf.capture.spy import Spy
from pytest_blcperf.errors import UsageError
from pytest_blcperf.model.capture import Capture, Thread
from pytest_blcperf.model.function import NATIVE, PYTHON
from pytest_blcperf.model.warning import Warning
from pytest_blcperf.store.foreign.gathering import Gathering
from pytest_blcperf.symbols.capture_builder import utc_of
from pytest_blcperf.target.process import Processes

EVENT = "py-spy"


def begin(target: Target, rate: int) -> Spy:
    """py-spy at work on the target. Raises UsageError unless that is one process, PermissionDenied, TargetError."""
    if not isinstance(target, Processes) or len(target.processes) != 1 or target.children:
        raise UsageError("py-spy profiles one process, without children", "blcperf record --backend py-spy --pid N")
    return Spy(PY_SPY, target.processes[0].pid, rate, [sys.executable])


def captured(stacks: SpiedStacks, target: Target, description: str, rate: int, window: tuple[int, int]) -> Capture:
    """What py-spy saw of a window (ns of CLOCK_MONOTONIC), each sample worth the time between two."""
    assert isinstance(target, Processes)
    process = target.processes[0].pid
    gathering = Gathering()
    thread = Thread(process, process, "all threads")
    for frames, count in zip(stacks.stacks, stacks.counts, strict=True):
        numbers = [
            gathering.function(one.file, one.name, one.line, kind=PYTHON if one.file else NATIVE) for one in frames
        ]
        gathering.add(numbers, count, count * 10**9 // rate, thread)
    start, end = window
    found = gathering.capture(
        event=EVENT, unit="ns", backend=PY_SPY, started=utc_of(start), duration_ns=end - start, target=description
    )
    if not stacks.broken:
        return found
    return replace(found, warnings=(Warning("spy-lines", f"{stacks.broken} lines of py-spy could not be read"),))
