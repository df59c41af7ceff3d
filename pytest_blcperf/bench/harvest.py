"""What the launches of one side gave, gathered into a run's benchmarks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pytest_blcperf.bench.instructions import Counted
from pytest_blcperf.bench.lockstep import SideData
from pytest_blcperf.capture.backends import CALLGRIND
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.profile import Profile
from pytest_blcperf.model.run import Benchmark, Count, Counts, InstructionLaunch, Instructions, Launch
from pytest_blcperf.model.warning import Warning


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
    _counts: list[Mapping[str, Any]] = field(default_factory=list)
    _instructions: list[tuple[int, int, Counted]] = field(default_factory=list)

    def add(self, conditions: Conditions, data: SideData) -> None:
        """Take in one launch."""
        self.launches.append(
            Launch(conditions.index, conditions.phase, conditions.hash_seed, conditions.cpu, tuple(data.rounds))
        )
        if data.profile is not None:
            self._profiles.append((conditions.index, data.profile))
        if data.counts is not None:
            self._counts.append(data.counts)

    def add_instructions(self, index: int, hash_seed: int, counted: Counted) -> None:
        """Take in one launch under callgrind."""
        self._instructions.append((index, hash_seed, counted))

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
            instructions=merge_instructions(self._instructions, self.id.split("::", 1)[-1]),
            group=self.extra.get("group"),
            params=self.extra.get("params", {}),
            extra_info=self.extra.get("extra_info", {}),
            code=self.code,
            warnings=(
                *_profile_warnings(profile for _, profile in self._profiles),
                *(warning for warning in warnings if warning is not None),
            ),
        )


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


def merge_instructions(counted: Sequence[tuple[int, int, Counted]], name: str) -> Instructions | None:
    """Launches under callgrind, as (index, hash seed, what was counted), gathered; None when there are none.

    A stack without functions is the benchmark `name` itself: a C function, or the interpreter's work between calls.
    """
    if not counted:
        return None
    functions: dict[Function, int] = {}
    stacks: dict[tuple[int, ...], int] = {}
    rows: dict[tuple[int, int], float] = {}
    for index, _, one in counted:
        for stack, cost in one.stacks.items():
            numbers = tuple(
                functions.setdefault(each, len(functions)) for each in stack or (Function("<benchmark>", name),)
            )
            place = index, stacks.setdefault(numbers, len(stacks))
            rows[place] = rows.get(place, 0.0) + cost
    weight = np.array(list(rows.values()), np.float64)
    return Instructions(
        launches=tuple(InstructionLaunch(index, seed, one.iterations, one.counts) for index, seed, one in counted),
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
