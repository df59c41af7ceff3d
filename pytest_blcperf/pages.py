"""The pages' contents, put together from verdicts, runs and the repository; the renderers are pure."""

from __future__ import annotations

from pytest_blcperf import sources
from pytest_blcperf.bench.repository import Repository
from pytest_blcperf.compare.align import match_benchmarks
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.run import Run
from pytest_blcperf.model.verdict import BenchmarkVerdict, GateVerdict, Outcome
from pytest_blcperf.report.comparison_page import ComparedBenchmark, ComparisonPage, FunctionSource

_SOURCES_LISTED = 12
"""Functions of a benchmark whose source is shown."""


def comparison_page(
    verdict: GateVerdict, base: Run | None, head: Run | None, repository: Repository | None
) -> ComparisonPage:
    """What is known of a comparison; sources are left out where there is no repository to read them from."""
    if base is None or head is None:
        return ComparisonPage.of(verdict)
    pairs = {new.id: old for old, new in match_benchmarks(base, head).pairs}
    return ComparisonPage(
        verdict,
        tuple(
            ComparedBenchmark(one, pairs.get(one.id), head.benchmark(one.id), _sources(one, base, head, repository))
            for one in verdict.benchmarks
        ),
        created=head.created,
        base_environment=base.environment,
        head_environment=head.environment,
    )


def _sources(
    verdict: BenchmarkVerdict, base: Run, head: Run, repository: Repository | None
) -> tuple[FunctionSource, ...]:
    if repository is None:
        return ()
    sides = sources.reader(repository, base), sources.reader(repository, head)
    found = (sources.function_source(function, *sides) for function in _interesting(verdict)[:_SOURCES_LISTED])
    return tuple(source for source in found if source is not None)


def _interesting(verdict: BenchmarkVerdict) -> list[Function]:
    """The functions a reader wants to see the source of: guilty, changed, regressed, then changed elsewhere."""
    judged = sorted(
        (one for one in verdict.functions if one.comparison.code_changed or one.outcome is Outcome.REGRESSED),
        key=lambda one: (not any(one is guilty for guilty in verdict.guilty), not one.comparison.code_changed),
    )
    causes = (lines.function for one in verdict.guilty for lines in one.changed_lines)
    run = (lines.function for lines in verdict.changed_lines)
    return list(dict.fromkeys([*(one.comparison.function for one in judged), *causes, *run, *verdict.changed_code]))
