"""Which processors a launch may be pinned to."""

from __future__ import annotations

import os


def allowed_cpus() -> list[int]:
    """The processors this process may run on, sorted; empty where the system cannot tell."""
    try:
        return sorted(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return []
