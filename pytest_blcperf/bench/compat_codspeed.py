"""pytest-codspeed's way: a test with `@pytest.mark.benchmark` and no fixture is measured as a whole."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import pytest

from pytest_blcperf.bench.compat_benchmark import KEYWORDS as BENCHMARK_KEYWORDS
from pytest_blcperf.bench.compat_benchmark import peer_session
from pytest_blcperf.bench.job import Arguments, Job, Measure

FIXTURES = ("benchmark", "codspeed_benchmark")
MARKERS = ("codspeed_benchmark", "benchmark")
KEYWORDS = (*BENCHMARK_KEYWORDS, "max_rounds")
"""Marker arguments of both plugins; `max_rounds` is pytest-codspeed's alone."""


def is_benchmark(item: pytest.Item) -> bool:
    """Whether a test is measured: it asks for a benchmark fixture, or it is one as a whole."""
    return any(name in getattr(item, "fixturenames", ()) for name in FIXTURES) or is_whole_benchmark(item)


def is_service(item: pytest.Item) -> bool:
    """Whether a test drives something else with the `blcperf` fixture and measures nothing in its own process."""
    return "blcperf" in getattr(item, "fixturenames", ()) and not is_benchmark(item)


def is_whole_benchmark(item: pytest.Item) -> bool:
    """Whether a test carries the marker and uses no benchmark fixture.

    Where pytest-benchmark is installed and pytest-codspeed is not, `benchmark` is pytest-benchmark's marker, which only
    sets options and makes nothing a benchmark.
    """
    if not isinstance(item, pytest.Function) or any(name in item.fixturenames for name in FIXTURES):
        return False
    if item.get_closest_marker("codspeed_benchmark") is not None:
        return True
    manager = item.config.pluginmanager
    theirs = peer_session(item.config) is not None and not manager.has_plugin("codspeed")
    return item.get_closest_marker("benchmark") is not None and not theirs


def benchmark_marker(item: pytest.Item) -> dict[str, Any]:
    """Arguments of the closest benchmark marker, {} when there is none."""
    found = next((mark for name in MARKERS if (mark := item.get_closest_marker(name)) is not None), None)
    return dict(found.kwargs) if found is not None else {}


def hide_foreign_keywords(item: pytest.Item) -> None:
    """Before pytest-benchmark checks its marker: lay one without pytest-codspeed's own arguments over it."""
    marker = item.get_closest_marker("benchmark")
    if marker is not None and "max_rounds" in marker.kwargs and peer_session(item.config) is not None:
        own = {key: value for key, value in marker.kwargs.items() if key != "max_rounds"}
        item.add_marker(pytest.mark.benchmark(*marker.args, **own), append=False)


def replace_call(item: pytest.Item, measure: Measure) -> None:
    """Have `measure` run the test, as often as it likes, in place of the item's one call."""
    assert isinstance(item, pytest.Function)
    original = item.runtest

    def runtest() -> None:
        item.runtest = original  # type: ignore[method-assign] # what the job calls where it cannot call the function
        measure(whole_test(item))

    item.runtest = runtest  # type: ignore[method-assign]


def whole_test(item: pytest.Function) -> Job:
    """The test's own call as a job; before each call but the first its fixtures are set up anew, untimed.

    The item has been set up when this is called, and is torn down after each call.
    """
    state = item.session._setupstate
    fresh = True

    def setup() -> Arguments:
        nonlocal fresh
        if not fresh:
            item._initrequest()
            state.setup(item)
        fresh = False
        return (_bound(item),), {}

    def teardown(_call: object) -> None:
        # Everything but the item itself stays: its parent's chain is what the "next item" needs.
        state.teardown_exact(item.parent)  # type: ignore[arg-type]

    # What calls it is a function in C: one of ours would stand in the profile.
    return Job(partial.__call__, item.name, setup, teardown)


def _bound(item: pytest.Function) -> partial[Any]:
    """The test function with its arguments; plugins that run tests in their own way (async ones) keep doing so."""
    if type(item) is not pytest.Function or inspect.iscoroutinefunction(inspect.unwrap(item.obj)):
        return partial(item.runtest)
    return partial(item.obj, **{name: item.funcargs[name] for name in item._fixtureinfo.argnames})
