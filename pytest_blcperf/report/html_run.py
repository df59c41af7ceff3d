"""The run page: where the time of a run or a capture goes, by stack, by function, by thread and by time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from markupsafe import Markup

from pytest_blcperf.detect.breakdown import traced_syscalls
from pytest_blcperf.model.capture import Capture
from pytest_blcperf.model.finding import Certainty, Finding
from pytest_blcperf.model.run import Benchmark
from pytest_blcperf.model.warning import Warning
from pytest_blcperf.report.capture_text import traced_basis
from pytest_blcperf.report.environment_text import environment_rows, machine
from pytest_blcperf.report.function_rows import FunctionRow, rows_of_benchmarks, rows_of_capture
from pytest_blcperf.report.html import name_text, page
from pytest_blcperf.report.measured import time_per_iteration
from pytest_blcperf.report.run_page import RunPage
from pytest_blcperf.report.run_text import health
from pytest_blcperf.report.svg import time_dots
from pytest_blcperf.report.text import quantity, share, time_ns
from pytest_blcperf.report.timeline_data import capture_data, profile_data

_SCRIPTS = (
    "stack_tree.js",
    "flame_graph.js",
    "flame_panel.js",
    "time_chart.js",
    "timeline.js",
    "function_table.js",
    "call_tree.js",
    "run.js",
)
_NODE_LIMIT = 1_500_000
_TOP = 20


def render(shown: RunPage) -> str:
    """The HTML text. Every name in it is escaped; it holds everything it needs."""
    subjects, blocks = _subjects(shown)
    content = {
        "title_text": _title(shown),
        "facts": _facts(shown),
        "notes": [f"{one.code}: {one.text}" for one in _warnings(shown)],
        "rows": [_benchmark(number, one) for number, one in enumerate(shown.run.benchmarks)] if shown.run else [],
        "subjects": subjects,
        "findings": _findings(shown.findings),
        "health": [(name_text(one.event), health(one)) for one in shown.captures],
        "environment": _environment(shown),
        "settings": _settings(shown),
        "counters": _counters(shown.captures),
        "syscalls": _syscalls(shown.captures),
    }
    return page("run.html.j2", f"{_title(shown)} · blcperf", content, _SCRIPTS, blocks)


def _title(shown: RunPage) -> str:
    if shown.run is not None:
        return name_text(shown.run.label, 200)
    return name_text(shown.captures[0].target or "capture", 200) if shown.captures else "nothing"


def _warnings(shown: RunPage) -> list[Warning]:
    found = list(shown.run.warnings) if shown.run else []
    for benchmark in shown.run.benchmarks if shown.run else ():
        found += benchmark.warnings
    for capture in shown.captures:
        found += capture.warnings
    return list(dict.fromkeys(found))


def _facts(shown: RunPage) -> list[tuple[str, str]]:
    if shown.run is not None:
        run = shown.run
        backends = sorted({one.profile.backend for one in run.benchmarks if one.profile})
        facts = [("When", name_text(run.created)), ("Where", machine(run.environment))]
        return [*facts, ("Profiled by", name_text(", ".join(backends)))] if backends else facts
    facts = []
    for one in shown.captures[:4]:
        what = f"{len(one):,} samples in {time_ns(one.duration_ns)}, {len(one.threads)} threads, {one.backend}"
        facts.append((name_text(one.event, 60), name_text(what)))
    if shown.captures:
        first = shown.captures[0]
        facts += [("When", name_text(first.started or "unknown")), ("Where", machine(first.environment))]
    return facts


# ---- what can be looked at


def _subjects(shown: RunPage) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Profiles and captures that the page can show, with their data blocks, as far as the page's limit goes."""
    subjects: list[dict[str, Any]] = []
    blocks: dict[str, Any] = {}
    nodes = 0
    for name, data, rows in _drawn(shown):
        nodes += len(data["tree"]["parent"])
        block = f"data-{len(blocks)}" if nodes <= _NODE_LIMIT or not blocks else ""
        if block:
            blocks[block] = data
        subjects.append({"name": name, "block": block, "timed": "cell" in data, "functions": _functions(rows)})
    return subjects, blocks


def _drawn(shown: RunPage) -> list[tuple[str, dict[str, Any], list[FunctionRow]]]:
    drawn = []
    for benchmark in shown.run.benchmarks if shown.run else ():
        if benchmark.profile is not None and benchmark.profile.total_weight > 0:
            rows = rows_of_benchmarks([benchmark], _TOP)
            drawn.append((name_text(benchmark.id), profile_data(benchmark.profile), rows))
    for capture in shown.captures:
        if len(capture):
            drawn.append((name_text(capture.event), capture_data(capture), rows_of_capture(capture, _TOP)))
    return drawn


def _functions(rows: Sequence[FunctionRow]) -> list[dict[str, str]]:
    """The hottest functions as a table that needs no script."""
    return [
        {
            "own": "n/a" if row.own_share is None else share(row.own_share),
            "total": share(row.total_share),
            "calls": "" if row.calls is None else quantity(row.calls),
            "name": name_text(row.function.name),
            "location": name_text(row.function.location),
            "kind": row.function.kind,
        }
        for row in rows
    ]


def _benchmark(number: int, benchmark: Benchmark) -> dict[str, Any]:
    times = time_per_iteration(benchmark)
    launches = [
        median(one.cpu_ns / one.iterations for one in launch.rounds) for launch in benchmark.launches if launch.rounds
    ]
    counts = benchmark.counts
    return {
        "number": number,
        "id": name_text(benchmark.id),
        "cpu": time_ns(times[0]) if times else "n/a",
        "wall": time_ns(times[1]) if times else "n/a",
        "launches": len(benchmark.launches),
        "rounds": f"{sum(len(launch.rounds) for launch in benchmark.launches):,}",
        "samples": f"{benchmark.profile.total_samples:,}" if benchmark.profile else "0",
        "counts": "–" if counts is None else "exact" if counts.deterministic else "vary",
        "dots": Markup(time_dots(launches)),
        "profiled": benchmark.profile is not None and benchmark.profile.total_weight > 0,
    }


# ---- patterns, environment


def _findings(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    order = (Certainty.FOUND, Certainty.UNJUDGED, Certainty.NOT_FOUND)
    return [
        {
            "title": name_text(one.title, 120),
            "certainty": one.certainty.value,
            "tone": {Certainty.FOUND: "doubtful", Certainty.NOT_FOUND: "improved"}.get(one.certainty, "unchanged"),
            "confidence": f"{one.confidence * 100:.0f} % sure" if one.confidence else "",
            "summary": name_text(one.summary or one.reason, 500),
            "measured": _measured(one),
            "next_step": name_text(one.next_step, 500),
            "evidence": [
                {
                    "name": name_text(part.function.name),
                    "key": f"{name_text(part.function.file)}::{name_text(part.function.name)}",
                    "file": name_text(part.function.file),
                    "share": share(part.share),
                    "context": name_text(part.context, 200),
                }
                for part in one.evidence
            ],
        }
        for one in sorted(findings, key=lambda one: order.index(one.certainty))
    ]


def _measured(finding: Finding) -> str:
    if finding.certainty is Certainty.UNJUDGED or not finding.threshold:
        return ""
    if finding.unit.startswith(("share", "of ")):
        return f"{share(finding.value)} measured, threshold {share(finding.threshold)}: {name_text(finding.unit, 80)}"
    return f"{quantity(finding.value)} measured, threshold {quantity(finding.threshold)} {name_text(finding.unit, 80)}"


def _environment(shown: RunPage) -> list[tuple[str, str]]:
    environment = shown.run.environment if shown.run else shown.captures[0].environment if shown.captures else None
    if environment is None:
        return []
    rows = [(what, name_text(value)) for what, value in environment_rows(environment) if value]
    packages = ", ".join(f"{name} {version}" for name, version in sorted(environment.packages.items()))
    return [*rows, ("packages", name_text(packages, 4_000))] if packages else rows


def _settings(shown: RunPage) -> list[tuple[str, str]]:
    settings: Mapping[str, Any] = {}
    if shown.run is not None:
        settings = shown.run.settings
    elif shown.captures:
        settings = shown.captures[0].settings
    return [(name_text(name, 80), name_text(str(value), 300)) for name, value in sorted(settings.items())]


def _syscalls(captures: Sequence[Capture]) -> dict[str, Any] | None:
    """The traced system calls of the first capture, None where there are none."""
    traced = captures[0].syscalls if captures else None
    if traced is None:
        return None
    rows = traced_syscalls(traced)
    return {
        "basis": traced_basis(traced),
        "rows": [
            {
                "name": name_text(one.name, 80),
                "calls": quantity(one.calls),
                "time": time_ns(one.time_ns),
                "mean": time_ns(one.time_ns / one.calls) if one.calls else "n/a",
            }
            for one in rows[:_TOP]
        ],
        "hidden": max(len(rows) - _TOP, 0),
    }


def _counters(captures: Sequence[Capture]) -> list[tuple[str, str]]:
    return [
        (name_text(name, 80), quantity(value)) for one in captures[:1] for name, value in sorted(one.counters.items())
    ]
