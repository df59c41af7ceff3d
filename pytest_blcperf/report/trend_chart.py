"""A series over runs as an SVG chart: levels, quartiles, change points. Numbers and escaped text only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from pytest_blcperf.model.trend import Trend, TrendRun, TrendSeries
from pytest_blcperf.report.text import clean, percent, time_ns

_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 14, 16, 26
_GROUPS = 6


def chart(series: TrendSeries, trend: Trend, width: int, height: int) -> str:
    """The chart; runs of one group are joined and share a colour."""
    scale = _Scale(series, len(trend.runs), width, height)
    parts = [*_grid(scale), *_dates(trend.runs, scale)]
    for group in sorted({run.group for run in trend.runs}):
        places = [index for index, run in enumerate(trend.runs) if run.group == group]
        parts += _group(series, trend.runs, places, group % _GROUPS + 1, scale)
    parts += _changes(series, scale)
    label = escape(f"{clean(name(series), 200)} over {len(trend.runs)} runs, {summary(series)}", quote=True)
    view = f'viewBox="0 0 {width} {height}"'
    return f'<svg class="trend" {view} role="img" aria-label="{label}">{"".join(parts)}</svg>'


def name(series: TrendSeries) -> str:
    """What the series is of."""
    return series.function.name if series.function is not None else series.benchmark


def summary(series: TrendSeries) -> str:
    """The last value and the changes, in words."""
    known = [value for value in series.values if value is not None]
    last = f"last {time_ns(known[-1])}" if known else "no value"
    changes = [f"{percent(change.change)} at run {change.index + 1}" for change in series.changes]
    return ", ".join([last, *(changes or ["no change point"])])


class _Scale:
    """Places of runs and times in the drawing."""

    def __init__(self, series: TrendSeries, runs: int, width: int, height: int) -> None:
        columns = (*series.values, *series.low, *series.high)
        known = [value for value in columns if value is not None and math.isfinite(value)]
        low, high = (min(known), max(known)) if known else (0.0, 1.0)
        # Noise alone must not fill the chart: at least a tenth of the level is shown.
        room = max(high - low, 0.1 * high, 1e-9) * 0.12
        middle = (low + high) / 2
        half = max((high - low) / 2 + room, 0.05 * high)
        self.low, self.high = max(middle - half, 0.0), middle + half
        self.runs, self.width, self.height = runs, width, height

    def x(self, index: float) -> float:
        return _LEFT + (index + 0.5) * (self.width - _LEFT - _RIGHT) / max(self.runs, 1)

    def y(self, value: float) -> float:
        part = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.height - _BOTTOM - part * (self.height - _TOP - _BOTTOM)


def _grid(scale: _Scale) -> list[str]:
    parts = []
    for step in range(4):
        value = scale.low + (scale.high - scale.low) * step / 3
        y = scale.y(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{scale.width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{time_ns(value)}</text>')
    return parts


def _dates(runs: Sequence[TrendRun], scale: _Scale) -> list[str]:
    step = max(1, math.ceil(len(runs) / max(scale.width // 130, 1)))
    return [
        f'<text class="tick" x="{scale.x(index):.1f}" y="{scale.height - 8}" text-anchor="middle">'
        f"{escape(clean(runs[index].created[:10], 10))}</text>"
        for index in range(0, len(runs), step)
    ]


def _group(
    series: TrendSeries, runs: Sequence[TrendRun], places: Sequence[int], colour: int, scale: _Scale
) -> list[str]:
    known = [(index, value) for index in places if (value := series.values[index]) is not None]
    parts = []
    for index, _ in known if series.low else ():
        low, high = series.low[index], series.high[index]
        if low is not None and high is not None:
            x, top = scale.x(index), scale.y(high)
            parts.append(f'<line class="spread" x1="{x:.1f}" x2="{x:.1f}" y1="{scale.y(low):.1f}" y2="{top:.1f}"/>')
    line = " ".join(f"{scale.x(index):.1f},{scale.y(value):.1f}" for index, value in known)
    parts.append(f'<polyline class="series-{colour}" points="{line}"/>')
    for index, value in known:
        run = runs[index]
        tip = escape(f"{clean(run.label, 80)}, {clean(run.created, 25)}: {time_ns(value)}")
        dot = f'<circle class="series-{colour}" cx="{scale.x(index):.1f}" cy="{scale.y(value):.1f}" r="3"/>'
        parts.append(f'<g data-run="{index}"><title>{tip}</title>{dot}</g>')
    return parts


def _changes(series: TrendSeries, scale: _Scale) -> list[str]:
    parts = []
    for change in series.changes:
        x = (scale.x(change.index) + scale.x(change.index - 1)) / 2
        tone = "regressed" if change.change > 0 else "improved"
        line = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{scale.height - _BOTTOM}"/>'
        parts.append(f'<g class="change {tone}">{line}')
        side, anchor = (x + 5, "start") if x < scale.width - 90 else (x - 5, "end")
        mark = "▲" if change.change > 0 else "▼"
        parts.append(
            f'<text x="{side:.1f}" y="{_TOP + 2}" text-anchor="{anchor}">{mark} {percent(change.change)}</text></g>'
        )
    return parts
