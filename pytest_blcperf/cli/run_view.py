"""One run, as text and as JSON data."""

from __future__ import annotations

from typing import Any

from pytest_blcperf.cli import common
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.hottest import HotFunction, hottest
from pytest_blcperf.model.profile import Profile
from pytest_blcperf.model.run import Benchmark, Run
from pytest_blcperf.model.warning import Warning
from pytest_blcperf.report import measured
from pytest_blcperf.report.measured import time_per_iteration
from pytest_blcperf.report.text import clean, instructions, quantity

SCHEMA = "blcperf.report/1"


def _hot(benchmark: Benchmark, top: int) -> list[tuple[HotFunction, float | None]]:
    """The hottest functions, at most `top`, each with its calls an iteration (None when not counted)."""
    calls: dict[Function, float] = {}
    for count in benchmark.counts.calls if benchmark.counts else ():
        calls[count.function] = calls.get(count.function, 0.0) + count.calls
    profile = _profile(benchmark)
    hot = hottest(profile, top) if profile is not None else []
    return [(one, calls.get(one.function)) for one in hot]


def _profile(benchmark: Benchmark) -> Profile | None:
    """Its profile: of time where there is one, else of instructions."""
    if benchmark.profile is None and benchmark.instructions is not None:
        return benchmark.instructions.profile
    return benchmark.profile


def _instructions(benchmark: Benchmark) -> float | None:
    """Instructions per iteration, the mean over launches under callgrind."""
    launches = benchmark.instructions.launches if benchmark.instructions else ()
    counts = [count / one.iterations for one in launches for count in one.counts]
    return sum(counts) / len(counts) if counts else None


def as_data(run: Run, top: int) -> dict[str, Any]:
    """The run as JSON data (schema blcperf.report/1): times in ns per iteration, shares as fractions."""
    environment = run.environment
    return {
        "schema": SCHEMA,
        "name": run.name,
        "created": run.created,
        "commit": run.commit,
        "dirty": run.dirty,
        "pair": run.pair,
        "environment": {
            "machine": environment.machine,
            "cpu_model": environment.cpu_model,
            "cpu_count": environment.cpu_count,
            "memory_bytes": environment.memory_bytes,
            "system": environment.system,
            "kernel": environment.kernel,
            "python": environment.python,
            "python_build": environment.python_build,
            "packages": dict(environment.packages),
        },
        "warnings": _warnings(run.warnings),
        "benchmarks": [_benchmark_data(benchmark, top) for benchmark in run.benchmarks],
    }


def _benchmark_data(benchmark: Benchmark, top: int) -> dict[str, Any]:
    times = time_per_iteration(benchmark)
    return {
        "id": benchmark.id,
        "file": benchmark.file,
        "line": benchmark.line,
        "group": benchmark.group,
        "params": dict(benchmark.params),
        "extra_info": dict(benchmark.extra_info),
        "launches": len(benchmark.launches),
        "rounds": sum(len(launch.rounds) for launch in benchmark.launches),
        "cpu_ns": times and times[0],
        "wall_ns": times and times[1],
        "backend": benchmark.profile.backend if benchmark.profile else None,
        "samples": benchmark.profile.total_samples if benchmark.profile else 0,
        "instructions": _instructions(benchmark),
        "counts_deterministic": benchmark.counts.deterministic if benchmark.counts else None,
        "functions": [
            {
                "file": hot.function.file,
                "name": hot.function.name,
                "line": hot.function.line,
                "self": hot.self_share,
                "total": hot.total_share,
                "calls": calls,
            }
            for hot, calls in _hot(benchmark, top)
        ],
        "warnings": _warnings(benchmark.warnings),
    }


def _warnings(warnings: tuple[Warning, ...]) -> list[dict[str, str]]:
    return [{"code": warning.code, "text": warning.text} for warning in warnings]


def show(run: Run, top: int, details: bool = True) -> None:
    """Prints the run: what it is (with `details`), its benchmarks, `top` functions of each, warnings."""
    shown = common.terminal()
    if details:
        _print_head(run)
    if not run.benchmarks:
        print("no benchmark was measured")
        return
    for line in measured.table(run, shown.width):
        print(shown.show(line))
    for benchmark in run.benchmarks if details else ():
        _print_benchmark(benchmark, top)


def _print_head(run: Run) -> None:
    environment = run.environment
    machine = clean(environment.cpu_model or environment.machine or "unknown machine", 80)
    print(f"{clean(run.label)}, measured {clean(run.created)}")
    line = f"{machine} × {environment.cpu_count}, {environment.memory_bytes / 2**30:.1f} GiB, "
    line += f"{clean(environment.system)} {clean(environment.kernel)}, {clean(environment.python)}"
    line += f" ({clean(environment.python_build)}), {len(environment.packages)} packages"
    print(common.terminal().show(line))
    _print_warnings(run.warnings)
    print()


def _print_benchmark(benchmark: Benchmark, top: int) -> None:
    hot = _hot(benchmark, top)
    if not hot and not benchmark.warnings:
        return
    print(f"\n{clean(benchmark.id, 500)}")
    _print_warnings(benchmark.warnings)
    counted = _instructions(benchmark)
    if counted is not None:
        print(f"instructions per iteration: {instructions(counted)}")
    profile = _profile(benchmark)
    if hot:
        assert profile is not None
        calls = "calls" if benchmark.counts is None or benchmark.counts.deterministic else "calls (vary)"
        table = [["  self", "total", calls, f"function ({clean(profile.backend, 40)})"]]
        table += [_function_row(*item) for item in hot]
        common.print_table(table, right=frozenset({0, 1, 2}))


def _function_row(hot: HotFunction, calls: float | None) -> list[str]:
    own = "n/a" if hot.self_share is None else f"{hot.self_share * 100:.1f} %"
    return [
        f"  {own}",
        f"{hot.total_share * 100:.1f} %",
        "" if calls is None else quantity(calls),
        f"{clean(hot.function.name)}  {clean(hot.function.location)}",
    ]


def _print_warnings(warnings: tuple[Warning, ...]) -> None:
    for warning in warnings:
        print(common.terminal().show(f"warning: {clean(warning.text, 500)} [{clean(warning.code, 60)}]"))
