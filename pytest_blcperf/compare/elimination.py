"""Who is to blame for a regression by elimination: the only changed function that can be.

Functions that are called too often for clocks have nothing but a share of the profile, and one that runs all the time
is the benchmark under another name: both can carry a slowdown that is beyond doubt, and be convicted of nothing
themselves. But code that is the same, called as often, gets dearer only through what changed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_blcperf.compare.compare import compare_benchmark
from pytest_blcperf.compare.decide import upper_change
from pytest_blcperf.compare.trial import Tested, Trial, tests
from pytest_blcperf.model.comparison import SELF, TOTAL, FunctionComparison
from pytest_blcperf.model.function import PYTHON, Function

HALF = 0.5
"""Part of the growth that a function must be able to carry, by the upper bound of what was measured of it."""


def only_change(trial: Trial, convicted: Sequence[Tested]) -> Tested | None:
    """The test of the only changed function, of those it ran, whose measurement allows it to have caused the rest.

    `convicted` are the tests that failed. None where one of those has changed code itself, there is no such
    function or more than one, or calls were not counted, so that nobody knows what ran.
    """
    both = trial.overall_sides
    if both is None or not trial.paired or any(one.changed for one in convicted):
        return None
    # Counted ones: what a sampler sees on one side only may be there on both.
    run = [pair for pair in both.pairs if pair.calls_head and pair.function.kind == PYTHON]
    changed = [pair.function for pair in run if pair.code_changed or pair.new]
    grown = max(_impact(one) for one in convicted)
    able = [one for function in changed if (one := _able(trial, function, HALF * grown)) is not None]
    return able[0] if len(able) == 1 else None


def _impact(one: Tested) -> float:
    return one.estimate.change if one.function is None else one.function.impact


def _able(trial: Trial, function: Function, impact: float) -> Tested | None:
    """The sharpest test of a function that may have that impact with what it calls; None where it has not."""
    keys = [(function, SELF), (function, TOTAL)]
    compared = compare_benchmark(trial.base, trial.head, trial.settings, phase=None, paired=True, only=keys)
    found = {one.function.kind: one for one in tests(compared, trial.settings) if one.function is not None}
    total = found.get(TOTAL)
    if total is None or total.limits.ignore or _most(total.function) < impact:
        return None
    return min(found.values(), key=lambda one: one.estimate.standard_error)


def _most(one: FunctionComparison | None) -> float:
    """The upper bound of its impact on the benchmark; infinite where its ratio has none."""
    most = upper_change(one.ratio) if one is not None else math.inf
    return max(one.share_base, one.share_head) * most if one is not None and math.isfinite(most) else math.inf
