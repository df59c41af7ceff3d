"""The pytest plugin's shell: options, marker, and a `benchmark` fixture that calls its target once.

Loaded in every pytest run, so it imports pytest and the standard library only; `controller.py` does the rest.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_blcperf.errors import BlcperfError
from pytest_blcperf.options import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_blcperf.bench.fixture import BenchmarkFixture
    from pytest_blcperf.bench.service_fixture import ForeignWindow, ServiceFixture

MARKER = (
    'blcperf(threshold="10%", min_share=, min_impact=, functions=[...], ignore=[...], gate="fail|warn|off", metric=, '
    "rounds=, delay=, window=, max_time=, timeout=, lockstep=True): "
    "how pytest-blcperf measures and judges this benchmark"
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


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, parser: pytest.Parser) -> None:
    """Accept pytest-benchmark's options where it is absent; every plugin that can be there is loaded by now."""
    if not peer_is_loaded(early_config) and _cannot_come(early_config):
        from pytest_blcperf.bench.compat_options import add_options

        add_options(parser)


def peer_is_loaded(config: pytest.Config) -> bool:
    """Whether pytest-benchmark, under either of its names, is active."""
    manager = config.pluginmanager
    return manager.has_plugin("benchmark") or manager.has_plugin("pytest_benchmark.plugin")


def _cannot_come(config: pytest.Config) -> bool:
    """Whether no conftest can load pytest-benchmark later, whose options would clash with ours then."""
    from importlib.util import find_spec

    blocked = config.pluginmanager.is_blocked
    return blocked("benchmark") or blocked("pytest_benchmark.plugin") or find_spec("pytest_benchmark") is None


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Hand over to the controller when the gate is on; otherwise offer fixtures that measure nothing."""
    config.addinivalue_line("markers", MARKER)
    codspeed = config.pluginmanager.has_plugin("codspeed")
    alone = not peer_is_loaded(config) and not codspeed
    if alone:
        config.addinivalue_line("markers", "benchmark(group=...): pytest-benchmark's marker; the group is reported")
    if not codspeed:
        config.addinivalue_line("markers", "codspeed_benchmark: pytest-codspeed's marker of a whole test")
    if getattr(config.option, "blcperf_worker", False):
        if config.option.blcperf_asv_dir:
            from pytest_blcperf.bench.asv import AsvFolder

            config.pluginmanager.register(AsvFolder(Path(config.option.blcperf_asv_dir)), "blcperf-asv")
        return
    if not peer_is_loaded(config):
        config.pluginmanager.register(PeerOptions(config), "blcperf-benchmark-options")
    if config.option.blcperf:
        _refuse_codspeed(config)
        if hasattr(config, "workerinput"):
            config.pluginmanager.register(DistributedWorker(), "blcperf-distributed")
        else:
            from pytest_blcperf.controller import Controller

            try:
                config.pluginmanager.register(Controller.from_config(config), "blcperf-controller")
            except BlcperfError as error:
                raise pytest.UsageError(str(error)) from None
            return
    config.pluginmanager.register(PassiveService(), "blcperf-service")
    if alone:
        config.pluginmanager.register(PassiveBenchmark(), "blcperf-once")


def _refuse_codspeed(config: pytest.Config) -> None:
    import os

    if getattr(config.option, "codspeed", False) or os.environ.get("CODSPEED_ENV"):
        raise pytest.UsageError(
            "--blcperf and --codspeed (or CODSPEED_ENV) both want to run the benchmarks: choose one of the two"
        )


def foreign_window(pid: int, delay: float, duration: float | None) -> ForeignWindow:
    """The window that `blcperf.window` opens on a process it has not started, by the engine for any process."""
    from pytest_blcperf.profiling import profiled

    return profiled(pid, children=True, delay=delay, duration=duration)


class PassiveBenchmark:
    """`benchmark` without `--blcperf` and without a plugin that brings it: the target runs once, as in any test."""

    @pytest.fixture(name="benchmark")
    def benchmark(self, request: pytest.FixtureRequest) -> Iterator[BenchmarkFixture]:
        """Call a function once; with `--blcperf`, measure it."""
        from pytest_blcperf.bench.fixture import BenchmarkFixture
        from pytest_blcperf.bench.job import call_once

        fixture = BenchmarkFixture(request, call_once, enabled=False)
        yield fixture
        fixture.clean_up()

    @pytest.fixture(name="codspeed_benchmark")
    def codspeed_benchmark(self, benchmark: BenchmarkFixture) -> BenchmarkFixture:
        """pytest-codspeed's name of the same fixture."""
        return benchmark

    @pytest.fixture(name="benchmark_weave")
    def benchmark_weave(self, benchmark: BenchmarkFixture) -> Callable[..., None]:
        """`benchmark.weave`: measure the next call of a function, wherever it comes from."""
        return benchmark.weave


class PeerOptions:
    """What `--benchmark-skip`, `--benchmark-only` and the rest do where pytest-benchmark is not installed."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_report_header(self) -> str | None:
        """Name the options that were given for nothing, once."""
        from pytest_blcperf.bench.compat_options import without_effect

        useless = without_effect(self._config.option)
        return f"blcperf: pytest-benchmark is not installed; without effect: {', '.join(useless)}" if useless else None

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Skip benchmarks, or everything else; `only` wins, as it does there."""
        option = self._config.option
        only, skip = getattr(option, "benchmark_only", None), getattr(option, "benchmark_skip", None)
        for item in items:
            is_benchmark = "benchmark" in getattr(item, "fixturenames", ())
            if only and not is_benchmark:
                item.add_marker(pytest.mark.skip(reason="Skipping non-benchmark (--benchmark-only active)."))
            if skip and not only and is_benchmark:
                item.add_marker(pytest.mark.skip(reason="Skipping benchmark (--benchmark-skip active)."))


class DistributedWorker:
    """A worker of pytest-xdist with `--blcperf`: it leaves the benchmarks to the controller."""

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Take them out, in every worker alike."""
        from pytest_blcperf.bench.compat_codspeed import is_benchmark, is_service

        left = [item for item in items if is_benchmark(item) or is_service(item)]
        if left:
            config.hook.pytest_deselected(items=left)
            items[:] = [item for item in items if item not in left]


class PassiveService:
    """`blcperf` without `--blcperf`: services start, windows stay empty, metrics are checked and forgotten."""

    @pytest.fixture(name="blcperf")
    def blcperf(self) -> ServiceFixture:
        """Start a service and, with `--blcperf`, profile a window of it: blcperf.start(...), blcperf.window(...)."""
        from pytest_blcperf.bench.service_fixture import ServiceFixture

        return ServiceFixture()
