"""The launches of one cell in memory, each reduced once, and benchmarks put together from any of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from accuracy.pools import pool_file

from pytest_blcperf.compare.compare import compare_benchmark, sides
from pytest_blcperf.compare.suspects import needs_profile, suspects
from pytest_blcperf.compare.trial import tests
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.profile import Floats, Ints, Profile
from pytest_blcperf.model.run import LOOK, Benchmark, Launch
from pytest_blcperf.settings import Settings


@dataclass(frozen=True, eq=False)
class SideLaunch:
    """One side of one launch; `stack`, `weight` and `samples` are its profile's rows, stacks numbered by the pool."""

    launch: Launch
    stack: Ints
    weight: Floats
    samples: Ints
    function_times: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class PoolLaunch:
    """A launch as it was recorded, times in seconds: `seconds` in the benchmark, `profiled` of that profiling."""

    kind: str
    at: float
    load: float
    seconds: float
    start_up: float
    profiled: float
    sides: tuple[SideLaunch, SideLaunch]


@dataclass(frozen=True)
class Used:
    """A launch as a session uses it."""

    launch: PoolLaunch
    phase: str
    profile: bool = True
    times: bool = True


class SidePool:
    """What one side's launches share: the benchmark's description, functions and stacks, each once."""

    def __init__(self) -> None:
        self.template: Benchmark | None = None
        self._functions: dict[Function, int] = {}
        self._stacks: dict[tuple[int, ...], int] = {}
        self._frames: list[tuple[int, ...]] = []
        self._known: tuple[Function, ...] = ()

    def add(self, benchmark: Benchmark) -> SideLaunch:
        """Take in a launch."""
        if self.template is None or (self.template.counts is None and benchmark.counts is not None):
            self.template = replace(benchmark, launches=(), profile=None, warnings=())
        profile = benchmark.profile
        nothing = np.zeros(0, np.int64)
        stack, weight, samples = nothing, nothing.astype(np.float64), nothing
        if profile is not None:
            stacks = [self._stack(profile, frames) for frames in profile.stacks]
            stack = np.array(stacks, np.int64)[profile.stack]
            weight, samples = profile.weight, profile.samples
        times = getattr(benchmark, "function_times", ())
        return SideLaunch(benchmark.launches[0], stack, weight, samples, times)

    def benchmark(self, identifier: str, used: Sequence[tuple[SideLaunch, Used]], backend: str) -> Benchmark:
        """A benchmark of these launches, numbered from 0 in this order, under an id of its own."""
        assert self.template is not None
        launches = tuple(replace(one.launch, index=i, phase=how.phase) for i, (one, how) in enumerate(used))
        profiled = [(i, one) for i, (one, how) in enumerate(used) if how.profile and len(one.stack)]
        profile = self._profile(profiled, backend) if profiled else None
        changes: dict[str, Any] = {}
        if hasattr(self.template, "function_times"):
            changes["function_times"] = tuple(
                replace(times, launch=i)
                for i, (one, how) in enumerate(used)
                if how.times
                for times in one.function_times
            )
        return replace(self.template, id=identifier, launches=launches, profile=profile, **changes)

    def callers(self, function: str) -> frozenset[str]:
        """Names of the functions that some stack has above `function` (a qualified name)."""
        known = tuple(self._functions)
        names = [one.name for one in known]
        found: set[str] = set()
        for frames in self._frames:
            above = [names[frame] for frame in frames]
            if function in above:
                found.update(above[above.index(function) + 1 :])
        return frozenset(found)

    def _stack(self, profile: Profile, frames: Iterable[int]) -> int:
        key = tuple(self._functions.setdefault(profile.functions[one], len(self._functions)) for one in frames)
        if key not in self._stacks:
            self._stacks[key] = len(self._frames)
            self._frames.append(key)
        return self._stacks[key]

    def _profile(self, launches: Sequence[tuple[int, SideLaunch]], backend: str) -> Profile:
        if len(self._known) != len(self._functions):
            self._known = tuple(self._functions)
        stack = np.concatenate([one.stack for _, one in launches])
        seen, row = np.unique(stack, return_inverse=True)
        return Profile(
            self._known,
            tuple(self._frames[one] for one in seen.tolist()),
            np.repeat([index for index, _ in launches], [len(one.stack) for _, one in launches]),
            row,
            np.concatenate([one.weight for _, one in launches]),
            np.concatenate([one.samples for _, one in launches]),
            backend,
        )


class CellPool:
    """All launches of one cell, oldest first, by kind; `solos` are the records of sides measured alone."""

    def __init__(self, name: str, records: Iterable[Mapping[str, Any]]) -> None:
        self.name = name
        self.sides = SidePool(), SidePool()
        self.launches: dict[str, list[PoolLaunch]] = {}
        self.solos: list[Mapping[str, Any]] = []
        self._backend = ""
        for record in records:
            if "sides" in record:
                self.launches.setdefault(record["kind"], []).append(self._launch(record))
            else:
                self.solos.append(record)

    @classmethod
    def read(cls, pool: Path, name: str) -> CellPool:
        """The cell of that name in a pool."""
        return cls(name, pool_file.records(pool / (name + pool_file.SUFFIX)))

    def benchmark(self, side: int, identifier: str, used: Sequence[Used]) -> Benchmark:
        """One side of these launches."""
        return self.sides[side].benchmark(identifier, [(one.launch.sides[side], one) for one in used], self._backend)

    def _launch(self, record: Mapping[str, Any]) -> PoolLaunch:
        both = [pool_file.benchmark_from(documents) for documents in record["sides"]]
        self._backend = next((one.profile.backend for one in both if one.profile is not None), self._backend)
        return PoolLaunch(
            record["kind"],
            record["at"],
            record["load"],
            record["seconds"],
            record["start_up"],
            record.get("profiled", 0.0),
            (self.sides[0].add(both[0]), self.sides[1].add(both[1])),
        )


def suspects_in(
    records: Iterable[Mapping[str, Any]], settings: Settings
) -> tuple[list[tuple[Function, Function]], bool]:
    """The functions that the product would time after these looks, and whether it would go on taking profiles."""
    pool = CellPool("", records)
    used = [Used(launch, LOOK) for launches in pool.launches.values() for launch in launches]
    base, head = (pool.benchmark(side, "suspects", used) for side in (0, 1))
    both = sides(base, head, phase=LOOK, paired=True)
    if both is None:
        return [], True
    timed = suspects(both, settings, head.id)
    compared = compare_benchmark(base, head, settings, phase=LOOK, paired=True)
    still_open = [one for one in tests(compared, settings) if one.changed or one.striking]
    return list(timed), needs_profile(still_open, timed, both, tried=False)
