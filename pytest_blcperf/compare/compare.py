"""One benchmark on two sides: its time, and every hot function's cost."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from pytest_blcperf.compare.align import match_functions
from pytest_blcperf.compare.estimate import (
    Times,
    dispersion,
    function_ratio,
    paired_times,
    share_ratio,
    unpaired_times,
)
from pytest_blcperf.compare.instructions import counted_ratio, counted_times
from pytest_blcperf.compare.metrics import metric_times
from pytest_blcperf.compare.shares import Mask, Tally, tally
from pytest_blcperf.model.calibration import BUILT_IN, Calibration, Noise
from pytest_blcperf.model.comparison import (
    INSTRUCTIONS,
    NANOSECONDS,
    SELF,
    TOTAL,
    BenchmarkComparison,
    Estimate,
    FunctionComparison,
)
from pytest_blcperf.model.function import PYTHON, Function
from pytest_blcperf.model.profile import Floats
from pytest_blcperf.model.run import Benchmark
from pytest_blcperf.model.warning import Warning
from pytest_blcperf.settings import Settings

MOST_FUNCTIONS = 40
"""How many (function, kind) of one benchmark are compared, the hottest first: each one costs the others power."""
WHOLE = 0.98
"""A total share from here on is the benchmark itself under another name."""
Key = tuple[Function, str]


@dataclass(frozen=True)
class Pair:
    """A function on both sides; `index_*` is its place in the tally of the side, None when not sampled.

    `function` is the one of the head where there is one. `new` says the base knows no such function; the rest is as in
    FunctionComparison.
    """

    function: Function
    index_base: int | None
    index_head: int | None
    code_changed: bool | None
    new: bool
    calls_base: float | None = None
    calls_head: float | None = None
    counts_exact: bool = False


@dataclass(frozen=True)
class Sides:
    """Two profiles of one benchmark aligned, with its own ratio: what any set of stacks cost, and how it grew."""

    base: Tally
    head: Tally
    times: Times
    pairs: tuple[Pair, ...]
    paired: bool
    has_self: bool
    dispersion: float
    unit: str = NANOSECONDS

    def counts(self, pair: Pair, kind: str) -> tuple[Floats, Floats]:
        """Samples a launch of one function, base and head."""
        return _counts(self.base, pair.index_base, kind), _counts(self.head, pair.index_head, kind)

    def compared(self, base: Floats, head: Floats) -> Estimate:
        """θ = r + L of the samples a launch [K] of some part of the benchmark; of instructions their own ratio."""
        if self.unit == INSTRUCTIONS:
            return counted_ratio(base, head)
        share = share_ratio(
            base, self.base.samples, head, self.head.samples, dispersion=self.dispersion, paired=self.paired
        )
        return function_ratio(self.times.ratio, share)

    def grown(self, base: Mask, head: Mask) -> float:
        """ΔF: by how much the cost of these stacks grew, ns per iteration."""
        shares = _fraction(self.base.within(base), self.base), _fraction(self.head.within(head), self.head)
        return shares[1] * self.times.head_ns - shares[0] * self.times.base_ns


def compare_benchmark(
    base: Benchmark,
    head: Benchmark,
    settings: Settings,
    *,
    phase: str | None,
    paired: bool,
    only: Collection[Key] | None = None,
    unit: str = NANOSECONDS,
) -> BenchmarkComparison:
    """The benchmark's ratio and that of each hot function, from the launches of one phase (None: all).

    A function is hot when its share is at least its `min_share` on either side. `only` asks for exactly those
    (function, kind) instead, hot or not: the ones that earlier data named. Never raises on missing data: what cannot be
    estimated has an infinite standard error, and a warning says what was missing. In instructions both are what
    `in_instructions` gives, and neither phases nor pairs mean anything.
    """
    noise = settings.calibration.noise(head.id)
    times = _times(base, head, phase, paired, unit, noise=noise)
    both, warnings = _sides(base, head, times, paired, unit, noise=noise)
    functions: tuple[FunctionComparison, ...] = ()
    if both is not None:
        wanted = tuple(_hot(both, settings, head.id)) if only is None else tuple(_asked(both, only))
        if len(wanted) > MOST_FUNCTIONS and only is None:
            text = f"{len(wanted)} hot functions; the {MOST_FUNCTIONS} with the largest share were compared"
            warnings += (Warning("functions-capped", text),)
            wanted = wanted[:MOST_FUNCTIONS]
        functions = tuple(_compared(both, pair, kind) for pair, kind in wanted)
    return BenchmarkComparison(
        id=head.id,
        base_ns=times.base_ns,
        head_ns=times.head_ns,
        ratio=times.ratio,
        functions=functions,
        launches=min(len(times.launches_base), len(times.launches_head)),
        paired=paired,
        base_wall_ns=times.base_wall_ns,
        head_wall_ns=times.head_wall_ns,
        backend=head.profile.backend if both is not None and head.profile else "",
        metric=head.metric,
        warnings=tuple(dict.fromkeys((*base.warnings, *head.warnings, *times.warnings, *warnings))),
        unit=unit,
    )


def sides(
    base: Benchmark,
    head: Benchmark,
    *,
    phase: str | None,
    paired: bool,
    unit: str = NANOSECONDS,
    calibration: Calibration = BUILT_IN,
) -> Sides | None:
    """The aligned profiles of one phase (None: all), None where they cannot be compared."""
    noise = calibration.noise(head.id)
    times = _times(base, head, phase, paired, unit, noise=noise)
    return _sides(base, head, times, paired, unit, noise=noise)[0]


def _times(base: Benchmark, head: Benchmark, phase: str | None, paired: bool, unit: str, *, noise: Noise) -> Times:
    if base.metric is not None and head.metric is not None:
        return metric_times(base, head, phase, paired=paired)
    if unit == INSTRUCTIONS:
        return counted_times(base, head)
    return paired_times(base, head, phase, noise.between_launches) if paired else unpaired_times(base, head, phase)


def _sides(
    base: Benchmark, head: Benchmark, times: Times, paired: bool, unit: str, *, noise: Noise
) -> tuple[Sides | None, tuple[Warning, ...]]:
    if base.metric is not None or head.metric is not None:
        return None, ()
    if base.profile is None or head.profile is None:
        missing = " and ".join(name for name, side in (("base", base), ("head", head)) if side.profile is None)
        return None, (Warning("profile-missing", f"no profile of the {missing}: functions were not compared"),)
    if base.profile.backend != head.profile.backend:
        text = (
            f"profiles by {base.profile.backend} (base) and {head.profile.backend} (head): functions were not compared"
        )
        return None, (Warning("profile-backends", text),)
    old, new = tally(base.profile, times.launches_base), tally(head.profile, times.launches_head)
    if not old.samples.sum() or not new.samples.sum():
        empty = " and ".join(name for name, side in (("base", old), ("head", new)) if not side.samples.sum())
        return None, (
            Warning("profile-empty", f"the profile of the {empty} has no samples: functions were not compared"),
        )
    has_self = base.profile.self_time and head.profile.self_time
    warnings: tuple[Warning, ...] = ()
    if 1 in (int((old.samples > 0).sum()), int((new.samples > 0).sum())) and times.ratio.freedom > 0:
        warnings = (Warning("profile-launches", "samples of one launch only: functions cannot be judged"),)
    spread = dispersion(old, new, leaf=has_self, known=noise.dispersion)
    return Sides(old, new, times, tuple(_pairs(base, head, old, new)), paired, has_self, spread, unit), warnings


def _pairs(base: Benchmark, head: Benchmark, old: Tally, new: Tally) -> Iterator[Pair]:
    calls = [{one.function: one.calls for one in side.counts.calls} if side.counts else {} for side in (base, head)]
    exact = all(side.counts is not None and side.counts.deterministic for side in (base, head))
    match = match_functions([*old.functions, *calls[0]], [*new.functions, *calls[1]])
    both: list[tuple[Function, Function | None, Function | None]] = [(two, one, two) for one, two in match.pairs]
    both += [(one, one, None) for one in match.only_base]
    both += [(two, None, two) for two in match.only_head]
    for function, one, two in both:
        before = _calls(calls[0], one, called=two in calls[1])
        after = _calls(calls[1], two, called=one in calls[0])
        known = before is not None and after is not None
        yield Pair(
            function=function,
            index_base=old.index.get(one) if one else None,
            index_head=new.index.get(two) if two else None,
            code_changed=_code_changed(one, two, counted=bool(calls[0]) and bool(calls[1])),
            new=one is None,
            calls_base=before,
            calls_head=after,
            counts_exact=exact and known,
        )


def _calls(calls: dict[Function, float], function: Function | None, *, called: bool) -> float | None:
    """Calls per iteration; 0 for a function counted on the other side only, None where nothing is known of it."""
    if function is not None and function in calls:
        return calls[function]
    return 0.0 if called and calls else None


def _code_changed(base: Function | None, head: Function | None, *, counted: bool) -> bool | None:
    if base is None or head is None:
        # Only a count of every function proves that it is not there; a profile may just have missed it. Compiled code
        # is there whether Python calls it or not.
        only = head or base
        return True if counted and only is not None and only.kind == PYTHON else None
    return base.fingerprint != head.fingerprint if base.fingerprint and head.fingerprint else None


def _hot(both: Sides, settings: Settings, benchmark: str) -> Iterator[tuple[Pair, str]]:
    """The hot functions, largest share on either side first; a hypothesis that says the same as another only once."""
    found: list[tuple[float, int, Pair, str]] = []
    for order, pair in enumerate(both.pairs):
        limits = settings.limits(benchmark, pair.function.file, pair.function.name)
        if limits.ignore:
            continue
        self_shares = _shares(both, pair, SELF) if both.has_self else None
        total_shares = _shares(both, pair, TOTAL)
        if self_shares and max(self_shares) >= max(limits.min_share, 1e-12):
            found.append((-max(self_shares), order, pair, SELF))
        leaf = self_shares is not None and all(map(math.isclose, self_shares, total_shares))
        if max(total_shares) >= max(limits.min_share, 1e-12) and min(total_shares) < WHOLE and not leaf:
            found.append((-max(total_shares), order, pair, TOTAL))
    for _, _, pair, kind in sorted(found, key=lambda one: (one[0], one[1], one[3])):
        yield pair, kind


def _asked(both: Sides, only: Collection[Key]) -> Iterator[tuple[Pair, str]]:
    known = {pair.function: pair for pair in both.pairs}
    for function, kind in only:
        if function in known and (kind == TOTAL or both.has_self):
            yield known[function], kind


def _compared(both: Sides, pair: Pair, kind: str) -> FunctionComparison:
    base, head = both.counts(pair, kind)
    ratio = both.compared(base, head)
    shares = _shares(both, pair, kind)
    return FunctionComparison(
        function=pair.function,
        kind=kind,
        share_base=shares[0],
        share_head=shares[1],
        cost_base_ns=shares[0] * both.times.base_ns,
        cost_head_ns=shares[1] * both.times.head_ns,
        ratio=ratio,
        # The smoothed share, as in L: a new function's impact is then its share of the head, not zero times infinity.
        impact=(base.sum() + 0.5) / (both.base.samples.sum() + 1) * math.expm1(ratio.log_ratio),
        samples_base=_raw(both.base, pair.index_base, kind),
        samples_head=_raw(both.head, pair.index_head, kind),
        calls_base=pair.calls_base,
        calls_head=pair.calls_head,
        counts_exact=pair.counts_exact,
        code_changed=pair.code_changed,
        unit=both.unit,
    )


def _counts(side: Tally, index: int | None, kind: str) -> Floats:
    if index is None:
        return np.zeros_like(side.samples)
    samples = side.self_samples if kind == SELF else side.total_samples
    return np.asarray(samples[index], dtype=np.float64)


def _fraction(samples: Floats, side: Tally) -> float:
    return float(samples.sum() / side.samples.sum())


def _shares(both: Sides, pair: Pair, kind: str) -> tuple[float, float]:
    base, head = both.counts(pair, kind)
    return _fraction(base, both.base), _fraction(head, both.head)


def _raw(side: Tally, index: int | None, kind: str) -> int:
    return 0 if index is None else int((side.self_counts if kind == SELF else side.total_counts)[index])
