"""Metrics that tests report by themselves: the ratio head / base of one value a launch."""

from __future__ import annotations

import math
from statistics import median

import numpy as np

from pytest_blcperf.compare.estimate import NOTHING, Times, welch
from pytest_blcperf.model.comparison import Estimate
from pytest_blcperf.model.run import Benchmark
from pytest_blcperf.model.warning import Warning


def metric_times(base: Benchmark, head: Benchmark, phase: str | None, *, paired: bool) -> Times:
    """The estimate of a metric in the place of a time: its logarithm is positive where the head is worse.

    Paired: the mean over launches of the log ratios, SE = s/√K with K − 1 degrees of freedom. A launch gives one value
    a side, so s holds everything that differs between launches. Against a stored run as times are (`welch`).
    `base_ns` and `head_ns` are medians over launches in the metric's own unit.
    """
    assert head.metric is not None and base.metric is not None
    if (base.metric.unit, base.metric.better) != (head.metric.unit, head.metric.better):
        text = f"{head.metric.name} has another unit or another better side on the base: not compared"
        return Times(NOTHING, (), (), 0.0, 0.0, 0.0, 0.0, (Warning("metric-differs", text),))
    sign = -1.0 if head.metric.better == "higher" else 1.0
    old, new = _values(base, phase), _values(head, phase)
    if paired:
        both = tuple(sorted(old.keys() & new.keys()))
        old, new = ({index: side[index] for index in both} for side in (old, new))
    logs = [sign * np.log(np.array(list(side.values()), dtype=np.float64)) for side in (old, new)]
    ratio = _paired(logs[1] - logs[0]) if paired else welch(*logs)
    before, after = (median(side.values()) if side else 0.0 for side in (old, new))
    return Times(ratio, tuple(old), tuple(new), before, after, 0.0, 0.0)


def _paired(differences: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Estimate:
    count = len(differences)
    if not count:
        return NOTHING
    centre = float(differences.mean())
    if count < 2:
        return Estimate(centre, math.inf, 0)
    return Estimate(centre, float(differences.std(ddof=1)) / math.sqrt(count), count - 1)


def _values(benchmark: Benchmark, phase: str | None) -> dict[int, float]:
    return {
        launch.index: launch.value
        for launch in benchmark.launches
        if launch.value is not None and launch.value > 0 and phase in (None, launch.phase)
    }
