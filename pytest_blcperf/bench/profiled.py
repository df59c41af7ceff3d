"""A Python program that can be profiled from outside while it runs: `python -m pytest_blcperf.bench.profiled …`.

What follows is what would follow `python`: a script, or `-m module`, and its arguments. A message on the channel and a
signal make the main thread start or end a profile between two of its instructions; the program itself knows nothing.
Standard library only.
"""

from __future__ import annotations

import os
import runpy
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from pytest_blcperf.bench.channel import Channel, ChannelClosed
from pytest_blcperf.bench.target import profile_data
from pytest_blcperf.capture import probe
from pytest_blcperf.capture.backends import OUTSIDE
from pytest_blcperf.capture.functions import Roots
from pytest_blcperf.capture.observed import Observed
from pytest_blcperf.capture.samples import Sampler
from pytest_blcperf.errors import BlcperfError

FD_VARIABLE = "BLCPERF_SERVICE_FD"
SIGNAL = signal.SIGRTMAX - 1
_SAFE_PATH = bool(getattr(sys.flags, "safe_path", False))
"""PYTHONSAFEPATH (since 3.11): `python` would put no folder at the head of `sys.path`."""


class Control:
    """Answers the controller from the program's main thread."""

    def __init__(self, channel: Channel, roots: Roots) -> None:
        self._channel = channel
        self._roots = roots
        self._sampler: Sampler | None = None
        self._observed: Observed | None = None

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        """One request, one answer."""
        try:
            request = self._channel.receive(timeout=5)
            try:
                answer = {"open": self._open, "close": self._close, "describe": self._describe}[request["op"]](request)
            except BlcperfError as error:
                answer = {"op": "refused", "message": error.message, "hint": error.hint}
            self._channel.send(answer)
        except ChannelClosed:
            return

    def _open(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["backend"] in OUTSIDE:
            self._observed = Observed(request["backend"], run.__code__)
            self._observed.begin_round()
            return {"op": "opened", **self._observed.facts()}
        self._sampler = probe.open_sampler(request["backend"], int(request["rate"]))
        self._sampler.open(run.__code__)
        return {"op": "opened"}

    def _close(self, request: dict[str, Any]) -> dict[str, Any]:
        start, end = int(request["start"]), int(request["end"])
        if self._observed is not None:
            self._observed.add_window(start, end)
            self._observed.end_round()
            return {"op": "profile", **self._observed.finish(), "target": "program"}
        if self._sampler is None:
            return {"op": "refused", "message": "no profile is being taken", "hint": ""}
        sampler, self._sampler = self._sampler, None
        sampler.add_window(start, end)
        return {"op": "profile", **profile_data(sampler.finish(), "program", self._roots)}

    def _describe(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._observed is None:
            return {"op": "refused", "message": "no profile is being taken", "hint": ""}
        observed, self._observed = self._observed, None
        return {"op": "described", "functions": observed.describe(request["indices"], self._roots)}


def run(arguments: list[str]) -> None:
    """Run the script or module as `python` would. Its frame is where profiles are cut off."""
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        _add_to_path(Path.cwd())
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        _add_to_path(Path(arguments[0]).resolve().parent)
        runpy.run_path(arguments[0], run_name="__main__")


def _add_to_path(folder: Path) -> None:
    if not _SAFE_PATH:
        sys.path.insert(0, str(folder))


def main() -> None:
    """Take the channel from the environment, listen, run."""
    channel = Channel(socket.socket(fileno=int(os.environ.pop(FD_VARIABLE))))
    control = Control(channel, Roots.of(str(Path.cwd())))
    signal.signal(SIGNAL, control.on_signal)
    channel.send({"op": "listening"})
    if not _SAFE_PATH and sys.path and sys.path[0] in ("", str(Path.cwd())):
        del sys.path[0]
    run(sys.argv[1:])


if __name__ == "__main__":
    main()
