"""How times changed over saved runs."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_blcperf.model.function import Function


@dataclass(frozen=True)
class TrendRun:
    """A run in the order of time. Runs of one `group` were measured in environments whose times can be compared."""

    label: str
    created: str
    commit: str
    group: int
    where: str = ""


@dataclass(frozen=True)
class ChangePoint:
    """From run `index` on the level is another: `change` is the relative change of the median, `p` the probability of a
    split at least as clear in a series without any change.
    """

    index: int
    change: float
    p: float


@dataclass(frozen=True)
class TrendSeries:
    """CPU time per iteration of a benchmark, or of one function in it (self time), ns; None where a run has none.

    `low` and `high` are the quartiles over a run's launches, empty for functions.
    """

    benchmark: str
    function: Function | None
    values: tuple[float | None, ...]
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    changes: tuple[ChangePoint, ...] = ()


@dataclass(frozen=True)
class Trend:
    """Series over runs. `error_rate` is the part of the change points that is expected to be none."""

    runs: tuple[TrendRun, ...]
    series: tuple[TrendSeries, ...]
    error_rate: float
