"""Shares set against functions that did the same on both sides: what can be compared when times cannot.

On another machine everything takes another time, so a function is compared with control functions: those with the same
code that are called equally often. Their shares of the time move together when the rest grows or shrinks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pytest_blcperf.compare.compare import Pair, Sides
from pytest_blcperf.model.comparison import SELF, TOTAL, Estimate
from pytest_blcperf.model.function import PYTHON, Function
from pytest_blcperf.model.profile import Floats

LEAST_CONTROLS = 10
"""Fewer functions could all be special in the same way."""
LEAST_SHARE = 0.5
"""Part of the time on both sides that controls must hold: otherwise they are a corner of the benchmark."""
MARGIN = 0.25
"""Relative growth that another processor may give a function by itself: caches, memory, branch prediction."""
_NORMAL = 1.4826
"""Makes a median absolute deviation the SD of normal values."""


@dataclass(frozen=True)
class Controls:
    """Control functions. `centre` is the weighted median of L = log(π_head / π_base), `spread` their SD around it.

    `between` is the part of it that sampling does not explain: how differently the machines treat functions that do
    the same. `effective` is how many functions of equal weight they count for (Kish), `share` the part of the time they
    hold.
    """

    functions: int
    share: float
    centre: float
    spread: float
    between: float
    effective: float

    @property
    def whole(self) -> Estimate:
        """How the whole benchmark grew against its controls: their shares shrink when it does.

        The SE of a median of n values is √(π/2) SD/√n.
        """
        error = math.sqrt(math.pi / 2) * self.spread / math.sqrt(self.effective)
        return Estimate(-self.centre, error, max(int(self.effective) - 1, 0))

    def normalised(self, share: Estimate) -> Estimate:
        """L − centre, with SE² = SE_L² + SE_centre² + between²: what a function may differ by that did the same."""
        whole = self.whole
        error = math.hypot(share.standard_error, whole.standard_error, self.between)
        return Estimate(share.log_ratio - self.centre, error, min(share.freedom, whole.freedom))


@dataclass(frozen=True)
class Normalised:
    """One function against the controls. `share` is the larger of its two shares of the time."""

    pair: Pair
    kind: str
    estimate: Estimate
    share: float

    @property
    def function(self) -> Function:
        """The function, the head's where there is one."""
        return self.pair.function

    @property
    def impact(self) -> float:
        """The part of the benchmark that its growth makes up."""
        growth = math.expm1(min(self.estimate.log_ratio, 50.0))
        return self.share * growth / (1 + growth) if growth > 0 else self.share * growth


def controls(both: Sides) -> Controls | None:
    """The controls of a benchmark; None where there are fewer than ten, or they hold less than half of the time."""
    if not both.has_self:
        return None  # total times overlap: each would be counted many times
    chosen = [pair for pair in both.pairs if _does_the_same(pair)]
    shares = np.array([both.shares(pair, SELF) for pair in chosen]).reshape(-1, 2)
    if len(chosen) < LEAST_CONTROLS or float(shares.sum(axis=0).min()) < LEAST_SHARE:
        return None
    weights = shares.mean(axis=1)
    estimates = [both.share_ratio(*both.counts(pair, SELF)) for pair in chosen]
    seen = (weights > 0) & np.isfinite([one.standard_error for one in estimates])
    ratios = np.array([one.log_ratio for one in estimates])[seen]
    errors = np.array([one.standard_error for one in estimates])[seen]
    weights = weights[seen]
    if len(ratios) < LEAST_CONTROLS:
        return None
    centre = _weighted_median(ratios, weights)
    spread = _NORMAL * _weighted_median(np.abs(ratios - centre), weights)
    effective = float(weights.sum() ** 2 / (weights**2).sum())
    between = math.sqrt(max(spread**2 - _weighted_median(errors**2, weights), 0.0))
    return Controls(len(ratios), float(shares.sum(axis=0).min()), centre, spread, between, effective)


def against_controls(both: Sides, known: Controls) -> Iterator[Normalised]:
    """Every function that was sampled on a side, by self time and with what it calls."""
    for pair in both.pairs:
        for kind in (SELF, TOTAL):
            share = max(both.shares(pair, kind))
            if share > 0:
                yield Normalised(pair, kind, known.normalised(both.share_ratio(*both.counts(pair, kind))), share)


def _does_the_same(pair: Pair) -> bool:
    same_calls = pair.counts_exact and pair.calls_base == pair.calls_head and bool(pair.calls_base)
    return same_calls and pair.code_changed is False and pair.function.kind == PYTHON


def _weighted_median(values: Floats, weights: Floats) -> float:
    """The value below and above which half of the weight lies; between two such values their middle."""
    order = np.argsort(values, kind="stable")
    ordered, reached = values[order], np.cumsum(weights[order])
    half = reached[-1] / 2
    at = int(np.searchsorted(reached, half * (1 - 1e-12)))
    middle = at + 1 if at + 1 < len(ordered) and math.isclose(reached[at], half) else at
    return float(ordered[at] + ordered[middle]) / 2
