"""Numbers and untrusted names as short text; every renderer's smallest parts.

`~` stands for a change that is not significant: its 95 % interval contains zero.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

from pytest_blcperf.model.comparison import Estimate

UNKNOWN = "n/a"
NOT_SIGNIFICANT = "~"
_ASCII = str.maketrans({"→": "->", "×": "x", "µ": "u", "…": "..."})


def clean(text: str, limit: int = 200) -> str:
    r"""One printable line of at most `limit` characters, safe to write to a terminal.

    Control characters, escape sequences, line breaks, direction overrides, invisible characters and lone surrogates
    become visible escapes such as `\x1b`; what is too long ends in `…`.
    """
    cut = text[: limit + 1]
    safe = "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in cut)
    return safe if len(safe) <= limit else safe[: max(limit - 1, 0)] + "…"


def to_ascii(text: str) -> str:
    """The text for a terminal without Unicode: our own symbols spelled out, other characters as visible escapes."""
    return text.translate(_ASCII).encode("ascii", "backslashreplace").decode("ascii")


def cells(text: str) -> int:
    """Columns the text takes on a terminal: East Asian wide characters take two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.category(char) in ("Mn", "Me") else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )


def cut_middle(text: str, width: int, ellipsis: str = "…") -> str:
    """The text in at most `width` columns; what is too long loses its middle, since both ends of a node id matter."""
    if cells(text) <= width:
        return text
    room = max(width - len(ellipsis), 0)
    tail = _take(text[::-1], room - room // 3)[::-1]
    return _take(text, room // 3) + ellipsis[:width] + tail


def _take(text: str, width: int) -> str:
    used = 0
    for index, char in enumerate(text):
        used += cells(char)
        if used > width:
            return text[:index]
    return text


def time_ns(ns: float) -> str:
    """Nanoseconds with three significant digits and the fitting unit: `1.23 ms`; `n/a` when it is not a number."""
    if not math.isfinite(ns):
        return UNKNOWN
    value, size = ns, abs(ns)
    for unit in ("ns", "µs", "ms", "s"):
        if size < 999.5 or unit == "s":
            break
        value, size = value / 1000, size / 1000
    if value == 0:
        return "0 ns"
    if size >= 1e6:
        return f"{value:.2e} {unit}"
    digits = 2 if size < 9.995 else 1 if size < 99.95 else 0
    return f"{value:.{digits}f} {unit}"


def signed_time(ns: float) -> str:
    """A difference of times: `+120 µs`, `-3.00 ms`."""
    return ("+" if ns > 0 else "") + time_ns(ns)


def _points(change: float, digits: int) -> str:
    points = change * 100
    if not math.isfinite(points):
        return UNKNOWN
    if abs(points) >= 1e6:
        return f"{points:+.2g}"
    digits = 0 if abs(points) >= 1000 else digits
    return f"{round(points, digits) + 0.0:+.{digits}f}"


def percent(change: float, digits: int = 1) -> str:
    """A relative change, 0.201 → `+20.1 %`; `n/a` when it is not a number."""
    points = _points(change, digits)
    return points if points == UNKNOWN else points + " %"


def share(part: float, digits: int = 1) -> str:
    """A fraction without sign, 0.05 → `5 %`; `n/a` when it is not a number."""
    points = _points(part, digits)
    return points if points == UNKNOWN else points.lstrip("+-").removesuffix(".0") + " %"


def change_of(log_ratio: float) -> float:
    """The relative change a log ratio stands for; infinite instead of an overflow."""
    return math.expm1(log_ratio) if not log_ratio > 700 else math.inf


def bounds(estimate: Estimate) -> tuple[float, float] | None:
    """The 95 % two-sided t interval of the relative change (fractions), None when the estimate has no usable error."""
    from pytest_blcperf.compare.student import quantile

    if not (math.isfinite(estimate.log_ratio) and math.isfinite(estimate.standard_error)):
        return None
    if estimate.freedom < 1 or estimate.standard_error < 0:
        return None
    half = quantile(0.975, estimate.freedom) * estimate.standard_error
    return change_of(estimate.log_ratio - half), change_of(estimate.log_ratio + half)


def interval(estimate: Estimate) -> str:
    """The 95 % interval of the change in percent: `[+18.9, +21.4]`; `n/a` without a usable error."""
    ends = bounds(estimate)
    return UNKNOWN if ends is None else f"[{_points(ends[0], 1)}, {_points(ends[1], 1)}]"


def significant(estimate: Estimate) -> bool:
    """Whether the 95 % interval leaves out zero. Says nothing about thresholds or about correction for many tests."""
    ends = bounds(estimate)
    return ends is not None and not ends[0] <= 0 <= ends[1]


def delta(estimate: Estimate) -> str:
    """The change of an estimate: `+20.1 %`, or `~` when it is not significant."""
    return percent(change_of(estimate.log_ratio)) if significant(estimate) else NOT_SIGNIFICANT


def p_value(p: float) -> str:
    """`p = 0.0042`, `p < 1e-9`; `p n/a` when it is not a number."""
    if not math.isfinite(p):
        return f"p {UNKNOWN}"
    return "p < 1e-9" if p < 1e-9 else f"p = {p:.2g}"


def quantity(value: float) -> str:
    """A count such as calls per iteration: `36`, `0.5`, `12,345`."""
    if not math.isfinite(value):
        return UNKNOWN
    if abs(value) < 1e9 and (value == int(value) or abs(value) >= 100):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def instructions(value: float) -> str:
    """A number of instructions: `950`, `4.52 M`."""
    if not math.isfinite(value):
        return UNKNOWN
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f}"


def aligned(rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> list[str]:
    """Rows of equal length as lines with aligned columns, two spaces apart; columns in `right` are aligned right."""
    widths = [max(cells(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        parts = []
        for column, (text, width) in enumerate(zip(row, widths, strict=True)):
            space = " " * (width - cells(text))
            parts.append(space + text if column in right else text + space)
        lines.append("  ".join(parts).rstrip())
    return lines
