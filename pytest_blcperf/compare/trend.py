"""Saved runs as series over time, with the points where they changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import median, quantiles

from pytest_blcperf.compare.change_points import Split, accepted, best_split, further_splits
from pytest_blcperf.model.environment import Environment
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.hottest import hottest
from pytest_blcperf.model.run import Benchmark, Run
from pytest_blcperf.model.trend import ChangePoint, Trend, TrendRun, TrendSeries

ERROR_RATE = 0.05
"""Of the change points shown, at most this part is expected to be none, over all series together."""
FURTHER_ALPHA = 0.01
_FUNCTIONS = 12
_LEAST_SHARE = 0.02


def trend(runs: Sequence[Run], *, ordered: bool = False) -> Trend:
    """The series of every benchmark and of its hottest functions over the runs: by time, or as they come if `ordered`.

    Runs whose times cannot be compared (another machine or interpreter) are other groups; a change is looked for inside
    a group only.
    """
    sequence = list(runs) if ordered else sorted(runs, key=lambda run: run.created)
    groups = _groups([run.environment for run in sequence])
    shown = tuple(
        TrendRun(run.label, run.created, run.commit, group, run.environment.cpu_model or run.environment.machine)
        for run, group in zip(sequence, groups, strict=True)
    )
    identifiers = dict.fromkeys(benchmark.id for run in reversed(sequence) for benchmark in run.benchmarks)
    series = [one for identifier in identifiers for one in _of_benchmark(identifier, sequence)]
    return Trend(shown, tuple(_with_changes(series, groups)), ERROR_RATE)


def _groups(environments: Sequence[Environment]) -> list[int]:
    """A number for each, equal where times can be compared."""
    known: list[Environment] = []
    groups = []
    for environment in environments:
        found = next((index for index, one in enumerate(known) if one.comparable_times(environment)), None)
        if found is None:
            found = len(known)
            known.append(environment)
        groups.append(found)
    return groups


def _of_benchmark(identifier: str, runs: Sequence[Run]) -> Iterator[TrendSeries]:
    """The benchmark's own series, then those of its hottest functions."""
    benchmarks = [run.benchmark(identifier) for run in runs]
    quartiles = [_quartiles(one) if one is not None else None for one in benchmarks]
    values = tuple(one[1] if one else None for one in quartiles)
    yield TrendSeries(
        identifier,
        None,
        values,
        tuple(one[0] if one else None for one in quartiles),
        tuple(one[2] if one else None for one in quartiles),
    )
    shares = [_self_shares(one) for one in benchmarks]
    most: dict[Function, float] = {}
    for table in shares:
        for function, part in table.items():
            most[function] = max(most.get(function, 0.0), part)
    hot = sorted((function for function, part in most.items() if part >= _LEAST_SHARE), key=lambda one: -most[one])
    for function in hot[:_FUNCTIONS]:
        costs = tuple(
            None if time is None or not table else table.get(function, 0.0) * time
            for time, table in zip(values, shares, strict=True)
        )
        yield TrendSeries(identifier, function, costs)


def _quartiles(benchmark: Benchmark) -> tuple[float, float, float] | None:
    """Quartiles over launches of CPU time per iteration, ns."""
    times = [
        median(one.cpu_ns / one.iterations for one in launch.rounds) for launch in benchmark.launches if launch.rounds
    ]
    if not times:
        return None
    low, _, high = quantiles(times, n=4, method="inclusive") if len(times) > 1 else (times[0],) * 3
    return low, median(times), high


def _self_shares(benchmark: Benchmark | None) -> dict[Function, float]:
    if benchmark is None or benchmark.profile is None or not benchmark.profile.self_time:
        return {}
    return {hot.function: hot.self_share or 0.0 for hot in hottest(benchmark.profile, 10_000)}


def _with_changes(series: Sequence[TrendSeries], groups: Sequence[int]) -> list[TrendSeries]:
    """The series with their change points, the first one of each tested together with all others."""
    places = [_comparable(one, groups) for one in series]
    first: list[tuple[int, list[int], Split]] = []
    for number, parts in enumerate(places):
        for part in parts:
            split = best_split([_value(series[number], index) for index in part])
            if split is not None:
                first.append((number, part, split))
    believed = accepted([split.p for _, _, split in first], ERROR_RATE) if first else []
    found: dict[int, list[ChangePoint]] = {}
    for (number, part, split), believe in zip(first, believed, strict=True):
        if believe:
            values = [_value(series[number], index) for index in part]
            splits = further_splits(values, split, FURTHER_ALPHA)
            found.setdefault(number, []).extend(_changes(values, part, splits))
    return [
        replace(one, changes=tuple(sorted(found.get(number, ()), key=lambda change: change.index)))
        for number, one in enumerate(series)
    ]


def _comparable(series: TrendSeries, groups: Sequence[int]) -> list[list[int]]:
    """The runs with a value, group by group."""
    parts: dict[int, list[int]] = {}
    for index, (value, group) in enumerate(zip(series.values, groups, strict=True)):
        if value is not None:
            parts.setdefault(group, []).append(index)
    return list(parts.values())


def _value(series: TrendSeries, index: int) -> float:
    value = series.values[index]
    assert value is not None
    return value


def _changes(values: Sequence[float], part: Sequence[int], splits: Sequence[Split]) -> list[ChangePoint]:
    """Splits of a part as places in the whole series, each with the change of the median from segment to segment."""
    edges = [0, *(split.index for split in splits), len(values)]
    changes = []
    for number, split in enumerate(splits):
        before = median(values[edges[number] : edges[number + 1]])
        after = median(values[edges[number + 1] : edges[number + 2]])
        change = after / before - 1 if before > 0 else float("inf") if after > 0 else 0.0
        changes.append(ChangePoint(part[split.index], change, split.p))
    return changes
