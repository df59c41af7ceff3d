"""What the launches of one side gave, gathered into a run's benchmarks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import numpy as np

from pytest_blcperf.bench.instructions import Counted
from pytest_blcperf.bench.lockstep import Clocked, SideData
from pytest_blcperf.capture.backends import CALLGRIND
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.metric import Metric
from pytest_blcperf.model.profile import Profile
from pytest_blcperf.model.run import (
    Benchmark,
    Count,
    Counts,
    FunctionTimes,
    InstructionCount,
    Instructions,
    Launch,
    metric_id,
)
from pytest_blcperf.model.warning import Warning

COARSE = 0.05
"""The clock's step relative to an iteration from which on it is worth a warning."""


@dataclass(frozen=True)
class Conditions:
    """How a launch was made."""

    index: int
    phase: str
    hash_seed: int
    cpu: int | None


@dataclass
class BenchmarkHarvest:
    """One benchmark's launches on one side."""

    id: str
    file: str
    line: int
    code: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    launches: list[Launch] = field(default_factory=list)
    _profiles: list[tuple[int, Mapping[str, Any]]] = field(default_factory=list)
    _clocked: list[tuple[int, Clocked]] = field(default_factory=list)
    _counts: list[Mapping[str, Any]] = field(default_factory=list)
    _instructions: list[tuple[int, Counted]] = field(default_factory=list)
    _overhead_ns: list[float] = field(default_factory=list)
    _resolution_ns: list[float] = field(default_factory=list)
    _metrics: dict[Metric, list[Launch]] = field(default_factory=dict)
    _warnings: dict[Warning, None] = field(default_factory=dict)

    def add(self, conditions: Conditions, data: SideData) -> None:
        """Take in one launch."""
        launch = Launch(conditions.index, conditions.phase, conditions.hash_seed, conditions.cpu, tuple(data.rounds))
        if data.rounds:
            self.launches.append(launch)
        for name, one in data.metrics.items():
            metric = Metric(str(name), str(one["unit"]), str(one["better"]))
            self._metrics.setdefault(metric, []).append(replace(launch, rounds=(), value=float(one["value"])))
        if data.rounds:
            self._overhead_ns.append(data.overhead_ns)
            self._resolution_ns.append(data.resolution_ns)
        self._warnings.update(dict.fromkeys(data.warnings))
        if data.profile is not None:
            self._profiles.append((conditions.index, data.profile))
        if data.clocked is not None:
            self._clocked.append((conditions.index, data.clocked))
        if data.counts is not None:
            self._counts.append(data.counts)

    def add_instructions(self, hash_seed: int, counted: Iterable[Counted]) -> None:
        """Take in one launch under callgrind: each repetition is data of its own."""
        self._instructions += [(hash_seed, one) for one in counted]

    def benchmarks(self, *warnings: Warning | None) -> list[Benchmark]:
        """The benchmark, where it has rounds, and each metric its test reported as one of its own."""
        found = [self.benchmark(*warnings)] if self.launches else []
        for metric, launches in self._metrics.items():
            identifier = metric_id(self.id, metric.name)
            name = identifier.split("::", 1)[-1]
            found.append(Benchmark(identifier, name, self.file, self.line, tuple(launches), metric=metric))
        return found

    def benchmark(self, *warnings: Warning | None) -> Benchmark:
        """Everything so far as a benchmark of a run, with `warnings` added to the capture's own."""
        return Benchmark(
            id=self.id,
            name=self.id.split("::", 1)[-1],
            file=self.file,
            line=self.line,
            launches=tuple(self.launches),
            profile=merge_profiles(self._profiles),
            counts=merge_counts(self._counts),
            function_times=tuple(function_times(launch, one) for launch, one in self._clocked),
            instructions=merge_instructions(self._instructions, self.id.split("::", 1)[-1]),
            group=self.extra.get("group"),
            params=self.extra.get("params", {}),
            extra_info=self.extra.get("extra_info", {}),
            code=self.code,
            overhead_ns=median(self._overhead_ns) if self._overhead_ns else 0.0,
            resolution_ns=median(self._resolution_ns) if self._resolution_ns else 0.0,
            warnings=(
                *self._warnings,
                *self._too_coarse(),
                *_profile_warnings(profile for _, profile in self._profiles),
                *(warning for warning in warnings if warning is not None),
            ),
        )

    def _too_coarse(self) -> list[Warning]:
        """Where the clock's step is no longer small against an iteration."""
        times = [one.cpu_ns / one.iterations for launch in self.launches for one in launch.rounds if one.iterations]
        if not times or median(self._resolution_ns) <= COARSE * median(times):
            return []
        step, time = median(self._resolution_ns), median(times)
        text = f"an iteration takes {time:,.0f} ns of CPU time and is timed to {step:,.0f} ns; a larger one would help"
        return [Warning("resolution", text)]


def _function(entry: Iterable[Any]) -> Function:
    file, name, line, fingerprint, *kind = entry
    return Function(str(file), str(name), int(line), str(fingerprint), *map(str, kind))


def merge_profiles(profiles: Iterable[tuple[int, Mapping[str, Any]]]) -> Profile | None:
    """Profiles of several launches, as workers send them, interned into one; None when there are none.

    What could not be taken is left out.
    """
    functions: dict[Function, int] = {}
    stacks: dict[tuple[int, ...], int] = {}
    rows: dict[tuple[int, int], tuple[float, int]] = {}
    backend, self_time = "", True
    for launch, profile in profiles:
        if profile.get("refused"):
            continue
        backend, self_time = profile["backend"], self_time and profile["self_time"]
        numbers = [functions.setdefault(_function(entry), len(functions)) for entry in profile["functions"]]
        columns = zip(profile["stacks"], profile["weight"], profile["count"], strict=True)
        for stack, weight, count in columns:
            number = stacks.setdefault(tuple(numbers[index] for index in stack), len(stacks))
            before = rows.get((launch, number), (0.0, 0))
            rows[launch, number] = before[0] + weight, before[1] + count
    if not backend:
        return None
    return Profile(
        functions=tuple(functions),
        stacks=tuple(stacks),
        launch=np.array([launch for launch, _ in rows], np.int64),
        stack=np.array([stack for _, stack in rows], np.int64),
        weight=np.array([weight for weight, _ in rows.values()], np.float64),
        samples=np.array([count for _, count in rows.values()], np.int64),
        backend=backend,
        self_time=self_time,
    )


def merge_counts(counted: Iterable[Mapping[str, Any]]) -> Counts | None:
    """Calls per iteration from all counting passes: their mean, deterministic when every pass gave the same."""
    passes: list[dict[Function, int]] = []
    for data in counted:
        functions = [_function(entry) for entry in data["functions"]]
        for one in data["passes"]:
            calls: dict[Function, int] = {}
            for index, number in one:
                calls[functions[index]] = calls.get(functions[index], 0) + number
            passes.append(calls)
    if not passes:
        return None
    seen = {function: None for calls in passes for function in calls}
    mean = tuple(Count(function, sum(calls.get(function, 0) for calls in passes) / len(passes)) for function in seen)
    return Counts(mean, deterministic=len(passes) > 1 and all(calls == passes[0] for calls in passes))


def function_times(launch: int, clocked: Clocked) -> FunctionTimes:
    """What the clocks of one launch said, as columns."""
    readings = np.array(clocked.readings, np.int64).reshape(-1, len(clocked.functions), 3)
    functions = tuple(_function(one) for one in clocked.functions)
    return FunctionTimes(launch, clocked.iterations, functions, readings[:, :, 0], readings[:, :, 1], readings[:, :, 2])


def merge_instructions(counted: Sequence[tuple[int, Counted]], name: str) -> Instructions | None:
    """Repetitions under callgrind, as (hash seed, what was counted), gathered; None when there are none.

    A stack without functions is the benchmark `name` itself: a C function, or the interpreter's work between calls.
    """
    if not counted:
        return None
    functions: dict[Function, int] = {}
    stacks: dict[tuple[int, ...], int] = {}
    rows: dict[tuple[int, int], float] = {}
    for index, (_, one) in enumerate(counted):
        for stack, cost in one.stacks.items():
            numbers = tuple(
                functions.setdefault(each, len(functions)) for each in stack or (Function("<benchmark>", name),)
            )
            place = index, stacks.setdefault(numbers, len(stacks))
            rows[place] = rows.get(place, 0.0) + cost / one.iterations
    weight = np.array(list(rows.values()), np.float64)
    return Instructions(
        counts=tuple(
            InstructionCount(index, seed, one.iterations, one.instructions) for index, (seed, one) in enumerate(counted)
        ),
        profile=Profile(
            functions=tuple(functions),
            stacks=tuple(stacks),
            launch=np.array([launch for launch, _ in rows], np.int64),
            stack=np.array([stack for _, stack in rows], np.int64),
            weight=weight,
            samples=np.ceil(weight).astype(np.int64),
            backend=CALLGRIND,
        ),
    )


def _profile_warnings(profiles: Iterable[Mapping[str, Any]]) -> list[Warning]:
    lost = throttled = 0
    others: dict[Warning, None] = {}
    for profile in profiles:
        lost += profile["lost"]
        throttled += profile["throttled"]
        others.update({Warning(code, text): None for code, text in profile["warnings"]})
    warnings = list(others)
    if lost:
        warnings.append(Warning("lost-samples", f"{lost} samples were lost: the ring buffer was full"))
    if throttled:
        warnings.append(Warning("throttled", f"the kernel throttled sampling {throttled} times"))
    return warnings
