"""Backend `perf-signal`: the kernel's samples say when and how much, a Python signal handler says where.

An event on the main thread writes (time, period) to its ring and sends a signal. Python runs the handler at the next
safe point, after a C function has returned, and not more than once however many signals came: handler calls alone would
count a long C call once. So every record of the ring is charged to the stack of the first handler call after it.
A function without loops and calls has no safe point of its own: it has mostly returned by then, and its caller is
charged with its time, self and total. Everything else comes out right within 2.5 percentage points.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from types import CodeType, FrameType

from pytest_blcperf.capture import perf_event
from pytest_blcperf.capture.cpu_time import CpuMeter
from pytest_blcperf.capture.refusal import refused
from pytest_blcperf.capture.samples import Samples
from pytest_blcperf.capture.signals import BorrowedSignal, free_realtime_signal, require_main_thread
from pytest_blcperf.capture.stacks import OUTSIDE, ROOT, StackTable
from pytest_blcperf.errors import UsageError

_NO_CALL = -2
_UNSURE_SHARE = 0.05
_KERNEL_SHARE = 0.25
_ENOUGH_SAMPLES = 200

Charge = tuple[int, int]


def pair(records: Sequence[tuple[int, int]], calls: Sequence[tuple[int, int]], end_ns: int) -> Iterator[Charge]:
    """(stack, weight) of every record: the stack of the first handler call at or after it, within the window.

    `records` are (time, period) inside one window in any order, `calls` are (time, stack) in order of time, `end_ns` is
    the end of the window. Without such a call the stack is -2.
    """
    times = [moment for moment, _ in calls]
    for moment, period in records:
        position = bisect_left(times, moment)
        found = position < len(calls) and times[position] <= end_ns
        yield (calls[position][1] if found else _NO_CALL), period


class PerfSignalSampler:
    """See the module and `Sampler`. `rate` in samples per second of CPU time of the main thread."""

    name = "perf-signal"
    # A straight line's samples stand at its caller: 8 to 11 percentage points of self time (docs/sampling.md).
    self_time = False

    def __init__(self, rate: int) -> None:
        self._period_ns = 10**9 // rate
        self._samples: Samples | None = None
        self._descriptor = -1
        self._ring: perf_event.Ring | None = None
        self._signals: list[BorrowedSignal] = []
        self._busy = False
        self._walk_after_ns = 0
        self._drained: list[bytes] = []
        self._records: list[tuple[int, int]] = []
        self._calls: list[tuple[int, int]] = []
        self._lost = self._throttled = 0
        self._weight_ns = self._no_call_ns = self._outside_ns = 0
        self._taken_over = False

    def open(self, root: CodeType | None) -> None:
        """See `Sampler`. Raises PermissionDenied when the kernel refuses."""
        require_main_thread(self.name)
        if self._descriptor >= 0 or self._samples:
            raise UsageError("this sampler was opened before", "make a new one for every measurement")
        self._process = os.getpid()
        self._table = StackTable(root)
        try:
            self._arm()
        except OSError as error:
            self._disarm()
            raise refused(error) from error
        except BaseException:
            self._disarm()
            raise
        self._meter = CpuMeter()

    def _arm(self) -> None:
        thread = threading.get_native_id()
        self._descriptor = perf_event.open_event(perf_event.cpu_clock(self._period_ns), thread)
        self._ring = perf_event.largest_ring(self._descriptor)
        self._handler = self._note
        number = free_realtime_signal()
        self._signals.append(BorrowedSignal(number, self._handler))
        # The kernel falls back to SIGIO when its queue of real-time signals is full, and SIGIO ends the process.
        if signal.getsignal(signal.SIGIO) is signal.SIG_DFL:
            self._signals.append(BorrowedSignal(signal.SIGIO, self._handler))
        perf_event.send_signal(self._descriptor, number, thread)
        perf_event.enable(self._descriptor)

    def _note(self, _number: int, frame: FrameType | None) -> None:
        now = time.perf_counter_ns()
        # Python may call this inside itself, before it is marked as busy: the outer call will do.
        inner = frame is not None and frame.f_code is self._note.__code__
        if self._busy or inner or now < self._walk_after_ns or self._ring is None:
            return
        self._busy = True
        try:
            self._calls.append((now, self._table.note(frame)))
            self._walk_after_ns = now + self._table.rest_ns
            # Rounds may be long and rings small.
            if self._ring.used > self._ring.size >> 1:
                self._drained.append(self._ring.drain())
        finally:
            self._busy = False

    def add_window(self, start_ns: int, end_ns: int) -> None:
        """See `Sampler`."""
        if self._ring is None or os.getpid() != self._process:
            return
        self._meter.add_window(start_ns, end_ns)
        self._busy = True
        try:
            self._drained.append(self._ring.drain())
            self._decode()
            self._charge(start_ns, end_ns)
        finally:
            self._busy = False
            self._meter.mark()

    def _decode(self) -> None:
        for data in self._drained:
            for record in perf_event.walk(data):
                sample = perf_event.decode_sample(record.body) if record.type == perf_event.RECORD_SAMPLE else None
                if sample is not None:
                    self._records.append((sample.time, sample.period))
                elif record.type == perf_event.RECORD_LOST:
                    self._lost += perf_event.decode_lost(record.body)
                elif record.type == perf_event.RECORD_THROTTLE:
                    self._throttled += 1
                elif record.type in (perf_event.RECORD_BROKEN, perf_event.RECORD_SAMPLE):
                    self._lost += 1
        self._drained.clear()

    def _charge(self, start_ns: int, end_ns: int) -> None:
        inside = [record for record in self._records if start_ns <= record[0] <= end_ns]
        for stack, weight in pair(inside, self._calls, end_ns):
            self._weight_ns += weight
            if stack == OUTSIDE:
                self._outside_ns += weight
                continue
            if stack == _NO_CALL:
                # Spent in the round, but nobody knows in which function: to drop it would raise everybody's share, to
                # charge the previous stack would blame a function that may have returned.
                self._no_call_ns += weight
            self._table.charge(ROOT if stack == _NO_CALL else stack, weight)
        self._records = [record for record in self._records if record[0] > end_ns]
        self._calls = [call for call in self._calls if call[0] > end_ns]

    def finish(self) -> Samples:
        """See `Sampler`."""
        if self._samples is None:
            opened = self._descriptor >= 0
            self._disarm()
            columns = self._table.columns() if opened else ([], [], [], [])
            warnings = self._warnings() if opened else []
            self._samples = Samples(
                self.name, self.self_time, *columns, lost=self._lost, throttled=self._throttled, warnings=warnings
            )
        return self._samples

    def _disarm(self) -> None:
        # A forked child shares the event with its parent, which still wants it.
        if self._descriptor >= 0 and os.getpid() == self._process:
            perf_event.disable(self._descriptor)
        ring, self._ring = self._ring, None
        if ring is not None:
            ring.close()
        if self._descriptor >= 0:
            os.close(self._descriptor)
        # Handlers last: once event and ring are gone no signal can come.
        given_back = [borrowed.give_back() for borrowed in self._signals]
        self._taken_over = not all(given_back)
        self._signals.clear()
        self._descriptor = -1

    def _warnings(self) -> list[tuple[str, str]]:
        found = self._meter.warnings()
        if self._taken_over:
            found.append(("signal-taken", "the benchmark replaced the profiler's signal handler: samples are missing"))
        if self._lost:
            found.append(("lost-samples", f"the kernel lost {self._lost} samples; a lower --blcperf-rate helps"))
        if self._throttled:
            found.append(("throttled", f"the kernel paused sampling {self._throttled} times; lower --blcperf-rate"))
        unsure = self._no_call_ns + self._outside_ns
        enough = self._meter.main_ns > _ENOUGH_SAMPLES * self._period_ns
        if enough and unsure > _UNSURE_SHARE * self._weight_ns:
            share = unsure / self._weight_ns
            found.append(("unattributed", f"{share:.0%} of the sampled CPU time could not be given to any function"))
        in_kernel = self._meter.main_ns - self._weight_ns - self._lost * self._period_ns
        if enough and in_kernel > _KERNEL_SHARE * self._meter.main_ns:
            share = in_kernel / self._meter.main_ns
            found.append(
                ("kernel-time", f"about {share:.0%} of the CPU time was spent in the kernel and is not profiled")
            )
        return found
