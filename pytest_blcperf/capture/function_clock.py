"""Chosen Python functions timed exactly, every entry and exit, while rounds run. Standard library only.

From Python 3.12 on by local events of `sys.monitoring`, before by exchanging code objects (`code_exchange`).

- What the clock itself takes is measured with every reading (`clock_cost`) and taken off, also that of nested timed
  functions.
- The clock is the wall clock: 45 ns a reading where the CPU clock, a system call, takes 480, which for a function of a
  microsecond is as much as the function. Time in which the thread had no CPU is known from the CPU clock at both ends
  of a round and cut off the longest times between two events (`activations.without_absence`): neighbours on the same
  CPU take milliseconds at a time. That asks for functions that begin and end more often than that; for others the CPU
  clock is exact, and cheap enough (`FunctionClock.fitting`).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Protocol

from pytest_blcperf.capture.activations import Activations, ClockCost, Hooks
from pytest_blcperf.capture.call_counts import count_calls
from pytest_blcperf.capture.clock_cost import CostGauge, timed_nothing
from pytest_blcperf.capture.functions import Description, Roots, describe

CPU_CLOCK_FROM_NS = 50_000
"""Time between calls from which on the CPU clock is used: two readings of it are 2 % of that."""


@dataclass(frozen=True)
class Reading:
    """What one function did. `calls` counts entries; resuming a generator or coroutine is none, starting it is one.

    `total_ns` is the time inside it, around each resumption, recursion counted once. `self_ns` is the part of it in
    which no other timed function was running inside: the innermost timed function has the time.
    """

    calls: int
    total_ns: int
    self_ns: int


class _Installed(Protocol):
    @property
    def untimed(self) -> Sequence[CodeType]: ...

    def open(self) -> None: ...

    def close(self) -> None: ...


class FunctionClock:
    """Times the functions whose code objects are given, in all threads, between `open` and `close`.

    `clock` gives ns; `cost` is measured when it is None; `cpu_clock` gives the CPU time of the thread that opens the
    clock and takes the readings, in ns; None where time without the CPU counts or `clock` is a CPU clock itself.
    Functions that run already when the clock is opened are timed from their next call on. Profilers, tracers and
    monitoring tools in force stay so.
    """

    def __init__(
        self,
        codes: Sequence[CodeType],
        clock: Callable[[], int] = time.perf_counter_ns,
        cost: ClockCost | None = None,
        cpu_clock: Callable[[], int] | None = time.thread_time_ns,
    ) -> None:
        self.codes = tuple(codes)
        self._gauge = CostGauge(clock) if cost is None else None
        gauged = () if self._gauge is None else (timed_nothing.__code__,)
        self._timed = self.codes + gauged
        self._activations = Activations(self._timed, clock, cost or ClockCost(), cpu_clock)
        self._installed: _Installed | None = None
        self._since: list[tuple[int, float, float]] | None = None
        self._kept: list[tuple[int, float, float]] = [(0, 0.0, 0.0)] * len(self.codes)
        self.untimed: tuple[CodeType, ...] = ()
        """Which of the code objects cannot be timed in this interpreter; their readings are zero."""

    @classmethod
    def fitting(cls, codes: Sequence[CodeType], ns_between_calls: float) -> FunctionClock:
        """With the clock that suits how often the functions are called: the time of a round by its timed calls."""
        if ns_between_calls >= CPU_CLOCK_FROM_NS:
            return cls(codes, time.thread_time_ns, cpu_clock=None)
        return cls(codes)

    @property
    def cost(self) -> ClockCost:
        """What the clock took for each activation when the last readings were taken; it is not in them."""
        return self._activations.cost

    @property
    def activations(self) -> list[int]:
        """How often each function was entered or resumed, up to the last readings."""
        return self._activations.counts[: len(self.codes)]

    @property
    def misplaced(self) -> int:
        """How often a function ended that was not the innermost one: something switches stacks (greenlets), and the
        readings are not to be used.
        """
        return self._activations.misplaced

    def open(self) -> None:
        """Begin timing."""
        if self._installed is not None:
            return
        if self._gauge is not None:
            self._gauge.prepare()
        self._installed = _installed(self._timed, self._activations.hooks)
        try:
            self._installed.open()
            self.untimed = tuple(code for code in self._installed.untimed if code is not timed_nothing.__code__)
            if self._gauge is not None:
                self._gauge.calibrate(self._activations, len(self.codes))
                self._activations.cost = self._gauge.measured()
        except BaseException:
            self.close()
            raise
        self.start()

    def close(self) -> None:
        """Stop timing, and leave the functions as they were. May be called again."""
        self.stop()
        installed, self._installed = self._installed, None
        if installed is not None:
            installed.close()

    def start(self) -> None:
        """Count from here on; the clock is opened started."""
        if self._since is None:
            self._since = self._sums()
            self._activations.begin()

    def stop(self) -> None:
        """Count no further, until `start`. What happens between costs as much as before."""
        if self._since is not None:
            self._keep(self._activations.now())
            self._since = None

    def take(self) -> list[Reading]:
        """What was counted since the last time, in the order of the code objects. Begins anew.

        An activation has all its time when it ends, so take readings where no timed function is running.
        """
        counting, end = self._since is not None, self._activations.now()
        if self._gauge is not None and self._installed is not None:
            self._activations.cost = self._gauge.measured()
        if counting:
            self._keep(end)
            self._activations.begin()
        kept, self._kept = self._kept, [(0, 0.0, 0.0)] * len(self.codes)
        return [_reading(*sums) for sums in kept]

    def _sums(self, end: tuple[int, int] | None = None) -> list[tuple[int, float, float]]:
        return self._activations.sums(end)[: len(self.codes)]

    def _keep(self, end: tuple[int, int] | None) -> None:
        assert self._since is not None
        now = self._sums(end)
        self._kept = [
            (kept[0] + new[0] - old[0], kept[1] + new[1] - old[1], kept[2] + new[2] - old[2])
            for kept, new, old in zip(self._kept, now, self._since, strict=True)
        ]
        self._since = now


def _reading(calls: int, total: float, own: float) -> Reading:
    whole = max(0, round(total))
    return Reading(calls, whole, min(whole, max(0, round(own))))


def find_codes(
    run: Callable[[], object],
    root: CodeType,
    wanted: Collection[Description],
    roots: Roots,
) -> list[CodeType]:
    """The code objects that `run()` starts inside `root` and that `functions.describe` describes as one of `wanted`.

    In the order of `wanted`; one that does not run is left out, one of which there are several stands there as often.
    """
    order = {description: place for place, description in enumerate(wanted)}
    # Fingerprints are dear; lines are compared first.
    lines = {line for _, _, line, _ in wanted}
    found: list[tuple[int, int, CodeType]] = []
    for code in count_calls(run, root):
        description = describe(code, roots) if code.co_firstlineno in lines else None
        if description in order:
            found.append((order[description], len(found), code))
    return [code for _, _, code in sorted(found, key=lambda entry: entry[:2])]


if sys.version_info >= (3, 12):
    from pytest_blcperf.capture.call_counts import free_tool

    class _Monitored:
        """Local events on the code objects; exceptions are told of for all code there is, and looked at here."""

        def __init__(self, codes: Sequence[CodeType], hooks: Hooks) -> None:
            events = sys.monitoring.events
            self.untimed: Sequence[CodeType] = ()
            self._codes = codes
            self._tool: int | None = None
            self._local = events.PY_START | events.PY_RESUME | events.PY_YIELD | events.PY_RETURN
            self._global = events.PY_THROW | events.PY_UNWIND
            resume, leave, passed = hooks.resume, hooks.leave, hooks.passed
            timed = frozenset(map(id, codes))

            def thrown(code: CodeType, _offset: int, _error: object) -> None:
                if id(code) in timed:
                    resume(code)

            def unwound(code: CodeType, _offset: int, _error: object) -> None:
                if id(code) in timed:
                    leave(code)
                else:
                    passed()

            self._callbacks: dict[int, Callable[..., object]] = {
                events.PY_START: hooks.start,
                events.PY_RESUME: resume,
                events.PY_THROW: thrown,
                events.PY_YIELD: leave,
                events.PY_RETURN: leave,
                events.PY_UNWIND: unwound,
            }

        def open(self) -> None:
            tool = self._tool = free_tool()
            if tool is None:
                self.untimed = self._codes
                return
            sys.monitoring.use_tool_id(tool, "pytest-blcperf")
            for event, callback in self._callbacks.items():
                sys.monitoring.register_callback(tool, event, callback)
            for code in self._codes:
                sys.monitoring.set_local_events(tool, code, self._local)
            sys.monitoring.set_events(tool, self._global)

        def close(self) -> None:
            tool, self._tool = self._tool, None
            if tool is None or sys.monitoring.get_tool(tool) != "pytest-blcperf":
                return
            sys.monitoring.set_events(tool, 0)
            for code in self._codes:
                sys.monitoring.set_local_events(tool, code, 0)
            for event in self._callbacks:
                sys.monitoring.register_callback(tool, event, None)
            sys.monitoring.free_tool_id(tool)

    def _installed(codes: Sequence[CodeType], hooks: Hooks) -> _Installed:
        return _Monitored(codes, hooks)

else:
    from pytest_blcperf.capture.code_exchange import ExchangedCode

    def _installed(codes: Sequence[CodeType], hooks: Hooks) -> _Installed:
        return ExchangedCode(codes, hooks)
