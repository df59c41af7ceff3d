"""A verdict as JSON: schema `blcperf.verdict/1`, published in `docs/schemas/blcperf.verdict-1.json`.

Every number the other reports show and what they are computed from. What is not a finite number is null. Names are kept
as they are, ASCII-escaped, so the file holds no control characters.
"""

# Schema history: 1 first version.

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

from pytest_blcperf.model.comparison import BenchmarkComparison, Estimate
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.verdict import BenchmarkVerdict, ChangedLines, FunctionVerdict, GateVerdict, Outcome
from pytest_blcperf.model.warning import Warning
from pytest_blcperf.report import words
from pytest_blcperf.report.text import bounds, change_of, significant

SCHEMA = "blcperf.verdict/1"


def render(verdict: GateVerdict) -> str:
    """The JSON text, ASCII, two spaces a level, with a final line end."""
    return json.dumps(as_data(verdict), indent=2, allow_nan=False) + "\n"


def as_data(verdict: GateVerdict) -> dict[str, Any]:
    """The verdict as JSON data. Times in ns per iteration of the benchmark, shares and changes as fractions."""
    return {
        "schema": SCHEMA,
        "base": _text(verdict.base),
        "head": _text(verdict.head),
        "mode": _text(verdict.mode),
        "alpha": _number(verdict.alpha),
        "calibration": _text(verdict.calibration),
        "seconds": _number(verdict.seconds),
        "failed": bool(verdict.failed),
        "compared": int(verdict.compared),
        "counts": {outcome.value: verdict.count(outcome) for outcome in Outcome},
        "summary": words.summary(verdict),
        "benchmarks": [_benchmark(one) for one in verdict.benchmarks],
        "warnings": _warnings(verdict.warnings),
    }


def _benchmark(verdict: BenchmarkVerdict) -> dict[str, Any]:
    return {
        "id": _text(verdict.id),
        "outcome": verdict.outcome.value,
        "evidence": verdict.evidence.value,
        "reason": _text(verdict.reason),
        "gate": _text(verdict.gate),
        "fails": bool(verdict.fails),
        "threshold": _number(verdict.threshold),
        "p": _number(verdict.p),
        "detectable": _number(verdict.detectable),
        "measured": None if verdict.comparison is None else _comparison(verdict.comparison),
        "instructions": None if verdict.instructions is None else _instructions(verdict.instructions),
        "functions": [_function(one, verdict) for one in verdict.functions],
        "changed_code": [_named(function) for function in verdict.changed_code],
        "changed_calls": [
            {**_named(one.function), "base": _number(one.base), "head": _number(one.head)}
            for one in verdict.changed_calls
        ],
        "changed_lines": [_changed_lines(one) for one in verdict.changed_lines],
        "warnings": _warnings(verdict.warnings),
    }


def _comparison(comparison: BenchmarkComparison) -> dict[str, Any]:
    return {
        "base_ns": 0.0 if comparison.metric else _number(comparison.base_ns),
        "head_ns": 0.0 if comparison.metric else _number(comparison.head_ns),
        "base_wall_ns": _number(comparison.base_wall_ns),
        "head_wall_ns": _number(comparison.head_wall_ns),
        "io_bound": bool(comparison.io_bound),
        "judged": comparison.judged,
        "ratio": _estimate(comparison.ratio),
        "metric": None if comparison.metric is None else _metric(comparison),
        "launches": int(comparison.launches),
        "paired": bool(comparison.paired),
        "backend": _text(comparison.backend),
        "warnings": _warnings(comparison.warnings),
    }


def _instructions(comparison: BenchmarkComparison) -> dict[str, Any]:
    return {
        "base": _number(comparison.base_ns),
        "head": _number(comparison.head_ns),
        "ratio": _estimate(comparison.ratio),
        "launches": int(comparison.launches),
    }


def _metric(comparison: BenchmarkComparison) -> dict[str, Any]:
    metric = comparison.metric
    assert metric is not None
    values = {"base": _number(comparison.base_ns), "head": _number(comparison.head_ns)}
    return {"name": _text(metric.name), "unit": _text(metric.unit), "better": metric.better, **values}


def _function(verdict: FunctionVerdict, benchmark: BenchmarkVerdict) -> dict[str, Any]:
    comparison, parts = verdict.comparison, verdict.explanation
    return {
        **_named(comparison.function),
        "fingerprint": _text(comparison.function.fingerprint),
        "outcome": verdict.outcome.value,
        "evidence": verdict.evidence.value,
        "guilty": any(verdict is guilty for guilty in benchmark.guilty),
        "follows_from": None if verdict.follows_from is None else _named(verdict.follows_from),
        "carrier": bool(verdict.carrier),
        "kind": _text(comparison.kind),
        "unit": comparison.unit,
        "cost_base_ns": _number(comparison.cost_base_ns),
        "cost_head_ns": _number(comparison.cost_head_ns),
        "ratio": _estimate(comparison.ratio),
        "impact": _number(comparison.impact),
        "share_base": _number(comparison.share_base),
        "share_head": _number(comparison.share_head),
        "samples_base": int(comparison.samples_base),
        "samples_head": int(comparison.samples_head),
        "calls_base": _number(comparison.calls_base),
        "calls_head": _number(comparison.calls_head),
        "counts_exact": bool(comparison.counts_exact),
        "code_changed": comparison.code_changed,
        "timed": bool(comparison.timed),
        "timed_in": None if comparison.timed_in is None else _named(comparison.timed_in),
        "p": _number(verdict.p),
        "threshold": _number(verdict.threshold),
        "detectable": _number(verdict.detectable),
        "explanation": None
        if parts is None
        else {
            "called_more_ns": _number(parts.called_more_ns),
            "dearer_per_call_ns": _number(parts.dearer_per_call_ns),
            "text": words.explanation(verdict),
        },
        "changed_lines": [_changed_lines(one) for one in verdict.changed_lines],
    }


def _changed_lines(one: ChangedLines) -> dict[str, Any]:
    return {
        **_named(one.function),
        "first": int(one.first),
        "last": int(one.last),
        "text": [_text(line) for line in one.text],
        "hidden": int(one.hidden),
        "relation": one.relation,
    }


def _named(function: Function) -> dict[str, Any]:
    return {"file": _text(function.file), "name": _text(function.name), "line": int(function.line)}


def _estimate(estimate: Estimate) -> dict[str, Any]:
    ends = bounds(estimate)
    return {
        "log_ratio": _number(estimate.log_ratio),
        "standard_error": _number(estimate.standard_error),
        "freedom": int(estimate.freedom),
        "change": _number(change_of(estimate.log_ratio)),
        "interval_low": _number(ends[0]) if ends else None,
        "interval_high": _number(ends[1]) if ends else None,
        "significant": significant(estimate),
    }


def _warnings(warnings: Iterable[Warning]) -> list[dict[str, str]]:
    return [{"code": _text(warning.code), "text": _text(warning.text)} for warning in warnings]


def _number(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _text(text: str) -> str:
    """The text without lone surrogates, which strict JSON readers reject."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
