"""The pytest plugin's shell: options, marker, and a `benchmark` fixture that calls its target once.

Loaded in every pytest run, so it imports pytest and the standard library only; `controller.py` does the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_blcperf.errors import BlcperfError
from pytest_blcperf.options import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_blcperf.bench.fixture import BenchmarkFixture
    from pytest_blcperf.bench.service_fixture import ServiceFixture

MARKER = (
    'blcperf(threshold="10%", min_share=, min_impact=, functions=[...], ignore=[...], gate="fail|warn|off", rounds=, '
    "delay=, window=, max_time=, lockstep=True): how pytest-blcperf measures and judges this benchmark"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register every option of the table, as flag and as ini key."""
    group = parser.getgroup("blcperf", "performance regression gate (pytest-blcperf)")
    group.addoption(
        "--blcperf",
        action="store_true",
        default=None,
        dest="blcperf",
        help="measure benchmarks, profile them by function, and gate: pytest --blcperf --blcperf-baseline main",
    )
    for option in OPTIONS:
        # None until resolved: a default here would hide the ini value (see settings.py).
        arguments: dict[str, Any] = {"default": None, "dest": option.dest, "help": option.help}
        if option.name == "only":
            arguments.update(action="store_const", const="true")
        elif option.choices:
            arguments["metavar"] = "|".join(option.choices)
        else:
            arguments["metavar"] = option.metavar
        group.addoption(option.flag, **arguments)
        parser.addini(option.dest, option.help.replace("%%", "%"), default="")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Hand over to the controller when the gate is on; otherwise offer fixtures that measure nothing."""
    config.addinivalue_line("markers", MARKER)
    peer = config.pluginmanager.has_plugin("benchmark")  # pytest-benchmark, whose fixture and marker these are
    if not peer:
        config.addinivalue_line("markers", "benchmark(group=...): pytest-benchmark's marker; the group is reported")
    if hasattr(config, "workerinput"):  # pytest-xdist's: its controller has refused, or there is no gate
        return
    measuring = config.option.blcperf or getattr(config.option, "blcperf_worker", False)
    if measuring and peer:
        # Its fixture and its checks of the fixture's type would meet ours; its options and markers stay.
        config.pluginmanager.unregister(name="benchmark")
    if getattr(config.option, "blcperf_worker", False):
        return
    if config.option.blcperf:
        from pytest_blcperf.controller import Controller

        try:
            config.pluginmanager.register(Controller.from_config(config), "blcperf-controller")
        except BlcperfError as error:
            raise pytest.UsageError(str(error)) from None
    else:
        config.pluginmanager.register(PassiveService(), "blcperf-service")
        if not peer:
            config.pluginmanager.register(PassiveBenchmark(), "blcperf-once")


class PassiveBenchmark:
    """`benchmark` without `--blcperf` and without pytest-benchmark: the target runs once, as in any other test."""

    @pytest.fixture(name="benchmark")
    def benchmark(self, request: pytest.FixtureRequest) -> Iterator[BenchmarkFixture]:
        """Call a function once; with `--blcperf`, measure it."""
        from pytest_blcperf.bench.fixture import BenchmarkFixture, call_once

        yield BenchmarkFixture(request, call_once, enabled=False)


class PassiveService:
    """`blcperf` without `--blcperf`: services start, windows stay empty."""

    @pytest.fixture(name="blcperf")
    def blcperf(self) -> ServiceFixture:
        """Start a service and, with `--blcperf`, profile a window of it: blcperf.start(...), blcperf.window(...)."""
        from pytest_blcperf.bench.service_fixture import ServiceFixture

        return ServiceFixture()
