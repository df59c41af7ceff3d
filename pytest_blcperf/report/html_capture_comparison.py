"""The comparison page of captures: what became dearer, cheaper, new or gone, and how sure that is; one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from pytest_blcperf.compare.captures import SMALL
from pytest_blcperf.model.capture import Capture, profile_of_all
from pytest_blcperf.model.capture_comparison import CaptureComparison, Delta
from pytest_blcperf.model.function import Function
from pytest_blcperf.report.capture_comparison import CALLS_UNIT, METHOD_BETWEEN, METHOD_WITHIN, rate
from pytest_blcperf.report.environment_text import compared_environments, machine
from pytest_blcperf.report.html import name_text, page
from pytest_blcperf.report.stack_difference import sides_data
from pytest_blcperf.report.svg import change_bar
from pytest_blcperf.report.text import NOT_SIGNIFICANT

_SCRIPTS = ("stack_tree.js", "flame_graph.js", "flame_panel.js", "differential.js", "capture_comparison.js")
_NODE_LIMIT = 1_500_000
_FUNCTION_ROWS = 200
_TABLE_ROWS = 30
_SEEN = 10
"""Functions without a significant change that are seen before the reader asks for all."""
_LEAST = 0.01

Side = Sequence[Capture]


def render(comparison: CaptureComparison, base: Side, head: Side) -> str:
    """The HTML text. Every name in it is escaped; it holds everything it needs."""
    graph = _graph(comparison, base, head)
    listed = sorted(comparison.functions, key=lambda row: not row.significant)[:_FUNCTION_ROWS]
    extent = _extent(listed)
    functions = [_row(row, extent, place) for place, row in enumerate(listed)]
    content = {
        "banner": _banner(comparison),
        "base": _side(comparison.base, comparison.captures[0]),
        "head": _side(comparison.head, comparison.captures[1]),
        "facts": _facts(comparison, head),
        "unit": comparison.unit,
        "method": METHOD_BETWEEN if comparison.between else METHOD_WITHIN,
        "notes": [f"{name_text(one.text, 500)} [{name_text(one.code, 60)}]" for one in comparison.warnings],
        "total": [_row(comparison.total, _extent([comparison.total]))],
        "total_axis": _ends(_extent([comparison.total])),
        "axis": _ends(extent),
        "functions": functions,
        "quiet": sum(row["quiet"] for row in functions),
        "hidden": len(comparison.functions) - len(listed),
        "graph": graph is not None,
        "tables": _tables(comparison),
        "environments": compared_environments(base[0].environment, head[0].environment),
    }
    title = f"{content['banner']['outcome']} · blcperf comparison"
    return page("capture_comparison.html.j2", title, content, _SCRIPTS, {"graph": graph} if graph else {})


def _side(name: str, captures: int) -> str:
    return f"{name_text(name)} ({captures} capture{'s' if captures != 1 else ''})"


def _banner(comparison: CaptureComparison) -> dict[str, str]:
    total, moved = comparison.total, [row for row in comparison.functions if row.significant]
    grown, shrunk = (sum((row.change > 0) is way for row in moved) for way in (True, False))
    outcome = f"{grown} function{'s' if grown != 1 else ''} dearer, {shrunk} cheaper"
    if total.significant:
        outcome += f"; total {100 * total.change:+.1f} %"
    if not comparison.between:
        return {"tone": "doubtful", "mark": "!", "outcome": outcome}
    worse = bool(grown) or (total.significant and total.change > 0)
    return {"tone": "regressed" if worse else "fine", "mark": "↑" if worse else "✓", "outcome": outcome}


def _facts(comparison: CaptureComparison, head: Side) -> list[tuple[str, str]]:
    facts = [("Event", name_text(f"{head[0].event}, {head[0].backend}", 200)), ("Where", machine(head[0].environment))]
    states = [row.state for row in comparison.functions if row.significant]
    facts.append(("Functions", f"{states.count('new')} new, {states.count('gone')} gone"))
    return [*facts, ("When", name_text(head[0].started))] if head[0].started else facts


# ---- tables


def _tables(comparison: CaptureComparison) -> list[dict[str, Any]]:
    tables = [_table(f"By {title}", rows, comparison.unit) for title, rows in comparison.tables.items()]
    return [*tables, _table("System calls made", comparison.calls, CALLS_UNIT)] if comparison.calls else tables


def _table(title: str, rows: Sequence[Delta], unit: str) -> dict[str, Any]:
    shown = rows[:_TABLE_ROWS]
    extent = _extent(shown)
    return {
        "title": title,
        "unit": unit,
        "rows": [_row(row, extent, unit=unit) for row in shown],
        "axis": _ends(extent),
        "hidden": len(rows) - len(shown),
    }


def _extent(rows: Sequence[Delta]) -> float:
    """Half the axis of a table: all estimates are on it, and the intervals that are not much longer."""
    return max([_LEAST, *(1.5 * abs(row.change) for row in rows)])


def _ends(extent: float) -> tuple[str, str]:
    return f"−{100 * extent:.3g} %", f"+{100 * extent:.3g} %"


def _row(row: Delta, extent: float, place: int | None = None, unit: str = "") -> dict[str, Any]:
    tone = _tone(row)
    return {
        "name": name_text(row.name),
        "file": name_text(row.function.file) if row.function else "",
        "key": f"{name_text(row.function.file)}::{name_text(row.function.name)}" if row.function else "",
        "tone": tone,
        "quiet": place is not None and not row.significant and place >= _SEEN,
        "rates": (rate(row.base, unit), rate(row.head, unit)),
        "change": f"{100 * row.change:+.1f} %" if row.significant else NOT_SIGNIFICANT,
        "interval": f"[{100 * row.low:+.1f}, {100 * row.high:+.1f}]",
        "bar": Markup(change_bar(row.change, row.low, row.high, extent, tone)),
        "state": row.state,
    }


def _tone(row: Delta) -> str:
    return ("regressed" if row.change > 0 else "improved") if row.significant else "unsure"


# ---- the flame graph


def _graph(comparison: CaptureComparison, base: Side, head: Side) -> dict[str, Any] | None:
    sides = profile_of_all(base), profile_of_all(head)
    if min(one.total_weight for one in sides) <= 0:
        return None
    least = SMALL * comparison.total.base
    tested = [row for row in comparison.functions if max(row.base, row.head) >= least]
    judged = {_key(row.function): row for row in tested if row.function}

    def tone(function: Function) -> str:
        row = judged.get(_key(function))
        return "unjudged" if row is None else _tone(row)

    def remark(function: Function) -> str:
        row = judged.get(_key(function))
        if row is None:
            return ""
        change = f"{100 * row.change:+.1f} % [{100 * row.low:+.1f}, {100 * row.high:+.1f}]"
        return f"self time {change} of the base's total" + ("" if row.significant else ", not significant")

    number = len(base), len(head)
    wholes = [one.total_weight / count for one, count in zip(sides, number, strict=True)]
    data = sides_data((sides[0], wholes[0]), (sides[1], wholes[1]), tone, remark)
    return {**data, "per": "a second"} if len(data["tree"]["parent"]) <= _NODE_LIMIT else None


def _key(function: Function) -> tuple[str, str]:
    return function.file, function.name
