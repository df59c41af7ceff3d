"""The comparison page: what got slower, by how much, how sure, why, and where in the code; one HTML file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from markupsafe import Markup

from pytest_blcperf.compare.wall import in_wall
from pytest_blcperf.model.comparison import INSTRUCTIONS, WALL
from pytest_blcperf.model.environment import Environment
from pytest_blcperf.model.run import CONFIRM, Benchmark, Launch
from pytest_blcperf.model.verdict import BenchmarkVerdict, Evidence, FunctionVerdict, GateVerdict, Outcome
from pytest_blcperf.report import words
from pytest_blcperf.report.comparison_page import ComparedBenchmark, ComparisonPage, FunctionSource, SourceLine
from pytest_blcperf.report.environment_text import compared_environments, machine
from pytest_blcperf.report.html import name_text, page
from pytest_blcperf.report.stack_difference import difference_data
from pytest_blcperf.report.svg import Scale, axis_ends, interval_bar, launch_dots, two_sides
from pytest_blcperf.report.text import delta, interval, percent, share, time_ns

_ORDER = (Outcome.REGRESSED, Outcome.INCONCLUSIVE, Outcome.NOT_COMPARED, Outcome.IMPROVED, Outcome.UNCHANGED)
_SCRIPTS = ("stack_tree.js", "flame_graph.js", "flame_panel.js", "differential.js", "comparison.js")
_NODE_LIMIT = 1_500_000
"""Nodes of all flame graphs of a page together, about 5 MB; what comes later in the table goes without."""
_LINE_LIMIT = 400
_FUNCTIONS_SHOWN = 5
"""Functions without a significant change that are seen before the reader asks for all."""
_CHANGED_LINES = 30
_TONES = {Outcome.REGRESSED: "regressed", Outcome.IMPROVED: "improved"}


def render(compared: ComparisonPage) -> str:
    """The HTML text. Every name in it is escaped; it holds everything it needs."""
    verdict = compared.verdict
    ordered = sorted(compared.benchmarks, key=lambda one: (_ORDER.index(one.verdict.outcome), not one.verdict.fails))
    scale = _scale(one.verdict for one in ordered)
    graphs = _graphs(ordered)
    content = {
        "banner": _banner(verdict),
        "facts": _facts(compared),
        "notes": [note.text for note in words.notes(verdict)],
        "what": words.per_iteration(verdict),
        "axis": axis_ends(scale),
        "rows": [_row(number, one, scale) for number, one in enumerate(ordered)],
        "sections": [
            _section(number, one, verdict, scale, f"graph-{number}" in graphs) for number, one in enumerate(ordered)
        ],
        "environments": compared_environments(compared.base_environment, compared.head_environment),
        "summary": words.summary(verdict),
    }
    title = f"{words.counts(verdict)} · blcperf comparison"
    return page("comparison.html.j2", title, content, _SCRIPTS, graphs)


def _scale(verdicts: Iterable[BenchmarkVerdict]) -> Scale:
    listed = [one for one in verdicts if one.comparison is not None]
    return Scale.of((one.comparison.ratio for one in listed if one.comparison), (one.threshold for one in listed))


def _graphs(ordered: Sequence[ComparedBenchmark]) -> dict[str, Any]:
    """Flame graph data by block id, in the order of the table, as far as the page's limit goes."""
    graphs: dict[str, Any] = {}
    nodes = 0
    for number, one in enumerate(ordered):
        if one.base is None or one.head is None or one.base.profile is None or one.head.profile is None:
            continue
        data = difference_data(one.verdict, one.base.profile, one.head.profile)
        nodes += len(data["tree"]["parent"]) if data else 0
        if nodes > _NODE_LIMIT:
            break
        if data:
            graphs[f"graph-{number}"] = data
    return graphs


# ---- the top of the page


@dataclass(frozen=True)
class _Banner:
    tone: str
    mark: str
    outcome: str
    head: str
    base: str
    headlines: list[str]


def _banner(verdict: GateVerdict) -> _Banner:
    doubtful = (Outcome.INCONCLUSIVE, Outcome.NOT_COMPARED, Outcome.REGRESSED)
    if verdict.failed:
        tone, mark = "regressed", "✗"
    elif not verdict.compared or any(verdict.count(outcome) for outcome in doubtful):
        tone, mark = "doubtful", "!"
    else:
        tone, mark = "fine", "✓"
    regressed = [one for one in verdict.benchmarks if one.outcome is Outcome.REGRESSED]
    headlines = [words.headline(one) for one in regressed[:5]]
    if len(regressed) > len(headlines):
        headlines.append(f"and {len(regressed) - len(headlines)} more")
    head, base = words.label(verdict.head), words.label(verdict.base)
    return _Banner(tone, mark, words.outcome_line(verdict), head, base, headlines)


def _facts(compared: ComparisonPage) -> list[tuple[str, str]]:
    verdict, environment = compared.verdict, compared.head_environment
    facts = [("How", ", ".join(words.method(verdict)))]
    if environment != Environment():
        facts.append(("Where", machine(environment)))
    return [*facts, ("When", name_text(compared.created))] if compared.created else facts


# ---- the table of benchmarks


def _row(number: int, compared: ComparedBenchmark, scale: Scale) -> dict[str, Any]:
    verdict, comparison = compared.verdict, compared.verdict.judged
    row: dict[str, Any] = {
        "number": number,
        "id": name_text(verdict.id),
        "outcome": verdict.outcome.value,
        "tone": _tone(verdict),
        "fails": verdict.fails,
        "evidence": "" if verdict.evidence is Evidence.NONE else words.evidence(verdict.evidence),
        "guilty": [name_text(one.comparison.function.name, 60) for one in verdict.guilty[:2]],
        "times": None,
    }
    if comparison is not None:
        tone = _TONES.get(verdict.outcome, "unsure")
        row |= {
            "times": words.both_values(comparison),
            "change": delta(comparison.shown),
            "interval": interval(comparison.shown),
            "bar": Markup(interval_bar(comparison.ratio, verdict.threshold, tone, scale)),
            "dots": Markup(_dots(compared, tone)),
        }
    return row


def _tone(verdict: BenchmarkVerdict) -> str:
    if verdict.outcome in (Outcome.INCONCLUSIVE, Outcome.NOT_COMPARED):
        return "doubtful"
    return _TONES.get(verdict.outcome, "unchanged")


def _dots(compared: ComparedBenchmark, tone: str) -> str:
    base, head, comparison = compared.base, compared.head, compared.verdict.judged
    if base is None or head is None or comparison is None or comparison.unit == INSTRUCTIONS:
        return ""
    if comparison.judged == WALL:
        base, head = in_wall(base), in_wall(head)
    if not comparison.paired:
        return two_sides(_times(base), _times(head), tone)
    of_base = {(launch.phase, launch.index): launch for launch in base.launches if launch.rounds}
    pairs = [
        (of_base[launch.phase, launch.index], launch)
        for launch in head.launches
        if launch.rounds and (launch.phase, launch.index) in of_base
    ]
    logs = [(math.log(two / one), new) for old, new in pairs if (one := _time(old)) > 0 and (two := _time(new)) > 0]
    confirming = [launch.phase == CONFIRM for _, launch in logs]
    return launch_dots([log for log, _ in logs], confirming, compared.verdict.threshold, tone)


def _times(benchmark: Benchmark) -> list[float]:
    return [_time(launch) for launch in benchmark.launches if launch.rounds]


def _time(launch: Launch) -> float:
    """What is judged of an iteration, ns: the median over the rounds."""
    return median(one.cpu_ns / one.iterations for one in launch.rounds)


# ---- one benchmark


def _section(
    number: int, compared: ComparedBenchmark, gate: GateVerdict, scale: Scale, has_graph: bool
) -> dict[str, Any]:
    verdict, comparison = compared.verdict, compared.verdict.comparison
    functions = verdict.functions
    ratios, thresholds = [one.comparison.ratio for one in functions], [one.threshold for one in functions]
    own = Scale.of(ratios, thresholds) if functions else scale
    sources = {one.function: one for one in compared.sources}
    judged = {one.comparison.function for one in functions}
    rows = [
        _function(place, one, verdict, own, sources.get(one.comparison.function)) for place, one in enumerate(functions)
    ]
    profiled = [side.profile for side in (compared.base, compared.head) if side is not None and side.profile]
    return {
        "number": number,
        "id": name_text(verdict.id),
        "outcome": verdict.outcome.value,
        "tone": _tone(verdict),
        "headline": words.headline(verdict) if verdict.outcome is Outcome.REGRESSED else "",
        "measured": words.measured(verdict) if comparison is not None else [],
        "remarks": words.remarks(verdict) or ([name_text(verdict.reason)] if verdict.reason else []),
        "nobody": words.nobody_to_blame(verdict) if verdict.outcome is Outcome.REGRESSED and not verdict.guilty else "",
        "axis": axis_ends(own),
        "functions": rows,
        "quiet": sum(row["quiet"] for row in rows),
        "changed": [
            {"name": name_text(one.name), "location": name_text(one.location), "source": _source(sources[one])}
            for one in verdict.changed_code
            if one in sources and one not in judged
        ],
        "steps": words.next_steps(verdict, gate.base) if verdict.fails else [],
        "graph": has_graph,
        "no_graph": "" if has_graph else _no_graph(compared, len(profiled)),
        "backend": name_text(comparison.backend, 40) if comparison else "",
    }


def _no_graph(compared: ComparedBenchmark, profiled: int) -> str:
    if compared.verdict.comparison is None:
        return "Nothing was measured, so there is no flame graph."
    if profiled < 2:
        return "There is no flame graph: it needs a profile of both sides."
    return "There is no flame graph: no samples on a side, or the page would be too large. Compare this one alone."


def _function(
    place: int, judged: FunctionVerdict, verdict: BenchmarkVerdict, scale: Scale, source: FunctionSource | None
) -> dict[str, Any]:
    one = judged.comparison
    tone = _TONES.get(judged.outcome, "unsure")
    guilty = any(judged is other for other in verdict.guilty)
    return {
        "place": place,
        "quiet": tone == "unsure" and place >= _FUNCTIONS_SHOWN,
        "name": name_text(one.function.name),
        "file": name_text(one.function.file),
        "location": name_text(one.function.location),
        "outcome": "guilty" if guilty else judged.outcome.value,
        "tone": "regressed" if guilty else "follows" if judged.follows_from is not None else tone,
        "whose": "self" if one.kind == "self" else "total",
        "times": (time_ns(one.cost_base_ns), time_ns(one.cost_head_ns)),
        "change": "new" if one.cost_base_ns <= 0 < one.cost_head_ns else delta(one.ratio),
        "interval": interval(one.ratio),
        "bar": Markup(interval_bar(one.ratio, judged.threshold, tone, scale)),
        "impact": percent(one.impact),
        "shares": (share(one.share_base), share(one.share_head)),
        "why": ", ".join(part for part in (words.explanation(judged), words.calls(judged)) if part),
        "mark": words.code_mark(judged),
        "certainty": words.certainty(judged),
        "follows": name_text(judged.follows_from.name) if judged.follows_from is not None else "",
        "grown": words.followers(words.callers(verdict, judged)) if guilty else [],
        "causes": [_cause(one) for one in words.causes(judged, 0 if source is not None else _CHANGED_LINES)],
        "source": _source(source) if source is not None else None,
    }


def _cause(cause: words.Cause) -> dict[str, Any]:
    kinds = {"-": "removed", "+": "added"}
    lines = [{"kind": kinds.get(line[:1], "same"), "sign": line[:1], "text": line[1:]} for line in cause.lines]
    return {"where": cause.where, "lines": lines}


def _source(source: FunctionSource) -> dict[str, Any]:
    lines = source.lines[:_LINE_LIMIT]
    return {
        "base_name": name_text(source.base_name),
        "head_name": name_text(source.head_name),
        "lines": [_line(line) for line in lines],
        "hidden": len(source.lines) - len(lines),
    }


def _line(line: SourceLine) -> dict[str, Any]:
    kind = "removed" if line.head is None else "added" if line.base is None else "same"
    sign = {"removed": "−", "added": "+", "same": ""}[kind]
    text = name_text(line.text.rstrip("\r\n").expandtabs(4), 300)
    return {"base": line.base or "", "head": line.head or "", "kind": kind, "sign": sign, "text": text}
