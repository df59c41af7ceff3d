"""The errors that end a command: what happened, the command that mends it, the exit code.

They are raised anywhere and caught in two places only: `plugin.py` (which turns them into a pytest usage error, exit 4)
and `cli/` (which exits with `exit_code`).
"""

from __future__ import annotations


class ExitCode:
    """Exit codes of the `blcperf` command. Plain numbers: an enumeration would cost each pytest start a millisecond."""

    OK = 0
    REGRESSION = 1
    USAGE = 2
    TARGET = 3
    NOT_PERMITTED = 4
    NO_SAMPLES = 5
    BASELINE = 6
    INTERRUPTED = 130


class BlcperfError(Exception):
    """An expected failure: one line that says what happened, and one that says what to do about it."""

    exit_code = ExitCode.USAGE

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class UsageError(BlcperfError):
    """An option, a setting or a combination of them cannot be used."""


class TargetError(BlcperfError):
    """What was to be measured is missing, died, or cannot be started."""

    exit_code = ExitCode.TARGET


class PermissionDenied(BlcperfError):
    """The kernel refuses what was asked for."""

    exit_code = ExitCode.NOT_PERMITTED


class BaselineError(BlcperfError):
    """A baseline or a run file is missing, unreadable or of a version this release does not know."""

    exit_code = ExitCode.BASELINE
