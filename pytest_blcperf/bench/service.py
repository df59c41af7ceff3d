"""A Python program started so that windows of it can be profiled while a test drives it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_blcperf.bench.channel import ChannelClosed, ChannelTimeout, pair
from pytest_blcperf.bench.profiled import FD_VARIABLE, SIGNAL
from pytest_blcperf.capture.backends import OUTSIDE
from pytest_blcperf.errors import TargetError, UsageError

if TYPE_CHECKING:
    from pytest_blcperf.bench.outside import OutsideTools

_PATIENCE = 10.0


@dataclass(frozen=True)
class WindowPlan:
    """When and how: seconds from entering the block, seconds long (None: to its end), backend, samples a second."""

    delay: float
    duration: float | None
    backend: str
    rate: int
    tools: OutsideTools | None = None


class Interval(NamedTuple):
    """From `start` to `end`, ns of `time.perf_counter_ns`."""

    start: int
    end: int


@dataclass
class RawWindow:
    """The profile as the process sent it, once the block has ended."""

    data: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


class Service(subprocess.Popen[Any]):
    """A Python program started so that it can be profiled; otherwise a plain `subprocess.Popen`."""

    def __init__(self, command: Sequence[str], **arguments: Any) -> None:
        program = _python_program(command)
        self.python = program[0]
        self._channel, theirs = pair()
        environment = dict(arguments.pop("env", None) or os.environ)
        package = str(Path(__file__).resolve().parents[2])
        environment[FD_VARIABLE] = str(theirs.fileno())
        # Last, so that nothing of the folder this package lies in can stand in for the program's own modules.
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [environment.get("PYTHONPATH", ""), package]))
        with theirs, ExitStack() as undo:
            undo.callback(self._channel.close)
            super().__init__(
                [program[0], "-m", "pytest_blcperf.bench.profiled", *program[1:]],
                env=environment,
                pass_fds=[*arguments.pop("pass_fds", ()), theirs.fileno()],
                **arguments,
            )
            theirs.close()
            undo.callback(self.wait)
            undo.callback(self.kill)
            self._expect("listening")
            undo.pop_all()

    @contextmanager
    def profiled(self, plan: WindowPlan) -> Iterator[RawWindow]:
        """Profile the main thread while the block runs; what lies before the delay or after the duration is cut off.

        Raises TargetError when the process is gone or silent, UsageError when the block ended before the delay.
        """
        raw = RawWindow()
        start = time.perf_counter_ns()
        opened = self._ask({"op": "open", "backend": plan.backend, "rate": plan.rate}, "opened")
        opens = start + int(plan.delay * 1e9)
        with ExitStack() as undo:
            instrument = None
            if plan.backend in OUTSIDE:
                # Not at import: it brings numpy and the symbol tables.
                from pytest_blcperf.bench import outside

                instrument = outside.instrument(opened, plan.rate, plan.tools or outside.OutsideTools((self.python,)))
                undo.callback(instrument.close)
            try:
                yield raw
            finally:
                window = _closed_now(opens, plan.duration)
                if instrument is None:
                    answer: Mapping[str, Any] = self._close(window)
                else:
                    side = _ServiceSide(self, window)
                    windows = [(window.start, window.end)]
                    answer = outside.finished(instrument, side, plan.backend, plan.rate, windows)
        if window.end <= window.start:
            raise UsageError(
                f"the window opens after {plan.delay:g} s, but the block had ended by then", "drive the load for longer"
            )
        raw.data, raw.seconds = answer, (window.end - window.start) / 1e9

    def _close(self, window: Interval) -> dict[str, Any]:
        return self._ask({"op": "close", "start": window.start, "end": window.end}, "profile")

    def _ask(self, request: dict[str, Any], expected: str) -> dict[str, Any]:
        if self.poll() is not None:
            raise TargetError(f"process {self.pid} ended with code {self.returncode}", "look at its output")
        try:
            self._channel.send(request)
            self.send_signal(SIGNAL)
        except ChannelClosed:
            raise TargetError(f"process {self.pid} has closed its channel", "look at its output") from None
        return self._expect(expected)

    def _expect(self, op: str) -> dict[str, Any]:
        try:
            message = self._channel.receive(_PATIENCE)
        except ChannelTimeout:
            raise TargetError(
                f"process {self.pid} did not answer within {_PATIENCE:g} s: its main thread never returned to Python",
                "profile a program whose main thread runs Python code",
            ) from None
        except ChannelClosed:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.wait(_PATIENCE)
            raise TargetError(f"process {self.pid} ended with code {self.returncode}", "look at its output") from None
        if message["op"] == "refused":
            raise TargetError(message["message"], message["hint"])
        if message["op"] != op:
            raise TargetError(
                f"process {self.pid} answered {message['op']!r} instead of {op!r}", "report this as a bug"
            )
        return message


class _ServiceSide:
    """A service, asked as a worker is."""

    def __init__(self, service: Service, window: Interval) -> None:
        self._service = service
        self._window = window

    def request(self, op: str, **arguments: Any) -> Mapping[str, Any]:
        """The two requests that end a profile."""
        if op == "profile-close":
            return self._service._close(self._window)
        return self._service._ask({"op": "describe", **arguments}, "described")


def _closed_now(start: int, duration: float | None) -> Interval:
    end = time.perf_counter_ns()
    if duration is not None:
        end = min(end, start + int(duration * 1e9))
    return Interval(min(start, end), end)


def _python_program(command: Sequence[str]) -> list[str]:
    """The command as text. Raises UsageError for what is not `python script` or `python -m module`."""
    program = [str(part) for part in command]
    hint = "start it as [sys.executable, 'script.py', …] or [sys.executable, '-m', 'module', …]"
    shown = repr(" ".join(program)[:80])
    if isinstance(command, str) or len(program) < 2 or not Path(program[0]).name.startswith("python"):
        raise UsageError(f"only Python programs can be profiled here, not {shown}", hint)
    if program[1].startswith("-") and (program[1] != "-m" or len(program) < 3):
        raise UsageError(
            f"the interpreter's option {program[1]} cannot be given to a profiled program: {shown}",
            hint + "; options of the interpreter have variables: PYTHONUNBUFFERED, PYTHONWARNINGS, PYTHONUTF8, …",
        )
    return program
