"""What ends the workers' process groups when the controller is killed: a process of its own that waits for that."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

from pytest_blcperf.bench import guard_process
from pytest_blcperf.errors import TargetError


class Guard:
    """Watches over process groups for as long as the controller lives. Use as a context manager.

    The kernel ends a worker with its controller (PR_SET_PDEATHSIG), but not what the worker's fixtures have started.
    A process that leaves its worker's group (setsid) is not reached. Raises TargetError when it cannot be started.
    """

    def __init__(self) -> None:
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", guard_process.__file__, str(os.getpid())],
                cwd="/",
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,  # the terminal's Ctrl-C is not for it
            )
        except OSError as error:
            raise TargetError(f"no process can be started: {error}", "look at the limits: ulimit -a") from None

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, *_exception: object) -> None:
        # Killed, not asked: the groups are gone by now, and a forked child of this process may hold its pipe open.
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def watch(self, group: int) -> None:
        """Kill this process group when the controller dies."""
        self._tell(f"+{group}\n")

    def forget(self, group: int) -> None:
        """The group has been killed; call it before its leader is waited for, while its number cannot be reused."""
        self._tell(f"-{group}\n")

    def _tell(self, line: str) -> None:
        # A guard that somebody killed must not end the measurement.
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.write(line.encode())
