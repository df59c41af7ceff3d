"""A comparison of captures in the terminal and as JSON data (schema `blcperf.capture-comparison/1`)."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from pytest_blcperf.model.capture_comparison import CaptureComparison, Delta
from pytest_blcperf.report.text import NOT_SIGNIFICANT, aligned, clean, cut_middle, quantity

SCHEMA = "blcperf.capture-comparison/1"
METHOD_BETWEEN = "95 % intervals over captures."
METHOD_WITHIN = (
    "Intervals of counting samples in one capture a side: they do not know how much two captures of the same thing "
    "differ; give folders of several (blcperf record --output-dir DIR --repeat 5) to find out."
)
CALLS_UNIT = "calls/s"
_NAME_LIMIT = 500
_TABLE_ROWS = 8


def render(comparison: CaptureComparison, *, width: int = 100, top: int = 20) -> list[str]:
    """The comparison as lines; `~` stands for a change that is not significant."""
    base, head = comparison.captures
    lines = [f"{clean(comparison.base)} ({base}) → {clean(comparison.head)} ({head})"]
    lines += [line for text in _notes(comparison) for line in textwrap.wrap(text, max(width, 40))]
    lines += ["", *_table("total", [comparison.total], comparison.unit, width)]
    moved = [row for row in comparison.functions if row.significant]
    shown = moved[:top] or list(comparison.functions[: min(top, 5)])
    if shown:
        lines += ["", *_table("function, self time", shown, comparison.unit, width)]
        left = len(moved) - len(shown)
        if left > 0:
            lines.append(f"… and {left:,} more that changed: --top {len(moved)}")
    for title, rows in comparison.tables.items():
        lines += ["", *_table(title, rows[:_TABLE_ROWS], comparison.unit, width)]
    if comparison.calls:
        lines += ["", *_table("system calls made", comparison.calls[:_TABLE_ROWS], CALLS_UNIT, width)]
    return lines


def _notes(comparison: CaptureComparison) -> Iterator[str]:
    yield METHOD_BETWEEN if comparison.between else METHOD_WITHIN
    if comparison.between:
        yield "~ not significant at 5 % over the rows of a table"
    for warning in comparison.warnings:
        yield f"warning: {clean(warning.text, _NAME_LIMIT)} [{clean(warning.code, 60)}]"


def _table(title: str, rows: Sequence[Delta], unit: str, width: int) -> list[str]:
    room = max(width - 62, 20)
    cells = [[title, f"base, {unit}", "head", "change", "95 % interval", ""]]
    for row in rows:
        change = f"{100 * row.change:+.1f} %" if row.significant else NOT_SIGNIFICANT
        name = cut_middle(clean(row.name, _NAME_LIMIT), room)
        interval = f"[{100 * row.low:+.1f}, {100 * row.high:+.1f}]"
        cells.append([name, rate(row.base, unit), rate(row.head, unit), change, interval, row.state])
    return aligned(cells, right=frozenset({1, 2, 3}))


def rate(value: float, unit: str) -> str:
    """CPUs, a part of the whole, or calls a second; `-` for nothing."""
    return "-" if not value else quantity(value) if unit == CALLS_UNIT else f"{value:.3f}"


def as_data(comparison: CaptureComparison) -> dict[str, Any]:
    """Rates in `unit`, changes and bounds as parts of the base's total."""
    return {
        "schema": SCHEMA,
        "base": comparison.base,
        "head": comparison.head,
        "captures": list(comparison.captures),
        "unit": comparison.unit,
        "between_captures": comparison.between,
        "total": _row(comparison.total),
        "functions": [_row(row) for row in comparison.functions],
        "tables": {title: [_row(row) for row in rows] for title, rows in comparison.tables.items()},
        "calls": [_row(row) for row in comparison.calls],
        "warnings": [{"code": warning.code, "text": warning.text} for warning in comparison.warnings],
    }


def _row(row: Delta) -> dict[str, Any]:
    place = {} if row.function is None else {"file": row.function.file, "kind": row.function.kind}
    return {
        "name": row.name,
        **place,
        "base": row.base,
        "head": row.head,
        "change": row.change,
        "low": row.low if math.isfinite(row.low) else None,
        "high": row.high if math.isfinite(row.high) else None,
        "p": row.p,
        "significant": row.significant,
        "state": row.state,
    }
