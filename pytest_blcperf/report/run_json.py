"""A run as JSON: `blcperf.report/1`, published in docs/schemas. Captures: `capture_json`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from pytest_blcperf.model.environment import Environment
from pytest_blcperf.model.run import Benchmark, Run
from pytest_blcperf.model.warning import Warning
from pytest_blcperf.report.function_rows import EVERY, FunctionRow, rows_of_benchmarks
from pytest_blcperf.report.measured import instructions_per_iteration, time_per_iteration

RUN_SCHEMA = "blcperf.report/1"


def of_run(run: Run, top: int = EVERY) -> dict[str, Any]:
    """The run as JSON data: times in ns per iteration, shares as fractions, `top` functions a benchmark."""
    return {
        "schema": RUN_SCHEMA,
        "name": run.name,
        "created": run.created,
        "commit": run.commit,
        "dirty": run.dirty,
        "pair": run.pair,
        "environment": _environment(run.environment),
        "warnings": _warnings(run.warnings),
        "benchmarks": [_benchmark(benchmark, top) for benchmark in run.benchmarks],
    }


def _benchmark(benchmark: Benchmark, top: int) -> dict[str, Any]:
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
        "instructions": instructions_per_iteration(benchmark),
        "counts_deterministic": benchmark.counts.deterministic if benchmark.counts else None,
        "functions": [{**_function(row), "calls": row.calls} for row in rows_of_benchmarks([benchmark], top)],
        "warnings": _warnings(benchmark.warnings),
    }


def _function(row: FunctionRow) -> dict[str, Any]:
    one = row.function
    return {"file": one.file, "name": one.name, "line": one.line, "self": row.own_share, "total": row.total_share}


def _environment(environment: Environment) -> dict[str, Any]:
    return {**asdict(environment), "packages": dict(environment.packages)}


def _warnings(warnings: Iterable[Warning]) -> list[dict[str, str]]:
    return [{"code": warning.code, "text": warning.text} for warning in warnings]
