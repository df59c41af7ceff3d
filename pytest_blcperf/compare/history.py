"""Which changes of level over saved runs were for good, and which went away again.

A change went away when a later level takes back more than half of it. What is left of it then counts only where the
runs before and after, without those between, still differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from pytest_blcperf.compare.change_points import best_split
from pytest_blcperf.compare.trend import FURTHER_ALPHA
from pytest_blcperf.model.history import History, LevelChange
from pytest_blcperf.model.trend import Trend, TrendSeries

_REMAINS = 0.5


@dataclass(frozen=True)
class _Level:
    """Runs at one level: where it begins in its series, its values, the probability of such a beginning by chance."""

    start: int
    values: tuple[float, ...]
    p: float

    @property
    def middle(self) -> float:
        return median(self.values)


def history(trend: Trend) -> History:
    """The changes of all series of a trend; each group of comparable runs is a series of its own."""
    changes = [change for series in trend.series for change in _of(series, [run.group for run in trend.runs])]
    changes.sort(key=lambda one: (-one.index, -abs(one.change)))
    return History(trend.runs, tuple(changes), trend.error_rate)


def _of(series: TrendSeries, groups: Sequence[int]) -> Iterator[LevelChange]:
    points = {change.index: change.p for change in series.changes}
    for group in dict.fromkeys(groups):
        known = [
            (index, value)
            for index, (value, one) in enumerate(zip(series.values, groups, strict=True))
            if value is not None and one == group
        ]
        places = [index for index, _ in known]
        if points.keys() & set(places):
            yield from _changes(series, places, _levels(known, points))


def _levels(known: Sequence[tuple[int, float]], points: dict[int, float]) -> list[_Level]:
    """The stretches between change points; starts count in `known`."""
    edges = [0, *(place for place, (index, _) in enumerate(known) if index in points), len(known)]
    return [
        _Level(start, tuple(value for _, value in known[start:end]), points.get(known[start][0], 1.0))
        for start, end in pairwise(edges)
        if end > start
    ]


def _changes(series: TrendSeries, places: Sequence[int], levels: Sequence[_Level]) -> Iterator[LevelChange]:
    def change(before: _Level, after: _Level, until: int | None = None) -> LevelChange:
        end = len(places) if until is None else until
        return LevelChange(
            benchmark=series.benchmark,
            function=series.function,
            index=places[after.start],
            change=_relative(before.middle, after.middle),
            runs=end - after.start,
            p=after.p,
            until=None if until is None else places[until],
        )

    kept = [levels[0]]
    for level in levels[1:]:
        returned = False
        while len(kept) > 1 and _takes_back(kept[-2].middle, kept[-1].middle, level.middle):
            gone = kept.pop()
            yield change(kept[-1], gone, level.start)
            returned = True
        split = best_split([*kept[-1].values, *level.values]) if returned else None
        if not returned:
            kept.append(level)
        elif split is not None and split.p <= FURTHER_ALPHA:
            kept.append(_Level(level.start, level.values, split.p))
        else:
            kept[-1] = _Level(kept[-1].start, (*kept[-1].values, *level.values), kept[-1].p)
    for before, after in pairwise(kept):
        yield change(before, after)


def _takes_back(before: float, after: float, later: float) -> bool:
    return after == before or (later - before) / (after - before) < _REMAINS


def _relative(before: float, after: float) -> float:
    return after / before - 1 if before > 0 else math.inf if after > 0 else 0.0
