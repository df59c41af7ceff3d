"""The process that sampler_accuracy.py measures: parts of known cost, driven through the worker's own requests.

Standard library only, so that it runs under any Python; `python sampler_workload.py`, with a socket in
SAMPLER_WORKLOAD_FD. Besides the requests of `bench/target.py` it answers `truth` (the CPU time of each part in the rounds
since it was asked before, in ns) and leaves at `stop`.
"""

from __future__ import annotations

import json
import os
import random
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pytest_blcperf.bench.channel import Channel, ChannelClosed
from pytest_blcperf.bench.job import Job
from pytest_blcperf.bench.target import Target
from pytest_blcperf.capture.functions import Roots
from pytest_blcperf.errors import BlcperfError

FD_VARIABLE = "SAMPLER_WORKLOAD_FD"

random.seed(1)
FLOATS = [random.random() for _ in range(3000)]
MANY_FLOATS = [random.random() for _ in range(12_000)]
DOCUMENT = json.dumps([{"id": number, "values": [number * 1.5, number]} for number in range(250)])


def python_loop() -> int:
    total = 0
    for number in range(12_000):
        total += number * number % 7
    return total


def short_c_calls() -> None:
    for _ in range(2):
        sorted(FLOATS)


def one_long_c_call() -> None:
    sorted(MANY_FLOATS)


def library() -> None:
    json.loads(DOCUMENT)
    json.dumps(FLOATS[:500])


def tiny(number: int) -> int:
    return number * 3 + 1


def tiny_calls() -> int:
    total = 0
    for _ in range(8000):
        total = tiny(total) & 255
    return total


def generate(number: int):
    value = 1
    for step in range(number):
        value = (value * 5 + step) & 4095
        yield value


def generator() -> int:
    total = 0
    for value in generate(8000):
        total ^= value
    return total


def leaf(name: str, statement: str) -> Callable[[int, int], int]:
    """A function of 150 statements without a loop or a call."""
    namespace: dict[str, Callable[[int, int], int]] = {}
    body = "\n".join([f"    {statement}"] * 150)
    exec(compile(f"def {name}(a, b):\n{body}\n    return a\n", f"<{name}>", "exec"), namespace)
    return namespace[name]


straight_one = leaf("straight_one", "a = (a * 3 + b) & 1023; b = (b ^ a) + 1 & 2047")
straight_two = leaf("straight_two", "a = (a + b * 5) & 4095; b = b + a & 1023")
straight_three = leaf("straight_three", "a = a ^ b + 7 & 511; b = (b | a) - 3 & 2047")


def calls_one() -> int:
    total = 0
    for number in range(45):
        total = straight_one(total, number)
    return total


def calls_two() -> int:
    total = 0
    for number in range(45):
        total = straight_two(total, number)
    return total


def calls_three() -> int:
    total = 0
    for number in range(45):
        total = straight_three(total, number)
    return total


PARTS = (
    *(python_loop, short_c_calls, one_long_c_call, library, tiny_calls, generator),
    *(calls_one, calls_two, calls_three),
)
SELF = {
    **dict.fromkeys(("python_loop", "short_c_calls", "one_long_c_call")),
    **{"straight_one": "calls_one", "straight_two": "calls_two", "straight_three": "calls_three"},
}
"""Functions whose self time is known, and the part it is known from: its own, or that of its caller, which spends less
than 2 % of its time on anything else."""

truth = [0] * len(PARTS)


def one_pass() -> None:
    """Every part once. The clock is the thread's CPU time, and is read in plain and profiled rounds alike."""
    clock = time.thread_time_ns
    for index, part in enumerate(PARTS):
        before = clock()
        part()
        truth[index] += clock() - before


def main() -> None:
    """Answer until told to stop."""
    channel = Channel(socket.socket(fileno=int(os.environ.pop(FD_VARIABLE))))
    target = Target(Job(one_pass, "one_pass"), Roots.of(str(Path.cwd())))
    channel.send({"op": "ready", "version": sys.version.split()[0]})
    try:
        while (request := channel.receive())["op"] != "stop":
            if request["op"] == "truth":
                channel.send({"op": "answer", "truth": truth})
                truth[:] = [0] * len(PARTS)
                continue
            try:
                channel.send({"op": "answer", **target.answer(request)})
            except BlcperfError as error:
                channel.send({"op": "raised", "text": f"{error.message} ({error.hint})"})
    except ChannelClosed:
        pass
    target.close()


if __name__ == "__main__":
    main()
