"""Instructions counted by callgrind, compared as times are: the same functions and stacks in another unit."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from pytest_blcperf.compare.estimate import Times
from pytest_blcperf.compare.launch_mean import NOTHING
from pytest_blcperf.model.comparison import Estimate
from pytest_blcperf.model.profile import Floats
from pytest_blcperf.model.run import LOOK, Benchmark, Launch, Round

BENCHMARK_ERROR = 0.0015
"""SD of the log ratio of a benchmark's instructions when nothing changed that it runs: memory lies elsewhere, so
dictionaries of objects collide otherwise. From few pairs; docs/accuracy.md has those that did not keep within it."""
FUNCTION_ERROR = 0.004
"""The same of one function's."""
MANY = 30
"""Degrees of freedom of an error that is known from elsewhere."""


def in_instructions(benchmark: Benchmark) -> Benchmark | None:
    """The benchmark with instructions in the place of times and of weights; None where none were counted.

    A repetition is a launch of one round: the instructions of its iterations.
    """
    counted = benchmark.instructions
    if counted is None:
        return None
    launches = tuple(
        Launch(one.index, LOOK, one.hash_seed, None, (Round(one.iterations, one.instructions, 0),))
        for one in counted.counts
    )
    return replace(benchmark, launches=launches, profile=counted.profile, warnings=())


def counted_times(base: Benchmark, head: Benchmark) -> Times:
    """The ratio of instructions, from repetitions with the same index, hence hash seed, on both sides.

    The mean over K repetitions of log(I_head / I_base); SE² = max(s²/K, BENCHMARK_ERROR²), its degrees of freedom
    K − 1, or 30 where the second, which comes from many measurements, is the larger.
    """
    old = {one.index: _per_iteration(one) for one in base.launches}
    new = {one.index: _per_iteration(one) for one in head.launches}
    used = tuple(index for index in sorted(old.keys() & new.keys()) if old[index] > 0 and new[index] > 0)
    logs = np.array([math.log(new[index] / old[index]) for index in used])
    before, after = (float(np.mean([side[index] for index in used])) if used else 0.0 for side in (old, new))
    return Times(_estimate(logs, BENCHMARK_ERROR), used, used, before, after, 0.0, 0.0)


def counted_ratio(base: Floats, head: Floats) -> Estimate:
    """The ratio of a function's instructions [K], launch by launch; half an instruction is added to every count."""
    both = (base > 0) | (head > 0)
    logs = np.log((head[both] + 0.5) / (base[both] + 0.5))
    return _estimate(logs, FUNCTION_ERROR)


def _estimate(logs: Floats, known: float) -> Estimate:
    if not len(logs):
        return NOTHING
    centre = float(logs.mean())
    own = float(logs.std(ddof=1)) / math.sqrt(len(logs)) if len(logs) > 1 else 0.0
    return Estimate(centre, own, len(logs) - 1) if own > known else Estimate(centre, known, MANY)


def _per_iteration(launch: Launch) -> float:
    iterations = sum(one.iterations for one in launch.rounds)
    return sum(one.cpu_ns for one in launch.rounds) / iterations if iterations else 0.0
