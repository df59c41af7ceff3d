"""The cost of a changed function that no clock can tell of, from the time of what it runs in.

A function that is called too often for clocks, or calls much that is not timed, has its share of the profile, which
tells some per cent of it at best. But code that is the same and runs as often gets dearer only through what changed. So
where a function is the only thing that changed in some measured time, that time grew by what the function did: by D of
a cost c, which makes the function, of cost f, dearer by D/f.

What this does not see is a constant of a module, data, a library: what they make dearer in there counts as the
function's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pytest_blcperf.compare.estimate import Times
from pytest_blcperf.compare.shares import ABSENT, Tally
from pytest_blcperf.compare.timed import TimedCost
from pytest_blcperf.model.comparison import TOTAL, Estimate
from pytest_blcperf.model.function import PYTHON, Function

if TYPE_CHECKING:
    from pytest_blcperf.compare.compare import Pair, Sides

FEWEST_SAMPLES = 20
"""Samples from which on it is known what a function costs, well enough to divide by it, and where it runs."""
MOST_APART = 3.0
"""Standard errors between what the samples of a function say of it and what is attributed to it."""
NEARLY_ALL = 0.9
"""Share of the benchmark from which on a time is the benchmark's: what makes that dearer makes this dearer too."""
LAYOUT = 0.002
"""SD of the ratio of a measured time of equal code, over changes elsewhere: what they move in memory. In refactorings
of six workloads 0 to 0.18 % was left beside the standard errors (docs/accuracy.md).
"""


@dataclass(frozen=True)
class Attributed:
    """What a function cost, its share of the base, and the function whose time told it."""

    cost: TimedCost
    share: float
    within: Function


@dataclass(frozen=True)
class _Whole:
    """A measured time that contains a function: whose it is, and whether another function runs in it too."""

    function: Function
    cost: TimedCost
    holds: Callable[[Pair], bool]


def attributed(both: Sides, pair: Pair, kind: str) -> Attributed | None:
    """What the function cost by the least measured time that it is the only change in; None where there is none.

    Only of Python functions with changed code that both sides have, whose calls were counted. The whole benchmark's
    time tells nothing: all that could have made it dearer would be blamed on a function that happens to have changed.
    """
    changed = pair.base is not None and pair.code_changed and pair.function.kind == PYTHON and pair.calls_head
    if not changed or not pair.counts_exact or not both.paired or not both.times.base_ns:
        return None
    known = both.structure
    if min(float(side.sum()) for side in known.counts(pair, kind)) < FEWEST_SAMPLES / 2:
        return None
    others = [other for other in both.pairs if other is not pair and _may_matter(known, pair, other, kind)]
    wholes = sorted(_wholes(known, pair), key=lambda one: one.cost.base_ns)
    whole = next((one for one in wholes if not any(one.holds(other) for other in others)), None)
    grown = None if whole is None else _grown(both.times, whole.cost)
    cost = None if grown is None else _divided(known, pair, kind, grown)
    if whole is None or cost is None or not _agree(cost.ratio, both.compared(*both.counts(pair, kind))):
        return None
    return Attributed(cost, cost.base_ns / both.times.base_ns, whole.function)


def _may_matter(both: Sides, pair: Pair, other: Pair, kind: str) -> bool:
    """Whether another function may have made something dearer by itself: it changed, or is called more or less often.

    Whoever was only sampled, and on one side, may have run on both. Builtins that no sample shows are part of what
    calls them. What a changed function calls more often is its doing, and part of its total time.
    """
    sampled = other.index_base is not None and other.index_head is not None
    runs = other.calls_base or other.calls_head or sampled
    hidden = other.function.kind != PYTHON and other.index_base is None and other.index_head is None
    if not runs or hidden:
        return False
    if (other.code_changed and not other.function.encloses(pair.function)) or other.new:
        return True
    return other.calls_base != other.calls_head and not (kind == TOTAL and _below(both, pair, other))


def _below(both: Sides, pair: Pair, other: Pair) -> bool:
    """Whether all samples of another function have the function above it."""
    if _samples(both, other) < FEWEST_SAMPLES:
        return False
    inside = other.function != pair.function
    for side, caller, callee in _indices(both, pair, other):
        if callee is not None:
            has = side.containing([callee]) & (side.counts > 0)
            inside = inside and caller is not None and bool(side.calls_through(caller, callee)[has].all())
    return inside


def _wholes(both: Sides, pair: Pair) -> Iterator[_Whole]:
    """The measured times that contain the function and not nearly everything: its own, and those of what calls it."""
    own = both.timed[pair.function].own if pair.function in both.timed else None
    if own is not None and own.ratio.freedom:
        yield _Whole(pair.function, own, partial(_in_own, both, pair))
    for other, cost in both.enclosing(pair):
        yield _Whole(other.function, cost, partial(_in_total, both, other))


def _in_total(both: Sides, outer: Pair, other: Pair) -> bool:
    """Whether a function runs inside another one, or is it. Few samples elsewhere do not tell that it does not."""
    if _samples(both, other) < FEWEST_SAMPLES:
        return True
    return any(
        caller is not None and callee is not None and bool((side.innermost(callee) <= side.outermost(caller)).any())
        for side, caller, callee in _indices(both, outer, other)
    )


def _in_own(both: Sides, outer: Pair, other: Pair) -> bool:
    """Whether a function runs inside another one, with no function between the two whose time was taken off."""
    if _samples(both, other) < FEWEST_SAMPLES:
        return True
    timed = [pair for pair in both.pairs if pair.function in both.timed and both.timed[pair.function].own.ratio.freedom]
    for side, caller, callee in _indices(both, outer, other):
        if caller is None or callee is None:
            continue
        among = [pair.index_base if side is both.base else pair.index_head for pair in timed]
        own = side.innermost(caller)
        nearest = np.minimum.reduce([own, *(side.innermost(one) for one in among if one is not None)])
        if ((own == nearest) & (side.innermost(callee) < own) & (own < ABSENT)).any():
            return True
    return False


def _samples(both: Sides, pair: Pair) -> float:
    return sum(float(side.sum()) for side in both.counts(pair, TOTAL))


def _indices(both: Sides, one: Pair, two: Pair) -> tuple[tuple[Tally, int | None, int | None], ...]:
    return (both.base, one.index_base, two.index_base), (both.head, one.index_head, two.index_head)


@dataclass(frozen=True)
class _Growth:
    """By how much a time grew, ns, the standard error of that, and its degrees of freedom."""

    ns: float
    error: float
    freedom: int


def _grown(times: Times, whole: TimedCost) -> _Growth | None:
    """The growth of a measured time beyond that of the rest of the benchmark: nobody is to blame where all got dearer.

    A rest that got cheaper is not counted: something else changed there.
    """
    ratio, all_ns = whole.ratio, times.base_ns
    rest_ns = all_ns - whole.base_ns
    if not whole.base_ns or not times.ratio.freedom or rest_ns < (1 - NEARLY_ALL) * all_ns:
        return None
    grown = whole.base_ns * math.expm1(ratio.log_ratio)
    rest = (all_ns * math.expm1(times.ratio.log_ratio) - grown) / rest_ns
    error = whole.base_ns * math.exp(ratio.log_ratio) * math.hypot(ratio.standard_error, LAYOUT)
    rest_error = math.hypot(all_ns * times.ratio.standard_error, error) / rest_ns
    return _Growth(
        grown - whole.base_ns * max(0.0, rest),
        math.hypot(error, whole.base_ns * rest_error),
        min(ratio.freedom, times.ratio.freedom),
    )


def _divided(both: Sides, pair: Pair, kind: str, grown: _Growth) -> TimedCost | None:
    """That growth as the function's. Both sides' samples say what it cost: the head's, when the growth is taken off.

    The relative variance of a cost of share s from n samples of it is φ (1 − s)/n.
    """
    shares, samples = both.shares(pair, kind), [float(side.sum()) for side in both.counts(pair, kind)]
    costs = [share * ns for share, ns in zip(shares, (both.times.base_ns, both.times.head_ns), strict=True)]
    cost = (sum(costs) - grown.ns) / 2
    change = grown.ns / cost if cost > 0 else -1.0
    if change <= -1:
        return None
    error = math.sqrt(
        sum(ns**2 * both.dispersion * (1 - s) / n for ns, s, n in zip(costs, shares, samples, strict=True)) / 4
    )
    total = math.hypot(grown.error, change * error) / cost / (1 + change)
    return TimedCost(cost, cost + grown.ns, Estimate(math.log1p(change), total, grown.freedom))


def _agree(one: Estimate, other: Estimate) -> bool:
    """Whether two estimates may be of one thing. A function can make others dearer, by what it hands to them."""
    return abs(one.log_ratio - other.log_ratio) <= MOST_APART * math.hypot(one.standard_error, other.standard_error)
