"""How right the function clock is, and what it costs: its readings against whole rounds timed without it.

    .venv/bin/python tests/accuracy/function_clock_accuracy.py [--python PATH ...] [--blocks N]

Every case is a round of calls whose cost is known without the clock: the round's time less that of the same round with
a function that does nothing. Blocks of rounds with and without the clock alternate in one process. Printed are ns a
call of both kinds (medians), how far the readings are off, and for pairs of functions the ratio by either.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import CodeType
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

from pytest_blcperf.capture.function_clock import FunctionClock

ROUNDS, SETTLING, CALLS = 5, 2, 400


def nothing(_: int) -> None:
    pass


def loop(steps: int) -> None:
    for _ in range(steps):
        pass


def words(steps: int) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word in ("the quick brown fox jumps over the lazy dog " * steps).split():
        counts[word] = counts.get(word, 0) + 1
    return counts


def inner(steps: int) -> None:
    for _ in range(steps):
        pass


def outer(steps: int) -> None:
    for _ in range(steps):
        pass
    for _ in range(10):
        inner(steps)


def outer_alone(steps: int) -> None:
    for _ in range(steps):
        pass
    for _ in range(10):
        nothing(steps)


def recursive(steps: int, depth: int = 8) -> None:
    for _ in range(steps):
        pass
    if depth:
        recursive(steps, depth - 1)


def generator(steps: int):
    for _ in range(10):
        for _ in range(steps):
            pass
        yield


def consume(steps: int) -> None:
    for _ in generator(steps):
        pass


class Pause:
    def __await__(self):
        yield


async def coroutine(steps: int) -> None:
    for _ in range(10):
        for _ in range(steps):
            pass
        await Pause()


def drive(steps: int) -> None:
    running = coroutine(steps)
    try:
        while True:
            running.send(None)
    except StopIteration:
        pass


def raising(steps: int) -> None:
    for _ in range(steps):
        pass
    raise LookupError


def catch(steps: int) -> None:
    with suppress(LookupError):
        raising(steps)


class Case(NamedTuple):
    """`call(argument)` costs what `call(0)`, or `less(argument)`, does not; the reading is that of the first code.

    `own`: its self time. `base`: what the reading of an argument of 0 is subtracted for, as the round's is.
    """

    call: Callable[[int], object]
    argument: int
    codes: tuple[CodeType, ...]
    less: Callable[[int], object] | None = None
    own: bool = False


def cases() -> dict[str, Case]:
    found = {}
    for steps in (10, 25, 50, 125, 500):
        found[f"loop of {steps}"] = Case(loop, steps, (loop.__code__,), nothing)
        found[f"loop of {steps}, +20 %"] = Case(loop, steps * 6 // 5, (loop.__code__,), nothing)
    found["counting words"] = Case(words, 10, (words.__code__,), nothing)
    found["counting words, +20 %"] = Case(words, 12, (words.__code__,), nothing)
    nested = (outer.__code__, inner.__code__)
    found["outer, with 10 timed calls inside"] = Case(outer, 50, nested, nothing)
    found["outer, without those (self)"] = Case(
        outer_alone, 50, (outer_alone.__code__, nothing.__code__), nothing, own=True
    )
    found["recursive, 9 deep"] = Case(recursive, 50, (recursive.__code__,))
    found["generator, 10 yields"] = Case(consume, 50, (generator.__code__,))
    found["coroutine, 10 awaits"] = Case(drive, 50, (coroutine.__code__,))
    found["raises"] = Case(catch, 50, (raising.__code__,))
    return found


def round_ns(call: Callable[[int], object], argument: int) -> float:
    began = time.thread_time_ns()
    for _ in range(CALLS):
        call(argument)
    return (time.thread_time_ns() - began) / CALLS


def measure(case: Case, blocks: int) -> dict[str, float]:
    """For a call, ns by whole rounds and by the clock, and how much longer a round is under the clock."""
    less, argument = (case.less, case.argument) if case.less is not None else (case.call, 0)
    found = []
    for _ in range(blocks):
        whole, plain, read, slow = [], [], [], []
        for number in range(ROUNDS):
            with_it, without = round_ns(case.call, case.argument), round_ns(less, argument)
            if number >= SETTLING:
                whole.append(with_it - without)
                plain.append(with_it)
        clock = FunctionClock(case.codes)
        clock.open()
        try:
            for number in range(ROUNDS):
                clock.take()
                took = round_ns(case.call, case.argument)
                reading = clock.take()[0]
                total = reading.self_ns if case.own else reading.total_ns
                base = 0.0
                if case.less is None:
                    round_ns(less, argument)
                    base = clock.take()[0].total_ns / CALLS
                if number >= SETTLING:
                    slow.append(took)
                    read.append(total / CALLS - base)
        finally:
            clock.close()
        if case.codes[0] in clock.untimed:
            return {}
        found.append([statistics.median(values) for values in (whole, read, slow, plain)])
    medians = [statistics.median(values) for values in zip(*found, strict=True)]
    # Block by block: the machine has spells in which all of it is slower.
    off = statistics.median(read / whole - 1 for whole, read, _, _ in found)
    return dict(zip(("whole", "read", "slow", "plain", "off"), (*medians, off), strict=True))


def run(blocks: int) -> None:
    clock = FunctionClock([])
    clock.open()
    costs = [clock.take() or clock.cost for _ in range(50)]
    clock.close()
    cost = [statistics.median(values) for values in zip(*costs, strict=True)]
    rows = {name: measure(case, blocks) for name, case in cases().items()}
    print(json.dumps({"version": sys.version.split()[0], "cost": cost, "rows": rows}))


def show(result: dict) -> None:
    inside, outside, unwind = result["cost"]
    print(
        f"\n{result['version']}: {inside:.0f} ns inside, {outside:.0f} around a call, {unwind:.0f} an exception elsewhere"
    )
    print(f"{'':36} {'rounds':>9} {'clock':>9} {'off':>7} {'':>9} {'slower':>7}")
    before: dict[str, float] = {}
    for name, row in result["rows"].items():
        if not row:
            print(f"{name:36} not timed")
            continue
        ratio = ""
        if name.endswith("%"):
            ratio = f"  ratio by rounds {row['whole'] / before['whole']:.3f}, by the clock {row['read'] / before['read']:.3f}"
        print(
            f"{name:36} {row['whole']:9.0f} {row['read']:9.0f} {row['off']:+7.1%} {row['off'] * row['whole']:+6.0f} ns"
            f" {row['slow'] / row['plain']:6.2f}x{ratio}"
        )
        before = row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--python", nargs="*", default=[sys.executable])
    parser.add_argument("--blocks", type=int, default=25)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        run(options.blocks)
        return
    for python in options.python:
        command = [python, __file__, "--here", "--blocks", str(options.blocks)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        show(json.loads(done.stdout))


if __name__ == "__main__":
    main()
