"""One benchmark with every comparison that its verdict needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from pytest_blcperf.compare.compare import Sides, compare_benchmark, sides
from pytest_blcperf.compare.decide import below_margin, p_above, p_below, upper_change
from pytest_blcperf.compare.instructions import in_instructions
from pytest_blcperf.model.comparison import INSTRUCTIONS, NANOSECONDS, BenchmarkComparison, Estimate, FunctionComparison
from pytest_blcperf.model.environment import Environment
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.run import CONFIRM, LOOK, Benchmark
from pytest_blcperf.settings import Limits, Settings


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
        """P-value against "at most the threshold dearer"."""
        return p_above(self.estimate, self.limits.threshold)

    @property
    def p_faster(self) -> float:
        """P-value against "at most the threshold cheaper"."""
        return p_below(self.estimate, -self.limits.threshold)

    @property
    def slower(self) -> bool:
        """Effect and impact are as large as the gate fails for."""
        weighty = self.function is None or self.function.impact >= self.limits.min_impact
        return self.estimate.change > self.limits.threshold and weighty

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
    def harmless(self) -> bool:
        """The upper bound rules out what the gate fails for: the effect, or a large enough impact."""
        most = upper_change(self.estimate)
        if self.unchanged or self.function is None or not math.isfinite(most):
            return self.unchanged
        change = self.estimate.change
        share = self.function.impact / change if change else self.function.share_base
        return share * most < self.limits.min_impact


@dataclass(frozen=True, eq=False)
class Trial:
    """A benchmark ready to be judged. `settings` are its own (marker applied).

    `confirmation` compares the CONFIRM launches alone (None: there were none), `overall` all launches; a stored
    baseline has `overall` only. `incomparable` says why its times cannot be compared at all, "" when they can.
    """

    base: Benchmark
    head: Benchmark
    settings: Settings
    overall: BenchmarkComparison
    confirmation: BenchmarkComparison | None = None
    candidates: tuple[Hypothesis, ...] = ()
    incomparable: str = ""
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

    @property
    def evidence(self) -> BenchmarkComparison | None:
        """The data that may convict: fresh launches in lockstep, all there is against a stored run."""
        return self.confirmation if self.paired else self.overall

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
    base: Benchmark, head: Benchmark, settings: Settings, candidates: Sequence[Hypothesis] = ()
) -> Trial:
    """The trial of a benchmark measured in lockstep, with the candidates that its last look named.

    The hot functions are those of the look launches; later launches never change what is tested.
    """
    look = compare_benchmark(base, head, settings, phase=LOOK, paired=True)
    if not all(any(launch.phase == CONFIRM for launch in side.launches) for side in (base, head)):
        counts = counted_trial(base, head, settings)
        return Trial(base, head, settings, look, None, tuple(candidates), counts=counts)
    named = tuple((one.function, one.kind) for one in candidates if one.function is not None)
    hot = tuple(dict.fromkeys([*((one.function, one.kind) for one in look.functions), *named]))
    overall = compare_benchmark(base, head, settings, phase=None, paired=True, only=hot)
    confirmation = compare_benchmark(base, head, settings, phase=CONFIRM, paired=True, only=named)
    counts = counted_trial(base, head, settings)
    return Trial(base, head, settings, overall, confirmation, tuple(candidates), counts=counts)


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
    own = Tested(Hypothesis(comparison.id, unit=unit), comparison.ratio, Limits(settings.threshold, 1.0, 0.0))
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
