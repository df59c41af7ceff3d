"""Who is to blame for a regression by elimination: the only changed function that can be.

Functions that are called too often for clocks have nothing but a share of the profile, and one that runs all the time
is the benchmark under another name: both can carry a slowdown that is beyond doubt, and be convicted of nothing
themselves. But code that is the same, called as often, gets dearer only through what changed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_blcperf.compare.compare import Pair, compare_benchmark
from pytest_blcperf.compare.decide import upper_change
from pytest_blcperf.compare.trial import Tested, Trial, tests
from pytest_blcperf.model.comparison import SELF, TOTAL
from pytest_blcperf.model.function import PYTHON

HALF = 0.5
"""Part of the growth that a function must be able to carry, by the upper bound of what was measured of it."""


def only_change(trial: Trial, convicted: Sequence[Tested]) -> Tested | None:
    """The test of the only changed function, of those it ran, whose measurement allows it to have caused the rest.

    `convicted` are the tests that failed. None where one of those has changed code itself, there is no such
    function or more than one, or calls were not counted, so that nobody knows what ran.
    """
    both = trial.overall_sides
    counted = trial.base.counts is not None and trial.head.counts is not None
    if both is None or not trial.paired or not counted:
        return None
    every = [pair.function for pair in both.pairs if _changed(pair)]
    # What encloses a changed function changed with it.
    enclosing = {one for one in every if any(one.encloses(other) for other in every)}
    changed = [one for one in every if one not in enclosing]
    if not changed or any(one.changed and one.hypothesis.function not in enclosing for one in convicted):
        return None
    keys = [(function, kind) for function in changed for kind in (SELF, TOTAL)]
    compared = compare_benchmark(trial.base, trial.head, trial.settings, phase=None, paired=True, only=keys)
    found = {(one.function.function, one.function.kind): one for one in tests(compared, trial.settings) if one.function}
    grown = max(_impact(one) for one in convicted)
    able = [one for one in changed if _may_carry(found.get((one, TOTAL)), HALF * grown)]
    if len(able) != 1:
        return None
    kinds = [found[key] for key in keys if key[0] == able[0] and key in found]
    return min(kinds, key=lambda one: one.estimate.standard_error)


def _changed(pair: Pair) -> bool:
    """Whether it runs on the head with other code than on the base, or is new.

    Python functions are counted. Native ones are sampled only, and one that was seen on one side may be on both.
    """
    if pair.function.kind == PYTHON:
        return bool(pair.calls_head) and bool(pair.code_changed or pair.new)
    return bool(pair.code_changed)


def _impact(one: Tested) -> float:
    return one.estimate.change if one.function is None else one.function.impact


def _may_carry(total: Tested | None, impact: float) -> bool:
    """Whether a function, with what it calls, may have that impact on the benchmark, by its upper bound."""
    if total is None or total.function is None or total.limits.ignore:
        return False
    most = upper_change(total.estimate)
    share = max(total.function.share_base, total.function.share_head)
    return not math.isfinite(most) or share * most >= impact
