"""The small drawings inside tables: intervals against a threshold, launches as dots. Colours come from the style sheet.

They hold numbers and fixed words only, so there is nothing to escape.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_blcperf.model.comparison import Estimate
from pytest_blcperf.report.text import bounds, interval, percent, time_ns

WIDTH, HEIGHT = 184, 22
_MOST = math.log(4)
_LEAST = math.log(1.02)
_ROOM = 6


@dataclass(frozen=True)
class Scale:
    """A horizontal axis of log ratios from `-extent` to `extent`, equal for all the drawings of one table."""

    extent: float

    @classmethod
    def of(cls, estimates: Iterable[Estimate], thresholds: Iterable[float]) -> Scale:
        """An axis on which all intervals and thresholds are seen, but at most from a quarter to four times."""
        reached = [math.log1p(threshold) * 1.15 for threshold in thresholds]
        for estimate in estimates:
            ends = bounds(estimate)
            reached += [abs(estimate.log_ratio), *(map(_log, ends) if ends else ())]
        finite = [abs(value) for value in reached if math.isfinite(value)]
        return cls(min(max(max(finite, default=_LEAST) * 1.06, _LEAST), _MOST))

    def x(self, log_ratio: float) -> float:
        """The place on the axis; what lies beyond it stands at its end."""
        part = max(-1.0, min(1.0, log_ratio / self.extent))
        return WIDTH / 2 + part * (WIDTH / 2 - _ROOM)


def interval_bar(estimate: Estimate, threshold: float, tone: str, scale: Scale) -> str:
    """The 95 % interval of a change as a bar, its estimate as a dot, zero as a line, the threshold as a dashed one.

    `tone` is a class of the style sheet: `regressed`, `improved` or `unsure`. An end beyond the axis is an arrow.
    """
    ends, middle = bounds(estimate), HEIGHT / 2
    label = f"{percent(math.expm1(min(estimate.log_ratio, 700)))}, 95 % interval {interval(estimate)} %"
    parts = [
        f'<line class="axis" x1="{_ROOM}" x2="{WIDTH - _ROOM}" y1="{middle}" y2="{middle}"/>',
        f'<line class="zero" x1="{WIDTH / 2}" x2="{WIDTH / 2}" y1="2" y2="{HEIGHT - 2}"/>',
    ]
    if threshold > 0:
        x = scale.x(math.log1p(threshold))
        parts.append(f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="1" y2="{HEIGHT - 1}"/>')
        label += f", threshold {percent(threshold)}"
    if ends:
        low, high = (_log(end) for end in ends)
        left, right = scale.x(low), scale.x(high)
        parts.append(f'<rect x="{left:.1f}" y="{middle - 4}" width="{max(right - left, 2):.1f}" height="8" rx="2"/>')
        if high > scale.extent:
            parts.append(f'<path d="M{WIDTH - _ROOM} {middle - 5}l5 5l-5 5z"/>')
        if low < -scale.extent:
            parts.append(f'<path d="M{_ROOM} {middle - 5}l-5 5l5 5z"/>')
    if math.isfinite(estimate.log_ratio):
        parts.append(f'<circle cx="{scale.x(estimate.log_ratio):.1f}" cy="{middle}" r="3.2"/>')
    return _svg(f"interval {tone}", WIDTH, HEIGHT, label, parts)


def change_bar(change: float, low: float, high: float, extent: float, tone: str) -> str:
    """A difference with its interval, on an axis from `-extent` to `extent`; an end beyond it is an arrow."""
    middle, room = HEIGHT / 2, WIDTH / 2 - _ROOM

    def x(value: float) -> float:
        return WIDTH / 2 + max(-1.0, min(1.0, value / extent)) * room

    left, right = x(low), x(high)
    parts = [
        f'<line class="axis" x1="{_ROOM}" x2="{WIDTH - _ROOM}" y1="{middle}" y2="{middle}"/>',
        f'<line class="zero" x1="{WIDTH / 2}" x2="{WIDTH / 2}" y1="2" y2="{HEIGHT - 2}"/>',
        f'<rect x="{left:.1f}" y="{middle - 4}" width="{max(right - left, 2):.1f}" height="8" rx="2"/>',
        f'<circle cx="{x(change):.1f}" cy="{middle}" r="3.2"/>',
    ]
    if high > extent:
        parts.append(f'<path d="M{WIDTH - _ROOM} {middle - 5}l5 5l-5 5z"/>')
    if low < -extent:
        parts.append(f'<path d="M{_ROOM} {middle - 5}l-5 5l5 5z"/>')
    label = f"{100 * change:+.1f} %, 95 % interval {100 * low:+.1f} to {100 * high:+.1f} %"
    return _svg(f"interval {tone}", WIDTH, HEIGHT, label, parts)


def launch_dots(logs: Sequence[float], confirming: Sequence[bool], threshold: float, tone: str) -> str:
    """Each launch's log ratio as a dot, in order of time: hollow where it screened, filled where it confirmed."""
    if not logs:
        return ""
    width, height = 120, 26
    limit = math.log1p(max(threshold, 0))
    extent = max([abs(log) for log in logs if math.isfinite(log)] + [limit * 1.2, 0.01])
    step = (width - 12) / max(len(logs) - 1, 1)
    radius = max(min(2.2, step * 0.6), 0.8)

    def y(log: float) -> float:
        return height / 2 - max(-1.0, min(1.0, log / extent)) * (height / 2 - 4)

    parts = [f'<line class="zero" x1="2" x2="{width - 2}" y1="{height / 2}" y2="{height / 2}"/>']
    if limit:
        parts.append(f'<line class="limit" x1="2" x2="{width - 2}" y1="{y(limit):.1f}" y2="{y(limit):.1f}"/>')
    for index, (log, confirms) in enumerate(zip(logs, confirming, strict=True)):
        kind = "" if confirms or not any(confirming) else ' class="hollow"'
        parts.append(f'<circle{kind} cx="{6 + index * step:.1f}" cy="{y(log):.1f}" r="{radius:.1f}"/>')
    spread = f"{percent(math.expm1(min(logs)))} to {percent(math.expm1(max(logs)))}"
    return _svg(f"dots {tone}", width, height, f"{len(logs)} launches, each from {spread}", parts)


def time_dots(times: Sequence[float]) -> str:
    """Each launch's time per iteration as a dot, in order; the height is its place between the least and the most."""
    if not times:
        return ""
    width, height = 120, 26
    low, extent = min(times), (max(times) - min(times)) or 1.0
    step = (width - 12) / max(len(times) - 1, 1)
    parts = [
        f'<circle cx="{6 + index * step:.1f}" cy="{height - 4 - (time - low) / extent * (height - 8):.1f}" '
        f'r="{max(min(2.2, step * 0.6), 0.8):.1f}"/>'
        for index, time in enumerate(times)
    ]
    return _svg("dots", width, height, f"{len(times)} launches, {time_ns(min(times))} to {time_ns(max(times))}", parts)


def two_sides(base: Sequence[float], head: Sequence[float], tone: str) -> str:
    """Launches that were not paired: the base's times per iteration as grey dots, then the head's."""
    if not base or not head:
        return ""
    width, height = 120, 26
    low, high = min(*base, *head), max(*base, *head)
    extent = (high - low) or 1.0
    step = (width - 20) / max(len(base) + len(head) - 1, 1)
    parts = []
    for index, value in enumerate((*base, *head)):
        kind, shift = (' class="base"', 6) if index < len(base) else ("", 14)
        y = height - 4 - (value - low) / extent * (height - 8)
        parts.append(f'<circle{kind} cx="{shift + index * step:.1f}" cy="{y:.1f}" r="2.2"/>')
    label = f"{len(base)} launches of the base, then {len(head)} of the head: time per iteration"
    return _svg(f"dots {tone}", width, height, label, parts)


def axis_ends(scale: Scale) -> tuple[str, str]:
    """What the ends of the axis mean, in percent."""
    return percent(math.expm1(-scale.extent), 0), percent(math.expm1(scale.extent), 0)


def _svg(kind: str, width: float, height: float, label: str, parts: Iterable[str]) -> str:
    head = f'<svg class="{kind}" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img"'
    return f'{head} aria-label="{label}"><title>{label}</title>{"".join(parts)}</svg>'


def _log(change: float) -> float:
    return math.log1p(change) if change > -1 else -math.inf
