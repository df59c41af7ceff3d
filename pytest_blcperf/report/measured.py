"""What one run measured, nothing compared: a line a benchmark."""

from __future__ import annotations

from statistics import median

from pytest_blcperf.model.run import Benchmark, Run
from pytest_blcperf.report.text import aligned, clean, cut_middle, time_ns

_HEADER = ["benchmark", "CPU/iteration", "wall", "launches", "rounds", "samples"]


def table(run: Run, width: int) -> list[str]:
    """The benchmarks of a run in aligned columns; [] for a run without any."""
    if not run.benchmarks:
        return []
    room = max(width - 52, 24)
    return aligned([_HEADER, *(_row(benchmark, room) for benchmark in run.benchmarks)], right=frozenset(range(1, 6)))


def time_per_iteration(benchmark: Benchmark) -> tuple[float, float] | None:
    """CPU and wall time per iteration, ns: the median over launches of the median over rounds; None without rounds."""
    launches = [launch.rounds for launch in benchmark.launches if launch.rounds]
    if not launches:
        return None
    cpu = median(median(one.cpu_ns / one.iterations for one in rounds) for rounds in launches)
    wall = median(median(one.wall_ns / one.iterations for one in rounds) for rounds in launches)
    return cpu, wall


def instructions_per_iteration(benchmark: Benchmark) -> float | None:
    """The mean over repetitions under callgrind; None where nothing was counted."""
    counted = benchmark.instructions.counts if benchmark.instructions else ()
    counts = [one.instructions / one.iterations for one in counted]
    return sum(counts) / len(counts) if counts else None


def _row(benchmark: Benchmark, room: int) -> list[str]:
    name = cut_middle(clean(benchmark.id, 500), room)
    launches = len(benchmark.launches)
    if benchmark.metric is not None:
        values = [launch.value for launch in benchmark.launches if launch.value is not None]
        shown = f"{median(values):.4g} {clean(benchmark.metric.unit, 20)}".rstrip() if values else "n/a"
        return [name, shown, "", str(launches), "", ""]
    times = time_per_iteration(benchmark)
    cpu, wall = (time_ns(times[0]), time_ns(times[1])) if times else ("n/a", "n/a")
    rounds = sum(len(launch.rounds) for launch in benchmark.launches)
    samples = benchmark.profile.total_samples if benchmark.profile else 0
    return [name, cpu, wall, str(launches), f"{rounds:,}", f"{samples:,}"]
