"""What changed for good, a line each, and as JSON data of schema `blcperf.history/1`."""

from __future__ import annotations

import math
from typing import Any

from pytest_blcperf.compare.change_points import LEAST_SEGMENT
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.history import History, LevelChange
from pytest_blcperf.report.text import clean, percent

SCHEMA = "blcperf.history/1"


def render(history: History) -> list[str]:
    """`src/x.py::f +12.0 % in BENCHMARK since 3f2a91c (2026-11-20), stayed for 8 runs`; the last line sums up."""
    lasting = [change for change in history.changes if change.lasting]
    lines = [_line(history, change) for change in lasting]
    gone = len(history.changes) - len(lasting)
    found = f"{_count(len(lasting), 'change')} for good" if lasting else "no change for good"
    span = f"{history.runs[0].created[:10]} to {history.runs[-1].created[:10]}"
    summary = f"{found} in {_count(len(history.runs), 'run')}, {span}"
    if gone:
        summary += f"; {gone} went away again"
    if len(history.runs) < 2 * LEAST_SEGMENT:
        summary += f"; a change shows from {LEAST_SEGMENT} runs before it and {LEAST_SEGMENT} after"
    return [*lines, summary]


def as_data(history: History) -> dict[str, Any]:
    """Every change, also those that went away; `index` and `until` are places in `runs`."""
    return {
        "schema": SCHEMA,
        "error_rate": history.error_rate,
        "runs": [
            {"label": one.label, "created": one.created, "commit": one.commit, "group": one.group, "where": one.where}
            for one in history.runs
        ],
        "changes": [_data(history, change) for change in history.changes],
    }


def _line(history: History, change: LevelChange) -> str:
    run = history.runs[change.index]
    what = clean(change.benchmark, 300)
    if change.function is not None:
        what = f"{clean(change.function.file, 200)}::{clean(change.function.name, 100)}"
    inside = f" in {clean(change.benchmark, 300)}" if change.function is not None else ""
    grown = percent(change.change) if math.isfinite(change.change) else "new"
    since = clean(run.commit[:7] or run.label, 40)
    return f"{what} {grown}{inside} since {since} ({run.created[:10]}), stayed for {_count(change.runs, 'run')}"


def _data(history: History, change: LevelChange) -> dict[str, Any]:
    run = history.runs[change.index]
    return {
        "benchmark": change.benchmark,
        "function": None if change.function is None else _named(change.function),
        "change": change.change if math.isfinite(change.change) else None,
        "index": change.index,
        "commit": run.commit,
        "created": run.created,
        "runs": change.runs,
        "lasting": change.lasting,
        "until": change.until,
        "p": change.p,
    }


def _named(function: Function) -> dict[str, Any]:
    return {"file": function.file, "name": function.name, "line": function.line}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s'[: number != 1]}"
