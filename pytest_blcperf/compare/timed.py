"""Functions that were timed exactly, in lockstep rounds with clocks at their entry and exit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from pytest_blcperf.compare.launch_mean import launch_mean
from pytest_blcperf.model.comparison import SELF, Estimate
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.profile import Floats
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
    both = [(_Columns(one), _Columns(two)) for one, two in _launches(base, head, launches)]
    known = tuple(pairs)
    lists = [frozenset(pair for pair in known if pair[0] in one.place and pair[1] in two.place) for one, two in both]
    # A function's own time is that without other functions of the list: only launches with one list are of one kind.
    usual = Counter(lists).most_common(1)[0][0] if lists else frozenset()
    alike = [
        sides
        for sides, names in zip(both, lists, strict=True)
        if names == usual and len(names) == len(sides[0].place) == len(sides[1].place)
    ]
    found = {}
    for old, new in known:
        timed = [(one, two) for one, two in both if old in one.place and new in two.place]
        if timed:
            own = [(one, two) for one, two in alike if old in one.place and new in two.place]
            found[new] = TimedFunction(
                _cost([_launch(one.total(old), two.total(new)) for one, two in timed]),
                _cost([_launch(one.own(old), two.own(new)) for one, two in own]),
            )
    return found


class _Columns:
    """The figures of one side's launch by function, ns per iteration."""

    def __init__(self, times: FunctionTimes) -> None:
        self._times = times
        self.place = {function: index for index, function in enumerate(times.functions)}

    def total(self, function: Function) -> Floats:
        return np.asarray(self._times.total_ns[:, self.place[function]] / self._times.iterations, dtype=np.float64)

    def own(self, function: Function) -> Floats:
        return np.asarray(self._times.self_ns[:, self.place[function]] / self._times.iterations, dtype=np.float64)


def _launches(
    base: Benchmark, head: Benchmark, launches: Collection[int]
) -> Iterator[tuple[FunctionTimes, FunctionTimes]]:
    other = {one.launch: one for one in head.function_times}
    wanted = frozenset(launches)
    for one in base.function_times:
        if one.launch in wanted and one.launch in other:
            yield one, other[one.launch]


def _launch(base: Floats, head: Floats) -> tuple[Floats, Floats]:
    """The paired rounds of a launch; one round, their mean, where a side did not run the function in every round."""
    rounds = min(len(base), len(head))
    base, head = base[:rounds], head[:rounds]
    if rounds and (base > 0).all() and (head > 0).all():
        return base, head
    base, head = np.array([base.mean()] if rounds else []), np.array([head.mean()] if rounds else [])
    return (base, head) if base.sum() > 0 and head.sum() > 0 else (base[:0], head[:0])


def _cost(launches: Iterable[tuple[Floats, Floats]]) -> TimedCost:
    known = [(old, new) for old, new in launches if len(old)]
    medians = np.array([[np.median(old), np.median(new)] for old, new in known]).reshape(-1, 2)
    base, head = np.median(medians, axis=0).tolist() if known else (0.0, 0.0)
    return TimedCost(base, head, launch_mean([np.log(new / old) for old, new in known]))
