"""The functions of runs and captures as rows: what tables, CSV and metrics are written from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_blcperf.model.capture import Capture, profile_of
from pytest_blcperf.model.comparison import INSTRUCTIONS, NANOSECONDS
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.hottest import hottest
from pytest_blcperf.model.profile import Profile
from pytest_blcperf.model.run import Benchmark
from pytest_blcperf.report.measured import instructions_per_iteration, time_per_iteration

EVERY = 1_000_000


@dataclass(frozen=True)
class FunctionRow:
    """A function in a benchmark or a capture (`subject`). Shares are fractions of the subject's time; `own` and `total`
    are in `unit`: ns of CPU time or instructions per iteration of a benchmark, or what the event counts in the whole
    capture.

    `own` and `own_share` are None when the backend knows no self time, `calls` (an iteration) when they were not
    counted, `total` when the benchmark was not timed.
    """

    subject: str
    function: Function
    own_share: float | None
    total_share: float
    own: float | None
    total: float | None
    unit: str
    calls: float | None = None


def rows_of_benchmarks(benchmarks: Sequence[Benchmark], top: int = EVERY) -> list[FunctionRow]:
    """At most `top` functions of each benchmark, hottest first: by time, or by instructions if that is all."""
    return [row for benchmark in benchmarks for row in _of_benchmark(benchmark, top)]


def _of_benchmark(benchmark: Benchmark, top: int) -> list[FunctionRow]:
    profile, whole, unit = _cost(benchmark)
    if profile is None:
        return []
    calls: dict[Function, float] = {}
    for count in benchmark.counts.calls if benchmark.counts else ():
        calls[count.function] = calls.get(count.function, 0.0) + count.calls
    return [
        FunctionRow(
            benchmark.id,
            hot.function,
            hot.self_share,
            hot.total_share,
            None if whole is None or hot.self_share is None else hot.self_share * whole,
            None if whole is None else hot.total_share * whole,
            unit,
            calls.get(hot.function),
        )
        for hot in hottest(profile, top)
    ]


def _cost(benchmark: Benchmark) -> tuple[Profile | None, float | None, str]:
    """Its profile, and what an iteration costs in what unit."""
    if benchmark.profile is None and benchmark.instructions is not None:
        return benchmark.instructions.profile, instructions_per_iteration(benchmark), INSTRUCTIONS
    times = time_per_iteration(benchmark)
    return benchmark.profile, times and times[0], NANOSECONDS


def rows_of_capture(capture: Capture, top: int = EVERY) -> list[FunctionRow]:
    """At most `top` functions, hottest first."""
    whole = float(capture.weight.sum())
    return [
        FunctionRow(
            capture.target or "capture",
            hot.function,
            hot.self_share,
            hot.total_share,
            None if hot.self_share is None else hot.self_share * whole,
            hot.total_share * whole,
            capture.unit,
        )
        for hot in hottest(profile_of(capture), top)
    ]
