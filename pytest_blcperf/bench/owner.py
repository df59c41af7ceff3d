"""Folder names that carry the process that made them, so that what killed processes left behind can be told."""

from __future__ import annotations

import os
import re
from pathlib import Path

PATTERN = r"(?P<pid>[0-9]{1,10})-(?P<start>[0-9]{1,20})"
"""Process, and its start time in clock ticks since boot: for use inside a pattern of a whole name."""


def mark() -> str:
    """This process, as `PATTERN` reads it."""
    owner = os.getpid()
    return f"{owner}-{_start_time(owner) or 0}"


def is_alive(match: re.Match[str]) -> bool:
    """Whether that very process still runs; the start time tells it from a later one with the same number."""
    pid, start = int(match["pid"]), int(match["start"])
    if start:
        return _start_time(pid) == start
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _start_time(pid: int) -> int | None:
    """Start of a process in clock ticks since boot, field 22 of /proc/PID/stat (proc(5)); None when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
    except OSError:
        return None
    # Fields count from the state, which is field 3. A zombie owns nothing any more.
    return None if fields[0] in (b"Z", b"X") else int(fields[19])
