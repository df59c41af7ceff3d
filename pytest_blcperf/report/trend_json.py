"""A trend as JSON data, schema `blcperf.trend/1`: runs, and series of CPU time per iteration in ns."""

from __future__ import annotations

import math
from typing import Any

from pytest_blcperf.model.trend import Trend, TrendSeries

SCHEMA = "blcperf.trend/1"


def as_data(trend: Trend) -> dict[str, Any]:
    """The whole trend; null where a run has no value."""
    return {
        "schema": SCHEMA,
        "error_rate": trend.error_rate,
        "runs": [
            {"label": one.label, "created": one.created, "commit": one.commit, "group": one.group, "where": one.where}
            for one in trend.runs
        ],
        "series": [_series(one) for one in trend.series],
    }


def _series(one: TrendSeries) -> dict[str, Any]:
    function = one.function
    return {
        "benchmark": one.benchmark,
        "function": None if function is None else {"file": function.file, "name": function.name, "line": function.line},
        "values": list(one.values),
        "low": list(one.low),
        "high": list(one.high),
        "changes": [
            {"index": change.index, "change": change.change if math.isfinite(change.change) else None, "p": change.p}
            for change in one.changes
        ],
    }
