"""Benchmarks in this very process: for --pdb, and for a quick look with `--blcperf-launches=0`. Never gates."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from pytest_blcperf.bench.fixture import BenchmarkFixture
from pytest_blcperf.bench.harvest import BenchmarkHarvest, Conditions
from pytest_blcperf.bench.lockstep import Plan, drive
from pytest_blcperf.bench.suite import Item
from pytest_blcperf.bench.target import Arguments, Target
from pytest_blcperf.capture.functions import Roots
from pytest_blcperf.model.run import LOOK, Benchmark


class LocalBenchmarks:
    """The plugin with the measuring fixture; `benchmarks` fill as the tests run."""

    def __init__(self, items: Mapping[str, Item], root: str, backend: str) -> None:
        self._items = items
        self._roots = Roots.of(root)
        self._backend = backend
        self._harvests: list[BenchmarkHarvest] = []

    @property
    def benchmarks(self) -> tuple[Benchmark, ...]:
        """What was measured, one launch each."""
        return tuple(harvest.benchmark() for harvest in self._harvests)

    @pytest.fixture(name="benchmark")
    def benchmark(self, request: pytest.FixtureRequest) -> Iterator[BenchmarkFixture]:
        """Measure here and now."""
        item = self._items[request.node.nodeid]
        harvest = BenchmarkHarvest(item.id, item.file, item.line)

        def measure(
            call: Callable[..., object],
            name: str,
            setup: Callable[[], Arguments] | None,
            teardown: Callable[..., object] | None,
        ) -> tuple[object, Sequence[tuple[int, int, int]]]:
            target = Target(call, name, self._roots, setup, teardown)
            (data,), _ = drive([_Here(target)], self._plan(item), seed=0, clock=time.monotonic)
            target.close()
            harvest.add(Conditions(0, LOOK, 0, None), data)
            self._harvests.append(harvest)
            return target.last_call()

        fixture = BenchmarkFixture(request, measure, enabled=True)
        yield fixture
        harvest.extra = {"group": fixture.group, "params": fixture.params or {}, "extra_info": fixture.extra_info}

    def _plan(self, item: Item) -> Plan:
        settings = item.settings
        return Plan(
            rounds=settings.rounds,
            delay=settings.delay_start,
            profile_window=settings.profile_window,
            backend=self._backend,
            rate=settings.rate,
            count=True,
            seconds=settings.max_time,
        )


class _Here:
    """A side without a process of its own."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def request(self, op: str, **arguments: Any) -> Mapping[str, Any]:
        return self._target.answer({"op": op, **arguments})
