"""The one sentence that says why a verdict is not a plain one, and what it would take."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_blcperf.compare.decide import launches_needed, upper_change
from pytest_blcperf.compare.trial import Trial
from pytest_blcperf.model.comparison import WALL, Estimate, FunctionComparison
from pytest_blcperf.model.verdict import BenchmarkVerdict, Evidence, FunctionVerdict, Outcome


def regressed(trial: Trial, own: bool, functions: Sequence[FunctionVerdict]) -> str:
    """What got dearer: the benchmark's own time, the worst function, or both; `functions` start with the guilty."""
    parts = [f"{_moved(trial)} by {_percent(abs(trial.overall.shown.change))}"] if own else []
    regressed = [one for one in functions if one.outcome is Outcome.REGRESSED]
    measured = [one for one in regressed if one.evidence is not Evidence.ELIMINATION]
    guilty = [one for one in measured if one.follows_from is None]
    if guilty or (measured and not own):
        one = (guilty or measured)[0].comparison
        parts.append(f"{one.function.name} ({one.kind} {_cost(trial)}) {_dearer(one)}")
    if len(guilty) > 1:
        parts.append(f"so did {len(guilty) - 1} more")
    if len(measured) < len(regressed):
        parts.append(f"of the functions that changed only {regressed[0].comparison.function.name} can be the cause")
    return ", ".join(parts)


def own_time(trial: Trial, alpha: float) -> str:
    """Why the benchmark's own time is inconclusive."""
    ratio = trial.overall.ratio
    if not math.isfinite(ratio.standard_error):
        return few_launches(trial.overall.launches)
    threshold = trial.own_threshold
    needs = needed(trial, ratio, threshold, alpha)
    if ratio.change > threshold:
        told = _not_confirmed(trial)
        return f"{_subject(trial)} looks {ratio.change:.1%} {_worse(trial, 'dearer')}, {told}; {needs}"
    possible = f"up to {_percent(upper_change(ratio))} {_worse(trial, '')}".rstrip()
    return (
        f"{_subject(trial)} changed by {trial.overall.shown.change:+.1%}, and {possible} is possible, which does "
        f"not rule out the threshold of {_percent(threshold)}; {needs}"
    )


def unconfirmed(trial: Trial, verdict: FunctionVerdict, threshold: float, alpha: float) -> str:
    """Why a function that looked dearer neither fails nor passes."""
    one = verdict.comparison
    looks = f"{one.function.name} ({one.kind} {_cost(trial)}) looks {one.ratio.change:.1%} dearer"
    return f"{looks}, {_not_confirmed(trial)}; {needed(trial, one.ratio, threshold, alpha)}"


def hiding(functions: Sequence[FunctionVerdict]) -> str:
    """What the undecided hot functions of an unchanged benchmark could hide; "" when all are decided."""
    undecided = [verdict for verdict in functions if verdict.outcome is Outcome.INCONCLUSIVE]
    if not undecided:
        return ""
    most = max(upper_change(verdict.comparison.ratio) for verdict in undecided)
    hidden = f"could hide up to {_percent(most)}" if math.isfinite(most) else "could not be judged"
    return f"{len(undecided)} of {len(functions)} hot functions {hidden}"


def few_launches(launches: int) -> str:
    """There is no standard error."""
    if not launches:
        return "no usable rounds on both sides; at least two launches are needed"
    return "one launch only: the error of a measurement shows between launches, at least two are needed"


def needed(trial: Trial, estimate: Estimate, threshold: float, alpha: float) -> str:
    """How many launches would decide, or what to do instead."""
    if not math.isfinite(estimate.standard_error):
        return few_launches(trial.overall.launches)
    if trial.counted:
        return "the counts differ from launch to launch: something in it is left to chance"
    if not trial.paired:
        return (
            "a stored baseline cannot tell it from the machine's drift, measure both sides with --blcperf-mode=lockstep"
        )
    launches = launches_needed(estimate, trial.overall.launches, threshold, alpha)
    if launches is None:
        return "the estimate is too near the threshold for any affordable number of launches"
    return f"about {launches} launches would decide"


def _subject(trial: Trial) -> str:
    return f"its {_own_cost(trial)}" if trial.overall.metric is None else trial.overall.metric.name


def _moved(trial: Trial) -> str:
    fell = trial.overall.metric is not None and trial.overall.metric.better == "higher"
    return f"{_subject(trial)} {'fell' if fell else 'rose'}"


def _worse(trial: Trial, of_time: str) -> str:
    """How messages call the bad direction, of a metric or of a time."""
    return of_time if trial.overall.metric is None else "worse"


def _not_confirmed(trial: Trial) -> str:
    if not trial.paired:
        return "but not surely"
    if not trial.confirmations:
        return "and there were no fresh launches to confirm it"
    return "and fresh launches neither confirmed it nor ruled it out"


def by_instructions(timed: BenchmarkVerdict, counted: BenchmarkVerdict) -> str:
    """What a verdict by instructions says of the time beside it."""
    counts, times = counted.comparison, timed.comparison
    if counts is None or times is None:
        return counted.reason
    decides = counted.outcome in (Outcome.REGRESSED, Outcome.INCONCLUSIVE)
    told = counted.reason if decides else f"instructions {counts.ratio.change:+.2%}"
    error = times.ratio.standard_error
    return f"{told}; time {times.ratio.change:+.1%}" + (f" ± {2 * error:.1%}" if math.isfinite(error) else "")


def by_time_alone(timed: BenchmarkVerdict, counted: BenchmarkVerdict) -> str:
    """What to look for when the time rose and the instructions did not."""
    if counted.comparison is None:
        return timed.reason
    change = counted.comparison.ratio.change
    return f"{timed.reason}; its instructions changed by {change:+.2%}: look at memory, caches and waiting"


def _dearer(one: FunctionComparison) -> str:
    """How much dearer a function got; of a new one how much of the benchmark it takes."""
    if one.new:
        return f"is new and takes {_percent(one.share_head)} of the benchmark"
    return f"got {_percent(one.ratio.change)} dearer"


def _own_cost(trial: Trial) -> str:
    """What of the benchmark itself the trial compares."""
    return "wall time" if trial.overall.judged == WALL else _cost(trial)


def _cost(trial: Trial) -> str:
    """What of functions the trial compares; of those of a benchmark that waits no wall time is known."""
    if trial.counted:
        return "instructions"
    return "CPU time" if trial.overall.judged == WALL else "time"


def _percent(change: float) -> str:
    return f"{change:.1%}" if math.isfinite(change) and abs(change) < 0.0995 else f"{change:.0%}"
