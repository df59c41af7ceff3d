"""The trend page: every benchmark and its hot functions over saved runs, with the points where they changed."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from pytest_blcperf.model.trend import ChangePoint, Trend, TrendSeries
from pytest_blcperf.report.html import name_text, page
from pytest_blcperf.report.text import percent, time_ns
from pytest_blcperf.report.trend_chart import chart, name, summary

_POINTS = 6_000
"""Points of all charts of a page, about 2 MB; benchmarks with changes come first, what is left out is said."""
_CHANGES = 200
_LARGE, _SMALL = (1160, 220), (560, 140)


def render(trend: Trend) -> str:
    """The HTML text. Every name in it is escaped; it holds everything it needs."""
    changed = sum(bool(one.changes) for one in trend.series)
    sections, hidden = _sections(trend)
    content = {
        "heading": f"{len(trend.runs)} runs, {_benchmarks(trend)} benchmarks",
        "facts": _facts(trend),
        "changes": _changes(trend),
        "changed": changed,
        "sections": sections,
        "hidden": hidden,
        "error_rate": f"{trend.error_rate * 100:.0f} %",
        "groups": _groups(trend),
    }
    return page("trend.html.j2", "Trend · blcperf", content, ("trend.js",), {})


def _benchmarks(trend: Trend) -> int:
    return sum(one.function is None for one in trend.series)


def _facts(trend: Trend) -> list[tuple[str, str]]:
    if not trend.runs:
        return []
    first, last = trend.runs[0], trend.runs[-1]
    return [("From", f"{name_text(first.created)}, {name_text(first.label, 100)}"),
            ("to", f"{name_text(last.created)}, {name_text(last.label, 100)}")]  # fmt: skip


def _groups(trend: Trend) -> list[tuple[int, str, int]]:
    """(colour, where, runs) of each group, when there are several."""
    found: dict[int, list[str]] = {}
    for run in trend.runs:
        found.setdefault(run.group, []).append(run.where)
    if len(found) < 2:
        return []
    return [(group % 6 + 1, name_text(where[0] or "unknown machine"), len(where)) for group, where in found.items()]


def _changes(trend: Trend) -> list[dict[str, Any]]:
    """All change points, the newest first and the largest of a run before others."""
    found = [(change, one) for one in trend.series for change in one.changes]
    found.sort(key=lambda pair: (-pair[0].index, -abs(pair[0].change)))
    return [_change(trend, *pair) for pair in found[:_CHANGES]]


def _change(trend: Trend, change: ChangePoint, series: TrendSeries) -> dict[str, Any]:
    run = trend.runs[change.index]
    return {
        "anchor": _anchor(trend, series),
        "name": name_text(name(series)),
        "benchmark": name_text(series.benchmark) if series.function is not None else "",
        "change": percent(change.change),
        "tone": "regressed" if change.change > 0 else "improved",
        "p": f"{change.p:.2g}",
        "run": name_text(run.label, 100),
        "created": name_text(run.created[:16].replace("T", " ")),
    }


def _anchor(trend: Trend, series: TrendSeries) -> str:
    names = list(dict.fromkeys(one.benchmark for one in trend.series))
    return f"t{names.index(series.benchmark)}"


def _sections(trend: Trend) -> tuple[list[dict[str, Any]], int]:
    """One section a benchmark, as many as fit the page, and how many did not."""
    by_benchmark: dict[str, list[TrendSeries]] = {}
    for one in trend.series:
        by_benchmark.setdefault(one.benchmark, []).append(one)
    ordered = sorted(by_benchmark.values(), key=lambda found: not any(one.changes for one in found))
    sections: list[dict[str, Any]] = []
    points = 0
    for found in ordered:
        points += sum(len(one.values) for one in found)
        if points > _POINTS and sections:
            break
        sections.append(_section(trend, found))
    return sections, len(ordered) - len(sections)


def _section(trend: Trend, found: list[TrendSeries]) -> dict[str, Any]:
    own, functions = found[0], found[1:]
    return {
        "anchor": _anchor(trend, own),
        "id": name_text(own.benchmark),
        "chart": Markup(chart(own, trend, *_LARGE)),
        "summary": summary(own),
        "changed": any(one.changes for one in found),
        "functions": [
            {
                "name": name_text(name(one)),
                "location": name_text(one.function.location) if one.function else "",
                "chart": Markup(chart(one, trend, *_SMALL)),
                "summary": summary(one),
                "changed": bool(one.changes),
            }
            for one in sorted(functions, key=lambda one: not one.changes)
        ],
        "values": [
            (name_text(run.label, 100), name_text(run.created), time_ns(value))
            for run, value in zip(trend.runs, own.values, strict=True)
            if value is not None
        ],
    }
