"""Signal handlers borrowed for the time of a measurement, and given back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from pytest_blcperf.errors import UsageError

Handler = Callable[[int, "FrameType | None"], None]


def require_main_thread(backend: str) -> None:
    """Raises UsageError outside the main thread: Python runs signal handlers there and nowhere else."""
    if threading.current_thread() is not threading.main_thread():
        raise UsageError(
            f"the {backend} backend was started in thread {threading.current_thread().name!r}, "
            "but Python runs signal handlers in the main thread only",
            "run the benchmark in the main thread",
        )


def caught_signals(status: str) -> set[int]:
    """Signals that are blocked, ignored or caught according to a `/proc/PID/status` text."""
    masks = [line.split()[1] for line in status.splitlines() if line.startswith(("SigBlk:", "SigIgn:", "SigCgt:"))]
    mask = 0
    for text in masks:
        mask |= int(text, 16)
    return {number + 1 for number in range(64) if mask >> number & 1}


def free_realtime_signal() -> int:
    """A real-time signal nobody uses. Raises UsageError when there is none.

    Asking Python alone would overlook the handlers of C libraries. Real-time rather than SIGIO, which event loops use.
    """
    taken = caught_signals(Path("/proc/self/status").read_text(encoding="ascii", errors="replace"))
    # From the top: libraries that want one of their own mostly count up from SIGRTMIN.
    for number in range(signal.SIGRTMAX, signal.SIGRTMIN, -1):
        if number not in taken and signal.getsignal(number) is signal.SIG_DFL:
            return number
    raise UsageError("every real-time signal has a handler already", "use --blcperf-backend=timer")


class BorrowedSignal:
    """`handler` installed for `number`, until `give_back`. System calls it interrupts are restarted."""

    def __init__(self, number: int, handler: Handler) -> None:
        self.number = number
        self._handler = handler
        self._before = signal.signal(number, handler)
        signal.siginterrupt(number, False)

    def give_back(self) -> bool:
        """Restore the previous handler. False, and nothing changed, when somebody else has replaced ours.

        Ignoring the signal first throws away one that is still pending: many end the process by default.
        """
        if signal.getsignal(self.number) is not self._handler:
            return False
        signal.signal(self.number, signal.SIG_IGN)
        signal.signal(self.number, self._before)
        return True

    def ignore(self) -> bool:
        """For when more may still come, which would end the process. False as in `give_back`."""
        if signal.getsignal(self.number) is not self._handler:
            return False
        signal.signal(self.number, signal.SIG_IGN)
        return True
