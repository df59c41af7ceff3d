"""Wall time in the place of CPU time: for benchmarks whose waiting counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pytest_blcperf.compare.estimate import Times
from pytest_blcperf.model.comparison import FunctionComparison
from pytest_blcperf.model.run import Benchmark, Launch, Round


def in_wall(benchmark: Benchmark) -> Benchmark:
    """The benchmark with the wall time of its rounds where CPU times are compared."""
    return replace(benchmark, launches=tuple(map(_launch, benchmark.launches)))


def in_wall_share(functions: Iterable[FunctionComparison], cpu: Times) -> tuple[FunctionComparison, ...]:
    """The functions with their impact on wall time: that on CPU time × the base's CPU time / wall time, at most 1.

    Their ratios and costs stay CPU time: a sampler does not see what waits, and clocks leave out the time without a
    CPU. Threads that run at once use more CPU time than passes; what a function of theirs adds to the wall time is not
    known then, and taken as its share.
    """
    part = min(1.0, cpu.base_ns / cpu.base_wall_ns) if cpu.base_wall_ns > 0 else 1.0
    return tuple(replace(one, impact=one.impact * part) for one in functions)


def _launch(launch: Launch) -> Launch:
    return replace(launch, rounds=tuple(Round(one.iterations, one.wall_ns, one.wall_ns) for one in launch.rounds))
