"""What `benchmark.stats` shows to the test: figures of the timed rounds, in seconds per iteration."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any


class Stats:
    """pytest-benchmark's names: `stats["mean"]`, `stats.mean` and `stats.stats.mean` are the same number."""

    def __init__(self, rounds: Sequence[tuple[int, int, int]]) -> None:
        self.data = [wall / iterations / 1e9 for iterations, _cpu, wall in rounds] or [0.0]
        self.rounds = len(rounds)
        self.iterations = rounds[0][0] if rounds else 0

    @property
    def stats(self) -> Stats:
        """Itself: pytest-benchmark has a level of metadata here."""
        return self

    def __getitem__(self, key: str) -> Any:
        if key not in _FIELDS:
            raise KeyError(f"{key!r}; known: {', '.join(_FIELDS)}")
        return getattr(self, key)

    @property
    def min(self) -> float:
        """Fastest round."""
        return min(self.data)

    @property
    def max(self) -> float:
        """Slowest round."""
        return max(self.data)

    @property
    def mean(self) -> float:
        """Mean over rounds."""
        return statistics.fmean(self.data)

    @property
    def total(self) -> float:
        """Sum over rounds."""
        return sum(self.data)

    @property
    def stddev(self) -> float:
        """Standard deviation over rounds; 0 for a single one."""
        return statistics.stdev(self.data) if len(self.data) > 1 else 0.0

    @property
    def median(self) -> float:
        """Median over rounds."""
        return statistics.median(self.data)

    @property
    def q1(self) -> float:
        """Lower quartile."""
        return self._quartiles()[0]

    @property
    def q3(self) -> float:
        """Upper quartile."""
        return self._quartiles()[2]

    @property
    def iqr(self) -> float:
        """Interquartile range."""
        return self.q3 - self.q1

    @property
    def ops(self) -> float:
        """Iterations a second, from the mean."""
        return 1 / self.mean if self.mean else 0.0

    def _quartiles(self) -> list[float]:
        return statistics.quantiles(self.data, n=4, method="inclusive") if len(self.data) > 1 else self.data * 3


_FIELDS = ("min", "max", "mean", "stddev", "rounds", "median", "iqr", "q1", "q3", "ops", "total", "iterations")
