"""Which `benchmark` fixture a test gets: pytest-benchmark's subclassed, or one of our own. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pytest_blcperf.bench.compat_benchmark import measuring_fixture, peer_session
from pytest_blcperf.bench.fixture import BenchmarkFixture
from pytest_blcperf.bench.job import Measure

SKIPPED = "Benchmarks are skipped (--benchmark-skip was used)."


def benchmark_fixture(request: pytest.FixtureRequest, measure: Measure, done: Callable[[Any], None]) -> Iterator[Any]:
    """The body of a measuring `benchmark` fixture; `done` gets the fixture's object when the test is over."""
    session = peer_session(request.config)
    if session.skip if session is not None else getattr(request.config.option, "benchmark_skip", False):
        pytest.skip(SKIPPED)
    if session is not None:
        fixture = measuring_fixture(request, measure)
        yield fixture
        done(fixture)
        fixture._cleanup()
        return
    own = BenchmarkFixture(request, measure, enabled=True, disable_gc=_disables_gc(request))
    yield own
    done(own)
    own.clean_up()


def _disables_gc(request: pytest.FixtureRequest) -> bool:
    marker = request.node.get_closest_marker("benchmark")
    asked = marker.kwargs.get("disable_gc") if marker is not None else None
    return bool(getattr(request.config.option, "benchmark_disable_gc", False) if asked is None else asked)
