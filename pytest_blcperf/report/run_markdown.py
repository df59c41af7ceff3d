"""A run, nothing compared, as Markdown for a job summary: at most 1 MiB, which is what GitHub takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pytest_blcperf.model.capture import Capture
from pytest_blcperf.model.run import Benchmark, Run
from pytest_blcperf.model.warning import Warning
from pytest_blcperf.report.environment_text import machine
from pytest_blcperf.report.function_rows import FunctionRow, rows_of_benchmarks, rows_of_capture
from pytest_blcperf.report.markdown import cell, code, prose
from pytest_blcperf.report.measured import time_per_iteration
from pytest_blcperf.report.text import quantity, share, time_ns

LIMIT = 1 << 20
"""Bytes of a job summary on GitHub."""
_TOP = 20


def of_run(run: Run, limit: int = LIMIT) -> str:
    """The Markdown text in at most `limit` bytes of UTF-8; whole benchmarks are left out, with a note, to keep it."""
    head = [f"### blcperf: {code(run.label)}", "", prose(f"Measured {run.created} on {machine(run.environment)}."), ""]
    head += _warnings(run.warnings)
    head += ["| Benchmark | CPU time per iteration | Wall time | Launches | Samples |", "|:--|--:|--:|--:|--:|"]
    rows = [_row(one) for one in run.benchmarks]
    blocks = ["\n".join(_block(one)) for one in run.benchmarks if one.profile is not None or one.warnings]
    return _fitted("\n".join(head), rows, blocks, limit)


def of_captures(captures: Sequence[Capture], limit: int = LIMIT) -> str:
    """The Markdown text of captures, as `of_run`."""
    blocks = []
    for capture in captures:
        seconds = time_ns(capture.duration_ns)
        what = f"{len(capture):,} samples of {capture.event} in {seconds}, {len(capture.threads)} threads"
        lines = [f"#### {code(capture.target or 'capture')}", "", prose(what), "", *_warnings(capture.warnings)]
        blocks.append("\n".join([*lines, *_functions(rows_of_capture(capture, _TOP))]))
    return _fitted("### blcperf: captures", [], blocks, limit)


def _fitted(head: str, rows: Sequence[str], blocks: Sequence[str], limit: int) -> str:
    """Head, rows, then as many blocks, or else rows, as the limit allows."""
    few = _longest(len(blocks), limit, lambda n: _joined(head, rows, blocks[:n], len(blocks) - n, "details"))
    if few is not None:
        return few
    fewer = _longest(len(rows), limit, lambda n: _joined(head, rows[:n], (), len(rows) - n, "benchmarks"))
    return fewer if fewer is not None else _joined(head[: limit // 8], (), (), len(rows), "benchmarks")


def _joined(head: str, rows: Sequence[str], blocks: Sequence[str], hidden: int, what: str) -> str:
    note = f"**{hidden:,} {what} left out: this summary would be too long.** `blcperf report` has all."
    return "\n".join([head, *rows]) + "".join(f"\n\n{part}" for part in (*blocks, *([note] if hidden else []))) + "\n"


def _longest(most: int, limit: int, draw: Callable[[int], str]) -> str | None:
    """The text with the most parts that fits, by bisection; None when not even none does."""
    low, high = -1, most + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if len(draw(middle).encode("utf-8")) <= limit else (low, middle)
    return draw(low) if low >= 0 else None


def _row(benchmark: Benchmark) -> str:
    times = time_per_iteration(benchmark)
    cpu, wall = (time_ns(times[0]), time_ns(times[1])) if times else ("–", "–")
    samples = benchmark.profile.total_samples if benchmark.profile else 0
    numbers = [cell(cpu), cell(wall), str(len(benchmark.launches)), f"{samples:,}"]
    return "| " + " | ".join([code(benchmark.id, 160), *numbers]) + " |"


def _block(benchmark: Benchmark) -> list[str]:
    lines = ["<details>", f"<summary>{code(benchmark.id, 160)}</summary>", "", *_warnings(benchmark.warnings)]
    return [*lines, *_functions(rows_of_benchmarks([benchmark], _TOP)), "", "</details>"]


def _functions(rows: Sequence[FunctionRow]) -> list[str]:
    if not rows:
        return []
    lines = ["| Self | Total | Calls | Function | Where |", "|--:|--:|--:|:--|:--|"]
    for row in rows:
        own = "–" if row.own_share is None else share(row.own_share)
        calls = "" if row.calls is None else quantity(row.calls)
        texts = [cell(own), cell(share(row.total_share)), cell(calls), code(row.function.name, 120)]
        lines.append("| " + " | ".join([*texts, code(row.function.location, 160)]) + " |")
    return lines


def _warnings(warnings: Sequence[Warning]) -> list[str]:
    return [*(f"- {prose(f'{one.code}: {one.text}')}" for one in warnings), *([""] if warnings else [])]
