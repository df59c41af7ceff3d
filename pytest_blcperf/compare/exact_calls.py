"""What more calls are worth: exact counts say how many, the base's profile what one costs; no time is compared."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from pytest_blcperf.compare.decide import p_above
from pytest_blcperf.compare.student import upper_quantile
from pytest_blcperf.model.comparison import SELF, Estimate, FunctionComparison

FELL = 0.01
"""Level at which a cost per call has fallen: so often is one taken for cheaper that is not."""


@dataclass(frozen=True)
class MoreCalls:
    """A function that is called more often in the head, by exact counts, and what that adds to the benchmark.

    At unchanged cost per call its cost grows as its calls do, so of the benchmark's base cost

        W = π_b (q_h / q_b − 1)

    is added, where π_b is its share of the base and q are calls per iteration. The q are exact; π_b is all that has an
    error. `worth` is log W with that error: SE = max(SE_θ, √((1 − π_b) / (c_b + ½))), the second that of a share from
    c_b binomial samples; SE_θ, the error of the function's ratio, holds the share's error of the base as one of its
    parts, with the dispersion and the scatter between launches that were seen.
    """

    comparison: FunctionComparison
    growth: float
    """q_h / q_b, above 1."""
    worth: Estimate
    cheaper_per_call: bool
    """The time shows that a call got cheaper, so W is more than what was added: the upper bound (at FELL) of the
    function's own ratio θ lies below log(q_h / q_b). Then calls alone convict nobody; the time still may."""

    @property
    def likely(self) -> float:
        """W, a fraction of the benchmark's base cost."""
        return math.exp(self.worth.log_ratio)

    def least(self, alpha: float) -> float:
        """The lower confidence bound of W at one-sided level `alpha`; 0 where there is none, or a call got cheaper."""
        if self.cheaper_per_call or self.worth.freedom < 1 or not math.isfinite(self.worth.standard_error):
            return 0.0
        return math.exp(self.worth.log_ratio - upper_quantile(alpha, self.worth.freedom) * self.worth.standard_error)

    def p(self, impact: float) -> float:
        """P-value against "more calls add at most `impact`" (above 0) to the benchmark; 1 where a call got cheaper."""
        return 1.0 if self.cheaper_per_call else p_above(self.worth, impact - 1)


def more_calls(functions: Iterable[FunctionComparison]) -> tuple[MoreCalls, ...]:
    """The functions whose exact calls per iteration rose, the worth most first; each once.

    Self time where it is known: what a function calls has counts of its own, and twice the calls need not be twice the
    work below (the second may find it done). Not those that are new (the base has no cost of theirs), nor those
    without a sample in the base.
    """
    chosen: dict[object, FunctionComparison] = {}
    for one in functions:
        if one.function not in chosen or one.kind == SELF:
            chosen[one.function] = one
    found = [more for one in chosen.values() if (more := _more(one)) is not None]
    return tuple(sorted(found, key=lambda more: -more.likely))


def _more(one: FunctionComparison) -> MoreCalls | None:
    before, after = one.calls_base, one.calls_head
    if not one.counts_exact or not before or after is None or after <= before:
        return None
    if one.samples_base <= 0 or not 0 < one.share_base <= 1:
        return None
    growth = after / before
    # Where clocks measured the cost, it has no sampling error.
    sampling = 0.0 if one.timed and one.timed_in is None else math.sqrt((1 - one.share_base) / (one.samples_base + 0.5))
    error = max(one.ratio.standard_error, sampling)
    worth = Estimate(math.log(one.share_base * (growth - 1)), error, one.ratio.freedom)
    return MoreCalls(one, growth, worth, _upper(one.ratio) < math.log(growth))


def _upper(ratio: Estimate) -> float:
    if ratio.freedom < 1 or not math.isfinite(ratio.standard_error):
        return math.inf
    return ratio.log_ratio + upper_quantile(FELL, ratio.freedom) * ratio.standard_error
