"""What a stored run says of a benchmark without times to rely on: cleared, suspicious, or not for it to judge.

Exact evidence first: a benchmark that runs the same functions with the same code equally often does the same work. What
differs is looked at in shares of the time against control functions. A stored run never proves a time: sessions drift.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial

from pytest_blcperf.compare.align import match_functions
from pytest_blcperf.compare.compare import Pair, Sides
from pytest_blcperf.compare.controls import MARGIN, Controls, Normalised, against_controls, controls
from pytest_blcperf.compare.decide import p_above, upper_change
from pytest_blcperf.compare.explain import changed_calls, explain
from pytest_blcperf.compare.trial import Tested, Trial, tests
from pytest_blcperf.model.comparison import TOTAL, FunctionComparison
from pytest_blcperf.model.function import PYTHON, Function
from pytest_blcperf.model.run import Benchmark
from pytest_blcperf.model.verdict import BenchmarkVerdict, Evidence, FunctionVerdict, Outcome

SUSPICIOUS_P = 0.2
"""Generous: a benchmark suspected in vain costs a measurement in lockstep, one cleared in vain is lost."""
_NAMED = 3


class Step(Enum):
    """What to do with a benchmark."""

    CLEARED = "cleared"
    SUSPICIOUS = "suspicious"
    UNKNOWN = "cannot be judged"


@dataclass(frozen=True)
class Screened:
    """A benchmark and what the stored run says of it; `reason` is a phrase, never empty."""

    id: str
    step: Step
    reason: str
    proof: tuple[FunctionVerdict, ...] = ()
    """Functions that exact counts convict."""


def screen_stored(trial: Trial, changed_files: Collection[str] = ()) -> Screened:
    """Screen one benchmark of a stored comparison.

    `changed_files` differ from the stored run's commit: what lies in them is looked at though its own code is the same,
    since constants of a module are in no function.
    """
    return next(_findings(trial, changed_files))


def _findings(trial: Trial, changed_files: Collection[str]) -> Iterator[Screened]:
    """What speaks against clearing the benchmark, the plainest first; last that nothing does."""
    found = partial(Screened, trial.head.id)
    if not trial.incomparable:
        for one in tests(trial.overall, trial.settings):
            if one.slower and one.p_slower < SUSPICIOUS_P:
                yield found(Step.SUSPICIOUS, _looks_dearer(one))
    if trial.base.code and trial.head.code and trial.base.code != trial.head.code:
        yield found(Step.SUSPICIOUS, "the test function itself differs")
    missing = _missing(trial)
    if missing:
        yield found(Step.UNKNOWN, missing)
    if trial.overall_sides is not None:
        yield from _by_counts_and_shares(trial, trial.overall_sides, changed_files)
    elif not _may_differ(trial, changed_files) and not changed_calls(trial.base, trial.head):
        yield found(Step.CLEARED, "the functions it runs have the same code and are called as often")
    yield found(Step.UNKNOWN, _no_profile(trial))


def _by_counts_and_shares(trial: Trial, both: Sides, changed_files: Collection[str]) -> Iterator[Screened]:
    found = partial(Screened, trial.head.id)
    known = controls(both)
    grown = [] if known is None else list(_grown(trial, both, known))
    more = list(_called_more(trial, both))
    if more:
        proof = () if known is None else _proven(trial, known, grown)
        yield found(Step.SUSPICIOUS, f"calls per iteration rose: {_named_calls(more)}", proof)
    differing = _may_differ(trial, changed_files)
    changed = [pair for pair in both.pairs if pair.calls_head and pair.function in differing]
    if known is None and changed:
        yield found(
            Step.UNKNOWN, f"{_changed(changed)}, and too few functions did not to compare with (ten, half the time)"
        )
    harmful = [pair for pair in changed if known is not None and not _harmless(trial, both, known, pair)]
    if harmful:
        yield found(Step.SUSPICIOUS, f"{_changed(harmful)}, and a slowdown is not ruled out")
    if grown:
        yield found(Step.SUSPICIOUS, _grew(grown[0]))
    yield found(Step.CLEARED, _cleared(both, changed))


def without_times(trial: Trial, verdict: BenchmarkVerdict) -> BenchmarkVerdict:
    """The verdict of a benchmark whose times cannot be compared, from what else there is.

    Only exact counts convict, with shares that agree; everything else stays open. The times of both machines are not
    shown beside it: their ratio means nothing.
    """
    found = screen_stored(trial)
    because = f"{found.reason}; {trial.incomparable}"
    if found.step is Step.UNKNOWN:
        return _replaced(verdict, Outcome.NOT_COMPARED, Evidence.STORED, f"{trial.incomparable}; {found.reason}")
    if found.proof:
        return _replaced(verdict, Outcome.REGRESSED, Evidence.COUNTS, because, found.proof)
    if found.step is Step.SUSPICIOUS:
        advice = "measure both sides with --blcperf-mode=lockstep"
        return _replaced(verdict, Outcome.INCONCLUSIVE, Evidence.STORED, f"suspicious: {because}; {advice}")
    return _replaced(verdict, Outcome.UNCHANGED, Evidence.STORED, because)


def cleared(trial: Trial, found: Screened) -> BenchmarkVerdict:
    """The verdict of a benchmark that the screen clears: unchanged, with the stored run as its evidence.

    Without times: it rests on none, and the interval between two sessions would seem to contradict it.
    """
    return BenchmarkVerdict(
        found.id,
        Outcome.UNCHANGED,
        Evidence.STORED,
        f"cleared by the stored baseline: {found.reason}",
        threshold=trial.own_threshold,
        gate=trial.settings.gate,
    )


def _replaced(
    verdict: BenchmarkVerdict,
    outcome: Outcome,
    evidence: Evidence,
    reason: str,
    functions: tuple[FunctionVerdict, ...] = (),
) -> BenchmarkVerdict:
    return BenchmarkVerdict(
        verdict.id,
        outcome,
        evidence,
        reason,
        functions=functions,
        changed_code=verdict.changed_code,
        changed_calls=verdict.changed_calls,
        threshold=verdict.threshold,
        gate=verdict.gate,
        warnings=verdict.warnings,
    )


def _missing(trial: Trial) -> str:
    """Why there is no exact evidence; "" where there is."""
    if trial.head.metric is not None:
        return "a metric has no exact evidence"
    for name, side in (("stored run", trial.base), ("head", trial.head)):
        if side.counts is None:
            return f"the {name} has no calls per iteration"
        if not side.counts.deterministic:
            return f"calls per iteration of the {name} differ from launch to launch"
    return ""


def _may_differ(trial: Trial, changed_files: Collection[str]) -> frozenset[Function]:
    """Functions of an iteration whose code differs, or that lie in a changed file, or that are new.

    From the exact counts, which know every function that ran: a profile may have seen one of two lambdas of a name.
    """
    before, after = (_counted(side) for side in (trial.base, trial.head))
    match = match_functions(before, after)
    found = [new for old, new in match.pairs if old.fingerprint != new.fingerprint or new.file in changed_files]
    return frozenset([*found, *match.only_head])


def _counted(benchmark: Benchmark) -> list[Function]:
    return [one.function for one in benchmark.counts.calls] if benchmark.counts is not None else []


def _no_profile(trial: Trial) -> str:
    told = [one.text for one in trial.overall.warnings if one.code.startswith("profile-")]
    return told[0] if told else "no profiles to compare"


def _called_more(trial: Trial, both: Sides) -> Iterator[Pair]:
    """Functions that are called more often, as far as that may matter; the most time first.

    A function without samples may be one of C, whose time stands in its callers: there the calls count for as much as
    their part of all calls.
    """
    every = sum(pair.calls_head or 0.0 for pair in both.pairs)
    found = []
    for pair in both.pairs:
        limits = trial.settings.limits(trial.head.id, pair.function.file, pair.function.name)
        before, after = pair.calls_base or 0.0, pair.calls_head or 0.0
        if limits.ignore or not pair.counts_exact or after <= before:
            continue
        share = max(both.shares(pair, TOTAL))
        worth = share * (1 - before / after) if pair.index_head is not None else (after - before) / every
        if worth >= limits.min_impact:
            found.append((-worth, pair))
    yield from (pair for _, pair in sorted(found, key=lambda one: one[0]))


def _grown(trial: Trial, both: Sides, known: Controls) -> Iterator[Normalised]:
    """Functions whose share outgrew the controls by more than another machine explains, the largest impact first."""
    margin = MARGIN if trial.incomparable else 0.0
    found = []
    for one in against_controls(both, known):
        limits = trial.settings.limits(trial.head.id, one.function.file, one.function.name)
        if limits.ignore or one.share < limits.min_share or one.impact < limits.min_impact:
            continue
        if p_above(one.estimate, max(margin, limits.threshold)) < SUSPICIOUS_P:
            found.append(one)
    yield from sorted(found, key=lambda one: -one.impact)


def _proven(trial: Trial, known: Controls, grown: Sequence[Normalised]) -> tuple[FunctionVerdict, ...]:
    """What exact counts convict: unchanged code that is called more often, its share grown with it, and the benchmark
    as a whole grown against its controls, so that the cost did not merely move.
    """
    alpha = trial.settings.alpha
    if p_above(known.whole, trial.settings.min_impact) > alpha:
        return ()
    for one in grown:
        pair, compared = one.pair, _as_comparison(trial, one)
        more = pair.counts_exact and pair.calls_base and (pair.calls_head or 0.0) > pair.calls_base
        limits = trial.settings.limits(trial.head.id, one.function.file, one.function.name)
        p = p_above(one.estimate, limits.threshold)
        if compared is not None and more and pair.code_changed is False and p <= alpha:
            return (
                FunctionVerdict(
                    compared,
                    Outcome.REGRESSED,
                    Evidence.COUNTS,
                    p,
                    threshold=limits.threshold,
                    explanation=explain(compared),
                ),
            )
    return ()


def _as_comparison(trial: Trial, one: Normalised) -> FunctionComparison | None:
    """The function as reports show it: the ratio is that against the controls, costs are the head's machine's."""
    hot = {(known.function, known.kind): known for known in trial.overall.functions}
    known = hot.get((one.function, one.kind))
    if known is None:
        return None
    before = known.cost_head_ns / math.exp(min(one.estimate.log_ratio, 50.0))
    return replace(known, ratio=one.estimate, impact=one.impact, cost_base_ns=before)


def _harmless(trial: Trial, both: Sides, known: Controls, pair: Pair) -> bool:
    """Whether a slowdown that the gate fails for is ruled out for a function whose code changed."""
    limits = trial.settings.limits(trial.head.id, pair.function.file, pair.function.name)
    if limits.ignore:
        return True
    for one in against_controls(replace(both, pairs=(pair,)), known):
        most = upper_change(one.estimate)
        worth = one.share * most / (1 + most) if math.isfinite(most) else one.share
        if most > limits.threshold and worth >= limits.min_impact:
            return False
    return True


def _looks_dearer(one: Tested) -> str:
    name = "its time" if one.function is None else f"{one.function.function.name} ({one.function.kind} time)"
    return f"{name} looks {one.estimate.change:+.0%} against the stored run"


def _grew(one: Normalised) -> str:
    growth = math.expm1(one.estimate.log_ratio)
    return f"the share of {one.function.name} ({one.kind} time) grew by {growth:.0%} against control functions"


def _changed(pairs: Sequence[Pair]) -> str:
    names = ", ".join(pair.function.name for pair in pairs[:_NAMED])
    more = f" and {len(pairs) - _NAMED} more" if len(pairs) > _NAMED else ""
    return f"{names}{more} changed"


def _named_calls(pairs: Sequence[Pair]) -> str:
    named = [f"{pair.function.name} {pair.calls_base or 0:g} → {pair.calls_head or 0:g}" for pair in pairs[:_NAMED]]
    more = len(pairs) - len(named)
    return ", ".join([*named, f"{more} more"] if more else named)


def _cleared(both: Sides, changed: Sequence[Pair]) -> str:
    run = sum(1 for pair in both.pairs if pair.calls_head and pair.function.kind == PYTHON)
    if changed:
        return f"{len(changed)} of the {run} functions it runs changed, and none got dearer by more than the thresholds"
    return f"the {run} functions it runs have the same code and are called as often"
