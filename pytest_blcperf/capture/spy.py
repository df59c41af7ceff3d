"""Profilers that read another process's memory from outside: `profiling.sampling` and py-spy, run on another CPU."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pytest_blcperf.capture.backends import PY_SPY, SAMPLING
from pytest_blcperf.capture.spied_stacks import SpiedStacks, read_spied
from pytest_blcperf.errors import PermissionDenied, TargetError

_PATIENCE = 10.0
_PATIENCE_AT_THE_END = 60.0
_POLL = 0.02


def py_spy_command() -> str | None:
    """The py-spy to run: of this environment first, then of the PATH; None when there is none."""
    here = Path(sysconfig.get_path("scripts")) / "py-spy"
    return str(here) if here.is_file() else shutil.which("py-spy")


def sampling_command(python: Sequence[str]) -> list[str] | None:
    """`profiling.sampling` of that interpreter (a command), which reads processes of its own minor version only; None
    when it has none (before 3.15).
    """
    if list(python) == [sys.executable] and importlib.util.find_spec("profiling") is None:
        return None
    test = "import profiling.sampling, _remote_debugging"
    try:
        done = subprocess.run([*python, "-c", test], capture_output=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return [*python, "-m", "profiling.sampling"] if done.returncode == 0 else None


@contextmanager
def _interruptible() -> Iterator[None]:
    """Programs started here hear SIGINT, also when this one ignores it: a shell starts background jobs like that."""
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if not ignored or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class Spy:
    """A profile of `process` being taken by another program, until `stop`. Waits until the program is at work.

    `python` is the command of the process's interpreter. Raises PermissionDenied when the program is missing or may
    not read the process, TargetError when it fails.
    """

    def __init__(self, backend: str, process: int, rate: int, python: Sequence[str]) -> None:
        self.backend = backend
        self._target = process
        self._folder = tempfile.TemporaryDirectory(prefix="blcperf-spy-")
        self._output = Path(self._folder.name) / "stacks"
        self._log = Path(self._folder.name) / "log"
        try:
            with self._log.open("wb") as log, self._output.open("wb") as output:
                # By descriptor: the program may see another file system, as the process it reads.
                command = self._command(process, rate, python, f"/proc/self/fd/{output.fileno()}")
                with _interruptible():
                    self._process = subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        pass_fds=[output.fileno()],
                        start_new_session=True,
                    )
            self._keep_off(process)
            self._wait_until_at_work()
        except BaseException:
            self.close()
            raise

    @property
    def process_id(self) -> int:
        """That of the program."""
        return self._process.pid

    def _command(self, process: int, rate: int, python: Sequence[str], output: str) -> list[str]:
        if self.backend == PY_SPY:
            program = py_spy_command()
            if program is None:
                raise PermissionDenied("py-spy is not installed", "pip install 'pytest-blcperf[pyspy]'")
            # Not --nonblocking: stacks torn while they are read are dropped, and the shares are then up to 28 pp off.
            options = ["--rate", str(rate), "--function", "--full-filenames", "--format", "raw"]
            return [program, "record", "--pid", str(process), *options, "--output", output]
        if self.backend == SAMPLING:
            program_of = sampling_command(python)
            if program_of is None:
                raise PermissionDenied(
                    f"{' '.join(python)} has no profiling.sampling, which came with Python 3.15", "install py-spy"
                )
            # Without --blocking: to stop the process at each sample costs it more than the few torn stacks are worth.
            options = ["--all-threads", "--sampling-rate", str(rate), "--mode", "cpu", "--collapsed"]
            return [*program_of, "attach", *options, "--output", output, str(process)]
        raise TargetError(f"{self.backend} is no program that reads other processes", f"choose {SAMPLING} or {PY_SPY}")

    def _keep_off(self, process: int) -> None:
        """Away from the CPUs the process is bound to: beside it the spy would see where it was preempted."""
        with contextlib.suppress(OSError, AttributeError):
            free = os.sched_getaffinity(0) - os.sched_getaffinity(process)
            if free:
                os.sched_setaffinity(self._process.pid, free)

    def _wait_until_at_work(self) -> None:
        """py-spy says so; `profiling.sampling` has loaded what reads memory."""
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise self._failed()
            if b"Sampling process" in self._said() or self._has_loaded("_remote_debugging"):
                return
            time.sleep(_POLL)
        raise TargetError(f"{self.backend} did not begin within {_PATIENCE:g} s", "choose another --blcperf-backend")

    def _has_loaded(self, name: str) -> bool:
        try:
            return name in Path(f"/proc/{self._process.pid}/maps").read_text("utf-8", "replace")
        except OSError:
            return False

    def _said(self) -> bytes:
        with self._log.open("rb") as log:
            return log.read(64 << 10)

    def _failed(self) -> PermissionDenied | TargetError:
        said = self._said().decode("utf-8", "replace").strip()
        last = said.splitlines()[-1] if said else f"exit code {self._process.returncode}"
        if any(word in said.lower() for word in ("permission denied", "operation not permitted", "permissionerror")):
            return PermissionDenied(
                f"{self.backend} may not read process {self._target}: {last}",
                "run as its user or as root; sudo sysctl kernel.yama.ptrace_scope=0; docker run --cap-add=SYS_PTRACE",
            )
        return TargetError(
            f"{self.backend} cannot profile process {self._target}: {last}", "choose another --blcperf-backend"
        )

    def stop(self) -> SpiedStacks:
        """The stacks so far. Raises TargetError when the program has failed meanwhile."""
        try:
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(_PATIENCE_AT_THE_END)
            except subprocess.TimeoutExpired:
                raise TargetError(
                    f"{self.backend} did not write its stacks within {_PATIENCE_AT_THE_END:g} s of being interrupted",
                    "profile for a shorter time, or choose another --blcperf-backend",
                ) from None
            # py-spy calls it a failure to have seen nothing.
            if self._process.returncode != 0 and b"no stack counts found" not in self._said().lower():
                raise self._failed()
            with self._output.open(encoding="utf-8", errors="replace") as lines:
                return read_spied(lines)
        finally:
            self.close()

    def close(self) -> None:
        """End the program, whatever it has seen. Again: nothing."""
        process = getattr(self, "_process", None)
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()
        self._folder.cleanup()
