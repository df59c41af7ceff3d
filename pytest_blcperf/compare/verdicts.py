"""One benchmark's verdict from what the session's tests came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pytest_blcperf.compare import reason
from pytest_blcperf.compare.blame import follows_from, moved_within
from pytest_blcperf.compare.decide import detectable
from pytest_blcperf.compare.elimination import only_change
from pytest_blcperf.compare.explain import changed_calls, explain
from pytest_blcperf.compare.trial import Hypothesis, Tested, Trial, tests
from pytest_blcperf.model.comparison import INSTRUCTIONS, SELF, TOTAL, WALL, FunctionComparison
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.verdict import BenchmarkVerdict, Evidence, FunctionVerdict, Outcome
from pytest_blcperf.model.warning import Warning

UNCOUNTED = "instructions-missing"
"""The code of the warning that says why instructions were not counted."""
_CHANGED_LISTED = 50


@dataclass(frozen=True)
class Findings:
    """The session's adjusted p-values: of slowdowns on the data that may convict, of gains on all data.

    `by_calls` are those of slowdowns that the number of calls alone shows; they are in `slower` too. `carried` has the
    tests of functions that carry the slowdown of a convicted benchmark, in place of their ordinary ones.
    """

    slower: Mapping[Hypothesis, float]
    faster: Mapping[Hypothesis, float]
    alpha: float
    by_calls: Mapping[Hypothesis, float] = field(default_factory=dict)
    carried: Mapping[Hypothesis, Tested] = field(default_factory=dict)

    def tests(self, trial: Trial) -> tuple[Tested, ...]:
        """What is tested on all data, the benchmark's own time first."""
        return tuple(self.carried.get(one.hypothesis, one) for one in tests(trial.overall, trial.settings))

    def improved(self, tested: Tested) -> bool:
        """Whether a gain is shown."""
        return tested.faster and self.faster.get(tested.hypothesis, 1.0) <= self.alpha

    def told_by_calls(self, tested: Tested) -> bool:
        """Whether the number of its calls is enough to convict a function."""
        return self.by_calls.get(tested.hypothesis, 1.0) <= self.alpha

    def convicted(self, trial: Trial) -> frozenset[Hypothesis]:
        """Slowdowns that are significant, and large enough, in the data that may convict and in all of it."""
        if trial.incomparable or trial.shown_only:
            return frozenset()
        return frozenset(
            one.hypothesis
            for one in self.tests(trial)
            if one.slower and self.slower.get(one.hypothesis, 1.0) <= self.alpha
        )


def verdict(trial: Trial, findings: Findings) -> BenchmarkVerdict:
    """The verdict of one benchmark; the estimates shown are those of all launches."""
    convicted = findings.convicted(trial)
    own, *hot = findings.tests(trial)
    moved = _moved(trial, [one for one in hot if one.hypothesis in convicted or _new_candidate(trial, one)])
    guilty = convicted - moved.keys()
    causes = _causes(trial, [tested for tested in hot if tested.hypothesis in guilty])
    judged = [(tested, _function(trial, tested, findings, guilty, causes)) for tested in hot]
    judged.sort(key=lambda pair: _blame(pair[1]))
    evidence = judged[0][1].evidence if guilty and own.hypothesis not in guilty else _evidence(trial, None)
    culprit = only_change(trial, [one for one in (own, *hot) if one.hypothesis in guilty]) if guilty else None
    if culprit is not None:
        judged = _blaming(culprit, judged)
    functions = tuple(one for _, one in judged)
    outcome, sentence = _outcome(trial, own, judged, guilty=guilty, findings=findings, moved=moved)
    return BenchmarkVerdict(
        id=trial.overall.id,
        outcome=outcome,
        evidence=evidence,
        reason=sentence,
        comparison=trial.overall,
        functions=functions,
        p=findings.slower.get(own.hypothesis),
        detectable=None if trial.incomparable else detectable(own.estimate, own.limits.threshold),
        changed_code=_changed_code(trial),
        changed_calls=changed_calls(trial.base, trial.head),
        threshold=own.limits.threshold,
        gate=trial.settings.gate,
        warnings=tuple(moved.values()),
    )


def joined(timed: BenchmarkVerdict, counted: BenchmarkVerdict) -> BenchmarkVerdict:
    """One verdict of two on the same benchmark, by time and by instructions.

    Instructions are the stronger evidence: what they convict is regressed whatever the time does. Where they convict
    nothing, the time still can: it knows of memory and waiting. What the time leaves open, they settle. Where they are
    what is gated, they decide alone.
    """
    both = replace(
        timed,
        instructions=counted.comparison,
        functions=timed.functions or counted.functions,
        warnings=tuple(dict.fromkeys((*timed.warnings, *counted.warnings))),
    )
    alone = timed.comparison is not None and timed.comparison.judged == INSTRUCTIONS
    settled = timed.outcome is Outcome.INCONCLUSIVE and counted.outcome in (Outcome.UNCHANGED, Outcome.IMPROVED)
    if counted.outcome is Outcome.REGRESSED or settled or alone:
        return replace(
            both,
            outcome=counted.outcome,
            evidence=Evidence.COUNTS,
            reason=reason.by_instructions(timed, counted),
            functions=counted.functions,
            p=counted.p,
            detectable=counted.detectable,
        )
    if timed.outcome is Outcome.REGRESSED:
        return replace(both, reason=reason.by_time_alone(timed, counted))
    return both


def uncounted(timed: BenchmarkVerdict) -> BenchmarkVerdict:
    """The verdict where instructions are gated and were not counted: the times are shown and decide nothing."""
    if timed.outcome is Outcome.NOT_COMPARED:
        return timed
    why = next((one.text for one in timed.comparison.warnings if one.code == UNCOUNTED), "") if timed.comparison else ""
    said = why or "instructions were not counted on both sides"
    return replace(timed, outcome=Outcome.NOT_COMPARED, evidence=Evidence.NONE, reason=said, p=None, detectable=None)


def _changed_code(trial: Trial) -> tuple[Function, ...]:
    """Where the cause may be though no sample fell there: a sampler charges the callers of short functions."""
    both = trial.overall_sides
    if both is None:
        return ()
    run = [pair for pair in both.pairs if pair.calls_head or pair.index_head is not None]
    changed = [pair for pair in run if pair.code_changed]
    changed.sort(key=lambda pair: -float(both.counts(pair, TOTAL)[1].sum()))
    return tuple(pair.function for pair in changed[:_CHANGED_LISTED])


def _moved(trial: Trial, accused: Sequence[Tested]) -> dict[Hypothesis, Warning]:
    """The functions that only took over work from around them: reported, not failed."""
    moved = {}
    for tested in accused:
        one = tested.function
        domain = moved_within(trial.overall_sides, one) if trial.overall_sides and one else None
        if domain is not None and one is not None:
            text = (
                f"{one.function.name} ({one.kind} time) took over work inside {domain.name}, which did not get dearer"
            )
            moved[tested.hypothesis] = Warning("cost-moved", text)
    return moved


def _new_candidate(trial: Trial, tested: Tested) -> bool:
    """Not convicted because its callers did not get dearer, a new function may still have to be explained."""
    one = tested.function
    return one is not None and one.samples_base == 0 and tested.hypothesis in trial.candidates


def _causes(trial: Trial, guilty: Sequence[Tested]) -> dict[tuple[Function, str], Function]:
    regressed = [tested.function for tested in guilty if tested.function is not None]
    return follows_from(trial.overall_sides, regressed) if regressed and trial.overall_sides else {}


def _function(
    trial: Trial,
    tested: Tested,
    findings: Findings,
    guilty: frozenset[Hypothesis],
    causes: Mapping[tuple[Function, str], Function],
) -> FunctionVerdict:
    one = tested.function
    assert one is not None
    if tested.hypothesis in guilty:
        outcome = Outcome.REGRESSED
    elif trial.incomparable:
        outcome = Outcome.INCONCLUSIVE
    elif findings.improved(tested):
        outcome = Outcome.IMPROVED
    else:
        outcome = Outcome.UNCHANGED if tested.unchanged else Outcome.INCONCLUSIVE
    return FunctionVerdict(
        comparison=one,
        outcome=outcome,
        evidence=Evidence.COUNTS if findings.told_by_calls(tested) else _evidence(trial, one),
        p=findings.slower.get(tested.hypothesis),
        detectable=None if trial.incomparable else detectable(tested.estimate, tested.limits.threshold),
        threshold=tested.limits.threshold,
        explanation=explain(one),
        follows_from=causes.get((one.function, one.kind)),
        carrier=tested.hypothesis in findings.carried,
    )


def _blaming(culprit: Tested, judged: Sequence[tuple[Tested, FunctionVerdict]]) -> list[tuple[Tested, FunctionVerdict]]:
    """The verdicts with that function first, from which all that regressed follows."""
    one = culprit.function
    assert one is not None
    first = FunctionVerdict(
        comparison=one,
        outcome=Outcome.REGRESSED,
        evidence=Evidence.ELIMINATION,
        threshold=culprit.limits.threshold,
        explanation=explain(one),
        carrier=True,
    )
    others = [
        (tested, replace(other, follows_from=one.function) if other.outcome is Outcome.REGRESSED else other)
        for tested, other in judged
        if tested.hypothesis != culprit.hypothesis
    ]
    return [(culprit, first), *others]


def _blame(judged: FunctionVerdict) -> tuple[bool, bool, bool, bool, float]:
    """Sorting key: regressed, and not because of another; changed code's self time, self time, total; impact."""
    one = judged.comparison
    regressed = judged.outcome is Outcome.REGRESSED
    own = one.kind == SELF
    return (
        not regressed,
        judged.follows_from is not None,
        regressed and not (own and one.code_changed is True),
        regressed and not own,
        -abs(one.impact),
    )


def _evidence(trial: Trial, function: FunctionComparison | None) -> Evidence:
    """What a verdict on that function rests on; None: on the benchmark's own time."""
    if trial.counted:
        return Evidence.COUNTS
    if not trial.paired:
        return Evidence.STORED
    if trial.overall.metric is not None:
        return Evidence.METRIC
    if function is not None:
        told = Evidence.LOCKSTEP if function.timed_in is None else Evidence.ATTRIBUTED
        return told if function.timed else Evidence.PROFILE
    return Evidence.WALL if trial.overall.judged == WALL else Evidence.LOCKSTEP


def _outcome(
    trial: Trial,
    own: Tested,
    judged: Sequence[tuple[Tested, FunctionVerdict]],
    *,
    guilty: frozenset[Hypothesis],
    findings: Findings,
    moved: Mapping[Hypothesis, Warning],
) -> tuple[Outcome, str]:
    functions = [one for _, one in judged]
    if guilty:
        return Outcome.REGRESSED, reason.regressed(trial, own.hypothesis in guilty, functions)
    if trial.incomparable:
        return Outcome.NOT_COMPARED, trial.incomparable
    improved = findings.improved(own)
    if not improved and not own.unchanged:
        return Outcome.INCONCLUSIVE, reason.own_time(trial, findings.alpha)
    for tested, one in judged:
        accused = tested.hypothesis in trial.candidates and tested.hypothesis not in moved
        if accused and one.outcome is Outcome.INCONCLUSIVE and not tested.harmless:
            return Outcome.INCONCLUSIVE, reason.unconfirmed(trial, one, tested.limits.threshold, findings.alpha)
    return Outcome.IMPROVED if improved else Outcome.UNCHANGED, reason.hiding(functions)
