"""Which functions carry the slowdown of a benchmark that was convicted as a whole.

A benchmark fails from a lower threshold on than a function does, so the one that carries its slowdown can be below its
own. Functions of a convicted benchmark, and of no other, are therefore asked a second question: did this one, rather
than everything? Tests in a fixed sequence may each spend what the first may, since the later ones are made only where
the first rejected (Maurer, Hothorn and Lehmacher 1995).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pytest_blcperf.compare.attributed import NEARLY_ALL
from pytest_blcperf.compare.blame import p_callers_grew
from pytest_blcperf.compare.decide import TOLERATED, p_above
from pytest_blcperf.compare.holm import adjust
from pytest_blcperf.compare.trial import Tested, Trial, tests


def carriers(trial: Trial) -> dict[Tested, float]:
    """What asks each hot function whether it carries the slowdown, with p-values on all launches, adjusted by Holm.

    The benchmark is one that was convicted. A function of share s that carries its slowdown d got dearer by d/s; where
    everything got dearer, by d like the rest. It has to be measured above the middle of the two, which is the threshold
    of its test, and surely above d and above half of that threshold. Those that are not measured above it have a
    p-value of 1.
    """
    own, *hot = tests(trial.overall, trial.settings)
    slowdown = own.estimate.change
    # A rule that allows a function more than the rest is a user's decision.
    plain = [one for one in hot if not one.limits.ignore and one.limits.threshold <= trial.settings.threshold]
    asked = list(_lowered(plain, slowdown))
    adjusted = adjust([*(_p(trial, one, slowdown) for one in asked), *[1.0] * (len(hot) - len(asked))])
    return dict(zip(asked, adjusted, strict=False))


def _lowered(hot: list[Tested], slowdown: float) -> Iterator[Tested]:
    """The tests of those functions for which that makes the threshold lower."""
    for one in hot:
        share = one.function.share_base if one.function is not None else 0.0
        if not 0 < share < NEARLY_ALL:
            continue
        threshold = slowdown * (1 + share) / 2 / share
        if threshold < one.limits.threshold:
            least = min(one.limits.min_impact, threshold * share)
            yield replace(one, limits=replace(one.limits, threshold=threshold, min_impact=least))


def _p(trial: Trial, one: Tested, slowdown: float) -> float:
    if not one.slower or one.function is None or trial.overall_sides is None:
        return 1.0
    surely = p_above(one.estimate, max(slowdown, TOLERATED * one.limits.threshold))
    return max(surely, p_callers_grew(trial.overall_sides, one.function))
