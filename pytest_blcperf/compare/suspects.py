"""Which functions are worth timing exactly, once a first profile and the call counts are there."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pytest_blcperf.compare.compare import LITTLE, SELF_SLACK, WHOLE, Pair, Sides
from pytest_blcperf.compare.trial import Hypothesis, Tested
from pytest_blcperf.model.comparison import SELF, TOTAL
from pytest_blcperf.model.function import PYTHON, Function
from pytest_blcperf.settings import Settings

CLOCK_NS = 400.0
"""What one call of a timed function costs more, about: the events, their callbacks and the clocks."""
MOST_OF_FUNCTION, MOST_OF_BENCHMARK = 0.25, 0.5
"""How much of a function's time, and of an iteration's, the clocks may add: beyond that they would measure themselves,
since what they add is known to a tenth or so."""
MOST_OF_CHANGED = 1.0
"""As much of a function whose code changed, though no more than a quarter of an iteration: it is what everybody wants
to know about. What clocks are off by is the same on both sides, unless a function ends in another way than before."""
MOST_SUSPECTS = 20
CHANGED_SHARE = 0.2
"""Part of the least share of a hot function from which on changed code is timed."""

Suspect = tuple[Function, Function]
"""A function as the base knows it, and the head."""


def suspects(both: Sides, settings: Settings, benchmark: str) -> tuple[Suspect, ...]:
    """The hot Python functions, and changed ones on hot paths, that clocks can time; changed ones, then the largest.

    A function has to be known on both sides and its calls per iteration counted. One that is called too often for its
    time is left to the profile.
    """
    ranked = sorted(
        ((_share(both, pair), pair) for pair in both.pairs if _wanted(both, pair, settings, benchmark)),
        key=lambda one: (not _first(one[0], one[1], settings), -one[0], one[1].function.file, one[1].function.name),
    )
    chosen: list[Suspect] = []
    added = 0.0
    for _, pair in ranked[: 2 * MOST_SUSPECTS]:
        cost = CLOCK_NS * max(pair.calls_base or 0.0, pair.calls_head or 0.0)
        room = MOST_OF_BENCHMARK * both.times.base_ns - added
        most = MOST_OF_CHANGED if pair.code_changed else MOST_OF_FUNCTION
        most = min(most * _share(both, pair), MOST_OF_FUNCTION) * both.times.base_ns
        if pair.base is not None and cost <= min(room, most):
            chosen.append((pair.base, pair.function))
            added += cost
    return tuple(chosen[:MOST_SUSPECTS])


def _first(share: float, pair: Pair, settings: Settings) -> bool:
    """Whether it is timed before what is hotter: it changed and is hot. Many small edits must not keep all else out."""
    return bool(pair.code_changed) and share >= settings.min_share


def _wanted(both: Sides, pair: Pair, settings: Settings, benchmark: str) -> bool:
    function = pair.function
    limits = settings.limits(benchmark, function.file, function.name)
    known = pair.base is not None and pair.base.kind == function.kind == PYTHON and "<benchmark>" not in function.file
    if not known or limits.ignore or not pair.calls_base or not pair.calls_head or "+" in function.fingerprint:
        return False
    least = limits.min_share * (CHANGED_SHARE if pair.code_changed else 1.0)
    # Of what is the benchmark under another name only the self time tells anything.
    return _share(both, pair) >= max(least, 1e-9) and (_least(both, pair) < WHOLE or _least(both, pair, SELF) >= least)


def needs_profile(tested: Iterable[Tested], timed: Collection[Suspect], both: Sides, *, tried: bool) -> bool:
    """Whether one of these open hypotheses can only be judged by a profile: no clock can tell of it.

    `tried` says that launches with clocks are among the data: then only what those told counts. Not every function can
    be timed in every interpreter, and stacks that are switched (greenlets) defeat the clock.
    """
    return any(not _told_by_clock(one, timed, both, tried) for one in tested if one.function is not None)


def open_hypotheses(tested: Iterable[Tested], candidates: Collection[Hypothesis] = ()) -> list[Tested]:
    """Those among the candidates; without candidates, those that no data rules out yet."""
    return [one for one in tested if (one.hypothesis in candidates if candidates else not one.harmless)]


def _told_by_clock(tested: Tested, timed: Collection[Suspect], both: Sides, tried: bool) -> bool:
    one = tested.function
    assert one is not None
    if tried or one.timed_in is not None:
        return one.timed
    if one.function not in {head for _, head in timed}:
        return False
    if one.kind == TOTAL:
        return True
    pair = next(pair for pair in both.pairs if pair.function == one.function)
    return both.exact(pair, SELF) is not None or _keeps_to_itself(both, pair, timed)


def _keeps_to_itself(both: Sides, pair: Pair, timed: Collection[Suspect]) -> bool:
    """Whether, by the profile, what a clock would call the function's own time is its self time and little more."""
    heads = {head for _, head in timed}
    others = [other for other in both.pairs if other.function in heads and other is not pair]
    sides = (
        (both.base, pair.index_base, [other.index_base for other in others]),
        (both.head, pair.index_head, [other.index_head for other in others]),
    )
    for (side, caller, callees), own in zip(sides, both.shares(pair, SELF), strict=True):
        if caller is None:
            return False
        left = side.containing([caller])
        for callee in callees:
            if callee is not None:
                left = left & ~side.calls_through(caller, callee)
        if side.within(left).sum() / side.samples.sum() > SELF_SLACK * own + LITTLE:
            return False
    return True


def _share(both: Sides, pair: Pair) -> float:
    return max(both.shares(pair, TOTAL))


def _least(both: Sides, pair: Pair, kind: str = TOTAL) -> float:
    return min(both.shares(pair, kind))
