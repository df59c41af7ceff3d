"""The cost of a changed function that no clock can tell of, from the time of what it runs in.

A function that is called too often for clocks, or calls much that is not timed, has its share of the profile, which
tells some per cent of it at best. But code that is the same and runs as often gets dearer only through what changed. So
where a function is the only thing that changed in some measured time, that time grew by what the function did: by D of
a cost c, which makes the function, of cost f, dearer by D/f.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pytest_blcperf.compare.shares import ABSENT, Tally
from pytest_blcperf.compare.timed import TimedCost
from pytest_blcperf.model.comparison import SELF, TOTAL, Estimate
from pytest_blcperf.model.function import PYTHON

if TYPE_CHECKING:
    from pytest_blcperf.compare.compare import Pair, Sides

FEWEST_SAMPLES = 20
"""Samples of a function from which on its share is known well enough to divide by."""
MOST_APART = 3.0
"""Standard errors between what the samples of a function say of it and what is attributed to it."""
WHOLE = 0.98
"""Part of a function's samples that lie in whatever contains it: a profile now and then misses a frame."""


@dataclass(frozen=True)
class Attributed:
    """What a function cost, its share of the base, and whose time told it: "" for the whole benchmark's."""

    cost: TimedCost
    share: float
    within: str


@dataclass(frozen=True)
class _Whole:
    """A measured time that contains a function: its cost, and whether another function runs in it too."""

    name: str
    cost: TimedCost
    holds: Callable[[Pair], bool]


def attributed(both: Sides, pair: Pair, kind: str) -> Attributed | None:
    """What the function cost by the least measured time that it is the only change in; None where there is none.

    Only of Python functions with changed code that both sides have, whose calls were counted. The standard error is
    that of the growth, and of the share by which the growth is divided.
    """
    known = pair.base is not None and pair.code_changed and pair.function.kind == PYTHON and pair.calls_head
    if not known or not both.paired or not both.times.base_ns:
        return None
    samples = [float(side.sum()) for side in both.counts(pair, kind)]
    if sum(samples) < FEWEST_SAMPLES or not all(samples):
        return None
    others = [other for other in both.pairs if other is not pair and _may_matter(other, kind)]
    wholes = sorted(_wholes(both, pair), key=lambda one: one.cost.base_ns)
    whole = next((one for one in wholes if not any(one.holds(other) for other in others)), None)
    if whole is None:
        return None
    shares = both.shares(pair, kind)
    grown = whole.cost.base_ns * math.expm1(whole.cost.ratio.log_ratio)
    # Both sides say what it cost: the head's, when what it grew by is taken off.
    base_ns = (shares[0] * both.times.base_ns + shares[1] * both.times.head_ns - grown) / 2
    cost = _divided(whole.cost, base_ns, (1 - shares[0]) * both.dispersion / sum(samples))
    if cost is None or not _agree(cost.ratio, both.compared(*both.counts(pair, kind))):
        return None
    return Attributed(cost, base_ns / both.times.base_ns, whole.name)


def _may_matter(other: Pair, kind: str) -> bool:
    """Whether this function may have made something dearer by itself: it changed, or is called more or less often.

    What a changed function calls more often is its doing, but no self time of it.
    """
    # Whoever was only sampled, and on one side, may have run on both.
    runs = other.calls_base or other.calls_head or (other.index_base is not None and other.index_head is not None)
    if not runs:
        return False
    return bool(other.code_changed or other.new or (kind == SELF and other.calls_base != other.calls_head))


def _wholes(both: Sides, pair: Pair) -> Iterator[_Whole]:
    """The measured times that contain the function: its own, those of what calls it, and the benchmark's."""
    timed = both.timed.get(pair.function)
    if timed is not None and timed.own.ratio.freedom and timed.own.base_ns:
        yield _Whole(pair.function.name, timed.own, partial(_in_own, both, pair))
    held = both.containing([pair])
    for other in both.pairs:
        cost = both.exact(other, TOTAL) if other.function in both.timed else None
        if cost is None or not cost.base_ns:
            continue
        outer = both.containing([other])
        inside = both.held((held[0] & outer[0], held[1] & outer[1]))
        if all(part >= WHOLE * whole for part, whole in zip(inside, both.held(held), strict=True)):
            yield _Whole(other.function.name, cost, partial(_in_total, both, other))
    if both.times.ratio.freedom:
        yield _Whole("", TimedCost(both.times.base_ns, both.times.head_ns, both.times.ratio), lambda _: True)


def _in_total(both: Sides, outer: Pair, other: Pair) -> bool:
    """Whether a function runs inside another one, or is it. Nobody knows where one runs that was never sampled."""
    seen = False
    for side, caller, callee in _indices(both, outer, other):
        if callee is not None:
            seen = True
            if caller is not None and (side.innermost([callee]) <= side.outermost([caller])).any():
                return True
    return not seen


def _in_own(both: Sides, outer: Pair, other: Pair) -> bool:
    """Whether a function runs inside another one, with no timed function between the two."""
    timed = [pair for pair in both.pairs if pair.function in both.timed]
    indices = [pair.index_base for pair in timed], [pair.index_head for pair in timed]
    seen = False
    for (side, caller, callee), among in zip(_indices(both, outer, other), indices, strict=True):
        if callee is not None:
            seen = True
            nearest = side.innermost([one for one in among if one is not None])
            own = side.innermost([] if caller is None else [caller])
            if ((own == nearest) & (side.innermost([callee]) < own) & (own < ABSENT)).any():
                return True
    return not seen


def _indices(both: Sides, one: Pair, two: Pair) -> tuple[tuple[Tally, int | None, int | None], ...]:
    return (both.base, one.index_base, two.index_base), (both.head, one.index_head, two.index_head)


def _agree(one: Estimate, other: Estimate) -> bool:
    """Whether two estimates may be of one thing. A function can make others dearer, by what it hands to them."""
    return abs(one.log_ratio - other.log_ratio) <= MOST_APART * math.hypot(one.standard_error, other.standard_error)


def _divided(whole: TimedCost, cost: float, variance: float) -> TimedCost | None:
    """The growth of a whole as that of a part of it that costs so much; `variance` is that of the cost, relative."""
    if cost <= 0:
        return None
    ratio, parts = whole.ratio, whole.base_ns / cost
    change = math.expm1(ratio.log_ratio) * parts
    if change <= -1:
        return None
    error = math.hypot(ratio.standard_error * math.exp(ratio.log_ratio) * parts, change * math.sqrt(variance))
    return TimedCost(cost, cost * (1 + change), Estimate(math.log1p(change), error / (1 + change), ratio.freedom))
