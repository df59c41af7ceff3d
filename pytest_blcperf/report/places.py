"""What a verdict says about single lines of the repository; shared by annotations, code quality and SARIF.

A guilty function stands at the changed line that most likely is the cause, or at its first, once, with all the
benchmarks that accuse it. A regression without a guilty function, or with one outside the repository, stands at the
benchmark's file.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import PurePosixPath

from pytest_blcperf.model.verdict import BenchmarkVerdict, FunctionVerdict, GateVerdict, Outcome
from pytest_blcperf.report import words
from pytest_blcperf.report.text import clean

_BENCHMARKS_NAMED = 3
_PATH_LIMIT = 1000


@dataclass(frozen=True)
class Remark:
    """One thing to say at one place. `file` is relative to the repository, `line` is 1 where it is unknown.

    `key` is a hash of what is accused, the same in every run, so that platforms can tell old from new.
    """

    fails: bool
    title: str
    text: str
    file: str
    line: int
    key: str


def remarks(verdict: GateVerdict) -> tuple[Remark, ...]:
    """One remark a guilty function, and one a regression that no function explains; failing ones first."""
    accused: dict[tuple[str, str], list[tuple[FunctionVerdict, BenchmarkVerdict]]] = {}
    found = []
    for benchmark in verdict.benchmarks:
        if benchmark.outcome is not Outcome.REGRESSED:
            continue
        for guilty in benchmark.guilty:
            function = guilty.comparison.function
            accused.setdefault((function.file, function.name), []).append((guilty, benchmark))
        if not benchmark.guilty:
            found.append(_of_benchmark(benchmark))
    found += [_of_function(cases) for cases in accused.values()]
    return tuple(sorted(found, key=lambda one: not one.fails))


def _of_function(cases: list[tuple[FunctionVerdict, BenchmarkVerdict]]) -> Remark:
    """Cases of one function: the guilty function in one benchmark after the other."""
    function, first = cases[0][0].comparison.function, cases[0][1]
    lines = [_case(guilty, benchmark) for guilty, benchmark in cases[:_BENCHMARKS_NAMED]]
    if len(cases) > _BENCHMARKS_NAMED:
        lines.append(f"and in {len(cases) - _BENCHMARKS_NAMED} more benchmarks")
    inside = is_inside(function.file)
    file, line = (function.file, _line(cases)) if inside else (_file_of(first), 1)
    title = f"performance regression: {clean(function.name, 100)} {words.change(cases[0][0])}"
    fails = any(benchmark.fails for _, benchmark in cases)
    return Remark(fails, title, "\n".join(lines), file, line, _key(function.file, function.name))


def _line(cases: list[tuple[FunctionVerdict, BenchmarkVerdict]]) -> int:
    """The line of the function that changed and most likely is the cause, else its first."""
    function = cases[0][0].comparison.function
    changed = [one for guilty, _ in cases for one in guilty.changed_lines if one.function == function]
    return changed[0].line if changed else function.line or 1


def _case(guilty: FunctionVerdict, benchmark: BenchmarkVerdict) -> str:
    function = guilty.comparison.function
    cause = [one.where for one in words.causes(guilty, 0)[:1]]
    why = [words.explanation(guilty), words.calls(guilty), words.certainty(guilty), *cause, *_accepted(benchmark)]
    cost = f"{words.whose_time(guilty)} {words.cost(guilty)} an iteration, {words.change(guilty)}"
    where = f"{clean(function.name, 100)} ({clean(function.location, 160)})"
    return f"{where}: {cost}, in {clean(benchmark.id, 200)}; {'; '.join(part for part in why if part)}"


def _of_benchmark(benchmark: BenchmarkVerdict) -> Remark:
    changed = [f"changed: {words.changed_place(one)}" for one in benchmark.changed_lines[:1]]
    text = "; ".join([words.headline(benchmark), words.nobody_to_blame(benchmark), *changed, *_accepted(benchmark)])
    title = f"performance regression: {words.title(benchmark.id)}"
    return Remark(benchmark.fails, title, text, _file_of(benchmark), 1, _key(benchmark.id))


def _accepted(benchmark: BenchmarkVerdict) -> list[str]:
    """Why a regression does not fail."""
    return [clean(note.text, 500) for note in benchmark.warnings if note.code == "accepted"]


def is_inside(file: str) -> bool:
    """Whether a path points into the repository; names from elsewhere may be anything."""
    path = PurePosixPath(file)
    plain = file.isprintable() and 0 < len(file) <= _PATH_LIMIT and "\\" not in file and ":" not in file
    return plain and not file.startswith("<") and not path.is_absolute() and ".." not in path.parts


def _file_of(benchmark: BenchmarkVerdict) -> str:
    """The file of a node id, or a file that every project has: platforms refuse a place without a path."""
    file = benchmark.id.partition("::")[0]
    return file if is_inside(file) else "pyproject.toml"


def _key(*parts: str) -> str:
    text = "\0".join(parts).encode("utf-8", "backslashreplace")
    return hashlib.sha256(text).hexdigest()
