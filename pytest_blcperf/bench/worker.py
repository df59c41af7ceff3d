"""The worker: a pytest process that runs benchmarks round by round as its controller asks.

Started as `python -m pytest_blcperf.bench.worker` with a socket in BLCPERF_WORKER_FD. Messages it sends:
`collected`, `report`, `ready`, answers to requests, `item-done`, `finished`, `failed` (it could not even start).
Standard library and pytest only: this process is what is measured.
"""

from __future__ import annotations

import ctypes
import inspect
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Iterator
from importlib import metadata
from itertools import zip_longest
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from pytest_blcperf.bench import memory_layout
from pytest_blcperf.bench.channel import Channel, ChannelClosed, Message
from pytest_blcperf.bench.compat_codspeed import (
    benchmark_marker,
    hide_foreign_keywords,
    is_benchmark,
    is_whole_benchmark,
    replace_call,
)
from pytest_blcperf.bench.job import Job, Rounds
from pytest_blcperf.bench.loaded_files import Recorder
from pytest_blcperf.bench.process_state import drop_output, process_state_kept, stop_timer
from pytest_blcperf.bench.provide import benchmark_fixture
from pytest_blcperf.bench.service_fixture import ProfilingServiceFixture, ServiceFixture
from pytest_blcperf.bench.target import Target
from pytest_blcperf.capture import probe
from pytest_blcperf.capture.functions import Roots, fingerprint

FD_VARIABLE = "BLCPERF_WORKER_FD"
_PR_SET_PDEATHSIG = 1
_RERUNNERS = ("rerunfailures", "flaky", "flaky.flaky_pytest_plugin")
"""Plugins that run a failed test again: here a failure is a result. Only their hooks go; options and markers stay."""


def die_with(parent: int) -> bool:
    """Have the kernel kill this process when the controller dies, even by SIGKILL in the middle of a round.

    False when the controller is not this process's parent, so that nobody would.
    """
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):
        return True  # not Linux: the closed channel is noticed after the round
    return os.getppid() == parent


def safe_path() -> bool:
    """Whether the interpreter puts no folder of its own at the head of `sys.path` (PYTHONSAFEPATH, since 3.11)."""
    return bool(getattr(sys.flags, "safe_path", False))


class WorkerPlugin:
    """pytest hooks of the worker. `ready` hands the test over to the controller until it says `stop`."""

    def __init__(self, channel: Channel, config: pytest.Config, recorder: Recorder, start: Message) -> None:
        self._channel = channel
        self._config = config
        self._recorder = recorder
        self._roots = Roots.of(start["root"])
        self._errors: list[dict[str, str]] = []
        self._extra: dict[str, Any] = {}
        self._used = False
        self._served = ""
        self._metrics: dict[str, Any] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Offer what was collected; run what the controller names, in its order."""
        for name in _RERUNNERS:
            if self._config.pluginmanager.has_plugin(name):
                self._config.pluginmanager.unregister(name=name)
        items = {item.nodeid: item for item in session.items}
        codes = {nodeid: self._fingerprint(item) for nodeid, item in items.items()}
        self._channel.send({"op": "collected", "codes": codes, "errors": self._errors})
        order = self._channel.receive()["ids"]
        chosen = [items[nodeid] for nodeid in order if nodeid in items]
        for item, following in zip_longest(chosen, chosen[1:]):
            self._extra, self._used, self._served, self._metrics = {}, False, "", {}
            with process_state_kept():
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            self._channel.send(
                {
                    "op": "item-done",
                    "id": item.nodeid,
                    "used": self._used,
                    "extra": self._extra,
                    "metrics": self._metrics,
                    **self._loaded(),
                }
            )
            if session.shouldstop:
                break
        return True

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep what could not be imported, for the controller."""
        if report.failed:
            self._errors.append({"file": report.nodeid, "text": report.longreprtext[-4000:]})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Pass a test report on."""
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._channel.send({"op": "report", "id": report.nodeid, "report": json.loads(json.dumps(data, default=repr))})

    def pytest_internalerror(self, excrepr: object) -> None:
        """Say why this worker ends."""
        self._channel.send({"op": "failed", "text": str(excrepr)[-4000:]})

    @pytest.fixture(name="benchmark")
    def benchmark(self, request: pytest.FixtureRequest) -> Iterator[Any]:
        """The measured callable's fixture, driven by the controller."""
        yield from benchmark_fixture(request, lambda job: self._serve(request.node, job), self._done)

    @pytest.fixture(name="codspeed_benchmark")
    def codspeed_benchmark(self, request: pytest.FixtureRequest) -> Iterator[Any]:
        """The same under pytest-codspeed's name."""
        yield from benchmark_fixture(request, lambda job: self._serve(request.node, job), self._done)

    @pytest.fixture(name="benchmark_weave")
    def benchmark_weave(self, benchmark: Any) -> Any:
        """`benchmark.weave`."""
        return benchmark.weave

    @pytest.fixture(name="blcperf")
    def blcperf(self, request: pytest.FixtureRequest) -> Iterator[ServiceFixture]:
        """Services of a benchmark are started, not profiled: the benchmark is. Metrics are gated."""
        fixture = ServiceFixture() if is_benchmark(request.node) else self._profiling()
        yield fixture
        self._metrics = {
            name: {"unit": one.unit, "better": one.better, "value": median(one.values)}
            for name, one in fixture.metrics.items()
        }
        self._used = self._used or bool(self._metrics)

    def _profiling(self) -> ServiceFixture:
        """For a test without a benchmark: it may look at the profile of its window."""
        rate = int(getattr(self._config.option, "blcperf_rate", None) or 1000)
        plugins = self._config.pluginmanager
        # The plugin joins stages, a worker does not: its engine for other processes is the plugin's.
        shell: Any = plugins.get_plugin("blcperf") or plugins.get_plugin("pytest_blcperf.plugin")
        backend = probe.choose("auto", rate)[0]
        return ProfilingServiceFixture(backend, rate, lambda _profile, _seconds: None, shell.foreign_window)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Keep pytest-benchmark from refusing pytest-codspeed's arguments."""
        hide_foreign_keywords(item)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> None:
        """Measure a test that is a benchmark as a whole, in place of its one call."""
        if is_whole_benchmark(item):
            replace_call(item, lambda job: self._serve(item, job))
            self._used = True
            self._extra = {"group": benchmark_marker(item).get("group"), "params": _params(item), "extra_info": {}}

    def _done(self, fixture: Any) -> None:
        self._used = self._used or fixture.used
        if fixture.used:
            params, extra_info = _plain(fixture.params or {}), _plain(fixture.extra_info)
            self._extra = {"group": fixture.group, "params": params, "extra_info": extra_info}

    def _serve(self, item: pytest.Item, job: Job) -> tuple[object, Rounds]:
        """Do what the controller asks until it says stop; a test that some plugin runs again only gets its calls."""
        target = Target(job, self._roots)
        if item.nodeid == self._served:
            return target.declared_calls()
        self._served = item.nodeid
        stop_timer(item)
        schedule = job.schedule and [job.schedule.warmup_rounds, job.schedule.rounds, job.schedule.iterations]
        self._channel.send({"op": "ready", "id": item.nodeid, "schedule": schedule})
        while (request := self._channel.receive())["op"] != "stop":
            try:
                answer = target.answer(request)
            except BaseException as error:
                self._channel.send({"op": "raised", "text": "".join(traceback.format_exception_only(error))[-2000:]})
                raise
            drop_output()
            self._channel.send({"op": "answer", **answer})
        target.close()
        return target.last_call() if target.rounds else target.declared_calls()

    def _loaded(self) -> dict[str, Any]:
        return {"loaded": self._recorder.snapshot().as_data()} if self._recorder.active else {}

    def _fingerprint(self, item: pytest.Item) -> str:
        code = getattr(inspect.unwrap(getattr(item, "function", len)), "__code__", None)
        return fingerprint(code) if code is not None else ""


def _params(item: pytest.Item) -> Any:
    callspec = getattr(item, "callspec", None)
    return _plain(dict(callspec.params)) if callspec is not None else {}


def _plain(data: Any) -> Any:
    return json.loads(json.dumps(data, default=lambda value: repr(value)[:1000], skipkeys=True))


def _configure(start: Message) -> pytest.Config:
    plugins = list(start["plugins"])
    if not any(point.name == "blcperf" for point in metadata.entry_points(group="pytest11")):
        plugins.append("pytest_blcperf.plugin")
    arguments = [word for name in plugins for word in ("-p", name)]
    return pytest.Config.fromdictargs(start["options"], [*arguments, "-p", "no:terminal", *start["files"]])


def main() -> int:
    """Run until the controller has no more work or is gone."""
    channel = Channel(socket.socket(fileno=int(os.environ.pop(FD_VARIABLE))))
    os.environ.pop(memory_layout.VARIABLE, None)
    layout = memory_layout.shift_heap(int(os.environ["PYTHONHASHSEED"]))
    try:
        start = channel.receive()
        if not die_with(start["parent"]):
            text = f"started through a wrapper that does not exec: process {os.getppid()} stands between it and pytest"
            channel.send({"op": "failed", "text": text})
            return 1
        if not start["folder_on_path"] and not safe_path() and sys.path and sys.path[0] in ("", str(Path.cwd())):
            del sys.path[0]  # `-m` put it there; the user's own `pytest` command had not
        recorder = Recorder(start["root"], forbidden_root=start["forbidden_root"])
        if start["record_files"]:
            recorder.install()
        try:
            config = _configure(start)
            config.pluginmanager.register(WorkerPlugin(channel, config, recorder, start), "blcperf-worker")
            code = int(config.hook.pytest_cmdline_main(config=config) or 0)
        except ChannelClosed:
            raise
        except BaseException as error:
            channel.send({"op": "failed", "text": "".join(traceback.format_exception(error))[-4000:]})
            return 1
        channel.send({"op": "finished"})
        return code
    except ChannelClosed:
        return 1
    finally:
        del layout


if __name__ == "__main__":
    sys.exit(main())
