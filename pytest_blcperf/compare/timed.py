"""Functions that were timed exactly, in lockstep rounds with clocks at their entry and exit."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from pytest_blcperf.compare.launch_mean import launch_mean
from pytest_blcperf.model.comparison import SELF, Estimate
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.profile import Floats, Ints
from pytest_blcperf.model.run import Benchmark, FunctionTimes


@dataclass(frozen=True)
class TimedCost:
    """What a function cost: ns per iteration of the benchmark (median over launches), and the ratio of the sides."""

    base_ns: float
    head_ns: float
    ratio: Estimate


@dataclass(frozen=True)
class TimedFunction:
    """Its time with what it calls, and its time without that of other timed functions it calls."""

    total: TimedCost
    own: TimedCost

    def cost(self, kind: str) -> TimedCost:
        """Of that kind of time."""
        return self.own if kind == SELF else self.total


def timed_functions(
    base: Benchmark, head: Benchmark, launches: Collection[int], pairs: Iterable[tuple[Function, Function]]
) -> dict[Function, TimedFunction]:
    """By the head's function: of those pairs (base, head) that were timed together, in the given launches."""
    both = list(_launches(base, head, launches))
    if not both:
        return {}
    found = {}
    for old, new in pairs:
        columns = [
            (one, one.functions.index(old), two, two.functions.index(new))
            for one, two in both
            if old in one.functions and new in two.functions
        ]
        if columns:
            found[new] = TimedFunction(
                _cost([_per_iteration(one.total_ns[:, i], one, two.total_ns[:, j], two) for one, i, two, j in columns]),
                _cost([_per_iteration(one.self_ns[:, i], one, two.self_ns[:, j], two) for one, i, two, j in columns]),
            )
    return found


def _launches(
    base: Benchmark, head: Benchmark, launches: Collection[int]
) -> Iterator[tuple[FunctionTimes, FunctionTimes]]:
    other = {one.launch: one for one in head.function_times}
    wanted = frozenset(launches)
    for one in base.function_times:
        if one.launch in wanted and one.launch in other:
            yield one, other[one.launch]


def _per_iteration(
    base: Ints, base_times: FunctionTimes, head: Ints, head_times: FunctionTimes
) -> tuple[Floats, Floats]:
    """Ns per iteration of the rounds in which both sides spent any."""
    rounds = min(len(base), len(head))
    spent = (base[:rounds] > 0) & (head[:rounds] > 0)
    return base[:rounds][spent] / base_times.iterations, head[:rounds][spent] / head_times.iterations


def _cost(launches: Iterable[tuple[Floats, Floats]]) -> TimedCost:
    known = [(old, new) for old, new in launches if len(old)]
    medians = np.array([[np.median(old), np.median(new)] for old, new in known]).reshape(-1, 2)
    base, head = np.median(medians, axis=0).tolist() if known else (0.0, 0.0)
    return TimedCost(base, head, launch_mean([np.log(new / old) for old, new in known]))
