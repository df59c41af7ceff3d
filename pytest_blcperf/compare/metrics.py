"""Metrics that tests report by themselves: the ratio head / base of one value a launch."""

from __future__ import annotations

from statistics import median

import numpy as np

from pytest_blcperf.compare.estimate import Times, welch
from pytest_blcperf.compare.launch_mean import NOTHING, launch_mean
from pytest_blcperf.model.run import Benchmark
from pytest_blcperf.model.warning import Warning


def metric_times(base: Benchmark, head: Benchmark, phase: str | None, *, paired: bool) -> Times:
    """The estimate of a metric in the place of a time: its logarithm is positive where the head is worse.

    Paired: the mean over launches of the log ratios (`launch_mean`). Against a stored run as times are (`welch`).
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
    ratio = launch_mean([np.array([one]) for one in logs[1] - logs[0]]) if paired else welch(*logs)
    before, after = (median(side.values()) if side else 0.0 for side in (old, new))
    return Times(ratio, tuple(old), tuple(new), before, after, 0.0, 0.0)


def _values(benchmark: Benchmark, phase: str | None) -> dict[int, float]:
    return {
        launch.index: launch.value
        for launch in benchmark.launches
        if launch.value is not None and launch.value > 0 and phase in (None, launch.phase)
    }
