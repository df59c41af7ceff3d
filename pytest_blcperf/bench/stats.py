"""What `benchmark.stats` shows to the test: figures of the timed rounds, in seconds per iteration."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

_FIELDS = (
    "min",
    "max",
    "mean",
    "stddev",
    "rounds",
    "median",
    "iqr",
    "q1",
    "q3",
    "iqr_outliers",
    "stddev_outliers",
    "outliers",
    "ld15iqr",
    "hd15iqr",
    "ops",
    "total",
)
_OF_THE_FIXTURE = ("name", "fullname", "group", "param", "params", "extra_info", "has_error")


class Stats:
    """pytest-benchmark's names: `stats["mean"]`, `stats.mean` and `stats.stats.mean` are the same number.

    `name`, `group` and the like are those of the `fixture`.
    """

    def __init__(self, rounds: Sequence[tuple[int, int, int]], fixture: Any = None) -> None:
        self.data = [wall / iterations / 1e9 for iterations, _cpu, wall in rounds]
        self.iterations = rounds[0][0] if rounds else 0
        self.fixture = fixture

    def __bool__(self) -> bool:
        return bool(self.data)

    @property
    def stats(self) -> Stats:
        """Itself: pytest-benchmark has a level of metadata here."""
        return self

    def __getattr__(self, name: str) -> Any:
        if name in _OF_THE_FIXTURE:
            return getattr(self.fixture, name)
        raise AttributeError(name)

    def __getitem__(self, key: str) -> Any:
        if key in (*_FIELDS, "data", "iterations", *_OF_THE_FIXTURE):
            return getattr(self, key)
        raise KeyError(f"{key!r}; known: {', '.join(_FIELDS)}")

    def get(self, key: str, default: Any = None) -> Any:
        """`stats[key]`, or the default."""
        try:
            return self[key]
        except KeyError:
            return default

    def as_dict(self) -> dict[str, Any]:
        """Every figure by name."""
        return {field: getattr(self, field) for field in _FIELDS}

    @property
    def sorted_data(self) -> list[float]:
        """Seconds per iteration of each round, ascending."""
        return sorted(self.data)

    @property
    def rounds(self) -> int:
        """Number of timed rounds."""
        return len(self.data)

    @property
    def min(self) -> float:
        """Fastest round."""
        return min(self.data, default=0.0)

    @property
    def max(self) -> float:
        """Slowest round."""
        return max(self.data, default=0.0)

    @property
    def mean(self) -> float:
        """Mean over rounds."""
        return statistics.fmean(self.data) if self.data else 0.0

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
        return statistics.median(self.data) if self.data else 0.0

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
    def ld15iqr(self) -> float:
        """Lowest round not below q1 by more than 1.5 interquartile ranges."""
        fence = self.q1 - 1.5 * self.iqr
        return min((one for one in self.data if one >= fence), default=0.0)

    @property
    def hd15iqr(self) -> float:
        """Highest round not above q3 by more than 1.5 interquartile ranges."""
        fence = self.q3 + 1.5 * self.iqr
        return max((one for one in self.data if one <= fence), default=0.0)

    @property
    def iqr_outliers(self) -> int:
        """Rounds beyond those fences."""
        return self._beyond(self.q1 - 1.5 * self.iqr, self.q3 + 1.5 * self.iqr)

    @property
    def stddev_outliers(self) -> int:
        """Rounds more than a standard deviation from the mean."""
        return self._beyond(self.mean - self.stddev, self.mean + self.stddev)

    @property
    def outliers(self) -> str:
        """Both counts, as pytest-benchmark writes them."""
        return f"{self.stddev_outliers};{self.iqr_outliers}"

    @property
    def ops(self) -> float:
        """Iterations a second, from the mean."""
        return 1 / self.mean if self.mean else 0.0

    def _beyond(self, low: float, high: float) -> int:
        return sum(one < low or one > high for one in self.data)

    def _quartiles(self) -> list[float]:
        if len(self.data) > 1:
            return statistics.quantiles(self.data, n=4, method="inclusive")
        return (self.data or [0.0]) * 3
