"""What a trigger waits for besides levels: files, log lines, signals, commands, other servers' answers."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

from pytest_blcperf.errors import UsageError
from pytest_blcperf.window.levels import Level, Reader
from pytest_blcperf.window.trigger import Reading

COMMAND_TIMEOUT = 10.0
PROBE_TIMEOUT = 2.0
_CHUNK = 1 << 20
_LINE_LIMIT = 64 << 10
_NUMBER = re.compile(r"[-+]?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")


def file_there(path: str) -> Reader:
    """Whether something has that path."""
    return Level(lambda: Path(path).exists())


class LogLine:
    """Whether a line that matches has been written since the last reading. `argument` is PATH:REGULAR-EXPRESSION.

    Reading begins at the end of what is there. A file that was replaced or cut off is read from its beginning; one that
    is not there yet is waited for.
    """

    def __init__(self, argument: str) -> None:
        path, _, pattern = argument.partition(":")
        if not path or not pattern:
            raise UsageError(f"trigger: log:{argument}: expected log:PATH:PATTERN", "log:'/var/log/app.log:deadlock'")
        try:
            self._pattern = re.compile(pattern.encode())
        except re.error as error:
            raise UsageError(f"trigger: {pattern!r} is no regular expression: {error}", "see Python's re") from None
        self._path = Path(path)
        self._file: BinaryIO | None = None
        self._rest = b""
        self._open(at_end=True)

    def read(self) -> Reading:
        """See `Reader`."""
        found = False
        if self._file is not None:
            found = self._look()
        if self._replaced():
            self.close()
            self._open(at_end=False)
            found |= self._file is not None and self._look()
        return found

    def close(self) -> None:
        """See `Reader`."""
        if self._file is not None:
            self._file.close()
        self._file, self._rest = None, b""

    def _open(self, *, at_end: bool) -> None:
        try:
            self._file = self._path.open("rb")
        except OSError:
            return
        if at_end:
            self._file.seek(0, os.SEEK_END)

    def _look(self) -> bool:
        assert self._file is not None
        found = False
        while data := self._file.read(_CHUNK):
            *lines, self._rest = (self._rest + data).split(b"\n")
            found |= any(self._pattern.search(line[:_LINE_LIMIT]) for line in lines)
            self._rest = self._rest[:_LINE_LIMIT]
        return found

    def _replaced(self) -> bool:
        try:
            there = self._path.stat()
        except OSError:
            return False
        if self._file is None:
            return True
        own = os.fstat(self._file.fileno())
        return (there.st_dev, there.st_ino) != (own.st_dev, own.st_ino) or there.st_size < self._file.tell()


class SignalReceived:
    """Whether the profiler itself has received the signal since the last reading: USR1, SIGUSR1, 10, …."""

    def __init__(self, argument: str) -> None:
        self._number = _signal_number(argument)
        self._received = False
        self._before: Any = signal.signal(self._number, self._note)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._received = True

    def read(self) -> Reading:
        """See `Reader`."""
        received, self._received = self._received, False
        return received

    def close(self) -> None:
        """See `Reader`."""
        signal.signal(self._number, self._before)


def _signal_number(argument: str) -> signal.Signals:
    allowed = {"USR1": signal.SIGUSR1, "USR2": signal.SIGUSR2}
    name = argument.upper().removeprefix("SIG")
    if name not in allowed:
        raise UsageError(f"trigger: signal:{argument}: only USR1 and USR2 can be waited for", "signal:USR1")
    return allowed[name]


class CommandResult:
    """A command's answer at this moment: whether it exits with 0, or, when it is compared, the first number it prints.

    Not run by a shell; None when it cannot be started, takes more than COMMAND_TIMEOUT seconds or prints no number.
    """

    def __init__(self, argument: str, compared: bool) -> None:
        try:
            self._words = shlex.split(argument)
        except ValueError as error:
            raise UsageError(f"trigger: command:{argument}: {error}", "command:'my-query --seconds' > 3") from None
        self._compared = compared

    def read(self) -> Reading:
        """See `Reader`."""
        try:
            done = subprocess.run(
                self._words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=COMMAND_TIMEOUT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        if not self._compared:
            return done.returncode == 0
        number = _NUMBER.search(done.stdout[:_LINE_LIMIT].decode("utf-8", "replace"))
        return float(number[0]) if number and done.returncode == 0 else None

    def close(self) -> None:
        """See `Reader`."""


class HttpProbe:
    """Whether a server answers with a status below 400 and, with `URL PATTERN`, a body that matches.

    None when it cannot be reached: a server that is down has not turned false.
    """

    def __init__(self, argument: str) -> None:
        url, _, pattern = argument.partition(" ")
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"trigger: probe:{argument}: not an http address", "probe:http://127.0.0.1:8080/busy")
        try:
            self._pattern = re.compile(pattern.encode()) if pattern else None
        except re.error as error:
            raise UsageError(f"trigger: {pattern!r} is no regular expression: {error}", "see Python's re") from None
        self._url = url

    def read(self) -> Reading:
        """See `Reader`."""
        try:
            with urllib.request.urlopen(self._url, timeout=PROBE_TIMEOUT) as answer:
                body = answer.read(_CHUNK)
        except urllib.error.HTTPError:
            return False
        except (OSError, ValueError):
            return None
        return self._pattern is None or self._pattern.search(body) is not None

    def close(self) -> None:
        """See `Reader`."""
