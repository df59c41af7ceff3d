"""Python stacks noted by a signal handler, while somebody outside this process keeps the samples.

The other half of backend `perf-bytecode`: the controller opens an event on the main thread of this process and has the
kernel send a signal here with every sample; it keeps time, weight, registers and stack memory, and this process the
(time, Python stack) of each handler call. Nothing is read, decoded or paired in the measured process.
"""

from __future__ import annotations

import os
import signal
import time
from types import CodeType, FrameType

from pytest_blcperf.capture.cpu_time import CpuMeter
from pytest_blcperf.capture.signals import BorrowedSignal, free_realtime_signal, require_main_thread
from pytest_blcperf.capture.stacks import StackTable


class NotedStacks:
    """Notes the main thread's stack at every signal. Stacks are cut at the frame of `root`.

    Raises UsageError when not made in the main thread, or without a free signal.
    """

    def __init__(self, backend: str, root: CodeType | None) -> None:
        require_main_thread(backend)
        self._process = os.getpid()
        self._busy = False
        self._after_ns = 0
        self._calls: list[tuple[int, int]] = []
        self._kept: list[tuple[int, int]] = []
        self._handler = self._note
        self.table = StackTable(root)
        self.signal = free_realtime_signal()
        self._signals = [BorrowedSignal(self.signal, self._handler)]
        # The kernel falls back to SIGIO when its queue of real-time signals is full, and SIGIO ends the process.
        if signal.getsignal(signal.SIGIO) is signal.SIG_DFL:
            self._signals.append(BorrowedSignal(signal.SIGIO, self._handler))
        self._taken_over = False
        self.meter = CpuMeter()

    def _note(self, _number: int, frame: FrameType | None) -> None:
        now = time.perf_counter_ns()
        # Python may call this inside itself, before it is marked as busy: the outer call will do.
        inner = frame is not None and frame.f_code is self._note.__code__
        if self._busy or inner or now < self._after_ns:
            return
        self._busy = True
        try:
            self._calls.append((now, self.table.note(frame)))
            self._after_ns = now + self.table.rest_ns
        finally:
            self._busy = False

    def add_window(self, start_ns: int, end_ns: int) -> None:
        """Keep what was noted from `start_ns` to `end_ns`."""
        if os.getpid() != self._process:
            return
        self.meter.add_window(start_ns, end_ns)
        self._kept += [call for call in self._calls if start_ns <= call[0] <= end_ns]
        self._calls = []
        self.meter.mark()

    def close(self, silent: bool) -> None:
        """Give the signals back, when no more can come (`silent`), else ignore them from now on. Again: nothing."""
        for borrowed in self._signals:
            self._taken_over |= not (borrowed.give_back() if silent else borrowed.ignore())
        self._signals = []

    def calls(self) -> list[tuple[int, int]]:
        """(time, stack) of the calls in the windows; numbers as `StackTable.note` gives them."""
        return self._kept

    def warnings(self) -> list[tuple[str, str]]:
        """(code, text) pairs, once closed."""
        found = self.meter.warnings()
        if self._taken_over:
            found.append(("signal-taken", "the benchmark replaced the profiler's signal handler: samples are missing"))
        return found
