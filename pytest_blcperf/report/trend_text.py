"""A trend as plain lines: a sparkline a benchmark, then the change points."""

from __future__ import annotations

from pytest_blcperf.model.trend import Trend, TrendSeries
from pytest_blcperf.report.run_text import Screen
from pytest_blcperf.report.text import aligned, clean, cut_middle, percent, time_ns

_BLOCKS = "▁▂▃▄▅▆▇█"
_DIGITS = "01234567"
_SPARK = 40
_SHORT_SPARK = 12


def render(trend: Trend, screen: Screen, table: bool = True) -> list[str]:
    """The lines: with `table` one a benchmark over the newest runs, then what changed."""
    lines = []
    if table:
        lines += [f"{len(trend.runs)} runs, {trend.runs[0].created[:10]} to {trend.runs[-1].created[:10]}", ""]
        spark = max(min(_SPARK, screen.width - 74), _SHORT_SPARK)
        newest = f"newest {spark} runs" if len(trend.runs) > spark else "runs"
        rows = [["benchmark", "first", "last", "change", newest]]
        rows += [_row(one, screen, spark) for one in trend.series if one.function is None]
        lines += [*aligned(rows, right=frozenset({1, 2, 3})), ""]
    return screen.lines([*lines, *_changes(trend, screen)])


def _row(series: TrendSeries, screen: Screen, spark: int) -> list[str]:
    known = [value for value in series.values if value is not None]
    first, last = (time_ns(known[0]), time_ns(known[-1])) if known else ("n/a", "n/a")
    change = percent(known[-1] / known[0] - 1) if known and known[0] > 0 else "n/a"
    name = cut_middle(clean(series.benchmark, 500), screen.room(38 + max(spark, 15)))
    return [name, first, last, change, _spark(known[-spark:], screen)]


def _spark(values: list[float], screen: Screen) -> str:
    """Values between the least and the most as eighths of a character's height, or as digits."""
    signs = _BLOCKS if screen.unicode else _DIGITS
    if not values:
        return ""
    low, room = min(values), max(max(values) - min(values), 0.02 * max(values)) or 1.0
    return "".join(signs[min(int((value - low) / room * 8), 7)] for value in values)


def _changes(trend: Trend, screen: Screen) -> list[str]:
    rows = [["change", "since run", "when", "what"]]
    places = [(change, one) for one in trend.series for change in one.changes]
    for change, one in sorted(places, key=lambda pair: (-pair[0].index, -abs(pair[0].change))):
        run = trend.runs[change.index]
        what = one.benchmark if one.function is None else f"{one.function.name} in {one.benchmark}"
        since = cut_middle(clean(run.label, 100), 26)
        rows.append(
            [percent(change.change), since, clean(run.created[:16], 16), cut_middle(clean(what, 900), screen.room(60))]
        )
    return aligned(rows, right=frozenset({0})) if len(rows) > 1 else ["no change point in these runs"]
