"""The `blcperf` fixture: start a service, profile a window of it while the test drives it."""

from __future__ import annotations

import numbers
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from pytest_blcperf.capture.backends import TRAMPOLINE
from pytest_blcperf.errors import UsageError

if TYPE_CHECKING:
    from pytest_blcperf.bench.service import Service
    from pytest_blcperf.model.hottest import HotFunction
    from pytest_blcperf.model.profile import Profile

Keep = Callable[["Profile", float], None]
ProfiledProcess = Any
"""`subprocess.Popen`, `psutil.Process`, or a process id."""


class ForeignWindow(Protocol):
    """A window on a process that nobody prepared: a context manager that knows its profile when it is over."""

    @property
    def profile(self) -> Profile | None:
        """What was seen, None when the window never opened."""

    @property
    def seconds(self) -> float:
        """The window's length."""

    def __enter__(self) -> object: ...

    def __exit__(self, kind: Any, value: Any, traceback: Any, /) -> object: ...


Foreign = Callable[[int, float, "float | None"], ForeignWindow]
"""(process id, delay, duration) → its window; the engine that profiles any process."""


def process_id(process: ProfiledProcess) -> int:
    """The id of what a test calls a process. Raises UsageError."""
    pid = process if isinstance(process, int) else getattr(process, "pid", None)
    if not isinstance(pid, int) or isinstance(pid, bool):
        raise UsageError(f"blcperf.window takes a process or its id, not {process!r:.80}", "blcperf.window(process)")
    return pid


@dataclass
class Reported:
    """One metric of one test in one process."""

    unit: str
    better: str
    values: list[float] = field(default_factory=list)

    @staticmethod
    def check(name: object, value: object, unit: object, better: object) -> None:
        """Raise UsageError for what cannot be gated."""
        if not isinstance(name, str) or not re.fullmatch(r"[^#\x00-\x1f\x7f]{1,100}", name):
            raise UsageError(f"a metric cannot be called {name!r:.80}", "up to 100 printable characters without #")
        if not isinstance(value, numbers.Real) or isinstance(value, bool) or not 1e-100 <= float(value) <= 1e100:
            raise UsageError(f"metric {name!r}: {value!r:.80} is no positive number", "metrics are compared as ratios")
        if better not in ("higher", "lower"):
            raise UsageError(f"metric {name!r}: better={better!r:.80}", 'say better="higher" or better="lower"')
        if not isinstance(unit, str) or len(unit) > 20:
            raise UsageError(f"metric {name!r}: unit={unit!r:.80}", 'a short text such as "1/s"')


class Window:
    """What `blcperf.window(…)` gives; filled when its block has ended. Without `--blcperf`, `profile` stays None."""

    def __init__(self) -> None:
        self.profile: Profile | None = None

    @property
    def top(self) -> list[HotFunction]:
        """The functions of the window, hottest first; empty without a profile."""
        from pytest_blcperf.model.hottest import hottest

        return hottest(self.profile, leaves_first=True) if self.profile is not None else []


class ServiceFixture:
    """Without `--blcperf`: starts processes, profiles nothing, keeps nothing of the metrics."""

    def __init__(self) -> None:
        self.metrics: dict[str, Reported] = {}
        """What the test reported, by name."""

    def metric(self, name: str, value: float, *, unit: str = "", better: str = "lower") -> None:
        """Report a figure of this test (throughput, latency), to be gated like time: blcperf.metric("tps", 1234).

        `value` is positive, since the two sides' ratio is judged; `better` says whether "higher" or "lower" is good.
        Several values of one name in one test count as their median. Raises UsageError.
        """
        Reported.check(name, value, unit, better)
        known = self.metrics.setdefault(name, Reported(unit, better))
        if (known.unit, known.better) != (unit, better):
            raise UsageError(f"metric {name!r} was reported before as {known.unit!r}, {known.better}", "name it anew")
        known.values.append(float(value))

    def start(self, command: Sequence[str], **arguments: Any) -> subprocess.Popen[Any]:
        """`subprocess.Popen(command, **arguments)` of a Python program that can be profiled later."""
        return subprocess.Popen(command, **arguments)

    @contextmanager
    def window(
        self, process: ProfiledProcess, *, delay: float = 0.0, duration: float | None = None
    ) -> Iterator[Window]:
        """Profile `process` from `delay` seconds after entering the block, for `duration` seconds or to its end."""
        del process, delay, duration
        yield Window()


class ProfilingServiceFixture(ServiceFixture):
    """With `--blcperf`."""

    def __init__(self, backend: str, rate: int, keep: Keep, foreign: Foreign) -> None:
        super().__init__()
        self._backend = backend
        self._rate = rate
        self._keep = keep
        self._foreign = foreign

    def start(self, command: Sequence[str], **arguments: Any) -> subprocess.Popen[Any]:
        """See `ServiceFixture`. Raises UsageError when the command is no Python program."""
        from pytest_blcperf.bench.service import Service

        return Service(command, **arguments)

    @contextmanager
    def window(
        self, process: ProfiledProcess, *, delay: float = 0.0, duration: float | None = None
    ) -> Iterator[Window]:
        """See `ServiceFixture`. Raises UsageError, TargetError, PermissionDenied."""
        from pytest_blcperf.bench.service import Service

        window = Window()
        if isinstance(process, Service):
            with self._service_window(process, window, delay, duration):
                yield window
            return
        foreign = self._foreign(process_id(process), delay, duration)
        with foreign:
            yield window
        window.profile = foreign.profile
        if window.profile is None:
            raise UsageError(f"the window was to open after {delay:g} s, but never did", "drive the load for longer")
        self._keep(window.profile, foreign.seconds)

    @contextmanager
    def _service_window(self, service: Service, window: Window, delay: float, duration: float | None) -> Iterator[None]:
        from pytest_blcperf.bench.choose_backend import Interpreter, choose_backend
        from pytest_blcperf.bench.harvest import merge_profiles
        from pytest_blcperf.bench.service import WindowPlan

        # A service has called its main loop before the window opens, and what is running gets no stub.
        interpreter = Interpreter((service.python,))
        choice = choose_backend(self._backend, self._rate, [interpreter], skip=[TRAMPOLINE])
        tools = choice.tools.get(interpreter)
        with service.profiled(WindowPlan(delay, duration, choice.backend, self._rate, tools)) as raw:
            yield
        window.profile = merge_profiles([(0, raw.data)])
        if window.profile is not None:
            self._keep(window.profile, raw.seconds)
