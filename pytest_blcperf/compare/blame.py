"""Whose fault a growth is: which regressed function explains another, and whether a cost only moved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_blcperf.compare.compare import Key, Pair, Sides
from pytest_blcperf.compare.decide import p_above, upper_change
from pytest_blcperf.compare.shares import Mask, Tally
from pytest_blcperf.model.comparison import SELF, TOTAL, Estimate, FunctionComparison
from pytest_blcperf.model.function import Function


@dataclass(frozen=True)
class Domain:
    """A part of the benchmark around a function, whose cost stays the same when work only moves inside it."""

    name: str
    cost_base_ns: float
    ratio: Estimate

    @property
    def most_growth_ns(self) -> float:
        """95 % upper bound of its growth, ns per iteration."""
        return self.cost_base_ns * upper_change(self.ratio) if self.cost_base_ns > 0 else math.inf


def moved_within(both: Sides, comparison: FunctionComparison) -> Domain | None:
    """The domain whose cost grew by less than half of what the function's grew (upper bound), or None: it really grew.

    Two domains are looked at, and only where an edit can have moved work: the function's callers with all they call, if
    the function is new or one of them has changed code; and for self time the function with all it calls, if its own
    code changed. Not the whole benchmark: another function's gain would excuse this one's loss (a real release had a
    function 14 % dearer inside a benchmark 5 % faster). The idea is FBDetect's cost domains (SOSP'24).
    """
    pair = _pair(both, comparison.function)
    grown = comparison.cost_head_ns - comparison.cost_base_ns
    if grown <= 0:
        return None
    domains = []
    callers = _callers(both, pair)
    if callers and (pair.new or any(caller.code_changed for caller in callers)):
        domains.append(_domain(both, pair, callers))
    if comparison.kind == SELF and pair.code_changed and not pair.new:
        domains.append(_domain(both, pair, []))
    return next((domain for domain in domains if domain.most_growth_ns < grown / 2), None)


def p_callers_grew(both: Sides, comparison: FunctionComparison) -> float:
    """For a function unknown to the base, the p-value of "its callers, with all they call, did not get dearer"; else 0.

    A new function's own ratio only says that it is there. It regressed when what calls it did; both must be shown, so
    the larger of the two p-values counts (intersection–union test).
    """
    pair = _pair(both, comparison.function)
    if not pair.new:
        return 0.0
    callers = _callers(both, pair)
    return p_above(_domain(both, pair, callers).ratio if callers else both.times.ratio, 0.0)


def follows_from(both: Sides, regressed: Sequence[FunctionComparison]) -> dict[Key, Function]:
    """Which regressed total times are explained by another regressed function, and by which.

    A total follows from the function's own self time; or from guilty leaves when, without their growth inside it, less
    than half of its own is left; or, likewise, from a regressed total that it calls.
    """
    leaves = [comparison for comparison in regressed if comparison.kind == SELF]
    totals = [comparison for comparison in regressed if comparison.kind == TOTAL]
    found: dict[Key, Function] = {}
    for comparison in totals:
        leaf = _guilty_leaf(both, comparison, leaves)
        if leaf is not None:
            found[comparison.function, TOTAL] = leaf
    open_totals = [comparison for comparison in totals if (comparison.function, TOTAL) not in found]
    called = {comparison.function: _guilty_callee(both, comparison, open_totals) for comparison in open_totals}
    for comparison in open_totals:
        end = _end(called, comparison.function)
        if end != comparison.function:
            found[comparison.function, TOTAL] = end
    return found


def _guilty_leaf(both: Sides, total: FunctionComparison, leaves: Sequence[FunctionComparison]) -> Function | None:
    if any(leaf.function == total.function for leaf in leaves):
        return total.function
    inside = both.containing([_pair(both, total.function)])
    parts = {}
    for leaf in leaves:
        ending = _ending(both, [_pair(both, leaf.function)])
        parts[leaf.function] = _growth(both, leaf, ending, _and(inside, ending))
    grown = _growth(both, total, inside, inside)
    if not parts or grown - sum(parts.values()) >= grown / 2:
        return None
    return max(parts, key=lambda function: parts[function])


def _guilty_callee(both: Sides, total: FunctionComparison, totals: Sequence[FunctionComparison]) -> Function | None:
    """The callee with the least cost of its own among those that explain the growth: the deepest."""
    pair = _pair(both, total.function)
    inside = both.containing([pair])
    grown = _growth(both, total, inside, inside)
    explaining = []
    for comparison in totals:
        other = _pair(both, comparison.function)
        through = tuple(
            side.calls_through(caller, callee) if caller is not None and callee is not None else _none(side)
            for side, caller, callee in (
                (both.base, pair.index_base, other.index_base),
                (both.head, pair.index_head, other.index_head),
            )
        )
        part = _growth(both, comparison, both.containing([other]), (through[0], through[1]))
        if other != pair and grown - part < grown / 2:
            function = comparison.function
            explaining.append((comparison.cost_head_ns, function.file, function.name, function))
    return min(explaining, key=lambda one: one[:3])[3] if explaining else None


def _growth(both: Sides, comparison: FunctionComparison, whole: tuple[Mask, Mask], part: tuple[Mask, Mask]) -> float:
    """By how much the cost of some stacks of a comparison (`part` of its `whole`) grew, ns per iteration.

    Where clocks measured the whole, the part has that part of it which its samples have: they are too few to tell a
    growth of some percent themselves.
    """
    if not comparison.timed:
        return both.grown(*part)
    samples = [float(both.base.within(masks[0]).sum() + both.head.within(masks[1]).sum()) for masks in (part, whole)]
    return (comparison.cost_head_ns - comparison.cost_base_ns) * (samples[0] / samples[1] if samples[1] else 0.0)


def _end(called: dict[Function, Function | None], start: Function) -> Function:
    """The last of a chain of callees; where mutual recursion makes it a ring, its member first by name."""
    seen = [start]
    while (following := called[seen[-1]]) is not None:
        if following in seen:
            return min(seen[seen.index(following) :], key=lambda function: (function.file, function.name))
        seen.append(following)
    return seen[-1]


def _domain(both: Sides, pair: Pair, around: Sequence[Pair]) -> Domain:
    name = ", ".join(sorted(other.function.name for other in around or [pair])[:3])
    exact = both.exact(around[0] if around else pair, TOTAL) if len(around) < 2 else None
    if exact is not None:
        return Domain(name, exact.base_ns, exact.ratio)
    # The function itself too: stacks cut short below its callers belong to the domain all the same.
    base, head = both.containing([pair, *around])
    before = both.base.within(base)
    return Domain(
        name=name,
        cost_base_ns=float(before.sum() / both.base.samples.sum()) * both.times.base_ns,
        ratio=both.compared(before, both.head.within(head)),
    )


def _callers(both: Sides, pair: Pair) -> list[Pair]:
    """The direct callers on either side; new ones are replaced by theirs."""
    callers: list[Pair] = []
    waiting, seen = [pair], {pair.function}
    while waiting:
        current = waiting.pop()
        base = frozenset() if current.index_base is None else both.base.callers(current.index_base)
        head = frozenset() if current.index_head is None else both.head.callers(current.index_head)
        for other in both.pairs:
            if (other.index_base in base or other.index_head in head) and other.function not in seen:
                seen.add(other.function)
                (waiting if other.new else callers).append(other)
    return callers


def _pair(both: Sides, function: Function) -> Pair:
    return next(pair for pair in both.pairs if pair.function == function)


def _ending(both: Sides, pairs: Sequence[Pair]) -> tuple[Mask, Mask]:
    return (
        both.base.leaf_in([pair.index_base for pair in pairs if pair.index_base is not None]),
        both.head.leaf_in([pair.index_head for pair in pairs if pair.index_head is not None]),
    )


def _none(side: Tally) -> Mask:
    return side.containing([])


def _and(one: tuple[Mask, Mask], two: tuple[Mask, Mask]) -> tuple[Mask, Mask]:
    return one[0] & two[0], one[1] & two[1]
