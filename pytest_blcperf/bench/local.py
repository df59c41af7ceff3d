"""Benchmarks in this very process: for --pdb, and for a quick look with `--blcperf-launches=0`. Never gates."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from pytest_blcperf.bench.compat_codspeed import hide_foreign_keywords, is_whole_benchmark, replace_call
from pytest_blcperf.bench.harvest import BenchmarkHarvest, Conditions
from pytest_blcperf.bench.job import Job, Rounds
from pytest_blcperf.bench.lockstep import Plan, drive
from pytest_blcperf.bench.process_state import stop_timer
from pytest_blcperf.bench.provide import benchmark_fixture
from pytest_blcperf.bench.suite import Item
from pytest_blcperf.bench.target import Target
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
    def benchmark(self, request: pytest.FixtureRequest) -> Iterator[Any]:
        """Measure here and now."""
        yield from self._fixture(request)

    @pytest.fixture(name="codspeed_benchmark")
    def codspeed_benchmark(self, request: pytest.FixtureRequest) -> Iterator[Any]:
        """The same under pytest-codspeed's name."""
        yield from self._fixture(request)

    @pytest.fixture(name="benchmark_weave")
    def benchmark_weave(self, benchmark: Any) -> Any:
        """`benchmark.weave`."""
        return benchmark.weave

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Keep pytest-benchmark from refusing pytest-codspeed's arguments."""
        hide_foreign_keywords(item)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> None:
        """Measure a test that is a benchmark as a whole, in place of its one call."""
        if item.nodeid in self._items and is_whole_benchmark(item):
            replace_call(item, lambda job: self._measure(item, job))

    def _fixture(self, request: pytest.FixtureRequest) -> Iterator[Any]:
        def done(fixture: Any) -> None:
            if fixture.used and self._harvests and self._harvests[-1].id == self._items[request.node.nodeid].id:
                params, extra_info = fixture.params or {}, fixture.extra_info
                self._harvests[-1].extra = {"group": fixture.group, "params": params, "extra_info": extra_info}

        yield from benchmark_fixture(request, lambda job: self._measure(request.node, job), done)

    def _measure(self, node: pytest.Item, job: Job) -> tuple[object, Rounds]:
        item = self._items[node.nodeid]
        harvest = BenchmarkHarvest(item.id, item.file, item.line)
        stop_timer(node)
        target = Target(job, self._roots)
        (data,), _ = drive([_Here(target)], self._plan(item), seed=0, clock=time.monotonic)
        target.close()
        harvest.add(Conditions(0, LOOK, 0, None), data)
        self._harvests.append(harvest)
        return target.last_call()

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
