"""pytest-benchmark installed: a subclass of its fixture measures, and its session gets the figures.

Its tables, storage and options work on what this package has measured. Relies on what releases 4.0 to 5.3 share:
`config._benchmarksession` with `options`, `benchmarks` and `logger`, the fixture's constructor by keyword, and
`_make_stats`. Imports nothing of it before it is known to be loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pytest_blcperf.bench.fixture import MeasuringCalls
from pytest_blcperf.bench.job import Measure, Rounds

if TYPE_CHECKING:
    import pytest

KEYWORDS = (
    "max_time",
    "min_rounds",
    "min_time",
    "precision",
    "confidence",
    "timer",
    "group",
    "disable_gc",
    "warmup",
    "warmup_iterations",
    "calibration_precision",
    "cprofile",
)
"""Arguments of pytest-benchmark's marker, of its newest release."""


def peer_session(config: pytest.Config) -> Any:
    """pytest-benchmark's session object; None where it is not loaded."""
    return getattr(config, "_benchmarksession", None)


def measuring_fixture(request: pytest.FixtureRequest, measure: Measure) -> Any:
    """The fixture for a test: pytest-benchmark's, measured by `measure`."""
    session = peer_session(request.config)
    fixture = _measuring_class()(**_arguments(request.node, session, request.node.warn))
    fixture._measure = measure
    fixture._job_options = {"disable_gc": True} if fixture._disable_gc else {}
    return fixture


def publish(item: pytest.Item, rounds: Rounds, group: str | None, extra_info: Mapping[str, Any]) -> None:
    """Hand figures that were measured in workers to this process's pytest-benchmark, for its tables and files.

    `rounds` of all launches; nothing happens where pytest-benchmark is absent or told to measure nothing.
    """
    session = peer_session(item.config)
    if session is None or session.disabled or not rounds:
        return
    from pytest_benchmark.fixture import BenchmarkFixture

    fixture = BenchmarkFixture(**_arguments(item, session, item.warn))
    fixture.group = group
    fixture.extra_info.update(extra_info)
    _fill(fixture, rounds)


@lru_cache(maxsize=1)
def _measuring_class() -> type[Any]:
    from pytest_benchmark import fixture as peer

    class PeerFixture(MeasuringCalls, peer.BenchmarkFixture):  # type: ignore[misc]
        """pytest-benchmark's fixture with the measuring replaced."""

        _already_used = peer.FixtureAlreadyUsed

        def _keep(self, rounds: Rounds) -> None:
            _fill(self, rounds)

    return PeerFixture


def _fill(fixture: Any, rounds: Rounds) -> None:
    stats = fixture._make_stats(rounds[0][0])
    for iterations, _cpu, wall in rounds:
        # It divides by the iterations of the first round.
        stats.update(wall / 1e9 / iterations * rounds[0][0])


def _arguments(node: Any, session: Any, warner: Any) -> dict[str, Any]:
    from pytest_benchmark.utils import NameWrapper

    marker = node.get_closest_marker("benchmark")
    options = {key: value for key, value in (marker.kwargs if marker else {}).items() if key in KEYWORDS}
    if "timer" in options:
        options["timer"] = NameWrapper(options["timer"])
    known = {**session.options, **options}
    return {
        **known,
        "node": node,
        "add_stats": session.benchmarks.append,
        "logger": session.logger,
        "warner": warner,
        "disabled": False,
    }
