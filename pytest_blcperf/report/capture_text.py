"""A capture in the terminal: what was captured, what was found, where the time went."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from pytest_blcperf.detect.analysis import Analysis, Hot
from pytest_blcperf.detect.breakdown import Part, SyscallRow
from pytest_blcperf.model.capture import Capture
from pytest_blcperf.model.finding import Certainty, Finding
from pytest_blcperf.model.syscalls import Syscalls
from pytest_blcperf.report.text import aligned, cells, clean, cut_middle, quantity, time_ns

_BAR = 24
_PARTS = 8
_CALLS = 12
_NAME_LIMIT = 500
_WIDE = 90
_NUMBERS, _PLACE, _CLASS = 18, 20, 22
"""Columns of the table of functions: both shares with their gaps, the object or file, the class."""
_ALWAYS = ("database", "mode", "class", "library")
"""Tables that are shown though they have one row only."""


def render(analysis: Analysis, *, width: int = 100, top: int = 20, unicode: bool = True) -> list[str]:
    """The report as lines of at most `width` columns, as far as names allow."""
    lines = [line for text in _head(analysis.capture) for line in _wrapped(text, width)]
    lines += ["", *_findings(analysis.findings, width)]
    if analysis.hot:
        lines += ["", *_hot(analysis.hot[:top], width)]
        left = len(analysis.hot) - top
        if left > 0:
            lines.append(f"  … and {left:,} more functions: --top {min(len(analysis.hot), 4 * top)}")
    for title, parts in analysis.tables.items():
        if len(parts) > 1 or title in _ALWAYS:
            lines += ["", *_table(title, parts, width, unicode)]
    if analysis.capture.syscalls is not None:
        lines += ["", *_traced(analysis.capture.syscalls, analysis.syscalls, width)]
    elif "system call" in analysis.tables:
        lines += _untraced(analysis.capture, width)
    return lines


def _traced(traced: Syscalls, rows: Sequence[SyscallRow], width: int) -> Iterator[str]:
    """The table of counts; what it rests on stands above it."""
    yield from _wrapped(f"system calls by raw tracepoints: {traced_basis(traced)}", width)
    seconds = traced.window_ns / 1e9 or 1.0
    shown = [["calls", "calls/s", "time", "a call", "system call"]]
    for one in rows[:_CALLS]:
        mean = time_ns(one.time_ns / one.calls) if one.calls else "n/a"
        name = cut_middle(clean(one.name, _NAME_LIMIT), 40)
        shown.append([quantity(one.calls), quantity(one.calls / seconds), time_ns(one.time_ns), mean, name])
    yield from aligned(shown, right=frozenset({0, 1, 2, 3}))
    if len(rows) > _CALLS:
        yield f"  … and {len(rows) - _CALLS:,} more system calls: --json"


def traced_basis(traced: Syscalls) -> str:
    """What counts of system calls rest on, in a line."""
    text = "time by the clock, waiting included"
    if traced.traced_ns < traced.window_ns:
        share = _percent(traced.traced_ns / traced.window_ns)
        text += f"; traced in {share} of the window and scaled up, which for a program that does little else is too few"
    return text + (f"; {traced.lost:,} records lost" if traced.lost else "")


def _untraced(capture: Capture, width: int) -> Iterator[str]:
    method = capture.settings.get("syscalls")
    if isinstance(method, str):
        yield from _wrapped(f"system calls by {clean(method, _NAME_LIMIT)} (time only, no counts)", width)


def _head(capture: Capture) -> Iterator[str]:
    seconds = capture.duration_ns / 1e9
    total = float(capture.weight.sum())
    what = f"{clean(capture.target) or 'capture'}: {len(capture):,} samples of {clean(capture.event, 40)}"
    if seconds:
        what += f" in {seconds:.3g} s"
        if capture.unit == "ns":
            what += f", {total / capture.duration_ns:.2f} CPUs in use"
    yield what
    details = [clean(capture.backend, 60), f"{len(capture.threads):,} threads"]
    if capture.started:
        details.insert(0, clean(capture.started, 40))
    reason = capture.settings.get("trigger")
    if reason:
        details.append(f"triggered by {clean(str(reason), 100)}")
    yield ", ".join(details)
    counted = [f"{quantity(value)} {clean(name, 30)}" for name, value in sorted(capture.counters.items())]
    if counted:
        yield "counted: " + ", ".join(counted)
    yield from _health(capture)


def _health(capture: Capture) -> Iterator[str]:
    health = capture.health
    parts = []
    if health.recording.lost:
        parts.append(f"{health.recording.lost:,} samples lost")
    if health.recording.throttled:
        parts.append(f"throttled {health.recording.throttled:,} times")
    if health.truncated:
        parts.append(f"{health.truncated / max(len(capture), 1):.1%} of the stacks truncated")
    if health.unknown_frames:
        parts.append(f"{health.unknown_frames / max(health.frames, 1):.1%} of the frames without a name")
    if parts:
        yield "health: " + ", ".join(parts)
    for warning in capture.warnings:
        yield f"warning: {clean(warning.text, 500)} [{clean(warning.code, 60)}]"


def _findings(findings: Sequence[Finding], width: int) -> Iterator[str]:
    found = [one for one in findings if one.certainty is Certainty.FOUND]
    if not found:
        yield "found: no pattern"
    for one in found:
        summary = f"{clean(one.summary, _NAME_LIMIT)} (threshold {_value(one.threshold, one.unit)})"
        yield from _wrapped(f"FOUND {one.title}: {summary}", width)
        for evidence in one.evidence:
            name = cut_middle(clean(evidence.function.name, _NAME_LIMIT), max(width - 40, 30))
            place = clean(evidence.function.file) + (f", {clean(evidence.context)}" if evidence.context else "")
            line = f"    {_percent(evidence.share):>7}  {name}  "
            yield line + cut_middle(place, max(width - cells(line), 8))
        if one.next_step:
            yield from _wrapped(f"    next: {one.next_step}", width)
    reasons: dict[str, list[str]] = {}
    for one in findings:
        if one.certainty is Certainty.UNJUDGED:
            reasons.setdefault(one.reason, []).append(one.title)
    for reason, titles in reasons.items():
        what = "all patterns" if len(titles) == len(findings) else ", ".join(titles)
        yield from _wrapped(f"not judged: {what}: {clean(reason, _NAME_LIMIT)}", width)


def _wrapped(text: str, width: int) -> list[str]:
    indent = " " * (len(text) - len(text.lstrip()))
    return textwrap.wrap(text, max(width, 40), initial_indent="", subsequent_indent=indent + "    ")


def _value(value: float, unit: str) -> str:
    return f"{value:.0%}".replace("%", " %") if unit.startswith(("share", "of ")) else f"{quantity(value)} {unit}"


def _percent(part: float) -> str:
    """One digit always, so that columns align."""
    return f"{100 * part:.1f} %"


def _hot(hot: Sequence[Hot], width: int) -> list[str]:
    """The table of functions; a narrow screen has no room for their classes."""
    wide = width >= _WIDE
    room = max(width - (_NUMBERS + _PLACE + 2 + (_CLASS + 2 if wide else 0)), 16)
    rows = [["self", "total", "function", "where", "class"]]
    for one in hot:
        own = "n/a" if one.own is None else _percent(one.own)
        name = cut_middle(clean(one.function.name, _NAME_LIMIT), room)
        place = one.function.location if one.function.line else one.function.file
        shown = cut_middle(clean(place, _NAME_LIMIT), _PLACE)
        rows.append([own, _percent(one.total), name, shown, cut_middle(one.label, _CLASS)])
    return aligned([row if wide else row[:4] for row in rows], right=frozenset({0, 1}))


def _table(title: str, parts: Sequence[Part], width: int, unicode: bool) -> list[str]:
    shown = list(parts[:_PARTS])
    rest = parts[_PARTS:]
    if rest:
        shown.append(Part(f"{len(rest)} more", sum(one.time for one in rest), sum(one.share for one in rest)))
    names = [cut_middle(clean(one.name, _NAME_LIMIT), max(width - _BAR - 30, 20)) for one in shown]
    widest = max(map(cells, names))
    lines = [f"by {title}"]
    for name, one in zip(names, shown, strict=True):
        bar = ("█" if unicode else "#") * round(one.share * _BAR)
        lines.append(f"  {name}{' ' * (widest - cells(name))}  {_percent(one.share):>7}  {bar}".rstrip())
    return lines
