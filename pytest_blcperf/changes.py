"""The changed lines behind each regression, read from git and from disk and laid onto a verdict."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from pytest_blcperf import sources
from pytest_blcperf.bench.repository import Repository
from pytest_blcperf.compare.align import match_benchmarks
from pytest_blcperf.compare.changed_lines import Modules, Program, changed_lines, lines_run
from pytest_blcperf.compare.spans import parse
from pytest_blcperf.model.run import Run
from pytest_blcperf.model.verdict import BenchmarkVerdict, FunctionVerdict, GateVerdict, Outcome

_GUILTY_LISTED = 10


def with_changed_lines(verdict: GateVerdict, base: Run, head: Run, repository: Repository | None) -> GateVerdict:
    """The verdict, with the changed lines of each guilty function, or else of each regression, that can be read.

    A base of which only a commit with changes on top is known has no text any more, so there are no lines then.
    """
    if repository is None or base.dirty or not base.commit or not verdict.count(Outcome.REGRESSED):
        return verdict
    pairs = {new.id: (old, new) for old, new in match_benchmarks(base, head).pairs}
    sides = _modules(sources.reader(repository, base)[0]), _modules(sources.reader(repository, head)[0])
    return replace(
        verdict,
        benchmarks=tuple(
            _explained(one, Program(*pairs[one.id]), *sides)
            if one.outcome is Outcome.REGRESSED and one.id in pairs
            else one
            for one in verdict.benchmarks
        ),
    )


def _explained(verdict: BenchmarkVerdict, program: Program, base: Modules, head: Modules) -> BenchmarkVerdict:
    listed = {id(one) for one in verdict.guilty[:_GUILTY_LISTED]}

    def lines(one: FunctionVerdict) -> FunctionVerdict:
        if id(one) not in listed:
            return one
        return replace(one, changed_lines=changed_lines(verdict, one, program, base, head))

    explained = replace(verdict, functions=tuple(map(lines, verdict.functions)))
    if any(one.changed_lines for one in explained.guilty):
        return explained
    return replace(explained, changed_lines=lines_run(program, base, head))


def _modules(read: sources.Reader) -> Modules:
    return cache(lambda path: parse(read(path)))
