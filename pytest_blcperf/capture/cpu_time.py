"""CPU time inside the windows: of the main thread, and of the threads that no sampler here sees."""

from __future__ import annotations

import time

_NOTICEABLE = 0.10


class CpuMeter:
    """CPU time between the ends of successive windows; the worker sleeps between rounds, so that is the windows' own.

    All values in ns. To be used from the main thread.
    """

    def __init__(self) -> None:
        self.main_ns = 0
        self._sum_main_ns = 0
        self._sum_process_ns = 0
        self.mark()

    def mark(self) -> None:
        """Begin anew here: CPU time before this is nobody's."""
        self._process_mark = time.process_time_ns()
        self.main_mark = time.thread_time_ns()

    def add_window(self, start_ns: int, end_ns: int, cpu_start_ns: int | None = None) -> int:
        """Main thread's CPU time in the window, summed up in `main_ns`: what passed since the last mark, or since its
        clock showed `cpu_start_ns`, but at most the window's length.
        """
        now = time.thread_time_ns()
        self._sum_main_ns += now - self.main_mark
        self._sum_process_ns += time.process_time_ns() - self._process_mark
        since = self.main_mark if cpu_start_ns is None else cpu_start_ns
        inside = max(0, min(now - since, end_ns - start_ns))
        self.main_ns += inside
        return inside

    def warnings(self) -> list[tuple[str, str]]:
        """One warning when other threads took a noticeable part of the CPU time."""
        others = self._sum_process_ns - self._sum_main_ns
        if others <= _NOTICEABLE * self._sum_process_ns:
            return []
        share = others / self._sum_process_ns
        return [("other-threads", f"{share:.0%} of the CPU time was spent in other threads, which were not profiled")]
