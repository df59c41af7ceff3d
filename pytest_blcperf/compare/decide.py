"""Questions put to one estimate: is it above, is it below, what could it have shown."""

from __future__ import annotations

import math

from pytest_blcperf.compare.student import survival, upper_quantile
from pytest_blcperf.model.comparison import Estimate

DETECTABLE = 3.97
"""Standard errors between the margin and an effect seen with 95 % power at 1 % one-sided error: z(0.99) + z(0.95)."""
TOLERATED = 0.5
"""Part of the threshold up to which a change is taken for none: two versions of equal cost differ by a percent or so,
because of their memory layouts. A regression is measured above its threshold, and surely above this part of it. To be
surely above the threshold itself would take many times the launches for a change just above it."""
CONFIDENCE = 0.95
MANY_LAUNCHES = 200


def p_above(estimate: Estimate, change: float) -> float:
    """One-sided p-value against "the relative change is at most `change`": P(t ≥ (θ̂ − log(1 + change))/SE).

    1 where the estimate has no standard error.
    """
    return _p(estimate.log_ratio - math.log1p(change), estimate)


def p_below(estimate: Estimate, change: float) -> float:
    """One-sided p-value against "the relative change is at least `change`"; 1 for a change of −100 % or beyond."""
    return 1.0 if change <= -1 else _p(math.log1p(change) - estimate.log_ratio, estimate)


def upper_log_ratio(estimate: Estimate) -> float:
    """The 95 % one-sided upper confidence bound of θ; infinite where there is no standard error."""
    if not _usable(estimate):
        return math.inf
    return estimate.log_ratio + upper_quantile(1 - CONFIDENCE, estimate.freedom) * estimate.standard_error


def upper_change(estimate: Estimate) -> float:
    """The upper bound as a relative change, infinite above e^700."""
    bound = upper_log_ratio(estimate)
    return math.expm1(bound) if bound < 700 else math.inf


def most_change(estimate: Estimate) -> float:
    """The largest change in either direction that the 90 % interval allows, as a positive fraction."""
    mirrored = Estimate(-estimate.log_ratio, estimate.standard_error, estimate.freedom)
    return max(upper_change(estimate), -math.expm1(-upper_log_ratio(mirrored)))


def below_margin(estimate: Estimate, change: float) -> bool:
    """Whether the upper bound lies below `change`: no slowdown of that size is there."""
    return upper_log_ratio(estimate) < math.log1p(change)


def p_slower(estimate: Estimate, threshold: float) -> float:
    """One-sided p-value against "no dearer than is tolerated under this threshold"."""
    return p_above(estimate, TOLERATED * threshold)


def p_faster(estimate: Estimate, threshold: float) -> float:
    """One-sided p-value against "no cheaper than is tolerated under this threshold"."""
    return p_below(estimate, -TOLERATED * threshold)


def detectable(estimate: Estimate, threshold: float) -> float | None:
    """The smallest relative change that data like this convicts with 95 % power, at 1 % error, or None.

    It has to be measured above the threshold and to be significantly above what is tolerated.
    """
    if not _usable(estimate):
        return None
    chance = upper_quantile(1 - CONFIDENCE, MANY_LAUNCHES)
    effect = convicted_from(threshold, estimate.standard_error, chance, DETECTABLE)
    return math.expm1(effect) if effect < 700 else None


def convicted_from(threshold: float, error: float, chance: float, sure: float) -> float:
    """The smallest log ratio that a standard error lets convict: `chance` errors above the threshold, as it has to be
    measured above that, and `sure` errors above what is tolerated.
    """
    return max(math.log1p(threshold) + chance * error, math.log1p(TOLERATED * threshold) + sure * error)


def launches_needed(estimate: Estimate, launches: int, threshold: float, alpha: float) -> int | None:
    """About how many launches decide, were the estimate exact: SE scales with 1/√K. None for more than 200, or unknown.

    Below the threshold, until the upper bound is below it too; above, until the effect is significant at `alpha`.
    """
    distance = math.log1p(threshold) - estimate.log_ratio
    if distance <= 0:
        distance = math.log1p(TOLERATED * threshold) - estimate.log_ratio
    if not _usable(estimate) or distance == 0:
        return None
    level = 1 - CONFIDENCE if distance > 0 else alpha
    needed = launches * (upper_quantile(level, max(estimate.freedom, 5)) * estimate.standard_error / distance) ** 2
    return max(math.ceil(needed), launches + 1) if needed <= MANY_LAUNCHES else None


def _p(distance: float, estimate: Estimate) -> float:
    if not _usable(estimate):
        return 1.0
    if estimate.standard_error == 0:
        return 0.5 if distance == 0 else float(distance < 0)
    return survival(distance / estimate.standard_error, estimate.freedom)


def _usable(estimate: Estimate) -> bool:
    return estimate.freedom > 0 and math.isfinite(estimate.standard_error)
