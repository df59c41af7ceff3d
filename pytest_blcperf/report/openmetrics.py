"""Runs and captures as OpenMetrics text (prometheus.io/docs/specs/om/open_metrics_spec), for a push to a time series.

Only functions with a percent of the time, fifty a subject: every label value is a series somebody has to store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_blcperf.model.capture import Capture
from pytest_blcperf.model.run import Run
from pytest_blcperf.report.function_rows import FunctionRow, rows_of_benchmarks, rows_of_capture
from pytest_blcperf.report.measured import time_per_iteration
from pytest_blcperf.report.text import clean

_FUNCTIONS = 50
_LEAST_SHARE = 0.01


@dataclass
class _Family:
    """One metric family and its samples."""

    name: str
    help: str
    unit: str = "seconds"
    kind: str = "gauge"
    samples: dict[str, float] = field(default_factory=dict)

    def add(self, labels: Mapping[str, str], value: float) -> None:
        """Two names that look alike when cleaned would be one series twice, which is an error: they are summed."""
        text = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
        self.samples[text] = self.samples.get(text, 0.0) + value

    def lines(self) -> Iterable[str]:
        if not self.samples:
            return
        yield f"# TYPE {self.name} {self.kind}"
        if self.unit:
            yield f"# UNIT {self.name} {self.unit}"
        yield f"# HELP {self.name} {self.help}"
        suffix = "_info" if self.kind == "info" else ""
        for labels, value in self.samples.items():
            yield f"{self.name}{suffix}{{{labels}}} {value:.12g}"


def of_run(run: Run) -> str:
    """CPU and wall time of every benchmark, self and total time of its hot functions, seconds per iteration."""
    info = _Family("blcperf_run", "What was measured.", "", "info")
    info.add({"run": run.name, "commit": run.commit, "created": run.created, "python": run.environment.python}, 1)
    cpu = _Family("blcperf_benchmark_cpu_seconds", "CPU time of one iteration.")
    wall = _Family("blcperf_benchmark_wall_seconds", "Wall time of one iteration.")
    for benchmark in run.benchmarks:
        times = time_per_iteration(benchmark)
        if times is not None:
            cpu.add({"benchmark": benchmark.id}, times[0] / 1e9)
            wall.add({"benchmark": benchmark.id}, times[1] / 1e9)
    rows = rows_of_benchmarks(run.benchmarks, _FUNCTIONS)
    functions = _functions("blcperf_function", "benchmark", "CPU time of one iteration", rows, "seconds")
    return _text([info, cpu, wall, *functions])


def of_captures(captures: Sequence[Capture]) -> str:
    """Self and total time, or counts of another event, of the hot functions of each capture."""
    families: list[_Family] = [_Family("blcperf_capture", "What was captured.", "", "info")]
    for capture in captures:
        families[0].add({"target": capture.target, "event": capture.event, "started": capture.started}, 1)
        seconds = capture.unit == "ns"
        rows = rows_of_capture(capture, _FUNCTIONS)
        name = "blcperf_capture_function" if seconds else f"blcperf_capture_function_{_metric(capture.event)}"
        what = "time" if seconds else "count"
        families += _functions(name, "target", f"The event's {what} in the capture", rows, "seconds" if seconds else "")
    return _text(families)


def _functions(name: str, subject: str, help: str, rows: Iterable[FunctionRow], unit: str) -> list[_Family]:
    suffix = f"_{unit}" if unit else ""
    own = _Family(f"{name}_self{suffix}", f"{help}, in the function itself.", unit)
    total = _Family(f"{name}_total_time{suffix}", f"{help}, with what it calls.", unit)
    for row in rows:
        if max(row.own_share or 0.0, row.total_share) < _LEAST_SHARE:
            continue
        labels = {subject: row.subject, "function": row.function.name, "file": row.function.file}
        for family, value in ((own, row.own), (total, row.total)):
            if value is not None:
                family.add(labels, value / 1e9 if unit == "seconds" else value)
    return [own, total]


def _text(families: Iterable[_Family]) -> str:
    return "\n".join([*(line for family in families for line in family.lines()), "# EOF", ""])


def _metric(event: str) -> str:
    return "".join(char if char.isascii() and char.isalnum() else "_" for char in clean(event, 40))


def _escaped(text: str) -> str:
    return clean(text, 500).replace("\\", "\\\\").replace('"', '\\"')
