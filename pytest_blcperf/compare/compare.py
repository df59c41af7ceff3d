"""One benchmark on two sides: its time, and every hot function's cost."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from pytest_blcperf.compare.align import match_functions
from pytest_blcperf.compare.attributed import attributed
from pytest_blcperf.compare.decide import most_change
from pytest_blcperf.compare.estimate import (
    Times,
    dispersion,
    function_ratio,
    paired_times,
    share_ratio,
    unpaired_times,
)
from pytest_blcperf.compare.instructions import counted_ratio, counted_times
from pytest_blcperf.compare.launch_mean import NOTHING
from pytest_blcperf.compare.metrics import metric_times
from pytest_blcperf.compare.shares import Mask, Tally, tally
from pytest_blcperf.compare.timed import TimedCost, TimedFunction, timed_functions
from pytest_blcperf.compare.wall import in_wall, in_wall_share
from pytest_blcperf.model.calibration import BUILT_IN, Calibration, Noise
from pytest_blcperf.model.comparison import (
    CPU,
    INSTRUCTIONS,
    NANOSECONDS,
    SELF,
    TOTAL,
    WALL,
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
SELF_SLACK, LITTLE = 1.25, 0.01
"""By how much a timed function's own time may exceed its sampled self time: a quarter, and 1 % of the benchmark."""
WHOLE = 0.98
"""A total share from here on is the benchmark itself under another name."""
Key = tuple[Function, str]


@dataclass(frozen=True)
class Pair:
    """A function on both sides; `index_*` is its place in the tally of the side, None when not sampled.

    `function` is the one of the head where there is one, `base` that of the base. `new` says the base knows no such
    function; the rest is as in FunctionComparison.
    """

    function: Function
    base: Function | None
    index_base: int | None
    index_head: int | None
    code_changed: bool | None
    new: bool
    calls_base: float | None = None
    calls_head: float | None = None
    counts_exact: bool = False


@dataclass(frozen=True)
class Sides:
    """Two profiles of one benchmark aligned, with its own ratio: what any set of stacks cost, and how it grew.

    `timed` are exactly timed functions, by their function on the head. Where `sampled` is False the profiles come from
    other launches than the times: they say what calls what, and roughly what it costs, but are no evidence. `every` are
    the profiles of all launches, which say that best.
    """

    base: Tally
    head: Tally
    times: Times
    pairs: tuple[Pair, ...]
    paired: bool
    has_self: bool
    dispersion: float
    unit: str = NANOSECONDS
    timed: Mapping[Function, TimedFunction] = field(default_factory=dict)
    sampled: bool = True
    every: tuple[Tally, Tally] | None = None

    @cached_property
    def structure(self) -> Sides:
        """The same times with the profiles of all launches: what calls what, and roughly what it costs."""
        return self if self.every is None else replace(self, base=self.every[0], head=self.every[1], every=None)

    def exact(self, pair: Pair, kind: str) -> TimedCost | None:
        """What clocks say of a function; None where they do not, or not of that kind of time.

        Untimed callees stand in a timed function's own time. It counts as its self time where they hold little of it.
        """
        timed = self.timed.get(pair.function)
        if timed is None or not timed.cost(kind).ratio.freedom:
            return None
        if kind == TOTAL:
            return timed.total
        shares = self.structure.shares(pair, SELF)
        costs = shares[0] * self.times.base_ns, shares[1] * self.times.head_ns
        most = [SELF_SLACK * cost + LITTLE * self.times.base_ns for cost in costs]
        return timed.own if timed.own.base_ns <= most[0] and timed.own.head_ns <= most[1] else None

    def around(self, pair: Pair) -> float:
        """See `around` of FunctionComparison."""
        if not self.paired or not self.times.base_ns:
            return math.inf
        bounds = [most_change(self.times.ratio)]
        for other, cost in self.enclosing(pair):
            if other != pair:
                bounds.append(cost.base_ns / self.times.base_ns * most_change(cost.ratio))
        return min(bounds)

    def enclosing(self, pair: Pair) -> Iterator[tuple[Pair, TimedCost]]:
        """The timed functions that a function, as far as it was sampled, always runs in, itself among them."""
        inside = self.containing([pair])
        held = self._held(inside)
        for other, cost, (base, head) in self._timed_around:
            # Hardly any sample of the function may be outside of what it runs in, on either side.
            shared = self._held((inside[0] & base, inside[1] & head))
            if all(part >= WHOLE * whole for part, whole in zip(shared, held, strict=True)):
                yield other, cost

    @cached_property
    def _timed_around(self) -> tuple[tuple[Pair, TimedCost, tuple[Mask, Mask]], ...]:
        return tuple(
            (pair, cost, self.containing([pair]))
            for pair in self.pairs
            if pair.function in self.timed and (cost := self.exact(pair, TOTAL)) is not None
        )

    def containing(self, pairs: Sequence[Pair]) -> tuple[Mask, Mask]:
        """The stacks of base and head in which any of the functions occurs."""
        return (
            self.base.containing([pair.index_base for pair in pairs if pair.index_base is not None]),
            self.head.containing([pair.index_head for pair in pairs if pair.index_head is not None]),
        )

    def _held(self, stacks: tuple[Mask, Mask]) -> tuple[float, float]:
        return float(self.base.within(stacks[0]).sum()), float(self.head.within(stacks[1]).sum())

    def counts(self, pair: Pair, kind: str) -> tuple[Floats, Floats]:
        """Samples a launch of one function, base and head."""
        return _counts(self.base, pair.index_base, kind), _counts(self.head, pair.index_head, kind)

    def shares(self, pair: Pair, kind: str) -> tuple[float, float]:
        """The function's part of all samples, base and head."""
        base, head = self.counts(pair, kind)
        return _fraction(base, self.base), _fraction(head, self.head)

    def known_shares(self, pair: Pair, kind: str) -> tuple[float, float]:
        """The function's part of the benchmark's time, by clocks where they tell and else of the samples."""
        exact = self.exact(pair, kind)
        if exact is None or not self.times.base_ns or not self.times.head_ns:
            return self.shares(pair, kind)
        return exact.base_ns / self.times.base_ns, exact.head_ns / self.times.head_ns

    def compared(self, base: Floats, head: Floats) -> Estimate:
        """θ = r + L of the samples a launch [K] of some part of the benchmark; of instructions their own ratio."""
        if self.unit == INSTRUCTIONS:
            return counted_ratio(base, head)
        if not self.sampled:
            return NOTHING
        return function_ratio(self.times.ratio, self.share_ratio(base, head))

    def share_ratio(self, base: Floats, head: Floats) -> Estimate:
        """L of the samples a launch [K] of some part of the benchmark (see `estimate.share_ratio`)."""
        return share_ratio(
            base, self.base.samples, head, self.head.samples, dispersion=self.dispersion, paired=self.paired
        )

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
    judged = _judged(head, settings, unit)
    own = times
    if judged == WALL:
        own = _wall_times(base, head, phase, paired, noise=noise)
        functions = in_wall_share(functions, times)
    return BenchmarkComparison(
        id=head.id,
        base_ns=times.base_ns,
        head_ns=times.head_ns,
        ratio=own.ratio,
        functions=functions,
        launches=min(len(times.launches_base), len(times.launches_head)),
        paired=paired,
        base_wall_ns=own.base_wall_ns,
        head_wall_ns=own.head_wall_ns,
        backend=head.profile.backend if both is not None and head.profile else "",
        metric=head.metric,
        warnings=tuple(dict.fromkeys((*base.warnings, *head.warnings, *own.warnings, *warnings))),
        unit=unit,
        judged=judged,
    )


def own_ratio(base: Benchmark, head: Benchmark, settings: Settings) -> Estimate:
    """The ratio of a benchmark measured in lockstep as `compare_benchmark` has it, of all launches."""
    noise = settings.calibration.noise(head.id)
    if _judged(head, settings, NANOSECONDS) == WALL:
        return _wall_times(base, head, None, True, noise=noise).ratio
    return _times(base, head, None, True, NANOSECONDS, noise=noise).ratio


def _wall_times(base: Benchmark, head: Benchmark, phase: str | None, paired: bool, *, noise: Noise) -> Times:
    return _times(in_wall(base), in_wall(head), phase, paired, NANOSECONDS, noise=noise)


def _judged(benchmark: Benchmark, settings: Settings, unit: str) -> str:
    """What the gate judges; where it is a metric that tests report, the time beside it is CPU time."""
    if unit == INSTRUCTIONS:
        return INSTRUCTIONS
    return settings.metric if benchmark.metric is None and settings.metric in (WALL, INSTRUCTIONS) else CPU


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
    return paired_times(base, head, phase, noise.least_spread) if paired else unpaired_times(base, head, phase)


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
    sampled = bool(old.samples.sum() and new.samples.sum())
    every = None
    profiled = sorted({*base.profile.launch.tolist()} & {*head.profile.launch.tolist()})
    if paired and not set(profiled) <= set(times.launches_head):
        every = tally(base.profile, profiled), tally(head.profile, profiled)
    if every is not None and not sampled:
        old, new = every
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
    pairs = tuple(_pairs(base, head, old, new))
    timed: dict[Function, TimedFunction] = {}
    if paired:
        known = [(pair.base, pair.function) for pair in pairs if pair.base is not None]
        timed = timed_functions(base, head, times.launches_head, known)
    return Sides(old, new, times, pairs, paired, has_self, spread, unit, timed, sampled, every), warnings


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
            base=one,
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
    old, new = ({*one.fingerprint.split("+")} - {""} for one in (base, head))
    if old == new:
        return False if old else None
    # Several functions of one name, such as generator expressions in one function: one side may have seen more of them.
    return None if old <= new or new <= old else True


def _hot(both: Sides, settings: Settings, benchmark: str) -> Iterator[tuple[Pair, str]]:
    """The hot functions, largest share on either side first; a hypothesis that says the same as another only once."""
    found: list[tuple[float, int, Pair, str]] = []
    for order, pair in enumerate(both.pairs):
        limits = settings.limits(benchmark, pair.function.file, pair.function.name)
        if limits.ignore:
            continue
        least = max(limits.min_share, 1e-12)
        self_shares = both.known_shares(pair, SELF) if both.has_self else None
        total_shares = both.known_shares(pair, TOTAL)
        if self_shares and max(self_shares) >= least:
            found.append((-max(self_shares), order, pair, SELF))
        leaf = self_shares is not None and max(self_shares) >= least and _same(self_shares, total_shares)
        # A changed function is judged however small, where clocks make that possible.
        changed = bool(pair.code_changed) and both.exact(pair, TOTAL) is not None
        if (
            (max(total_shares) >= least or changed or _more_calls(pair, total_shares[0], limits.min_impact))
            and min(total_shares) < WHOLE
            and not leaf
        ):
            found.append((-max(total_shares), order, pair, TOTAL))
    for _, _, pair, kind in sorted(found, key=lambda one: (one[0], one[1], one[3])):
        yield pair, kind


def _more_calls(pair: Pair, share: float, impact: float) -> bool:
    """Whether a function that is not hot is called so much more often that it may matter."""
    if not (pair.counts_exact and pair.calls_base and pair.calls_head):
        return False
    return share * (pair.calls_head / pair.calls_base - 1) >= impact / 2


def _same(self_shares: tuple[float, float], total_shares: tuple[float, float]) -> bool:
    """Whether a function calls nothing to speak of."""
    return all(math.isclose(own, total, rel_tol=0.02) for own, total in zip(self_shares, total_shares, strict=True))


def _asked(both: Sides, only: Collection[Key]) -> Iterator[tuple[Pair, str]]:
    known = {pair.function: pair for pair in both.pairs}
    for function, kind in only:
        if function in known and (kind == TOTAL or both.has_self):
            yield known[function], kind


def _compared(both: Sides, pair: Pair, kind: str) -> FunctionComparison:
    base, head = both.counts(pair, kind)
    shares = both.known_shares(pair, kind)
    exact = both.exact(pair, kind)
    told = attributed(both, pair, kind) if exact is None else None
    if exact is not None:
        ratio, costs, share = exact.ratio, (exact.base_ns, exact.head_ns), shares[0]
    elif told is not None:
        ratio, costs, share = told.cost.ratio, (told.cost.base_ns, told.cost.head_ns), told.share
    else:
        ratio, costs = both.compared(base, head), (shares[0] * both.times.base_ns, shares[1] * both.times.head_ns)
        # The smoothed share, as in L: a new function's impact is then its share of the head, not zero times infinity.
        share = (base.sum() + 0.5) / (both.base.samples.sum() + 1)
    return FunctionComparison(
        function=pair.function,
        kind=kind,
        share_base=shares[0],
        share_head=shares[1],
        cost_base_ns=costs[0],
        cost_head_ns=costs[1],
        ratio=ratio,
        impact=share * math.expm1(ratio.log_ratio),
        samples_base=_raw(both.base, pair.index_base, kind),
        samples_head=_raw(both.head, pair.index_head, kind),
        calls_base=pair.calls_base,
        calls_head=pair.calls_head,
        counts_exact=pair.counts_exact,
        code_changed=pair.code_changed,
        unit=both.unit,
        timed=exact is not None or told is not None,
        timed_in=None if told is None else told.within,
        around=math.inf if exact is not None or told is not None else both.around(pair),
    )


def _counts(side: Tally, index: int | None, kind: str) -> Floats:
    if index is None:
        return np.zeros_like(side.samples)
    samples = side.self_samples if kind == SELF else side.total_samples
    return np.asarray(samples[index], dtype=np.float64)


def _fraction(samples: Floats, side: Tally) -> float:
    return float(samples.sum() / side.samples.sum())


def _raw(side: Tally, index: int | None, kind: str) -> int:
    return 0 if index is None else int((side.self_counts if kind == SELF else side.total_counts)[index])
