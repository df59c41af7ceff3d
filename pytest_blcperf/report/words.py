"""What a verdict says in words; shared by all renderers so that they never disagree."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_blcperf.compare.accept import EXPIRED
from pytest_blcperf.model.comparison import CPU, INSTRUCTIONS, NANOSECONDS, SELF, WALL, BenchmarkComparison
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.verdict import (
    CALLED,
    CALLER,
    MODULE,
    OWN,
    RUN,
    BenchmarkVerdict,
    ChangedLines,
    Evidence,
    FunctionVerdict,
    GateVerdict,
    Outcome,
)
from pytest_blcperf.model.warning import Warning
from pytest_blcperf.report.text import (
    bounds,
    change_of,
    clean,
    delta,
    instructions,
    interval,
    p_value,
    percent,
    quantity,
    share,
    signed_time,
    significant,
    time_ns,
)

LABEL_LIMIT = 80
MOST_LAUNCHES = 200
_NEGLIGIBLE = 0.05
_CALLERS_NAMED = 6
_BACKENDS_NAMED = 3
_EVIDENCE = {Evidence.ATTRIBUTED: "time around it", Evidence.PROFILE: "profile share", Evidence.WALL: "wall time"}


def evidence(kind: Evidence) -> str:
    """The evidence in at most 15 characters; the model's own words are too long for a table."""
    return _EVIDENCE.get(kind, kind.value)


def label(side: str) -> str:
    """A side's label, clean and short."""
    return clean(side, LABEL_LIMIT)


def title(identifier: str) -> str:
    """A benchmark in a sentence: `tests/t.py::test_big_table[a]` → `big table[a]`."""
    name, bracket, parameters = _last_part(identifier).partition("[")
    words = name.removeprefix("test_").replace("_", " ").strip()
    return clean((words or name or "benchmark") + bracket + parameters, 100)


def _last_part(identifier: str) -> str:
    """What follows the last `::` outside the parameters' brackets."""
    head, bracket, parameters = identifier.partition("[")
    return head.rpartition("::")[2] + bracket + parameters


def verdict_word(verdict: BenchmarkVerdict) -> str:
    """The outcome; in capitals when it fails the gate, so that it stands out where there is no colour."""
    return verdict.outcome.value.upper() if verdict.fails else verdict.outcome.value


# ---- the whole gate


def counts(verdict: GateVerdict) -> str:
    """`1 regressed, 3 unchanged`, without zeros; a regression that does not fail is marked."""
    parts = []
    for outcome in Outcome:
        number = verdict.count(outcome)
        if not number:
            continue
        text = f"{number} {outcome.value}"
        harmless = number - sum(one.fails for one in verdict.benchmarks) if outcome is Outcome.REGRESSED else 0
        parts.append(f"{text} ({harmless} of them not failing the gate)" if harmless else text)
    return ", ".join(parts) or "no benchmark ran"


def outcome_line(verdict: GateVerdict) -> str:
    """The counts; NOTHING WAS COMPARED in front where that is so."""
    return counts(verdict) if verdict.compared else f"NOTHING WAS COMPARED: {counts(verdict)}"


def sides(verdict: GateVerdict) -> str:
    """`HEAD against BASE`, or the head alone when there was no base."""
    return f"{label(verdict.head)} against {label(verdict.base)}" if verdict.base else f"{label(verdict.head)}, no base"


def summary(verdict: GateVerdict) -> str:
    """The last line of every report: the counts, and what was compared with what, how."""
    return f"blcperf: {outcome_line(verdict)}: {sides(verdict)}, {mode(verdict)}"


def mode(verdict: GateVerdict) -> str:
    """How both sides came together; of a screen also how many benchmarks the stored run cleared."""
    if verdict.mode != "screen":
        return label(verdict.mode)
    cleared = sum(one.evidence is Evidence.STORED for one in verdict.benchmarks)
    return f"screened: {cleared} cleared by the stored baseline, {verdict.compared - cleared} measured in lockstep"


def method(verdict: GateVerdict) -> list[str]:
    """How it was measured, in phrases: mode, launches, backends, error rate, time taken."""
    comparisons = [one.comparison for one in verdict.benchmarks if one.comparison is not None]
    launches = sorted({comparison.launches for comparison in comparisons})
    phrases = [mode(verdict)]
    if launches:
        number = str(launches[0]) if len(launches) == 1 else f"{launches[0]} to {launches[-1]}"
        phrases.append(f"{number} launch{'es' if launches[-1] != 1 else ''} a side")
    backends = sorted({clean(comparison.backend, 40) for comparison in comparisons if comparison.backend})
    if backends:
        named = " and ".join(backends) if len(backends) <= _BACKENDS_NAMED else f"{len(backends)} kinds of"
        phrases.append(f"{named} profiles")
    phrases.append(f"alpha {verdict.alpha:g}")
    if verdict.calibration:
        phrases.append(label(verdict.calibration))
    return [*phrases, time_ns(verdict.seconds * 1e9)] if verdict.seconds else phrases


@dataclass(frozen=True)
class Note:
    """A warning and the benchmarks it qualifies, none when it is about the whole run."""

    warning: Warning
    benchmarks: tuple[str, ...]

    @property
    def text(self) -> str:
        """One clean sentence, with where it applies."""
        sentence = f"{clean(self.warning.code, 40)}: {clean(self.warning.text, 500)}"
        if not self.benchmarks:
            return sentence
        first = clean(self.benchmarks[0], 120)
        return f"{sentence} ({first if len(self.benchmarks) == 1 else f'{len(self.benchmarks)} benchmarks'})"


def notes(verdict: GateVerdict) -> list[Note]:
    """Every warning once, the run's own first, equal codes together."""
    places: dict[Warning, list[str]] = {warning: [] for warning in verdict.warnings}
    for one in verdict.benchmarks:
        measured = one.comparison.warnings if one.comparison else ()
        for warning in dict.fromkeys((*one.warnings, *measured)):
            places.setdefault(warning, []).append(one.id)
    run_wide = set(verdict.warnings)
    found = [Note(warning, () if warning in run_wide else tuple(ids)) for warning, ids in places.items()]
    return sorted(found, key=lambda note: (note.warning not in run_wide, note.warning.code))


# ---- one benchmark


def values(comparison: BenchmarkComparison) -> str:
    """What is judged, `1.2 ms → 1.3 ms`; a metric in its own unit."""
    unit = clean(comparison.metric.unit, 20) if comparison.metric else ""
    return " → ".join(both_values(comparison)) + f" {unit}".rstrip()


def both_values(comparison: BenchmarkComparison) -> tuple[str, str]:
    """What is judged, base and head: a time, a number of instructions, or a metric's value without its unit."""
    base, head = comparison.costs
    if comparison.metric is not None:
        return f"{base:.4g}", f"{head:.4g}"
    show = instructions if comparison.unit == INSTRUCTIONS else time_ns
    return show(base), show(head)


_JUDGED = {CPU: "CPU time", WALL: "wall time", INSTRUCTIONS: "instructions"}


def per_iteration(verdict: GateVerdict) -> str:
    """What the numbers of benchmarks are: `CPU time per iteration`, or what else is judged."""
    compared = [one.judged for one in verdict.benchmarks if one.judged is not None and one.judged.metric is None]
    kinds = [kind for kind in _JUDGED if any(_kind(one) == kind for one in compared)]
    if kinds == [WALL]:
        return "wall time per iteration, of functions CPU time"
    return f"{' or '.join(_JUDGED[kind] for kind in kinds or [CPU])} per iteration"


def _kind(comparison: BenchmarkComparison) -> str:
    """What its numbers are; instructions only where they were counted."""
    if comparison.unit == INSTRUCTIONS:
        return INSTRUCTIONS
    return WALL if comparison.judged == WALL else CPU


def headline(verdict: BenchmarkVerdict) -> str:
    """A regression in one sentence: how much slower, how sure, and which function is guilty."""
    guilty, comparison = verdict.guilty, verdict.judged
    worst = f"{_named(guilty[0])} {_shown_change(guilty[0])}{_and_more(guilty)}" if guilty else ""
    if comparison is None:
        return f"{title(verdict.id)} regressed: {clean(verdict.reason, 300) or worst}"
    if comparison.metric is not None:
        return f"{title(verdict.id)}: {clean(verdict.reason, 300)} {interval(comparison.shown)}"
    change, span = change_of(comparison.ratio.log_ratio), interval(comparison.ratio)
    if _slower(verdict):
        blame = f"guilty: {worst}" if guilty else "no single function is to blame"
        return f"{title(verdict.id)} got {share(change)} slower {span}; {blame}"
    whole = f"got {share(change)} faster" if significant(comparison.ratio) else "did not get measurably slower"
    if not guilty:
        return f"{title(verdict.id)} regressed: {clean(verdict.reason, 300) or f'as a whole it {whole} {span}'}"
    first = guilty[0].comparison
    dearer = f"got {share(change_of(first.ratio.log_ratio))} dearer {interval(first.ratio)}"
    if first.new:
        dearer = f"is new and takes {share(first.share_head)} of the benchmark"
    return (
        f"{title(verdict.id)}: {_named(guilty[0])} {dearer}{_and_more(guilty)}; the benchmark as a whole {whole} {span}"
    )


def _slower(verdict: BenchmarkVerdict) -> bool:
    """Whether the benchmark as a whole got significantly slower."""
    ratio = verdict.judged.ratio if verdict.judged else None
    return ratio is not None and significant(ratio) and ratio.log_ratio > 0


def _named(verdict: FunctionVerdict) -> str:
    function = verdict.comparison.function
    return f"{clean(function.name, 100)} ({clean(function.location, 160)})"


def _and_more(guilty: tuple[FunctionVerdict, ...]) -> str:
    return f" and {len(guilty) - 1} more" if len(guilty) > 1 else ""


def _shown_change(verdict: FunctionVerdict) -> str:
    return "new" if verdict.comparison.new else percent(_change(verdict))


def _change(verdict: FunctionVerdict) -> float:
    return change_of(verdict.comparison.ratio.log_ratio)


def measured(verdict: BenchmarkVerdict) -> list[str]:
    """A benchmark's numbers in phrases: time, change with interval, launches, p-value, evidence, threshold."""
    found, comparison = [], verdict.judged
    if comparison is not None:
        kind = f"{_JUDGED[_kind(comparison)]} per iteration"
        what = kind if comparison.metric is None else clean(comparison.metric.name, 80)
        found.append(f"{what} {values(comparison)}")
        found.append(f"{percent(change_of(comparison.shown.log_ratio))} {interval(comparison.shown)}")
        found.append(f"{comparison.launches} launches a side")
    times, counted = verdict.comparison, verdict.instructions
    if times is not None and comparison is not None and _kind(comparison) != CPU and comparison.metric is None:
        found.append(f"CPU time {time_ns(times.base_ns)} → {time_ns(times.head_ns)}")
    if counted is not None and counted is not comparison:
        found.append(f"instructions per iteration {instructions(counted.base_ns)} → {instructions(counted.head_ns)}")
        found.append(f"{counted.ratio.change:+.2%} of them")
    if verdict.p is not None:
        found.append(f"{p_value(verdict.p)} (adjusted)")
    found.append(evidence(verdict.evidence) if verdict.evidence is not Evidence.NONE else "no evidence")
    return [*found, f"threshold {share(verdict.threshold)}"] if verdict.threshold else found


def remarks(verdict: BenchmarkVerdict) -> list[str]:
    """What to know about a benchmark beside its numbers: its reason, what the data could have shown, waiting time."""
    told = verdict.outcome is not Outcome.UNCHANGED or verdict.evidence is Evidence.STORED
    found = [clean(verdict.reason, 500)] if verdict.reason and told else []
    if verdict.outcome is Outcome.INCONCLUSIVE:
        found += _detectable(verdict)
    if verdict.guilty and not _slower(verdict):
        found.append("not slower as a whole, but a function in it got dearer")
    changed = _changed_elsewhere(verdict)
    if changed:
        found.append(f"changed code that it runs: {', '.join(changed)}")
    called = _changed_calls(verdict)
    if called:
        found.append(f"calls per iteration that changed: {', '.join(called)}")
    if verdict.outcome is Outcome.REGRESSED and not verdict.fails:
        found.append(f"does not fail the test: gate is {clean(verdict.gate, 20)}")
    # Also a warning; here because a failing test shows no others, and this is why it fails.
    found += [clean(one.text, 500) for one in verdict.warnings if one.code == EXPIRED]
    times = verdict.comparison
    if times is not None and times.io_bound and times.judged != WALL:
        wall = f"{time_ns(times.base_wall_ns)} → {time_ns(times.head_wall_ns)}"
        judged = "CPU time was" if times.judged == CPU else "instructions were"
        found.append(f"I/O-bound: wall time {wall}; only its {judged} judged (--blcperf-metric=wall judges it)")
    return found


def _changed_elsewhere(verdict: BenchmarkVerdict) -> list[str]:
    """Changed functions to look at when none of the guilty ones was changed itself; at most three."""
    known = any(one.comparison.code_changed or one.changed_lines for one in verdict.guilty)
    if verdict.outcome is not Outcome.REGRESSED or (known and not verdict.changed_lines):
        return []
    places = {one: f"{clean(one.name, 80)} ({clean(one.location, 120)})" for one in verdict.changed_code}
    lines: dict[Function, str] = {}
    for hunk in verdict.changed_lines:
        lines.setdefault(hunk.function, f"{clean(hunk.function.name, 80)} ({changed_place(hunk)})")
    # What has lines is likelier than what differs in a docstring alone.
    every = [*lines.values(), *(text for function, text in places.items() if function not in lines)]
    listed = every[:3]
    more = len(every) - len(listed)
    return [*listed, f"{more} more"] if more else listed


def _changed_calls(verdict: BenchmarkVerdict) -> list[str]:
    """Where the counts of a verdict that needs explaining differ, but for guilty functions; at most three."""
    if verdict.outcome not in (Outcome.REGRESSED, Outcome.INCONCLUSIVE):
        return []
    shown = {one.comparison.function for one in verdict.guilty}
    changes = [one for one in verdict.changed_calls if one.function not in shown]
    listed = [f"{clean(one.function.name, 80)} {quantity(one.base)} → {quantity(one.head)}" for one in changes[:3]]
    more = len(changes) - len(listed)
    return [*listed, f"{more} more"] if more else listed


def _detectable(verdict: BenchmarkVerdict) -> list[str]:
    """The effect the data could have shown, and the launches that would show the threshold.

    The error of a mean falls with the square root of the number of launches.
    """
    if verdict.detectable is None or not math.isfinite(verdict.detectable):
        return []
    shown = f"this data shows changes of {share(verdict.detectable)} or more"
    if verdict.comparison is None or not 0 < verdict.threshold < verdict.detectable:
        return [shown]
    factor = (math.log1p(verdict.detectable) / math.log1p(verdict.threshold)) ** 2
    needed = math.ceil(verdict.comparison.launches * min(factor, 1e6))
    launches = f"about {needed} launches" if needed <= MOST_LAUNCHES else f"more than {MOST_LAUNCHES} launches"
    options = "--blcperf-launches and --blcperf-max-time"
    return [f"{shown}; to show {share(verdict.threshold)} takes {launches} a side ({options})"]


def nobody_to_blame(verdict: BenchmarkVerdict) -> str:
    """What to say of a regression without a guilty function."""
    if verdict.functions:
        return "no single function is to blame: the cost is spread out, or in functions too small to judge"
    return "no function was judged: there is no profile of both sides"


# ---- one function


def cost(verdict: FunctionVerdict) -> str:
    """`455 µs → 727 µs`, CPU time per iteration; or `4.5 M → 7.2 M instructions`."""
    one = verdict.comparison
    if one.unit == INSTRUCTIONS:
        return f"{instructions(one.cost_base_ns)} → {instructions(one.cost_head_ns)} instructions"
    return f"{time_ns(one.cost_base_ns)} → {time_ns(one.cost_head_ns)}"


def whose_time(verdict: FunctionVerdict) -> str:
    """Whose time is compared."""
    own = verdict.comparison.kind == SELF
    if verdict.comparison.unit == INSTRUCTIONS:
        return "own work" if own else "work with what it calls"
    return "self time" if own else "time with what it calls"


def code_mark(verdict: FunctionVerdict) -> str:
    """`code changed`, `code unchanged`, or nothing when it is unknown."""
    changed = verdict.comparison.code_changed
    return "" if changed is None else "code changed" if changed else "code unchanged"


def change(verdict: FunctionVerdict) -> str:
    """The change with its 95 % interval; a function the base never spent time in is `new`."""
    comparison = verdict.comparison
    if comparison.new:
        return "new"
    return f"{percent(_change(verdict))} {interval(comparison.ratio)}"


def certainty(verdict: FunctionVerdict) -> str:
    """The adjusted p-value and the evidence."""
    adjusted = "" if verdict.p is None else f"{p_value(verdict.p)} (adjusted), "
    return adjusted + evidence(verdict.evidence)


def calls(verdict: FunctionVerdict) -> str:
    """`36 → 72 calls per iteration`, or nothing when the counts are not exact."""
    comparison = verdict.comparison
    if not comparison.counts_exact or comparison.calls_base is None or comparison.calls_head is None:
        return ""
    if comparison.calls_base == comparison.calls_head:
        return f"{quantity(comparison.calls_base)} calls per iteration on both sides"
    return f"{quantity(comparison.calls_base)} → {quantity(comparison.calls_head)} calls per iteration"


def explanation(verdict: FunctionVerdict) -> str:
    """Why it costs more, in words: `called 2.0× as often`, `dearer per call: +61.0 %`, or both with their parts."""
    parts, comparison = verdict.explanation, verdict.comparison
    if comparison.counts_exact and comparison.calls_base == 0 and comparison.calls_head:
        return "new: the base does not call it"
    if parts is None or not comparison.calls_base or not comparison.calls_head:
        return ""
    more, each = parts.called_more_ns, parts.dearer_per_call_ns
    whole = abs(more) + abs(each)
    if not math.isfinite(whole) or whole == 0:
        return ""
    often, dearer = _often(comparison.calls_head / comparison.calls_base), _per_call(verdict)
    if abs(more) < _NEGLIGIBLE * whole:
        return dearer
    if abs(each) < _NEGLIGIBLE * whole:
        return often
    link = "and" if more * each > 0 else "but"
    return f"{often} ({_signed(more, comparison.unit)}) {link} {dearer} ({_signed(each, comparison.unit)})"


def _signed(value: float, unit: str) -> str:
    return signed_time(value) if unit == NANOSECONDS else f"{'-' if value < 0 else '+'}{instructions(abs(value))}"


def _often(times: float) -> str:
    shown = quantity(times) if times >= 100 else f"{times:.{2 if times < 1.95 else 1}f}"
    return f"called {shown}× as often"


def _per_call(verdict: FunctionVerdict) -> str:
    comparison = verdict.comparison
    assert comparison.calls_base and comparison.calls_head
    base, head = comparison.cost_base_ns / comparison.calls_base, comparison.cost_head_ns / comparison.calls_head
    if base <= 0:
        show = time_ns if comparison.unit == NANOSECONDS else instructions
        return f"dearer per call: {show(base)} → {show(head)}"
    return f"{'dearer' if head > base else 'cheaper'} per call: {percent(head / base - 1)}"


@dataclass(frozen=True)
class Cause:
    """Changed lines in words: `src/x.py:42-47 changed`, and the lines themselves, clean and without common indent."""

    where: str
    lines: tuple[str, ...]


def causes(guilty: FunctionVerdict, lines: int) -> list[Cause]:
    """The changed lines behind a guilty function, the most likely first; of the first ones `lines` lines in all."""
    found = []
    for one in guilty.changed_lines:
        shown = _dedented(one.text)[:lines]
        hidden = len(one.text) - len(shown) + one.hidden
        more = (f"… {hidden} more line{'s'[: hidden != 1]}",) if shown and hidden else ()
        found.append(Cause(f"{changed_place(one)} changed{_RELATIONS[one.relation](one)}", (*shown, *more)))
        lines -= len(shown)
    return found


_RELATIONS: dict[str, Callable[[ChangedLines], str]] = {
    OWN: lambda _: "",
    CALLED: lambda one: f" in {clean(one.function.name, 80)}, which it calls",
    CALLER: lambda one: f" in {clean(one.function.name, 80)}, which calls it",
    MODULE: lambda _: ", outside functions",
    RUN: lambda one: f" in {clean(one.function.name, 80)}",
}


def changed_place(one: ChangedLines) -> str:
    """`src/x.py:42-47`; `src/x.py:41` where lines behind it were taken away."""
    last = f"-{one.last}" if one.last > one.first else ""
    return f"{clean(one.function.file, 160)}:{one.line}{last}"


def _dedented(text: Sequence[str]) -> list[str]:
    """Lines of a diff without the indent that all of them have."""
    lines = [clean(line.expandtabs(4).rstrip(), 160) for line in text]
    indent = min((len(line) - 1 - len(line[1:].lstrip()) for line in lines if line[1:].strip()), default=0)
    return [line[:1] + line[1 + indent :] for line in lines]


def callers(verdict: BenchmarkVerdict, guilty: FunctionVerdict) -> tuple[FunctionVerdict, ...]:
    """The regressed functions whose growth follows, directly or through others, from that of `guilty`."""
    cause = {one.comparison.function: one.follows_from for one in verdict.functions}

    def root(start: FunctionVerdict) -> object:
        function, seen = start.follows_from, set()
        while function is not None and function not in seen and cause.get(function) is not None:
            seen.add(function)
            function = cause[function]
        return function

    own = guilty.comparison.function
    return tuple(
        one for one in verdict.functions if one.follows_from and one.comparison.function != own and root(one) == own
    )


def followers(found: Sequence[FunctionVerdict]) -> list[str]:
    """`A.f +21.0 %` for each, at most six, then how many more."""
    named = [
        f"{clean(one.comparison.function.name, 80)} {delta(one.comparison.ratio)}" for one in found[:_CALLERS_NAMED]
    ]
    more = len(found) - len(named)
    return [*named, f"{more} more"] if more else named


# ---- what to do about it


def next_steps(verdict: BenchmarkVerdict, base: str) -> list[tuple[str, str]]:
    """Commands and settings for a failed benchmark, each with what it is for; most useful first."""
    steps = []
    guilty = verdict.guilty[0] if verdict.guilty else None
    commit = re.search(r"\b[0-9a-f]{7,40}\b", base)
    if guilty and commit and guilty.comparison.code_changed and not guilty.comparison.function.file.startswith("<"):
        file = shlex.quote(clean(guilty.comparison.function.file, 300))
        steps.append(("see what changed in it", f"git diff {commit[0]} -- {file}"))
    name = re.match(r"[\w./-]+", base)
    judged = verdict.comparison.judged if verdict.comparison else CPU
    metric = "" if judged == CPU else f" --blcperf-metric={judged}"
    base_name, test = name[0] if name else "main", shlex.quote(clean(verdict.id, 500))
    command = f"pytest --blcperf --blcperf-baseline={base_name}{metric} {test}"
    steps.append(("measure only this benchmark again", command))
    steps.append(("accept the cost in this benchmark", f"@pytest.mark.blcperf({_thresholds(verdict)})"))
    regressed = [one for one in verdict.functions if one.outcome is Outcome.REGRESSED]
    # A rule for one function helps only where nothing else is above its threshold.
    if guilty and len(regressed) == 1 and not _too_slow(verdict):
        steps.append(("or accept it in this function only (pyproject.toml)", _function_rule(verdict, guilty)))
    return steps


def _too_slow(verdict: BenchmarkVerdict) -> bool:
    """Whether the benchmark as a whole is above its threshold, or may be."""
    ends = bounds(verdict.judged.ratio) if verdict.judged else None
    return ends is None or ends[1] > verdict.threshold


def _thresholds(verdict: BenchmarkVerdict) -> str:
    """The marker's arguments above everything that regressed, upper ends of the intervals.

    What carries the benchmark's slowdown is below the functions' threshold as it is.
    """
    regressed = [one for one in verdict.functions if one.outcome is Outcome.REGRESSED and not one.carrier]
    ends = [ends[1] for one in regressed if (ends := bounds(one.comparison.ratio))]
    found = [f"threshold={_above(max(ends))}"] if ends else []
    if _too_slow(verdict) or not found:
        own = bounds(verdict.judged.ratio) if verdict.judged else None
        metric = verdict.judged is not None and verdict.judged.metric is not None
        name = "threshold" if metric else "benchmark_threshold"
        found.append(f"{name}={_above(own[1] if own else verdict.threshold)}")
    return ", ".join(found)


def _above(change: float) -> str:
    """The next multiple of 5 %, below that of 1 %, quoted."""
    step = 5 if change >= 0.05 else 1
    return f'"{step * math.ceil(min(max(change, 0), 9.9) * 100 / step + 1e-9)}%"'


def _function_rule(verdict: BenchmarkVerdict, guilty: FunctionVerdict) -> str:
    function, ends = guilty.comparison.function, bounds(guilty.comparison.ratio)
    threshold = _above(ends[1] if ends else verdict.threshold)
    match = _pattern(f"{function.file}::{function.name}")
    return f"[[tool.blcperf.functions]]\nmatch = {match}\nbenchmark = {_pattern(verdict.id)}\nthreshold = {threshold}"


def _pattern(name: str) -> str:
    """A TOML string with a shell pattern that matches the name literally."""
    return json.dumps(re.sub(r"([*?[])", r"[\1]", clean(name, 500)), ensure_ascii=False)
