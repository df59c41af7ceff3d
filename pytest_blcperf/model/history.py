"""What changed for good over saved runs."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_blcperf.model.function import Function
from pytest_blcperf.model.trend import TrendRun


@dataclass(frozen=True)
class LevelChange:
    """A benchmark, or one function in it, whose level is another from run `index` on: `change` is relative, of medians.

    It stayed for `runs` runs, the first of them included: up to the newest run on machines of that kind, or, where it
    went away again, up to the run before `until`. `p` as in a trend's change points.
    """

    benchmark: str
    function: Function | None
    index: int
    change: float
    runs: int
    p: float
    until: int | None = None

    @property
    def lasting(self) -> bool:
        """Whether it has not gone away again."""
        return self.until is None


@dataclass(frozen=True)
class History:
    """Runs of one branch in order, and every change of level, the newest first."""

    runs: tuple[TrendRun, ...]
    changes: tuple[LevelChange, ...]
    error_rate: float
