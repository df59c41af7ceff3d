"""For other harnesses: profile a process while a block or a function runs.

with profiled(pid=server.pid, output="load.blcperf") as window:
drive_load()
window.capture

@profiled(name="mariadbd", output="load.blcperf")
def load(): ...
"""

from __future__ import annotations

import threading
from contextlib import ContextDecorator
from pathlib import Path
from types import TracebackType

from pytest_blcperf.capture_session import Order, record
from pytest_blcperf.errors import UsageError
from pytest_blcperf.model.capture import Capture, profile_of
from pytest_blcperf.model.profile import Profile
from pytest_blcperf.store import capture_file
from pytest_blcperf.target import choose, process
from pytest_blcperf.target.process import Processes
from pytest_blcperf.window.schedule import Plan


class profiled(ContextDecorator):  # noqa: N801
    """A window on a process: from entering the block, once recording has begun, to its end. Also a decorator.

    The process is given by `pid` or by `name` (refused where several match); the window opens `delay` seconds after
    entering, and is over after `duration` seconds or with the block. `output` is the capture file to write,
    None for none. Entering raises TargetError, PermissionDenied and UsageError; `capture` is there after the block.
    """

    def __init__(
        self,
        pid: int | None = None,
        *,
        name: str | None = None,
        children: bool = False,
        output: str | Path | None = None,
        delay: float = 0.0,
        duration: float | None = None,
    ) -> None:
        if (pid is None) == (name is None):
            raise UsageError("one of pid and name is needed", "profiled(pid=server.pid)")
        self._pid, self._name, self._children = pid, name, children
        self._plan = Plan(duration=duration, delay=delay)
        self._output = Path(output) if output is not None else None
        self.capture: Capture | None = None

    def __enter__(self) -> profiled:
        chosen = choose.by_name(self._name) if self._name is not None else (process.find(self._pid or 0),)
        target = Processes(chosen, self._children)
        order = Order(target, choose.describe(chosen, self._children), windows=self._plan)
        self._over, self._open = threading.Event(), threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._record, args=(order,), name="blcperf-profiled", daemon=True)
        self._thread.start()
        while not self._open.wait(0.02) and self._thread.is_alive():
            pass
        if self._error is not None:
            raise self._error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if self._error is not None and value is None:
            raise self._error
        if self.capture is not None and self._output is not None:
            capture_file.write([self.capture], self._output)

    @property
    def profile(self) -> Profile | None:
        """What the window saw, summed by stack; None before the block has ended, and where no window opened."""
        return None if self.capture is None else profile_of(self.capture)

    @property
    def seconds(self) -> float:
        """The length of the window."""
        return 0.0 if self.capture is None else self.capture.duration_ns / 1e9

    def _record(self, order: Order) -> None:
        try:
            for one in record(order, stopped=self._over.is_set, ready=self._open.set):
                self.capture = one.capture
        except BaseException as error:
            self._error = error
