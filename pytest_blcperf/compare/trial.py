"""One benchmark with every comparison that its verdict needs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from pytest_blcperf.compare.compare import Sides, compare_benchmark, own_ratio, sides
from pytest_blcperf.compare.decide import TOLERATED, below_margin, p_above, p_faster, p_slower, upper_change
from pytest_blcperf.compare.exact_calls import more_calls
from pytest_blcperf.compare.instructions import in_instructions
from pytest_blcperf.model.comparison import (
    CPU,
    INSTRUCTIONS,
    NANOSECONDS,
    BenchmarkComparison,
    Estimate,
    FunctionComparison,
)
from pytest_blcperf.model.environment import Environment
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.run import CONFIRM, LOOK, Benchmark
from pytest_blcperf.settings import Limits, Settings

NEAR = 0.7
"""Part of threshold and impact from which on a first look takes something for a candidate."""
TIME_GREW = 0.05
"""P-value of a function's time from which on it counts as grown beside the number of its calls."""
STRIKING = 5.0
"""Times the least impact: what a share of two launches' profiles has to show to be profiled on."""
CLEAR_P = 0.001
"""P-value of a function's share below which it is looked into although all around it stayed as it was."""
CONFIRM_LAUNCHES = 2
"""How many times the launches of the looks may confirm: a verdict at one in a thousand wants degrees of freedom."""
CONFIRM_SPENT = (0.2, 0.3, 0.5)
"""What the looks at a confirmation spend of alpha, after a quarter of its launches, half, all: declared beforehand. A
union bound: correlated looks cost less, but then the error rate would rest on a model of that correlation."""
SCREENING_LOOKS = 2
"""After either of which a confirmation may begin, so that all launches together may be looked at on two ways."""
FEWEST = 4
"""Launches from which on a look at a confirmation is worth its part of alpha."""


def confirm_looks(launches: int) -> tuple[int, ...]:
    """After how many confirming launches there is a look, with so many screening ones."""
    most = CONFIRM_LAUNCHES * launches
    return (*(number for number in (most // 4, most // 2) if number >= FEWEST), most)


@dataclass(frozen=True)
class Hypothesis:
    """That one function (None: the benchmark itself) got dearer; `kind` is SELF or TOTAL, "" for the benchmark."""

    benchmark: str
    function: Function | None = None
    kind: str = ""
    unit: str = NANOSECONDS


@dataclass(frozen=True)
class Tested:
    """A hypothesis, its estimate and what the gate asks of it; `function` is None for the benchmark's own time."""

    hypothesis: Hypothesis
    estimate: Estimate
    limits: Limits
    function: FunctionComparison | None = None

    @property
    def p_slower(self) -> float:
        """P-value against "no dearer than is tolerated"."""
        return p_slower(self.estimate, self.limits.threshold)

    @property
    def p_faster(self) -> float:
        """P-value against "no cheaper than is tolerated"."""
        return p_faster(self.estimate, self.limits.threshold)

    @property
    def slower(self) -> bool:
        """Effect and impact are as large as the gate fails for."""
        weighty = self.function is None or self.function.impact >= self.limits.min_impact
        return self.estimate.change > self.limits.threshold and weighty

    @property
    def striking(self) -> bool:
        """A share grew by so much of the benchmark that it may be more than noise, though all around it stayed."""
        one = self.function
        large = one is not None and one.impact >= STRIKING * self.limits.min_impact
        return large and self.estimate.change > NEAR * self.limits.threshold

    @property
    def nearly_slower(self) -> bool:
        """Effect and impact are near what the gate fails for: the launches to come may put them above."""
        weighty = self.function is None or self.function.impact >= NEAR * self.limits.min_impact
        return self.estimate.change > NEAR * self.limits.threshold and weighty and not self.bounded

    @property
    def faster(self) -> bool:
        """Effect and impact are as large in the other direction."""
        weighty = self.function is None or -self.function.impact >= self.limits.min_impact
        return self.estimate.change < -self.limits.threshold and weighty

    @property
    def unchanged(self) -> bool:
        """The upper bound of the effect lies below the threshold."""
        return below_margin(self.estimate, self.limits.threshold)

    @property
    def changed(self) -> bool:
        """More than its time says that the function may have got dearer: it is new, edited, or called more often."""
        one = self.function
        if one is None:
            return False
        more = one.counts_exact and (one.calls_head or 0.0) > (one.calls_base or 0.0)
        return one.samples_base == 0 or bool(one.code_changed) or more

    @property
    def bounded(self) -> bool:
        """What it runs in cannot have changed, either way, by half of the least that the gate fails for.

        Counts for functions that are neither timed nor `changed`. Shares are so noisy that one in a dozen of those
        looks dearer by chance. The price: one that got dearer while something else in the same caller got just as much
        cheaper has to be clear at the first look.
        """
        one = self.function
        if one is None or one.timed or self.changed:
            return False
        small = one.around < max(self.limits.threshold * one.share_base, self.limits.min_impact) / 2
        return small and self.p_slower >= CLEAR_P

    @property
    def harmless(self) -> bool:
        """The upper bound rules out what the gate fails for: the effect, or a large enough impact."""
        if self.bounded:
            return True
        most = upper_change(self.estimate)
        if self.unchanged or self.function is None or not math.isfinite(most):
            return self.unchanged
        change = self.estimate.change
        share = self.function.impact / change if change else self.function.share_base
        return share * most < self.limits.min_impact


@dataclass(frozen=True, eq=False)
class Trial:
    """A benchmark ready to be judged. `settings` are its own (marker applied).

    `confirmations` compare the CONFIRM launches alone (none: there were none) as they were at each look, with the part
    of alpha that the look may spend; `overall` compares all launches. A stored baseline has `overall` only.
    `incomparable` says why its times cannot be compared at all, "" when they can.
    """

    base: Benchmark
    head: Benchmark
    settings: Settings
    overall: BenchmarkComparison
    confirmations: tuple[tuple[float, BenchmarkComparison], ...] = ()
    candidates: tuple[Hypothesis, ...] = ()
    incomparable: str = ""
    own: tuple[tuple[float, Estimate], ...] = ()
    """The benchmark's own time on all launches up to each look at the confirmation, with the look's part of alpha."""
    changed: tuple[tuple[float, BenchmarkComparison], ...] = ()
    """The hot functions whose code changed, on the launches of `own`. They too are tested whatever the looks show."""
    counts: Trial | None = None
    """The same benchmark in instructions, where callgrind counted them on both sides."""

    @property
    def paired(self) -> bool:
        """Measured in lockstep."""
        return self.overall.paired

    @property
    def counted(self) -> bool:
        """In instructions: all the data there is may convict, for counting again would give the same."""
        return self.overall.unit == INSTRUCTIONS

    @cached_property
    def by_calls(self) -> dict[Hypothesis, float]:
        """What more calls alone accuse, with the p-value of it: their number is exact, so no launch has to confirm it.

        The function is called more often by more than its threshold, that is worth the least impact, surely half of it,
        and its time grew too (p < 0.05): else the same work may have been dealt out to more calls. Where wall time is
        gated, a share of the CPU time does not say what calls are worth. All functions with more calls are in it, so
        that they count in the correction; p is 1 of those that this does not accuse.
        """
        if not self.paired or self.incomparable or self.overall.judged != CPU:
            return {}
        tested = {one.function: one for one in tests(self.overall, self.settings) if one.function is not None}
        found = {}
        for more in more_calls(self.overall.functions):
            one = tested[more.comparison]
            grew = one.slower and p_above(one.estimate, 0.0) < TIME_GREW
            weighty = more.growth - 1 > one.limits.threshold and more.likely >= one.limits.min_impact
            found[one.hypothesis] = more.p(TOLERATED * one.limits.min_impact) if grew and weighty else 1.0
        return found

    @property
    def own_threshold(self) -> float:
        """The threshold of the benchmark's own cost."""
        return own_threshold(self.overall, self.settings)

    @property
    def own_in_full(self) -> bool:
        """Whether all launches may convict the benchmark's own time: it is tested in any case, not chosen by looking.

        Not that of metrics, whose launches are often not independent.
        """
        return self.paired and self.overall.metric is None and not self.incomparable and not self.shown_only

    @property
    def shown_only(self) -> bool:
        """Times of a benchmark whose instructions are gated: they convict nobody."""
        return self.overall.judged == INSTRUCTIONS and not self.counted

    @property
    def evidence(self) -> tuple[tuple[float, BenchmarkComparison], ...]:
        """The data that may convict, after each look: fresh launches in lockstep, all there is of a stored run."""
        return self.confirmations if self.paired else ((1.0, self.overall),)

    @cached_property
    def evidence_sides(self) -> Sides | None:
        """The aligned profiles of that data."""
        return self._sides(CONFIRM if self.paired else None)

    @cached_property
    def overall_sides(self) -> Sides | None:
        """The aligned profiles of all launches."""
        return self._sides(None)

    def _sides(self, phase: str | None) -> Sides | None:
        calibration, unit = self.settings.calibration, self.overall.unit
        return sides(self.base, self.head, phase=phase, paired=self.paired, unit=unit, calibration=calibration)


def lockstep_trial(
    base: Benchmark, head: Benchmark, settings: Settings, candidates: Sequence[Hypothesis] = (), *, ended: bool = True
) -> Trial:
    """The trial of a benchmark measured in lockstep, with the candidates that its last look named.

    The hot functions are those of the look launches; later launches never change what is tested. `ended`: there will be
    no more launches.
    """
    look = compare_benchmark(base, head, settings, phase=LOOK, paired=True)
    if not all(any(launch.phase == CONFIRM for launch in side.launches) for side in (base, head)):
        counts = counted_trial(base, head, settings)
        return Trial(base, head, settings, look, (), tuple(candidates), counts=counts)
    named = tuple((one.function, one.kind) for one in candidates if one.function is not None)
    hot = tuple(dict.fromkeys([*((one.function, one.kind) for one in look.functions), *named]))
    overall = compare_benchmark(base, head, settings, phase=None, paired=True, only=hot)
    edited = tuple((one.function, one.kind) for one in look.functions if one.code_changed and not one.new)
    asked = tuple(dict.fromkeys((*named, *edited)))
    confirmations, own, changed = [], [], []
    for spent, number in _spending(settings.launches, base, head, ended=ended):
        old, new = _first(base, number), _first(head, number)
        confirmations.append((spent, compare_benchmark(old, new, settings, phase=CONFIRM, paired=True, only=asked)))
        own.append((spent / SCREENING_LOOKS, own_ratio(old, new, settings)))
        if edited:
            every = compare_benchmark(old, new, settings, phase=None, paired=True, only=edited)
            changed.append((spent / SCREENING_LOOKS, every))
    counts = counted_trial(base, head, settings)
    return Trial(
        base,
        head,
        settings,
        overall,
        tuple(confirmations),
        tuple(candidates),
        own=tuple(own),
        changed=tuple(changed),
        counts=counts,
    )


def _spending(launches: int, base: Benchmark, head: Benchmark, *, ended: bool) -> Iterator[tuple[float, int]]:
    """The looks at the confirming launches there are: what each spends of alpha, and how many launches it is at.

    A confirmation that ends because its time is spent has its last look there, at or between two declared ones, for all
    that is left of alpha: when time is over does not depend on what was measured. One that ends at a look because all
    is decided has nothing left to spend it on.
    """
    done = min(sum(launch.phase == CONFIRM for launch in side.launches) for side in (base, head))
    looks = confirm_looks(launches)
    spent = CONFIRM_SPENT[len(CONFIRM_SPENT) - len(looks) :]
    left, before = sum(spent), 0
    for part, number in zip(spent, looks, strict=True):
        if done < number:
            if done > before:
                yield left / sum(spent), done
            return
        last = ended and done == number
        yield (left if last else part) / sum(spent), number
        left, before = left - part, number


def _first(benchmark: Benchmark, number: int) -> Benchmark:
    """The benchmark with its looks and the first so many of its confirming launches."""
    looks = [launch for launch in benchmark.launches if launch.phase != CONFIRM]
    confirming = [launch for launch in benchmark.launches if launch.phase == CONFIRM]
    return replace(benchmark, launches=(*looks, *confirming[:number]))


def stored_trial(
    base: Benchmark, head: Benchmark, settings: Settings, base_environment: Environment, head_environment: Environment
) -> Trial:
    """The trial of a benchmark against a stored run."""
    overall = compare_benchmark(base, head, settings, phase=None, paired=False)
    incomparable = differing(base_environment, head_environment)
    # Another processor or interpreter executes other instructions for the same code.
    counts = None if incomparable else counted_trial(base, head, settings)
    return Trial(base, head, settings, overall, incomparable=incomparable, counts=counts)


def counted_trial(base: Benchmark, head: Benchmark, settings: Settings) -> Trial | None:
    """The trial in instructions, None where they were not counted on both sides."""
    one, two = in_instructions(base), in_instructions(head)
    if one is None or two is None:
        return None
    overall = compare_benchmark(one, two, settings, phase=None, paired=False, unit=INSTRUCTIONS)
    return Trial(one, two, settings, overall)


def differing(base: Environment, head: Environment) -> str:
    """What of two environments forbids comparing times, as a sentence; "" when nothing does."""
    if base.comparable_times(head):
        return ""
    names = ("machine", "cpu_model", "cpu_count", "kernel", "python", "python_build")
    parts = [
        f"{name.replace('_', ' ')} {getattr(base, name) or 'unknown'} → {getattr(head, name) or 'unknown'}"
        for name in names
        if getattr(base, name) != getattr(head, name)
    ]
    return "times of different environments are not compared: " + (", ".join(parts) or "the environments differ")


def tests(comparison: BenchmarkComparison, settings: Settings) -> tuple[Tested, ...]:
    """Everything a comparison tests, the benchmark's own time first, with the limits in force."""
    unit = comparison.unit
    limits = Limits(own_threshold(comparison, settings), 1.0, 0.0)
    own = Tested(Hypothesis(comparison.id, unit=unit), comparison.ratio, limits)
    functions = (
        Tested(
            Hypothesis(comparison.id, one.function, one.kind, unit),
            one.ratio,
            settings.limits(comparison.id, one.function.file, one.function.name),
            one,
        )
        for one in comparison.functions
    )
    return (own, *functions)


def own_threshold(comparison: BenchmarkComparison, settings: Settings) -> float:
    """The threshold of the benchmark's own cost; a metric has that of functions: nothing is known of its noise."""
    if comparison.metric is not None:
        return settings.threshold
    precise = comparison.paired and comparison.judged == CPU and comparison.unit == NANOSECONDS
    return settings.own_threshold(precise=precise)
