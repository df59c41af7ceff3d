"""A process that runs functions of known cost, for `calibration.py`.

It speaks on the channel named in the environment: `open`, `round` as often as asked, `close`, `describe`. Standard
library only.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

from pytest_blcperf.bench.channel import Channel, ChannelClosed
from pytest_blcperf.capture.functions import Roots
from pytest_blcperf.capture.observed import Observed
from pytest_blcperf.errors import BlcperfError

FD_VARIABLE = "BLCPERF_CALIBRATION_FD"
PHASE_SECONDS = 0.002

_STATEMENTS = "\n".join("    a = (a * 3 + b) & 1023; b = (b ^ a) + 1 & 2047" for _ in range(120))
_NAMESPACE: dict[str, Any] = {}
exec(f"def straight(a, b):\n{_STATEMENTS}\n    return a\n", _NAMESPACE)
straight: Callable[[int, int], int] = _NAMESPACE["straight"]
NUMBERS = [number * 7919 % 10007 for number in range(2000)]


def straight_line() -> int:
    """Nearly all of it is in `straight`, which has no loop and calls nothing."""
    total = 0
    for number in range(8):
        total = straight(total, number)
    return total


def loop() -> int:
    """All of it is in itself."""
    total = 0
    for number in range(1000):
        total += number * number % 7
    return total


def c_call() -> list[int]:
    """All of it is in a C function it calls."""
    return sorted(NUMBERS)


def tiny(number: int) -> int:
    """Too short to be sampled by a signal."""
    return number * 3 + 1


def tiny_calls() -> int:
    """Partly in `tiny`."""
    total = 0
    for _ in range(1000):
        total = tiny(total) & 255
    return total


def generate(number: int) -> Iterator[int]:
    """A generator."""
    value = 1
    for step in range(number):
        value = (value * 5 + step) & 4095
        yield value


def generator() -> int:
    """Partly in `generate`."""
    total = 0
    for value in generate(1000):
        total ^= value
    return total


PHASES: dict[str, tuple[Callable[[], object], tuple[Callable[..., object], ...]]] = {
    "straight line": (straight_line, (straight, straight_line)),
    "loop": (loop, (loop,)),
    "C call": (c_call, (c_call,)),
    "tiny calls": (tiny_calls, (tiny, tiny_calls)),
    "generator": (generator, (generate, generator)),
}
"""What runs, and the functions it spends its time in. Of two the first takes 95 % in `straight line`, and a good part
elsewhere."""


def run_phases(observed: Observed) -> list[tuple[str, int, int]]:
    """Each phase for PHASE_SECONDS of CPU time: (name, start, end) in ns."""
    done = []
    for name, (call, _) in PHASES.items():
        start = time.perf_counter_ns()
        until = time.thread_time() + PHASE_SECONDS
        while time.thread_time() < until:
            call()
        done.append((name, start, time.perf_counter_ns()))
    observed.add_window(done[0][1], done[-1][2])
    return done


def answers(channel: Channel, backend: str) -> None:
    """Serve one calibration."""
    observed = Observed(backend, run_phases.__code__)
    channel.send({"op": "opened", **observed.facts()})
    while (request := channel.receive())["op"] == "round":
        observed.begin_round()
        phases = run_phases(observed)
        channel.send({"op": "round", "phases": phases, "windows": observed.end_round()})
    said = observed.finish()
    owners = {name: [observed.index(function) for function in owners] for name, (_, owners) in PHASES.items()}
    channel.send({"op": "closed", **said, "owners": owners, "target": "calibration"})
    request = channel.receive()
    channel.send({"op": "described", "functions": observed.describe(request["indices"], Roots.of("/nowhere"))})


def main() -> None:
    """Take the channel from the environment and serve."""
    channel = Channel(socket.socket(fileno=int(os.environ.pop(FD_VARIABLE))))
    try:
        try:
            answers(channel, channel.receive()["backend"])
        except BlcperfError as error:
            channel.send({"op": "refused", "message": error.message, "hint": error.hint})
    except ChannelClosed:
        return


if __name__ == "__main__":
    main()
