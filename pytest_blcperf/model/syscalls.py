"""System calls as raw tracepoints saw them: how often each was called, and how long it took."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SyscallCount:
    """Calls of one system call by one process while it was traced, and the time inside them (ns by the wall clock,
    waiting included).
    """

    process: int
    number: int
    name: str
    calls: int
    time_ns: int


@dataclass(frozen=True)
class Syscalls:
    """All that were traced, in `traced_ns` of a window of `window_ns`: everything when they are equal, else a sample in
    stretches of time. `lost` records did not fit into the rings.
    """

    counts: tuple[SyscallCount, ...]
    traced_ns: int
    window_ns: int
    lost: int = 0

    @property
    def scale(self) -> float:
        """What a count is to be multiplied by, for an estimate of the whole window; 0 when nothing was traced."""
        return self.window_ns / self.traced_ns if self.traced_ns else 0.0
