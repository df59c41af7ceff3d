"""Launches from a pool in the place of launches: what `sequential.trials` asks for, none of them used twice."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from accuracy.pools.cell_pool import CellPool, PoolLaunch, Used

from pytest_blcperf.bench import measure
from pytest_blcperf.model.run import CONFIRM, LOOK, Benchmark


class Exhausted(Exception):
    """The pool has no launch left that this session may use."""


class Stretch:
    """Launches of one cell from one stretch of time, handed out once each, by kind, in random order."""

    def __init__(self, cell: CellPool, start: float, length: Mapping[str, int], generator: random.Random) -> None:
        self.cell = cell
        self._left: dict[str, list[PoolLaunch]] = {}
        for kind, launches in cell.launches.items():
            count = min(length.get(kind, 0), len(launches))
            first = round(start * (len(launches) - count))
            some = launches[first : first + count]
            self._left[kind] = generator.sample(some, len(some))

    def take(self, kinds: Sequence[str]) -> PoolLaunch:
        """A launch of the first of these kinds that has one left. Raises Exhausted."""
        for kind in kinds:
            if self._left.get(kind):
                return self._left[kind].pop()
        raise Exhausted(f"{self.cell.name}: no launch of kind {' or '.join(kinds)} is left")


def slower(benchmark: Benchmark, times: float) -> Benchmark:
    """The benchmark with all of its rounds, and all functions under clocks, so many times as slow."""
    return replace(
        benchmark,
        launches=tuple(
            replace(
                launch,
                rounds=tuple(
                    replace(one, cpu_ns=round(one.cpu_ns * times), wall_ns=round(one.wall_ns * times))
                    for one in launch.rounds
                ),
            )
            for launch in benchmark.launches
        ),
        function_times=tuple(
            replace(
                one,
                total_ns=np.round(one.total_ns * times).astype(np.int64),
                self_ns=np.round(one.self_ns * times).astype(np.int64),
            )
            for one in benchmark.function_times
        ),
    )


class PooledMeasurement:
    """A `sequential.Source` over pools. `budget` is seconds a benchmark, as `--blcperf-max-time` has it (None: any).

    What a launch costs is what it took when it was recorded: its time in the benchmark, less its profiling where the
    session would not have profiled, and its start-up, which the benchmarks of one launch share. All of the head of those
    in `slower` takes that fraction more time than was measured.
    """

    def __init__(
        self,
        stretches: Mapping[str, Stretch],
        budget: float | None,
        sparing: bool = True,
        slower: Mapping[str, float] | None = None,
    ) -> None:
        self._stretches = stretches
        self._slower = slower or {}
        self._budget = budget
        self._sparing = sparing
        self._used: dict[str, list[Used]] = {id_: [] for id_ in stretches}
        self._focus: dict[str, bool] = {}
        self._built: dict[tuple[str, int], tuple[int, Benchmark]] = {}
        self.spent = dict.fromkeys(stretches, 0.0)
        self.seconds = 0.0
        """What the whole session would have taken."""
        self.short: set[str] = set()
        """Benchmarks whose budget ended before their launches."""

    @property
    def failures(self) -> Collection[str]:
        """Nothing fails: those launches are not in the pool."""
        return ()

    def focus(self, identifier: str, suspects: Sequence[Any], profile: bool) -> None:  # noqa: ARG002
        """From now on, launches with timed suspects: those that were recorded with the cell's own."""
        self._focus[identifier] = profile

    def complete(self) -> None:
        """Nothing else is measured."""

    def measure(self, ids: Sequence[str], launches: int, phase: str) -> None:
        """Take launches until each of `ids` has so many of this phase or has spent its budget. Raises Exhausted."""
        while pending := [one for one in ids if self._wants(one, launches, phase)]:
            start_ups = []
            for identifier in pending:
                launch = self._stretches[identifier].take(self._kinds(identifier, phase))
                focused = identifier in self._focus
                profile = self._focus.get(identifier, True) or not self._sparing
                self._used[identifier].append(Used(launch, phase, profile, focused))
                cost = launch.seconds - (0.0 if profile else launch.profiled)
                self.spent[identifier] += cost + launch.start_up / len(pending)
                self.seconds += cost
                start_ups.append(launch.start_up)
            self.seconds += max(start_ups)

    def benchmarks(self, side: int) -> dict[str, Benchmark]:
        """What was taken so far, by id, for one side."""
        return {identifier: self._benchmark(identifier, side) for identifier, used in self._used.items() if used}

    def launches(self, identifier: str) -> int:
        """How many launches a benchmark has."""
        return len(self._used[identifier])

    def _benchmark(self, identifier: str, side: int) -> Benchmark:
        used = self._used[identifier]
        count, built = self._built.get((identifier, side), (0, None))
        if built is None or count != len(used):
            built = self._stretches[identifier].cell.benchmark(side, identifier, used)
            if side == 1 and identifier in self._slower:
                built = slower(built, 1 + self._slower[identifier])
            self._built[identifier, side] = len(used), built
        return built

    def _kinds(self, identifier: str, phase: str) -> tuple[str, ...]:
        if phase == CONFIRM:
            return ("confirm", "focused")
        return ("focused", "confirm") if identifier in self._focus else ("look", "focused")

    def _wants(self, identifier: str, launches: int, phase: str) -> bool:
        """As `Measurement` decides it."""
        done = sum(one.phase == phase for one in self._used[identifier])
        if done >= launches:
            return False
        if self._budget is None or done < measure.MIN_LAUNCHES:
            return True
        budget = self._budget * (measure.LOOK_SHARE if phase == LOOK else 1.0)
        if self.spent[identifier] < budget:
            return True
        self.short.add(identifier)
        return False
