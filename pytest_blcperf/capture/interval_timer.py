"""Backend `timer`: a signal handler called by an interval timer, weighted by the CPU time since its last call.

ITIMER_REAL, because ITIMER_PROF runs at the kernel's tick (measured: 145 calls/s of 1000 asked for), and so long an
interval before a long C call is charged to that call (11 percentage points, against 1). ITIMER_PROF is left for
when somebody else has SIGALRM, such as a test timeout.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from types import CodeType, FrameType

from pytest_blcperf.capture.cpu_time import CpuMeter
from pytest_blcperf.capture.samples import Samples
from pytest_blcperf.capture.signals import BorrowedSignal, require_main_thread
from pytest_blcperf.capture.stacks import OUTSIDE, StackTable
from pytest_blcperf.errors import UsageError

_TIMER_RESOLUTION = 10e-6
_UNSURE_SHARE = 0.05

Call = tuple[int, int, int]


def _free_timer() -> int:
    for timer, number in _signals().items():
        if signal.getsignal(number) is signal.SIG_DFL and not any(signal.getitimer(timer)):
            return timer
    raise UsageError(
        "SIGALRM and SIGPROF, or their timers, are both in use", "switch the other profiler or timeout off"
    )


def _signals() -> dict[int, int]:
    # Not at import: Windows has none of these.
    return {signal.ITIMER_REAL: signal.SIGALRM, signal.ITIMER_PROF: signal.SIGPROF}


def weigh(calls: Sequence[Call], start_ns: int, cpu_start_ns: int, carry_ns: int) -> Iterator[tuple[int, int]]:
    """(stack, weight) of handler calls (time, CPU time, stack) inside a window that begins at `start_ns`.

    Each stands for the CPU time since the one before it. The first also takes `carry_ns`, what was left of earlier
    windows after their last call: a timer slower than the rounds would otherwise favour what runs late in a round.
    `cpu_start_ns` is the CPU time at some moment before the window; more than elapsed since `start_ns` is not counted.
    """
    cpu_before = cpu_start_ns
    for moment, cpu, stack in calls:
        yield stack, carry_ns + max(0, min(cpu - cpu_before, moment - start_ns))
        carry_ns, start_ns, cpu_before = 0, moment, cpu


class TimerSampler:
    """See the module and `Sampler`. `rate` in calls per second; `timer` is signal.ITIMER_REAL or ITIMER_PROF."""

    name = "timer"
    self_time = False

    def __init__(self, rate: int, timer: int | None = None) -> None:
        self._interval = 1 / rate
        self._timer = timer
        self._samples: Samples | None = None
        self._signal: BorrowedSignal | None = None
        self._busy = False
        self._walk_after_ns = 0
        self._calls: list[Call] = []
        self._carry_ns = 0
        self._weight_ns = self._outside_ns = 0

    def open(self, root: CodeType | None) -> None:
        """See `Sampler`."""
        require_main_thread(self.name)
        if self._signal or self._samples:
            raise UsageError("this sampler was opened before", "make a new one for every measurement")
        if self._timer is None:
            self._timer = _free_timer()
        self._process = os.getpid()
        self._table = StackTable(root)
        self._meter = CpuMeter()
        self._signal = BorrowedSignal(_signals()[self._timer], self._note)
        signal.setitimer(self._timer, self._interval, self._interval)

    def _note(self, _number: int, frame: FrameType | None) -> None:
        now = time.perf_counter_ns()
        # Python may call this inside itself, before it is marked as busy: the outer call will do.
        inner = frame is not None and frame.f_code is self._note.__code__
        if self._busy or inner or now < self._walk_after_ns:
            return
        self._busy = True
        try:
            cpu = time.thread_time_ns()
            self._calls.append((now, cpu, self._table.note(frame)))
            self._walk_after_ns = now + self._table.rest_ns
        finally:
            self._busy = False

    def add_window(self, start_ns: int, end_ns: int) -> None:
        """See `Sampler`."""
        if self._signal is None or os.getpid() != self._process:
            return
        self._busy = True
        try:
            # The last call before the window read the clock closer to its start than the end of the window before did.
            before = [cpu for moment, cpu, _ in self._calls if moment < start_ns]
            cpu_start_ns = before[-1] if before else self._meter.main_mark
            inside_ns = self._meter.add_window(start_ns, end_ns, cpu_start_ns)
            calls = [call for call in self._calls if start_ns <= call[0] <= end_ns]
            weighed_ns = -self._carry_ns
            for stack, weight in weigh(calls, start_ns, cpu_start_ns, self._carry_ns):
                weighed_ns += weight
                self._charge(stack, weight)
            self._carry_ns = max(0, inside_ns - weighed_ns)
            self._calls = [call for call in self._calls if call[0] > end_ns]
        finally:
            self._busy = False
            self._meter.mark()

    def _charge(self, stack: int, weight_ns: int) -> None:
        self._weight_ns += weight_ns
        if stack == OUTSIDE:
            self._outside_ns += weight_ns
        else:
            self._table.charge(stack, weight_ns)

    def finish(self) -> Samples:
        """See `Sampler`."""
        if self._samples is None:
            opened = self._signal is not None
            given_back = self._disarm()
            columns = self._table.columns() if opened else ([], [], [], [])
            warnings = self._warnings(given_back) if opened else []
            self._samples = Samples(self.name, self.self_time, *columns, warnings=warnings)
        return self._samples

    def _disarm(self) -> bool:
        borrowed, self._signal = self._signal, None
        if borrowed is None or self._timer is None:
            return True
        # An interval that is not ours belongs to the benchmark, which set the timer anew; a child inherits no timer.
        if abs(signal.getitimer(self._timer)[1] - self._interval) < _TIMER_RESOLUTION:
            signal.setitimer(self._timer, 0)
        return borrowed.give_back()

    def _warnings(self, given_back: bool) -> list[tuple[str, str]]:
        found = self._meter.warnings()
        if self._timer == signal.ITIMER_PROF:
            found.append(
                ("coarse-timer", "SIGALRM was taken, so the timer ran at the kernel's tick only: rough shares")
            )
        if not given_back:
            found.append(("signal-taken", "the benchmark replaced the profiler's signal handler: samples are missing"))
        if self._outside_ns > _UNSURE_SHARE * self._weight_ns:
            share = self._outside_ns / self._weight_ns
            found.append(("unattributed", f"{share:.0%} of the sampled CPU time could not be given to any function"))
        return found
