"""Captures against captures: rates of functions and classes on both sides, with intervals.

One observation is one capture: Welch's interval over captures where both sides have at least two. With one a side only
the counting of samples is known: the variance of a sum of n samples of equal weight w is about n·w² (Poisson), which
says whether the two captures differ, not whether others would. Holm's correction runs over the rows of a table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from pytest_blcperf.compare.holm import adjust
from pytest_blcperf.compare.student import quantile, survival
from pytest_blcperf.errors import UsageError
from pytest_blcperf.model.capture import Capture
from pytest_blcperf.model.capture_comparison import CaptureComparison, Delta
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.syscalls import Syscalls
from pytest_blcperf.model.warning import Warning

Rates = Mapping[str, "Rate"]
Split = Callable[[Capture], Mapping[str, float]]
"""Time by name of one capture, in the event's unit."""

SMALL = 0.001
"""Rows below this part of both sides' total are not tested: thousands of them would cost all others their power."""
_FUNCTIONS = 2_000


@dataclass(frozen=True)
class Rate:
    """A mean over captures, and its variance."""

    mean: float
    variance: float
    captures: int


def compare_captures(
    base: Sequence[Capture],
    head: Sequence[Capture],
    splits: Mapping[str, Split],
    warnings: Iterable[Warning] = (),
) -> CaptureComparison:
    """The comparison of two sides of at least one capture each; `splits` are the tables wanted, by title.

    Raises UsageError for captures of different events, or without samples.
    """
    _check(base, head)
    timed = all(one.duration_ns > 0 and one.unit == "ns" for one in (*base, *head))
    sides = [[_Normalised(one, timed) for one in side] for side in (base, head)]
    total = _rows(sides, lambda one: {"total": float(one.weight.sum())}, None)[0]
    named: dict[str, Function] = {}
    by_function = _rows(sides, lambda one: _by_function(one, named), total)
    functions = [replace(row, name=named[row.name].name, function=named[row.name]) for row in by_function]
    return CaptureComparison(
        base=_label(base),
        head=_label(head),
        unit="CPUs" if timed else "of the time",
        between=min(len(base), len(head)) >= 2,
        captures=(len(base), len(head)),
        total=total,
        functions=tuple(functions[:_FUNCTIONS]),
        tables={title: tuple(rows) for title, split in splits.items() if (rows := _rows(sides, split, total))},
        warnings=tuple(dict.fromkeys((*warnings, *_backends(base, head)))),
        calls=tuple(_calls(base, head)),
    )


def failures(comparison: CaptureComparison, limit: float) -> list[Delta]:
    """What grew significantly by more than `limit` of the base's total: the whole, or single functions."""
    rows = (comparison.total, *comparison.functions)
    return [row for row in rows if row.change > limit and row.significant]


class _Normalised:
    """A capture with the factor that makes its times rates: CPUs in use, or parts of the whole."""

    def __init__(self, capture: Capture, timed: bool) -> None:
        self.capture = capture
        total = float(capture.weight.sum())
        self.factor = 1 / capture.duration_ns if timed else 1 / total
        self.weight = total / len(capture)
        """Of one sample."""


def _check(base: Sequence[Capture], head: Sequence[Capture]) -> None:
    for one in (*base, *head):
        if not len(one) or not one.weight.sum():
            raise UsageError(f"{one.target or 'a capture'} has no samples", "capture for longer, or a busier moment")
    events = {(one.event, one.unit) for one in (*base, *head)}
    if len(events) > 1:
        names = " and ".join(sorted(event for event, _ in events))
        raise UsageError(f"captures of different events are not compared: {names}", "record both with the same --event")


def _backends(base: Sequence[Capture], head: Sequence[Capture]) -> Iterable[Warning]:
    names = sorted({one.backend for one in (*base, *head)})
    if len(names) > 1:
        yield Warning("backends-differ", f"the captures come from different backends: {', '.join(names)}")


def _label(captures: Sequence[Capture]) -> str:
    first = captures[0].target or "capture"
    return first if len(captures) == 1 else f"{first} and {len(captures) - 1} more"


def _by_function(capture: Capture, named: dict[str, Function]) -> dict[str, float]:
    """Self time (total time where self time is unknown) by a key that functions of both sides have in common."""
    stacks = len(capture.stack_offsets) - 1
    by_stack = np.bincount(capture.stack, weights=capture.weight, minlength=stacks)
    times: dict[str, float] = {}
    for stack in np.flatnonzero(by_stack).tolist():
        indices = capture.stack_of(stack)
        for index in set(indices if not capture.self_time else indices[:1]):
            function = capture.functions[index]
            key = _key(function)
            named.setdefault(key, function)
            times[key] = times.get(key, 0.0) + float(by_stack[stack])
    return times


def _key(function: Function) -> str:
    """File and name; a function without a name is the same where its code is."""
    nameless = function.name.startswith(("+0x", "[unknown]"))
    return f"{function.file}\0{function.fingerprint if nameless and function.fingerprint else function.name}"


def _rows(sides: Sequence[Sequence[_Normalised]], split: Split, total: Delta | None) -> list[Delta]:
    """The rows of one table, largest change first; the total's own when `total` is None."""
    rates = [_rates(side, split) for side in sides]
    whole = total.base if total is not None else next(iter(rates[0].values())).mean
    names = dict.fromkeys([*rates[0], *rates[1]])
    nothing = [Rate(0.0, _least_variance(side), len(side)) for side in sides]
    rows = [_delta(name, rates[0].get(name, nothing[0]), rates[1].get(name, nothing[1]), whole) for name in names]
    tested = [row for row in rows if max(row.base, row.head) >= SMALL * whole]
    adjusted = adjust([row.p for row in tested])
    final = [replace(row, p=p) for row, p in zip(tested, adjusted, strict=True)]
    final += [replace(row, p=1.0) for row in rows if max(row.base, row.head) < SMALL * whole]
    return sorted(final, key=lambda row: (-abs(row.change), row.name))


def _rates(side: Sequence[_Normalised], split: Split) -> dict[str, Rate]:
    split_up = [split(one.capture) for one in side]
    names = reduce(lambda found, times: found | dict.fromkeys(times), split_up, dict[str, None]())
    rates = {}
    for name in names:
        values = [times.get(name, 0.0) * one.factor for times, one in zip(split_up, side, strict=True)]
        rates[name] = _rate(values, side)
    return rates


def _calls(base: Sequence[Capture], head: Sequence[Capture]) -> list[Delta]:
    """System calls a second, largest change first; nothing unless all captures counted them. The variance of a count n
    is n (Poisson).
    """
    sides = [[one.syscalls for one in side if one.syscalls and one.syscalls.traced_ns] for side in (base, head)]
    if [len(side) for side in sides] != [len(base), len(head)]:
        return []
    counted = [[_calls_of(one) for one in side] for side in sides]
    seconds = [[one.traced_ns / 1e9 for one in side] for side in sides]
    names = dict.fromkeys(name for side in counted for calls in side for name in calls)
    rates = [
        {name: _call_rate([calls.get(name, 0) for calls in side], lengths) for name in names}
        for side, lengths in zip(counted, seconds, strict=True)
    ]
    whole = sum(rate.mean for rate in rates[0].values())
    rows = [_delta(name, rates[0][name], rates[1][name], whole) for name in names]
    adjusted = adjust([row.p for row in rows])
    final = [replace(row, p=p) for row, p in zip(rows, adjusted, strict=True)]
    return sorted(final, key=lambda row: (-abs(row.change), row.name))


def _calls_of(traced: Syscalls) -> dict[str, int]:
    calls: dict[str, int] = {}
    for one in traced.counts:
        calls[one.name] = calls.get(one.name, 0) + one.calls
    return calls


def _call_rate(calls: Sequence[int], seconds: Sequence[float]) -> Rate:
    number = len(calls)
    values = [count / length for count, length in zip(calls, seconds, strict=True)]
    # Of a call that was not seen: as if it had been, once.
    counting = sum(max(count, 1) / length**2 for count, length in zip(calls, seconds, strict=True)) / number**2
    return _of_captures(values, counting)


def _rate(values: Sequence[float], side: Sequence[_Normalised]) -> Rate:
    counting = sum(value * one.weight * one.factor for value, one in zip(values, side, strict=True)) / len(values) ** 2
    return _of_captures(values, counting)


def _of_captures(values: Sequence[float], counting: float) -> Rate:
    """The mean over captures; its variance is that between them, at least that of counting."""
    number = len(values)
    mean = sum(values) / number
    if number < 2:
        return Rate(mean, counting, number)
    between = sum((value - mean) ** 2 for value in values) / (number - 1) / number
    # Captures that agree by chance still have the error of counting.
    return Rate(mean, max(between, counting), number)


def _least_variance(side: Sequence[_Normalised]) -> float:
    """Of a name that was not seen: as if it had been, in one sample."""
    return sum((one.weight * one.factor) ** 2 for one in side) / len(side) ** 2


def _delta(name: str, base: Rate, head: Rate, whole: float) -> Delta:
    difference = head.mean - base.mean
    variance = base.variance + head.variance
    freedom = _welch(base, head)
    error = math.sqrt(variance)
    half = quantile(0.975, freedom) * error
    p = min(1.0, 2 * survival(abs(difference) / error, freedom)) if error else float(difference == 0)
    scale = 1 / whole if whole else 0.0
    return Delta(
        name, base.mean, head.mean, difference * scale, (difference - half) * scale, (difference + half) * scale, p
    )


def _welch(base: Rate, head: Rate) -> float:
    """Degrees of freedom (Welch–Satterthwaite); those of the normal distribution where only samples were counted."""
    if min(base.captures, head.captures) < 2:
        return math.inf
    below = base.variance**2 / (base.captures - 1) + head.variance**2 / (head.captures - 1)
    return (base.variance + head.variance) ** 2 / below if below else math.inf
