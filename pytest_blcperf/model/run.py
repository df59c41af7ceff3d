"""A run: everything measured for one commit in one environment."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_blcperf.model.environment import Environment
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.metric import Metric
from pytest_blcperf.model.profile import Ints, Profile
from pytest_blcperf.model.warning import Warning

LOOK = "look"
CONFIRM = "confirm"


@dataclass(frozen=True)
class Round:
    """Some iterations timed together: CPU time of the process and wall time, both ns for the whole round."""

    iterations: int
    cpu_ns: int
    wall_ns: int


@dataclass(frozen=True)
class Launch:
    """The timed rounds of one benchmark in one fresh process.

    `index` numbers the launches of a measurement; the same index on both sides of a lockstep measurement means the two
    processes were alive at once, their rounds alternated: round s of one side is paired with round s of the other.
    `phase` is LOOK (screening) or CONFIRM (fresh data that alone decides). `hash_seed` is PYTHONHASHSEED.
    """

    index: int
    phase: str
    hash_seed: int
    cpu: int | None
    rounds: tuple[Round, ...]
    value: float | None = None
    """What a metric came to in this launch, in its unit; None for a benchmark's own time."""


@dataclass(frozen=True, eq=False)
class FunctionTimes:
    """Functions under entry and exit clocks in one launch, R rounds of `iterations` each, F functions.

    `launch` is the index of the launch. The columns are [R, F]: calls in a round, ns of wall time in the function with
    what it calls, and that less the time of functions of the same list that it calls. In a lockstep measurement round r
    of one side is paired with round r of the other, and function f is the same one, under the name its side knows.
    """

    launch: int
    iterations: int
    functions: tuple[Function, ...]
    calls: Ints
    total_ns: Ints
    self_ns: Ints


@dataclass(frozen=True)
class Count:
    """Calls of one function in one iteration, exact."""

    function: Function
    calls: float


@dataclass(frozen=True)
class Counts:
    """The counting pass: calls per iteration of every function, those of C too, and whether repeating gave the same."""

    calls: tuple[Count, ...]
    deterministic: bool


@dataclass(frozen=True)
class InstructionCount:
    """Instructions of one benchmark under callgrind in one repetition: of so many `iterations` together."""

    index: int
    hash_seed: int
    iterations: int
    instructions: int


@dataclass(frozen=True)
class Instructions:
    """Instructions counted by callgrind, some repetitions in each of some processes. The same index on both sides means
    the same hash seed.

    The profile's weights and samples are instructions per iteration; its launches are those indices.
    """

    counts: tuple[InstructionCount, ...]
    profile: Profile


@dataclass(frozen=True)
class Benchmark:
    """One benchmark of a run. `id` is its node id relative to the repository; `code` a hash of the test function."""

    id: str
    name: str
    file: str
    line: int
    launches: tuple[Launch, ...]
    profile: Profile | None = None
    counts: Counts | None = None
    group: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    extra_info: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""
    warnings: tuple[Warning, ...] = ()
    instructions: Instructions | None = None
    overhead_ns: float = 0.0
    """CPU time of the harness that was taken off each iteration (0 in runs of releases that took nothing off)."""
    resolution_ns: float = 0.0
    """The CPU clock's step as a part of one iteration; 0 when unknown."""
    function_times: tuple[FunctionTimes, ...] = ()
    """Of launches in which functions were timed."""
    metric: Metric | None = None
    """Set where this is no time but a metric: its launches have a `value` each and no rounds."""


def metric_id(benchmark: str, name: str) -> str:
    """The id of a metric: that of its test and its name."""
    return f"{benchmark}#{name}"


def test_id(identifier: str, tests: Collection[str]) -> str:
    """The id among `tests` that a benchmark or metric belongs to."""
    return identifier if identifier in tests else identifier.rpartition("#")[0]


@dataclass(frozen=True)
class Run:
    """Benchmarks of one commit. `pair` is equal in the two runs of one lockstep measurement, else "" or different."""

    name: str
    created: str
    """UTC, ISO 8601."""
    commit: str
    """Full hash, "" outside git."""
    dirty: bool
    environment: Environment
    benchmarks: tuple[Benchmark, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    pair: str = ""
    warnings: tuple[Warning, ...] = ()

    def benchmark(self, identifier: str) -> Benchmark | None:
        """The benchmark of that id, or None."""
        return next((benchmark for benchmark in self.benchmarks if benchmark.id == identifier), None)

    @property
    def label(self) -> str:
        """How messages call this run: its name and short commit."""
        commit = self.commit[:9] + ("+dirty" if self.dirty else "") if self.commit else ""
        return f"{self.name} ({commit})" if commit else self.name
