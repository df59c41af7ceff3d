"""What launches of the same code on both sides differ by, and the smallest effect that shows above it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pytest_blcperf.compare.compare import sides
from pytest_blcperf.compare.decide import convicted_from
from pytest_blcperf.compare.estimate import log_ratios, paired_rounds
from pytest_blcperf.compare.launch_mean import TRIMMED
from pytest_blcperf.compare.student import upper_quantile
from pytest_blcperf.model.calibration import BenchmarkNoise, Calibration, CalibrationRecord, Noise
from pytest_blcperf.model.profile import Floats
from pytest_blcperf.model.run import Benchmark, Launch

LEAST_LAUNCHES = 4
"""Fewer give no standard deviation to speak of."""
LEAST_BETWEEN = 0.001
"""No number of launches that anybody waits for proves a σ_b below this."""
PRIOR_FREEDOM = 10
"""Degrees of freedom that all benchmarks together count for in the variance of each."""
POWER = 0.95
_PARTS = 4
"""Stretches of a launch. Neighbouring rounds resemble each other; stretches of some rounds hardly do."""


def noise_of(base: Benchmark, head: Benchmark, seconds: float) -> BenchmarkNoise | None:
    """The noise of a benchmark from a lockstep measurement of the same code; None for fewer than four launches.

    One-way analysis of variance with random effects (Searle, Casella & McCulloch, *Variance Components*, 1992): each
    launch's log ratios are cut into four stretches, whose means y give σ² = (MS_between − MS_within) / 4, twice σ_b²,
    since either side adds its own. A mean is that of the middle half, as the gate's own.
    """
    rows = [row for pair in _paired(base, head) if (row := _stretches(*pair)) is not None]
    if len(rows) < LEAST_LAUNCHES:
        return None
    values = np.array(rows)
    launches = values.mean(axis=1)
    spread = float(launches.std(ddof=1))
    within = float(values.var(axis=1, ddof=1).mean()) / _PARTS
    both = sides(base, head, phase=None, paired=True)
    return BenchmarkNoise(
        id=head.id,
        launches=len(rows),
        seconds=seconds,
        spread=spread,
        between_launches=math.sqrt(max(spread**2 - within, 0.0) / 2),
        freedom=len(rows) - 1,
        dispersion=None if both is None else both.dispersion,
    )


def pooled(found: Sequence[BenchmarkNoise]) -> Noise:
    """One noise for benchmarks that were not measured: the mean variance by degrees of freedom, the median φ."""
    freedom = sum(one.freedom for one in found)
    if not freedom:
        return Noise()
    variance = sum(one.freedom * one.between_launches**2 for one in found) / freedom
    dispersions = [one.dispersion for one in found if one.dispersion is not None]
    return Noise(max(math.sqrt(variance), LEAST_BETWEEN), float(np.median(dispersions)) if dispersions else None)


def calibration(record: CalibrationRecord, *, dispersion: bool) -> Calibration:
    """What the gate uses of a record; φ only where `dispersion` says that profiles are taken as they were then.

    Each benchmark's variance is moderated by that of all, which counts ten degrees of freedom (Smyth, *Statistical
    Applications in Genetics and Molecular Biology* 3, 2004): a dozen launches alone give σ_b to a fifth at best.
    """
    whole = record.pooled
    prior = PRIOR_FREEDOM * whole.between_launches**2

    def moderated(one: BenchmarkNoise) -> Noise:
        variance = (prior + one.freedom * one.between_launches**2) / (PRIOR_FREEDOM + one.freedom)
        return Noise(max(math.sqrt(variance), LEAST_BETWEEN), one.dispersion if dispersion else None)

    everything = whole if dispersion else Noise(whole.between_launches)
    return Calibration(record.label, everything, {one.id: moderated(one) for one in record.benchmarks})


def launches_within(seconds: float, a_launch: float) -> int:
    """How many launches a time budget pays for."""
    return int(seconds / a_launch) if a_launch > 0 else 0


def smallest_effect(noise: BenchmarkNoise, launches: int, threshold: float, alpha: float) -> float | None:
    """The relative slowdown that fails the gate with 95 % probability; None for fewer than two launches.

    It has to be measured above its threshold, and surely above what is tolerated: the larger of log(1 + threshold) +
    t_0.05 SE and log(1 + tolerated) + (t_α + t_0.05) SE with SE = s/√K: s is the SD over launches, K how many of them
    decide. The gate trims a tenth of them at either end; the degrees of freedom are those of what is left.
    """
    if launches < 2:
        return None
    freedom = launches - 2 * int(TRIMMED * launches) - 1
    error = noise.spread / math.sqrt(launches)
    chance = upper_quantile(1 - POWER, freedom)
    effect = convicted_from(threshold, error, chance, chance + upper_quantile(alpha, freedom))
    return math.expm1(effect) if effect < 10 else None


def together(found: Sequence[BenchmarkNoise]) -> BenchmarkNoise | None:
    """All benchmarks as one: their mean variances and the median length of a launch; None without any."""
    freedom = sum(one.freedom for one in found)
    if not freedom:
        return None
    noise = pooled(found)
    spread = math.sqrt(sum(one.freedom * one.spread**2 for one in found) / freedom)
    seconds = float(np.median([one.seconds for one in found]))
    launches = min(one.launches for one in found)
    return BenchmarkNoise("", launches, seconds, spread, noise.between_launches, freedom, noise.dispersion)


def _paired(base: Benchmark, head: Benchmark) -> list[tuple[Launch, Launch]]:
    old = {launch.index: launch for launch in base.launches}
    return [(old[launch.index], launch) for launch in head.launches if launch.index in old]


def _stretches(base: Launch, head: Launch) -> Floats | None:
    """Mean log ratios of the stretches of a launch, None where it has too few rounds."""
    pairs = paired_rounds(base, head)
    if len(pairs) < 2 * _PARTS:
        return None
    return np.array([_middle(part) for part in np.array_split(log_ratios(pairs), _PARTS)])


def _middle(values: Floats) -> float:
    """The mean of the middle half."""
    quarter = len(values) // 4
    return float(np.sort(values)[quarter : len(values) - quarter].mean())
