"""An analysed capture as JSON data, schema `blcperf.analysis/1` (docs/schemas/blcperf.analysis-1.json)."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from pytest_blcperf.detect.analysis import Analysis
from pytest_blcperf.model.finding import Finding
from pytest_blcperf.model.function import Function

SCHEMA = "blcperf.analysis/1"


def as_data(analysis: Analysis, top: int = 100) -> dict[str, Any]:
    """Times in the event's unit, shares as fractions."""
    capture, health = analysis.capture, analysis.capture.health
    return {
        "schema": SCHEMA,
        "target": capture.target,
        "started": capture.started,
        "duration_ns": capture.duration_ns,
        "event": capture.event,
        "unit": capture.unit,
        "backend": capture.backend,
        "self_time": capture.self_time,
        "preset": analysis.preset,
        "samples": len(capture),
        "time": float(capture.weight.sum()),
        "settings": dict(capture.settings),
        "counters": {name: value for name, value in capture.counters.items() if math.isfinite(value)},
        "health": {
            "lost": health.recording.lost,
            "throttled": health.recording.throttled,
            "outside_window": health.recording.outside,
            "truncated_stacks": health.truncated,
            "unknown_frames": health.unknown_frames,
            "frames": health.frames,
        },
        "findings": [_finding(one) for one in analysis.findings],
        "functions": [
            {**_function(one.function), "self": one.own, "total": one.total, "class": one.label}
            for one in analysis.hot[:top]
        ],
        "tables": {
            title: [{"name": part.name, "time": part.time, "share": part.share} for part in parts]
            for title, parts in analysis.tables.items()
        },
        "syscalls": _syscalls(analysis),
        "threads": [asdict(thread) for thread in capture.threads],
        "environment": {**asdict(capture.environment), "packages": dict(capture.environment.packages)},
        "warnings": [{"code": warning.code, "text": warning.text} for warning in capture.warnings],
    }


def _syscalls(analysis: Analysis) -> dict[str, Any] | None:
    traced = analysis.capture.syscalls
    if traced is None:
        return None
    return {
        "traced_ns": traced.traced_ns,
        "window_ns": traced.window_ns,
        "lost": traced.lost,
        "calls": [{"name": one.name, "calls": one.calls, "time_ns": one.time_ns} for one in analysis.syscalls],
    }


def _function(function: Function) -> dict[str, Any]:
    return {"name": function.name, "file": function.file, "line": function.line, "kind": function.kind}


def _finding(one: Finding) -> dict[str, Any]:
    return {
        "name": one.name,
        "title": one.title,
        "certainty": one.certainty.value,
        "summary": one.summary,
        "value": one.value,
        "threshold": one.threshold,
        "unit": one.unit,
        "confidence": one.confidence,
        "evidence": [
            {**_function(evidence.function), "share": evidence.share, "context": evidence.context}
            for evidence in one.evidence
        ],
        "next_step": one.next_step,
        "reason": one.reason,
    }
