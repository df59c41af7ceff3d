"""Verdicts read back from JSON (`blcperf.verdict/1`), as what they are in a CI system: a file from somebody else.

A pull request's own code can write any verdict it likes, so a verdict proves nothing about a pull request that is not
trusted; what is checked here is that it is one, that it is bounded, and that its parts agree with each other. What
follows from something else (counts, summary, intervals, explanations in words) is computed again, never taken over, and
unknown members are left alone, so that files of later releases stay readable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pytest_blcperf.errors import BaselineError
from pytest_blcperf.model.comparison import (
    CPU,
    INSTRUCTIONS,
    NANOSECONDS,
    WALL,
    BenchmarkComparison,
    Estimate,
    FunctionComparison,
)
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.metric import Metric
from pytest_blcperf.model.verdict import (
    RELATIONS,
    BenchmarkVerdict,
    CallChange,
    ChangedLines,
    Evidence,
    Explanation,
    FunctionVerdict,
    GateVerdict,
    Outcome,
)
from pytest_blcperf.model.warning import Warning
from pytest_blcperf.store.checked import Fields, MalformedError, loads, show

SCHEMA = "blcperf.verdict/1"
SIZE_LIMIT = 32 << 20
"""Bytes of the file."""
BENCHMARK_LIMIT = 20_000
FUNCTION_LIMIT = 1_000
"""Functions, or changed functions, of one benchmark."""
WARNING_LIMIT = 1_000
HUNK_LIMIT = 100
"""Hunks of changed lines of one function."""
LINE_LIMIT = 100
"""Lines shown of one hunk."""
_WHOLE = 1 << 53

_Word = TypeVar("_Word", Outcome, Evidence)


def read(path: Path) -> GateVerdict:
    """The verdict in a file. Raises BaselineError for one that is missing, too large or not a sound verdict."""
    hint = "give the file that `pytest --blcperf --blcperf-json=PATH` wrote"
    try:
        if not path.is_file():
            raise BaselineError(f"{path}: no such file, so there is no verdict to show", hint)
        with path.open("rb") as file:
            data = file.read(SIZE_LIMIT + 1)
    except (OSError, ValueError) as error:
        raise BaselineError(f"{show(str(path))}: cannot be read: {error}", hint) from None
    try:
        return parse(data)
    except MalformedError as error:
        raise BaselineError(f"{path}: not a verdict: {error}", hint) from None


def parse(data: bytes) -> GateVerdict:
    """The verdict in the bytes of a JSON file. Raises MalformedError, naming the place and the value seen."""
    if len(data) > SIZE_LIMIT:
        raise MalformedError(f"more than {SIZE_LIMIT:,} bytes")
    fields = Fields(loads(data), "")
    if fields.get("schema") != SCHEMA:
        raise MalformedError(f"schema {show(fields.get('schema'))}, and this release reads {SCHEMA}")
    verdict = GateVerdict(
        base=fields.text("base"),
        head=fields.text("head"),
        mode=fields.text("mode"),
        benchmarks=tuple(_benchmark(one) for one in _objects(fields, "benchmarks", BENCHMARK_LIMIT)),
        alpha=_number(fields, "alpha"),
        seconds=_number(fields, "seconds"),
        warnings=_warnings(fields),
        calibration=fields.text("calibration") if fields.has("calibration") else "",
    )
    _check_totals(fields, verdict)
    return verdict


def _check_totals(fields: Fields, verdict: GateVerdict) -> None:
    """A reader of the totals alone and a reader of the benchmarks must come to the same end."""
    counted = fields.fields("counts")
    claims: list[tuple[str, object, object]] = [("failed", fields.flag("failed"), verdict.failed)]
    claims.append(("compared", fields.integer("compared", 0, BENCHMARK_LIMIT), verdict.compared))
    for outcome in Outcome:
        found = counted.integer(outcome.value, 0, BENCHMARK_LIMIT)
        claims.append((f"counts.{outcome.value}", found, verdict.count(outcome)))
    for place, claimed, actual in claims:
        if claimed != actual:
            raise MalformedError(f"{place} is {show(claimed)}, but its benchmarks say {show(actual)}")


def _benchmark(fields: Fields) -> BenchmarkVerdict:
    identifier = fields.text("id")
    measured = fields.optional_fields("measured")
    functions = tuple(_function(one) for one in _objects(fields, "functions", FUNCTION_LIMIT))
    verdict = BenchmarkVerdict(
        id=identifier,
        outcome=_word(fields, "outcome", Outcome),
        evidence=_word(fields, "evidence", Evidence),
        reason=fields.text("reason"),
        comparison=None if measured is None else _comparison(identifier, measured, functions),
        functions=functions,
        p=_optional_number(fields, "p"),
        detectable=_optional_number(fields, "detectable"),
        threshold=_number(fields, "threshold"),
        gate=fields.text("gate"),
        warnings=_warnings(fields),
        changed_code=tuple(_named(one) for one in _objects(fields, "changed_code", FUNCTION_LIMIT)),
        changed_calls=_changed_calls(fields),
        instructions=_instructions(identifier, fields),
        changed_lines=_changed_lines(fields),
    )
    if fields.flag("fails") != verdict.fails:
        raise MalformedError(f"{fields.place('fails')} contradicts the outcome {verdict.outcome.value}")
    return verdict


def _changed_calls(fields: Fields) -> tuple[CallChange, ...]:
    """Where exact counts differ; the first files of this version have no such member."""
    found = _objects(fields, "changed_calls", FUNCTION_LIMIT) if fields.has("changed_calls") else []
    return tuple(CallChange(_named(one), _number(one, "base"), _number(one, "head")) for one in found)


def _instructions(identifier: str, fields: Fields) -> BenchmarkComparison | None:
    """The benchmark in instructions; the first files of this version have no such member."""
    if not fields.given("instructions"):
        return None
    counted = fields.fields("instructions")
    return BenchmarkComparison(
        id=identifier,
        base_ns=_number(counted, "base"),
        head_ns=_number(counted, "head"),
        ratio=_estimate(counted.fields("ratio")),
        functions=(),
        launches=counted.integer("launches", 0, _WHOLE),
        paired=False,
        unit=INSTRUCTIONS,
        judged=INSTRUCTIONS,
    )


def _metric(fields: Fields) -> tuple[Metric, float, float] | None:
    """What was measured in the place of a time, with its values on both sides."""
    if not fields.given("metric"):
        return None
    found = fields.fields("metric")
    metric = Metric(found.text("name"), found.text("unit"), found.text("better", "higher|lower"))
    return metric, _number(found, "base"), _number(found, "head")


def _judged(fields: Fields) -> str:
    """What the gate judged; older files of this version do not say: CPU time."""
    return fields.text("judged", f"{CPU}|{WALL}|{INSTRUCTIONS}") if fields.has("judged") else CPU


def _comparison(identifier: str, fields: Fields, functions: Sequence[FunctionVerdict]) -> BenchmarkComparison:
    metric = _metric(fields)
    return BenchmarkComparison(
        id=identifier,
        base_ns=metric[1] if metric else _number(fields, "base_ns"),
        head_ns=metric[2] if metric else _number(fields, "head_ns"),
        ratio=_estimate(fields.fields("ratio")),
        functions=tuple(one.comparison for one in functions),
        launches=fields.integer("launches", 0, _WHOLE),
        paired=fields.flag("paired"),
        base_wall_ns=_number(fields, "base_wall_ns"),
        head_wall_ns=_number(fields, "head_wall_ns"),
        backend=fields.text("backend"),
        warnings=_warnings(fields),
        metric=metric[0] if metric else None,
        judged=_judged(fields),
    )


def _function(fields: Fields) -> FunctionVerdict:
    cause, parts = fields.optional_fields("follows_from"), fields.optional_fields("explanation")
    return FunctionVerdict(
        comparison=_function_comparison(fields),
        outcome=_word(fields, "outcome", Outcome),
        evidence=_word(fields, "evidence", Evidence),
        p=_optional_number(fields, "p"),
        detectable=_optional_number(fields, "detectable"),
        threshold=_optional_number(fields, "threshold") or 0.0,
        explanation=None
        if parts is None
        else Explanation(_number(parts, "called_more_ns"), _number(parts, "dearer_per_call_ns")),
        follows_from=None if cause is None else _named(cause),
        # Older files of this version have no such member.
        carrier=fields.has("carrier") and fields.flag("carrier"),
        changed_lines=_changed_lines(fields),
    )


def _changed_lines(fields: Fields) -> tuple[ChangedLines, ...]:
    """Hunks that may be the cause; older files of this version have no such member."""
    found = _objects(fields, "changed_lines", HUNK_LIMIT) if fields.has("changed_lines") else []
    return tuple(_hunk(one) for one in found)


def _hunk(fields: Fields) -> ChangedLines:
    text, relation = fields.texts("text"), fields.text("relation")
    if len(text) > LINE_LIMIT:
        raise MalformedError(f"{fields.place('text')}: more than {LINE_LIMIT} lines")
    if any(line[:1] not in ("-", "+") for line in text):
        raise MalformedError(f"{fields.place('text')}: a line without - or + in front")
    if relation not in RELATIONS:
        raise MalformedError(f"{fields.place('relation')}: {show(relation)} is not one of the known words")
    first = fields.integer("first", 0, 1 << 31)
    last, hidden = fields.integer("last", first - 1, 1 << 31), fields.integer("hidden", 0, 1 << 31)
    return ChangedLines(_named(fields), first, last, tuple(text), hidden, relation)


def _function_comparison(fields: Fields) -> FunctionComparison:
    return FunctionComparison(
        function=_named(fields, fields.text("fingerprint")),
        kind=fields.text("kind"),
        share_base=_number(fields, "share_base"),
        share_head=_number(fields, "share_head"),
        cost_base_ns=_number(fields, "cost_base_ns"),
        cost_head_ns=_number(fields, "cost_head_ns"),
        ratio=_estimate(fields.fields("ratio")),
        impact=_number(fields, "impact"),
        samples_base=fields.integer("samples_base", 0, _WHOLE),
        samples_head=fields.integer("samples_head", 0, _WHOLE),
        calls_base=_optional_number(fields, "calls_base"),
        calls_head=_optional_number(fields, "calls_head"),
        counts_exact=fields.flag("counts_exact"),
        unit=fields.text("unit", f"{NANOSECONDS}|{INSTRUCTIONS}") if fields.has("unit") else NANOSECONDS,
        code_changed=None if fields.get("code_changed") is None else fields.flag("code_changed"),
        timed=fields.has("timed") and fields.flag("timed"),
        timed_in=_named(fields.fields("timed_in")) if fields.has("timed_in") and fields.get("timed_in") else None,
    )


def _named(fields: Fields, fingerprint: str = "") -> Function:
    return Function(fields.text("file"), fields.text("name"), fields.integer("line", 0, 1 << 31), fingerprint)


def _estimate(fields: Fields) -> Estimate:
    freedom = fields.integer("freedom", -1, _WHOLE)
    return Estimate(_number(fields, "log_ratio"), _number(fields, "standard_error"), freedom)


def _warnings(fields: Fields) -> tuple[Warning, ...]:
    found = _objects(fields, "warnings", WARNING_LIMIT)
    return tuple(Warning(one.text("code"), one.text("text")) for one in found)


def _objects(fields: Fields, key: str, most: int) -> list[Fields]:
    if len(fields.array(key)) > most:
        raise MalformedError(f"{fields.place(key)}: more than {most:,} members")
    return fields.objects(key)


def _word(fields: Fields, key: str, words: type[_Word]) -> _Word:
    value: Any = fields.get(key)
    try:
        return words(value)
    except ValueError:
        raise MalformedError(f"{fields.place(key)}: {show(value)} is not one of the known words") from None


def _number(fields: Fields, key: str) -> float:
    """A number; null, which stands for unknown or not finite, is NaN."""
    value = _optional_number(fields, key)
    return math.nan if value is None else value


def _optional_number(fields: Fields, key: str) -> float | None:
    value = fields.get(key)
    if value is None:
        return None
    if type(value) not in (int, float):
        raise MalformedError(f"{fields.place(key)}: expected a number or null, not {show(value)}")
    try:
        return float(value)
    except OverflowError:
        raise MalformedError(f"{fields.place(key)}: {show(value)} is out of range") from None
