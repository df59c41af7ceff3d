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
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from pytest_blcperf.bench.channel import Channel, ChannelClosed, Message
from pytest_blcperf.bench.fixture import BenchmarkFixture
from pytest_blcperf.bench.loaded_files import Recorder
from pytest_blcperf.bench.service_fixture import ServiceFixture
from pytest_blcperf.bench.target import Arguments, Target
from pytest_blcperf.capture.functions import Roots, fingerprint

FD_VARIABLE = "BLCPERF_WORKER_FD"
_PR_SET_PDEATHSIG = 1


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

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Offer what was collected; run what the controller names, in its order."""
        items = {item.nodeid: item for item in session.items}
        codes = {nodeid: self._fingerprint(item) for nodeid, item in items.items()}
        self._channel.send({"op": "collected", "codes": codes, "errors": self._errors})
        order = self._channel.receive()["ids"]
        chosen = [items[nodeid] for nodeid in order if nodeid in items]
        for item, following in zip(chosen, [*chosen[1:], None], strict=True):
            self._extra, self._used = {}, False
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            self._channel.send(
                {"op": "item-done", "id": item.nodeid, "used": self._used, "extra": self._extra, **self._loaded()}
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
    def benchmark(self, request: pytest.FixtureRequest) -> Iterator[BenchmarkFixture]:
        """The measured callable's fixture, driven by the controller."""

        def measure(
            call: Callable[..., object],
            name: str,
            setup: Callable[[], Arguments] | None,
            teardown: Callable[..., object] | None,
        ) -> tuple[object, Sequence[tuple[int, int, int]]]:
            return self._serve(request.node.nodeid, Target(call, name, self._roots, setup, teardown))

        fixture = BenchmarkFixture(request, measure, enabled=True)
        yield fixture
        self._used = fixture.used
        if not fixture.used:
            return
        self._extra = {
            "group": fixture.group,
            "params": _plain(fixture.params or {}),
            "extra_info": _plain(fixture.extra_info),
        }

    @pytest.fixture(name="blcperf")
    def blcperf(self) -> ServiceFixture:
        """Services of a benchmark are started, not profiled: the benchmark is."""
        return ServiceFixture()

    def _serve(self, nodeid: str, target: Target) -> tuple[object, Sequence[tuple[int, int, int]]]:
        self._channel.send({"op": "ready", "id": nodeid})
        while (request := self._channel.receive())["op"] != "stop":
            try:
                answer = target.answer(request)
            except BaseException as error:
                self._channel.send({"op": "raised", "text": "".join(traceback.format_exception_only(error))[-2000:]})
                raise
            self._channel.send({"op": "answer", **answer})
        target.close()
        return target.last_call()

    def _loaded(self) -> dict[str, Any]:
        return {"loaded": self._recorder.snapshot().as_data()} if self._recorder.active else {}

    def _fingerprint(self, item: pytest.Item) -> str:
        code = getattr(inspect.unwrap(getattr(item, "function", len)), "__code__", None)
        return fingerprint(code) if code is not None else ""


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


if __name__ == "__main__":
    sys.exit(main())
