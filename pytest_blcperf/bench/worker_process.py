"""A worker as its controller sees it: started, spoken to, watched, and ended whatever it does."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_blcperf.bench import memory_layout
from pytest_blcperf.bench.channel import ChannelClosed, ChannelTimeout, Message, pair
from pytest_blcperf.bench.guard import Guard
from pytest_blcperf.bench.worker import FD_VARIABLE

_TAIL = 4000
_GRACE = 5.0
"""Seconds a worker has to leave by itself after its last message (atexit handlers, servers it started)."""


class WorkerLost(Exception):
    """The worker crashed, exited or hung. `kind` is one of those words; the text says how, with its stderr's tail."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class TargetRaised(Exception):
    """The measured callable raised; its test goes on to fail in the worker."""


@dataclass(frozen=True)
class Side:
    """Where and how one side's workers run."""

    name: str
    """`base` or `head`."""
    root: Path
    """The checkout."""
    folder: Path
    """The working directory: what the user's invocation directory is in this checkout."""
    python: str
    path: tuple[str, ...]
    """PYTHONPATH."""
    options: Mapping[str, Any]
    plugins: tuple[str, ...]
    files: tuple[str, ...]
    """Absolute paths of the benchmark files."""
    forbidden_root: str | None = None
    """A tree this side must import nothing from: the head's, for the base."""
    folder_on_path: bool = False
    prefix: tuple[str, ...] = ()
    """What the worker's command line begins with: a program that runs it, in the same process."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Added to its environment."""


class WorkerProcess:
    """One launch of one side. Use as a context manager: leaving it leaves no process and no temporary file behind.

    Raises WorkerLost, and leaves nothing open, when the process cannot be started.
    """

    def __init__(self, side: Side, scratch: Path, seed: int, timeout: float, guard: Guard) -> None:
        self.side = side
        self._guard = guard
        self._timeout = timeout
        self._log = scratch / f"{side.name}.log"
        self._captured: list[int] = []
        self._exit_watch: int | None = None
        with contextlib.ExitStack() as undo:
            try:
                self._temporary = Path(tempfile.mkdtemp(prefix=f"{side.name}-", dir=scratch))
                undo.callback(shutil.rmtree, self._temporary, ignore_errors=True)
                self._channel, theirs = pair()
                undo.callback(self._channel.close)
                command = [*side.prefix, side.python, "-m", "pytest_blcperf.bench.worker"]
                environment = _environment(side, seed, theirs.fileno(), self._temporary)
                memory_layout.pad(environment, sum(len(one) + 1 for one in command), seed)
                with theirs, self._log.open("wb") as log, memory_layout.fixed_addresses():
                    self._process = subprocess.Popen(
                        command,
                        cwd=side.folder,
                        env=environment,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        pass_fds=[theirs.fileno()],
                        start_new_session=True,
                    )
            except OSError as error:
                raise WorkerLost("crashed", f"could not be started: {error}") from None
            undo.pop_all()
        guard.watch(self._process.pid)
        with contextlib.suppress(OSError, AttributeError):
            self._exit_watch = os.pidfd_open(self._process.pid)

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close(graceful=exception[0] is None)

    def start(self, record_files: bool) -> None:
        """Tell it what to run. Raises WorkerLost."""
        self._send(self._start_message(record_files))

    def request(self, op: str, **arguments: Any) -> Message:
        """Ask for one thing and wait for its answer. Raises TargetRaised, WorkerLost."""
        self._send({"op": op, **arguments})
        answer = self.receive()
        if answer["op"] == "raised":
            raise TargetRaised(answer["text"])
        return answer

    def allow(self, seconds: float) -> None:
        """How long an answer may take from now on."""
        self._timeout = seconds

    def tell(self, op: str, **arguments: Any) -> None:
        """Send a message that has no answer. Raises WorkerLost."""
        self._send({"op": op, **arguments})

    def receive(self) -> Message:
        """The worker's next message. Raises WorkerLost when it is gone, or silent for longer than the time-out."""
        try:
            return self._channel.receive(self._timeout, self._exit_watch)
        except ChannelTimeout:
            self._kill()
            raise WorkerLost(
                "hung",
                f"no answer for {self._timeout:g} s; killed (--blcperf-timeout sets the limit)" + self.output_tail(),
            ) from None
        except (ChannelClosed, ValueError):
            raise WorkerLost("crashed", self._how_it_ended() + self.output_tail()) from None

    def watch_output(self) -> None:
        """Keep hold of the files that pytest's capture has put in place of its output: a crash takes them with it."""
        self._let_go_of_output()
        for number in (1, 2):
            with contextlib.suppress(OSError):
                self._captured.append(os.open(f"/proc/{self._process.pid}/fd/{number}", os.O_RDONLY | os.O_NONBLOCK))

    def output_tail(self) -> str:
        """The last lines of what it wrote, captured by pytest or not, or ""."""
        parts = []
        with contextlib.suppress(OSError), self._log.open("rb") as log:
            parts.append(_tail(log.fileno()))
        for descriptor in self._captured:
            with contextlib.suppress(OSError):
                parts.append(_tail(descriptor))
        text = "\n".join(dict.fromkeys(filter(None, parts)))
        return f"\nlast output of the {self.side.name} worker:\n{text}" if text else ""

    def close(self, graceful: bool = True) -> None:
        """End it: by itself within a grace period after a normal end, at once otherwise."""
        self._channel.close()
        if graceful:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE)
        self._kill()
        self._let_go_of_output()
        if self._exit_watch is not None:
            os.close(self._exit_watch)
            self._exit_watch = None
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _let_go_of_output(self) -> None:
        for descriptor in self._captured:
            os.close(descriptor)
        self._captured.clear()

    def _kill(self) -> None:
        # The whole session: what the benchmark started goes with it.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._guard.forget(self._process.pid)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE)

    def _send(self, message: Message) -> None:
        try:
            self._channel.send(message)
        except ChannelClosed:
            raise WorkerLost("crashed", self._how_it_ended() + self.output_tail()) from None

    def _start_message(self, record_files: bool) -> Message:
        side = self.side
        return {
            "op": "start",
            "parent": os.getpid(),
            "root": str(side.root),
            "forbidden_root": side.forbidden_root,
            "options": dict(side.options),
            "plugins": list(side.plugins),
            "files": list(side.files),
            "record_files": record_files,
            "folder_on_path": side.folder_on_path,
        }

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            return "closed its channel without an answer"
        if code < 0:
            try:
                return f"killed by {signal.Signals(-code).name}"
            except ValueError:
                return f"killed by signal {-code}"
        return f"exited with code {code}"


def _tail(descriptor: int) -> str:
    """The end of a regular file as text; "" for anything else (a pipe or terminal must not be read empty)."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        return ""
    return os.pread(descriptor, _TAIL, max(0, status.st_size - _TAIL)).decode(errors="replace").strip()


def _environment(side: Side, seed: int, fd: int, temporary: Path) -> dict[str, str]:
    # What would act twice (options are handed over resolved), or belongs to the controller's own process.
    dropped = ("PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST", "COV_CORE_", "PYTEST_XDIST_", "COVERAGE_PROCESS")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    environment.update(
        {
            "PYTHONPATH": os.pathsep.join(side.path),
            "PYTHONHASHSEED": str(seed),
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": str(temporary),
            "BLCPERF_SIDE": side.name,
            **side.variables,
            FD_VARIABLE: str(fd),
        }
    )
    return environment
