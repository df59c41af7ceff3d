"""Functions as CSV (RFC 4180), for spreadsheets and scripts."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from pytest_blcperf.report.function_rows import FunctionRow
from pytest_blcperf.report.text import clean

HEADER = ("subject", "function", "file", "line", "kind", "self_share", "total_share", "self", "total", "unit", "calls")
_FORMULA = ("=", "+", "-", "@")
_NAME_LIMIT = 2_000


def render(rows: Iterable[FunctionRow]) -> str:
    """The text, a line a function under a header; unknown numbers are empty.

    A name that a spreadsheet would take for a formula gets an apostrophe in front, as spreadsheets themselves write it.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(HEADER)
    for row in rows:
        one = row.function
        writer.writerow(
            [
                *(_name(name) for name in (row.subject, one.name, one.file)),
                one.line or "",
                one.kind,
                *("" if number is None else f"{number:.6g}" for number in (row.own_share, row.total_share)),
                *("" if number is None else f"{number:.10g}" for number in (row.own, row.total)),
                _name(row.unit),
                "" if row.calls is None else f"{row.calls:.10g}",
            ]
        )
    return text.getvalue()


def _name(text: str) -> str:
    name = clean(text, _NAME_LIMIT)
    return f"'{name}" if name.startswith(_FORMULA) else name
