"""What the comparison page is drawn from: a verdict with the measurements and the sources behind it."""

from __future__ import annotations

from dataclasses import dataclass, field

from pytest_blcperf.model.environment import Environment
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.run import Benchmark
from pytest_blcperf.model.verdict import BenchmarkVerdict, GateVerdict


@dataclass(frozen=True)
class SourceLine:
    """A line of a function on either side: its number there, None where that side does not have it."""

    base: int | None
    head: int | None
    text: str


@dataclass(frozen=True)
class FunctionSource:
    """The source of one function on both sides, aligned. `base_name` and `head_name` say where each was read."""

    function: Function
    lines: tuple[SourceLine, ...]
    base_name: str
    head_name: str


@dataclass(frozen=True)
class ComparedBenchmark:
    """A benchmark's verdict, and both sides of its measurement where there are any."""

    verdict: BenchmarkVerdict
    base: Benchmark | None = None
    head: Benchmark | None = None
    sources: tuple[FunctionSource, ...] = ()


@dataclass(frozen=True)
class ComparisonPage:
    """Everything on the page; `created` is the head's time of measurement, UTC, ISO 8601."""

    verdict: GateVerdict
    benchmarks: tuple[ComparedBenchmark, ...]
    created: str = ""
    base_environment: Environment = field(default_factory=Environment)
    head_environment: Environment = field(default_factory=Environment)

    @classmethod
    def of(cls, verdict: GateVerdict) -> ComparisonPage:
        """A page of the verdict alone."""
        return cls(verdict, tuple(map(ComparedBenchmark, verdict.benchmarks)))
