"""Policy: estimates → when to measure more, what to confirm, and the verdicts of a session.

A session makes one decision a benchmark and look with `screen`, gathers everything into `lockstep_trial` or
`stored_trial`, and hands all trials at once to `judge`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from pytest_blcperf.compare.blame import p_callers_grew
from pytest_blcperf.compare.carriers import carriers
from pytest_blcperf.compare.compare import Sides
from pytest_blcperf.compare.decide import TOLERATED, p_slower
from pytest_blcperf.compare.holm import adjust
from pytest_blcperf.compare.trial import Hypothesis, Tested, Trial, differing, lockstep_trial, stored_trial, tests
from pytest_blcperf.compare.verdicts import Findings, joined, uncounted, verdict
from pytest_blcperf.model.comparison import INSTRUCTIONS, BenchmarkComparison
from pytest_blcperf.model.verdict import BenchmarkVerdict, Evidence, Outcome
from pytest_blcperf.settings import Settings

__all__ = [
    "Hypothesis",
    "Screen",
    "Step",
    "Trial",
    "differing",
    "identical",
    "judge",
    "lockstep_trial",
    "not_compared",
    "screen",
    "settled",
    "stored_trial",
    "tests",
]

SCREEN_P = 0.1
"""Screening is generous: a wrong candidate costs a confirmation, a missed one is missed for good."""

EARLY_P = 0.02
"""Before the last look a candidate must be clearer: six more launches are cheaper than a confirmation."""
JOIN_P = 0.35
"""What looks dearer at this level joins a confirmation that takes place anyway: fresh launches cost the same for one
suspect as for three, and the culprit is often next to the first suspect (its caller, or the benchmark as a whole)."""


BY_OWN_TIME, BY_CHANGE, BY_TIME, BY_CALLS, BY_INSTRUCTIONS = 0.25, 0.2, 0.25, 0.2, 0.1
"""What the five kinds of evidence may spend of alpha, declared beforehand: the times of whole benchmarks, of hot
changed functions, of functions that looked dearer; calls; instructions. One correction over all of them would change
with the data: how many functions are called more often is not known when a confirmation ends."""


class Step(Enum):
    """What to do after a look."""

    DONE = "done"
    EXTEND = "extend"
    CONFIRM = "confirm"


@dataclass(frozen=True)
class Screen:
    """The outcome of a look."""

    step: Step
    candidates: tuple[Hypothesis, ...] = ()


def screen(comparison: BenchmarkComparison, settings: Settings, *, last: bool) -> Screen:
    """What to do after a look at the screening launches; `last` when no further look is planned.

    A candidate (effect and impact large enough, p < 0.1 uncorrected at the last look, p < 0.02 before) asks for a
    confirmation, and what comes near it (p < 0.35) joins. A function that only its share of the profile tells of, with
    the code it had, has to be clear (p < 0.02) in any case: some always look dearer, and each one costs the others
    power when there are few launches to confirm. Otherwise more launches while something is open: a 95 % upper
    bound above the threshold, of the benchmark or of a function that could matter. Where instructions are gated, times
    are only shown, and the first look's do.
    """
    if comparison.judged == INSTRUCTIONS:
        return Screen(Step.DONE)
    tested = tests(comparison, settings)
    suspects = [one for one in tested if one.nearly_slower and one.p_slower < (JOIN_P if _telling(one) else EARLY_P)]
    if any(one.p_slower < (SCREEN_P if last else EARLY_P) for one in suspects):
        return Screen(Step.CONFIRM, tuple(one.hypothesis for one in suspects))
    settled = last or all(one.harmless for one in tested)
    return Screen(Step.DONE if settled else Step.EXTEND)


def _telling(one: Tested) -> bool:
    """Whether it is measured better than by a share, or has a reason to have got dearer."""
    return one.function is None or one.function.timed or one.changed


def judge(trials: Sequence[Trial], alpha: float) -> tuple[BenchmarkVerdict, ...]:
    """The verdicts of all benchmarks of a session, which share one error rate `alpha`, in the order given.

    Lockstep: the time of a whole benchmark is tested whatever the looks show, so all of its launches may convict it,
    and Holm goes over all benchmarks; so are hot functions whose code changed, and Holm goes over those. Others are
    chosen by the looks: Holm over all candidates with the p-values of the confirmation launches alone, by which nothing
    was chosen. A hypothesis has the smallest of its looks' p-values, each divided by the part of alpha that its look
    may spend: a p-value again, by the union bound. Stored: there are no fresh launches, so Holm over every hypothesis
    on the data there is. Improvements: Holm over every hypothesis of the session on all data. The estimate shown beside
    a verdict is that of all launches. Where instructions were counted, they are hypotheses too, on the data there is:
    counting again would give the same. So are exact counts of calls that rose (`Trial.by_calls`). The five kinds are
    corrected each for itself, and have parts of alpha (`BY_TIME` and so on). A benchmark that is convicted as a whole
    has the functions named that carry its slowdown (`carriers`), though they are below their own thresholds.
    """
    counts = [trial.counts for trial in trials if trial.counts is not None]
    by_calls = _spending(_by_calls(trials), BY_CALLS)
    slower = _by_times(trials) | _spending(_accusations(counts), BY_INSTRUCTIONS)
    for hypothesis, p in by_calls.items():
        slower[hypothesis] = min(slower.get(hypothesis, 1.0), p)
    findings = Findings(slower, _adjusted(_gains([*trials, *counts])), alpha, by_calls)
    findings = _with_carriers(trials, findings)
    return tuple(_verdict(trial, findings) for trial in trials)


def _with_carriers(trials: Sequence[Trial], findings: Findings) -> Findings:
    """The findings with the functions that carry the slowdown of a benchmark that was convicted, and none of them.

    Their tests may spend what its test might: its look's part of what the whole benchmarks of the session share, as
    Bonferroni deals it out.
    """
    slower, carried = dict(findings.slower), {}
    benchmarks = sum(trial.own_in_full for trial in trials)
    for trial in trials:
        convicted = findings.convicted(trial)
        if not (trial.own_in_full and trial.own and convicted == {_own(trial)}):
            continue
        part = BY_OWN_TIME * trial.own[-1][0] / benchmarks
        for tested, p in carriers(trial).items():
            if p <= part * findings.alpha:
                carried[tested.hypothesis] = tested
                slower[tested.hypothesis] = min(1.0, p / part)
    return replace(findings, slower=slower, carried=carried)


def _verdict(trial: Trial, findings: Findings) -> BenchmarkVerdict:
    timed = verdict(trial, findings)
    if trial.counts is not None:
        return joined(timed, verdict(trial.counts, findings))
    return uncounted(timed) if trial.shown_only else timed


def settled(trials: Sequence[Trial], alpha: float, benchmarks: int) -> frozenset[str]:
    """Ids of the benchmarks whose candidates are all convicted or ruled out: more launches would change nothing.

    `trials` are those of all benchmarks with candidates, of so many `benchmarks` in the session. P-values of times only
    fall with further looks, so what Holm rejects now it rejects at the end.
    """
    adjusted = _by_times(trials, benchmarks)
    done = []
    for trial in trials:
        ruled_out = {one.hypothesis for one in tests(trial.overall, trial.settings) if one.harmless}
        if all(one in ruled_out or adjusted.get(one, 1.0) <= alpha for one in trial.candidates):
            done.append(trial.overall.id)
    return frozenset(done)


def identical(identifier: str, reason: str) -> BenchmarkVerdict:
    """The verdict of a benchmark whose code and environment do not differ: unchanged, and not measured."""
    return BenchmarkVerdict(identifier, Outcome.UNCHANGED, Evidence.IDENTICAL, reason)


def not_compared(identifier: str, reason: str) -> BenchmarkVerdict:
    """The verdict of a benchmark that only one side has, or that failed on one side."""
    return BenchmarkVerdict(identifier, Outcome.NOT_COMPARED, Evidence.NONE, reason)


def _by_times(trials: Sequence[Trial], benchmarks: int = 0) -> dict[Hypothesis, float]:
    """What times accuse, adjusted, to be held against alpha; the session has at least so many `benchmarks`."""
    own = {_own(trial): _p_own(trial) for trial in trials if trial.own_in_full and trial.own}
    others = max(benchmarks, sum(trial.own_in_full for trial in trials)) - len(own)
    adjusted = adjust([*own.values(), *[1.0] * others])
    found = _spending(_accusations(trials), BY_TIME)
    found |= {one: min(1.0, p / BY_OWN_TIME) for one, p in zip(own, adjusted, strict=False)}
    for one, p in _spending(_by_change(trials), BY_CHANGE).items():
        found[one] = min(found.get(one, 1.0), p)
    return found


def _own(trial: Trial) -> Hypothesis:
    return Hypothesis(trial.overall.id, unit=trial.overall.unit)


def _p_own(trial: Trial) -> float:
    """The p-value of the time of a whole benchmark, over the looks at all of its launches.

    The fresh ones by themselves have to measure more than is tolerated: a slowdown that went away is none.
    """
    threshold = trial.own_threshold
    p = 1.0
    for (spent, estimate), (_, fresh) in zip(trial.own, trial.confirmations, strict=True):
        if estimate.change > threshold and fresh.ratio.change > TOLERATED * threshold:
            p = min(p, p_slower(estimate, threshold) / spent)
    return p


def _by_change(trials: Sequence[Trial]) -> dict[Hypothesis, float]:
    """The p-value of each hot function whose code changed, over the looks at all launches, as with whole benchmarks."""
    found: dict[Hypothesis, float] = {}
    for trial in trials:
        if not trial.own_in_full or not trial.changed:
            continue
        for (spent, comparison), (_, fresh) in zip(trial.changed, trial.confirmations, strict=True):
            confirmed = {one.hypothesis: one.estimate.change for one in tests(fresh, trial.settings)}
            for tested in tests(comparison, trial.settings)[1:]:
                stayed = confirmed.get(tested.hypothesis, 0.0) > TOLERATED * tested.limits.threshold
                p = _p_dearer(tested, trial.overall_sides) / spent if stayed else 1.0
                found[tested.hypothesis] = min(found.get(tested.hypothesis, 1.0), p)
    return found


def _accusations(trials: Sequence[Trial]) -> dict[Hypothesis, float]:
    """The p-value of each slowdown that fresh launches may convict, or all there is of counts and stored runs."""
    found: dict[Hypothesis, float] = {}
    for trial in trials:
        # A candidate that was never confirmed was tested all the same: it counts in the correction.
        own = _own(trial) if trial.own_in_full else None
        found.update({one: 1.0 for one in trial.candidates if one != own})
        if trial.incomparable or trial.shown_only:
            continue
        for spent, comparison in trial.evidence:
            for tested in tests(comparison, trial.settings):
                if trial.paired and tested.hypothesis not in found:
                    continue
                p = min(1.0, _p_dearer(tested, trial.evidence_sides) / spent)
                found[tested.hypothesis] = min(found.get(tested.hypothesis, 1.0), p)
    return found


def _by_calls(trials: Sequence[Trial]) -> dict[Hypothesis, float]:
    return {hypothesis: p for trial in trials for hypothesis, p in trial.by_calls.items()}


def _p_dearer(tested: Tested, both: Sides | None) -> float:
    """The p-value of one look at one hypothesis, and of its callers having got dearer on these sides.

    1 where the effect is not what the gate fails for, however sure.
    """
    if not tested.slower:
        return 1.0
    if tested.function is None or both is None:
        return tested.p_slower
    return max(tested.p_slower, p_callers_grew(both, tested.function))


def _gains(trials: Sequence[Trial]) -> dict[Hypothesis, float]:
    return {
        tested.hypothesis: tested.p_faster
        for trial in trials
        if not trial.incomparable
        for tested in tests(trial.overall, trial.settings)
    }


def _spending(p_values: Mapping[Hypothesis, float], part: float) -> dict[Hypothesis, float]:
    """Adjusted by Holm, to be held against alpha though only that part of it may be spent."""
    return {one: min(1.0, p / part) for one, p in _adjusted(p_values).items()}


def _adjusted(p_values: Mapping[Hypothesis, float]) -> dict[Hypothesis, float]:
    return dict(zip(p_values, adjust(list(p_values.values())), strict=True))
