"""The `blcperf` fixture: start a service, profile a window of it while the test drives it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pytest_blcperf.capture.backends import TRAMPOLINE
from pytest_blcperf.errors import UsageError

if TYPE_CHECKING:
    from pytest_blcperf.model.hottest import HotFunction
    from pytest_blcperf.model.profile import Profile

Keep = Callable[["Profile", float], None]


class Window:
    """What `blcperf.window(…)` gives; filled when its block has ended. Without `--blcperf`, `profile` stays None."""

    def __init__(self) -> None:
        self.profile: Profile | None = None

    @property
    def top(self) -> list[HotFunction]:
        """The functions of the window, hottest first; empty without a profile."""
        from pytest_blcperf.model.hottest import hottest

        return hottest(self.profile) if self.profile is not None else []


class ServiceFixture:
    """Without `--blcperf`: starts processes, profiles nothing."""

    def start(self, command: Sequence[str], **arguments: Any) -> subprocess.Popen[Any]:
        """`subprocess.Popen(command, **arguments)` of a Python program that can be profiled later."""
        return subprocess.Popen(command, **arguments)

    @contextmanager
    def window(
        self, process: subprocess.Popen[Any], *, delay: float = 0.0, duration: float | None = None
    ) -> Iterator[Window]:
        """Profile `process` from `delay` seconds after entering the block, for `duration` seconds or to its end."""
        del process, delay, duration
        yield Window()


class ProfilingServiceFixture(ServiceFixture):
    """With `--blcperf`."""

    def __init__(self, backend: str, rate: int, keep: Keep) -> None:
        self._backend = backend
        self._rate = rate
        self._keep = keep

    def start(self, command: Sequence[str], **arguments: Any) -> subprocess.Popen[Any]:
        """See `ServiceFixture`. Raises UsageError when the command is no Python program."""
        from pytest_blcperf.bench.service import Service

        return Service(command, **arguments)

    @contextmanager
    def window(
        self, process: subprocess.Popen[Any], *, delay: float = 0.0, duration: float | None = None
    ) -> Iterator[Window]:
        """See `ServiceFixture`. Raises UsageError, TargetError, PermissionDenied."""
        from pytest_blcperf.bench.choose_backend import Interpreter, choose_backend
        from pytest_blcperf.bench.harvest import merge_profiles
        from pytest_blcperf.bench.service import Service, WindowPlan

        if not isinstance(process, Service):
            raise UsageError(
                f"this version profiles services it has started itself, not {process!r}",
                "process = blcperf.start([sys.executable, '-m', 'service']); with blcperf.window(process): …",
            )
        window = Window()
        # A service has called its main loop before the window opens, and what is running gets no stub.
        interpreter = Interpreter((process.python,))
        choice = choose_backend(self._backend, self._rate, [interpreter], skip=[TRAMPOLINE])
        tools = choice.tools.get(interpreter)
        with process.profiled(WindowPlan(delay, duration, choice.backend, self._rate, tools)) as raw:
            yield window
        window.profile = merge_profiles([(0, raw.data)])
        if window.profile is not None:
            self._keep(window.profile, raw.seconds)
