"""Why the kernel refused perf_event_open, and what mends it."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from pytest_blcperf.errors import BlcperfError, PermissionDenied

_OTHERWISE = "or use --blcperf-backend=timer"


def for_record(error: BlcperfError) -> BlcperfError:
    """The error as `blcperf record` says it, whose backends are others than those of pytest."""
    hint = error.hint.replace("--blcperf-backend=timer", "--backend py-spy for one Python process")
    error.hint = hint.replace("--blcperf-backend", "--backend")
    return error


def explain(number: int, text: str, paranoid: str, seccomp: str) -> PermissionDenied:
    """The error for an errno. `paranoid` is the value of kernel.perf_event_paranoid, `seccomp` the Seccomp field of
    /proc/self/status (2: a filter is in force); "" where unknown.

    With paranoid at most 2 a process may sample itself, so a filter is to blame if there is one.
    """
    name = errno.errorcode.get(number, str(number))
    seen = f"perf_event_open failed: {name} ({text}); kernel.perf_event_paranoid is {paranoid or 'unreadable'}"
    level = int(paranoid) if paranoid.lstrip("-").isdigit() else None
    if number in (errno.EPERM, errno.EACCES) and level is not None and level > 2:
        return PermissionDenied(
            seen,
            "sudo sysctl kernel.perf_event_paranoid=1 (on the host, if this is a container), "
            f"give the process CAP_PERFMON, {_OTHERWISE}",
        )
    if number in (errno.EPERM, errno.ENOSYS) and seccomp == "2":
        return PermissionDenied(
            f"{seen}; a seccomp filter is in force",
            "allow the system call in the container: docker run --cap-add=PERFMON, or "
            f"--security-opt seccomp=PROFILE with perf_event_open allowed, {_OTHERWISE}",
        )
    if number in (errno.EPERM, errno.EACCES):
        return PermissionDenied(seen, f"sudo sysctl kernel.perf_event_paranoid=1, give CAP_PERFMON, {_OTHERWISE}")
    if number == errno.ENOSYS:
        return PermissionDenied(
            f"{seen}; this kernel or sandbox has no performance events", "use --blcperf-backend=timer"
        )
    return PermissionDenied(seen, "use --blcperf-backend=timer")


def refused(error: OSError) -> PermissionDenied:
    """The error that explains what opening an event on this process raised."""
    if not sys.platform.startswith("linux"):
        return PermissionDenied(f"perf_event_open exists on Linux only, this is {sys.platform}", _OTHERWISE[3:])
    status = _read("/proc/self/status")
    seccomp = next((line.split()[1] for line in status.splitlines() if line.startswith("Seccomp:")), "")
    text = error.strerror or os.strerror(error.errno or 0)
    return explain(error.errno or 0, text, _read("/proc/sys/kernel/perf_event_paranoid").strip(), seccomp)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
