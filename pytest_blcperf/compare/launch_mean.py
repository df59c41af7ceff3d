"""The mean over launches of something that each launch measured, robust, with an error that Student's t holds for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pytest_blcperf.model.comparison import Estimate
from pytest_blcperf.model.profile import Floats

TRIMMED = 0.1
"""Part of the launches left out at either end. A neighbour that wakes up spoils a launch now and then."""
LEAST_SPREAD = 0.001
"""SD between launches that is reckoned with at least: equal figures by a clock's coarseness are not certainty."""
NOTHING = Estimate(0.0, math.inf, 0)
"""The estimate when there is no data: any change is possible."""


def launch_mean(launches: Sequence[Floats], least_spread: float = LEAST_SPREAD) -> Estimate:
    """The log ratio from those of the rounds of each launch.

    A launch's value is the interquartile mean of its rounds: they are neither independent nor clean, so a launch is one
    observation whatever it holds. Over the K launches: the mean trimmed by g = ⌊K/10⌋ values at either end, its SE from
    the winsorized sum of squares, √(SSD_w / (h (h − 1))) with h = K − 2g, and h − 1 degrees of freedom (Tukey and
    McLaughlin 1963; Yuen 1974). SE is infinite for fewer than two launches.
    `least_spread` is the SD between launches that is reckoned with at least, where calibration knows of one.
    """
    values = np.sort([interquartile_mean(rounds) for rounds in launches if len(rounds)])
    count = len(values)
    if not count:
        return NOTHING
    cut = int(TRIMMED * count)
    kept = count - 2 * cut
    centre = float(values[cut : count - cut].mean())
    if count < 2:
        return Estimate(centre, math.inf, 0)
    winsorized = np.clip(values, values[cut], values[count - cut - 1])
    spread = float(((winsorized - winsorized.mean()) ** 2).sum())
    variance = max(spread / (kept * (kept - 1)), max(least_spread, LEAST_SPREAD) ** 2 / count)
    return Estimate(centre, math.sqrt(variance), kept - 1)


def interquartile_mean(values: Floats) -> float:
    """The mean of the middle half; values at its borders count in part."""
    ordered = np.sort(values)
    ends = np.arange(1, len(ordered) + 1, dtype=np.float64)
    quarter = len(ordered) / 4
    inside = np.diff(np.clip(ends, quarter, 3 * quarter), prepend=quarter)
    return float(inside @ ordered / (2 * quarter))
