"""Feeds the reader of callgrind's output at least 100,000 damaged and invented inputs: counts or an error, nothing else.

    PYTHONPATH=. python tests/fuzz/fuzz_callgrind.py [--inputs 100000]

Half of them are lines drawn by hypothesis, half a real dump (tests/test_callgrind_output.py) with bytes changed, cut out
and doubled. Printed are how many were read, how many were refused, and the longest time one took.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hypothesis import strategies as st
from test_callgrind_output import DUMP, LINES

from pytest_blcperf.capture.callgrind_output import CallgrindError, read_dump, read_perf_map

TALLY = {"read": 0, "refused": 0}
SLOWEST = [0.0]


def feed(lines: list[str]) -> None:
    start = time.perf_counter()
    try:
        counts = read_dump(lines)
        assert counts.total == sum(counts.stacks.values())
        TALLY["read"] += 1
    except CallgrindError:
        TALLY["refused"] += 1
    read_perf_map(lines)
    SLOWEST[0] = max(SLOWEST[0], time.perf_counter() - start)


def damaged(generator: random.Random) -> str:
    text = DUMP
    for _ in range(generator.randint(1, 6)):
        place = generator.randrange(len(text) + 1)
        length = generator.choice((0, 1, 1, 5, 40))
        piece = generator.choice(
            ("", "\0", "'", "=", "(10)", "fn=(1) ", "9" * 25, "\n", "calls=1 1\n", text[place : place + 30])
        )
        text = text[:place] + piece + text[place + length :]
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000)
    half = parser.parse_args().inputs // 2
    generator = random.Random(1)
    for _ in range(half):
        feed(damaged(generator).splitlines(keepends=True))

    @settings(
        max_examples=half,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(LINES, max_size=60))
    def drawn(lines: list[str]) -> None:
        feed(lines)

    while sum(TALLY.values()) < 2 * half:
        drawn()
    print(
        f"{sum(TALLY.values()):,} inputs: {TALLY['read']:,} read, {TALLY['refused']:,} refused, slowest {SLOWEST[0]:.3f} s"
    )


if __name__ == "__main__":
    main()
