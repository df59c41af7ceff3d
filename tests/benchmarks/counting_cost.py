"""What the counting pass costs: CPU time of counted iterations over plain ones, interleaved.

Run from the repository root under every Python of interest:

    PYTHONPATH=. taskset -c 1 python tests/benchmarks/counting_cost.py --seconds 6

Each workload is run plain and counted in turn; printed is the ratio of their medians, with the calls of Python and of C
functions that an iteration makes. Counts must be the same in every iteration, or the script fails.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping

from pytest_blcperf.bench.target import run_iterations
from pytest_blcperf.capture.call_counts import count_calls

DOCUMENT = json.dumps([{"id": number, "values": [number * 1.5, number]} for number in range(250)])
TEXT = "# Title\n\nSome *emphasis* and `code` and [a link](http://example.org).\n\n* one\n* two\n\n> quote\n\n" * 10


def loop_without_calls() -> int:
    total = 0
    for number in range(60_000):
        total += number * number % 7
    return total


def tiny(number: int) -> int:
    return number * 3 + 1


def python_calls() -> int:
    return sum([tiny(number) for number in range(20_000)])


def c_calls() -> int:
    rows: list[int] = []
    for number in range(20_000):
        rows.append(number)
    return len(rows)


def json_library() -> None:
    json.loads(DOCUMENT)


def markdown() -> Callable[[], object]:
    from markdown_it import MarkdownIt

    parser = MarkdownIt()
    return lambda: parser.render(TEXT)


def measured(call: Callable[[], object], seconds: float) -> tuple[float, int, int]:
    """Ratio of CPU time, calls of Python functions, calls of C functions."""
    plain, counted = [], []
    seen: set[tuple[int, int]] = set()
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(plain) < 3:
        start = time.process_time_ns()
        run_iterations(call, 1)
        plain.append(time.process_time_ns() - start)
        start = time.process_time_ns()
        counts = count_calls(lambda: run_iterations(call, 1), run_iterations.__code__)
        counted.append(time.process_time_ns() - start)
        seen.add((sum(counts.values()), sum(calls for _, calls in counts.c_calls)))
    if len(seen) > 1:
        sys.exit(f"counts vary: {sorted(seen)}")
    ((of_python, of_c),) = seen
    return statistics.median(counted) / statistics.median(plain), of_python, of_c


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0, help="for each workload")
    seconds = parser.parse_args().seconds
    workloads: Mapping[str, Callable[[], object]] = {
        "loop without calls": loop_without_calls,
        "20,000 calls of a tiny Python function": python_calls,
        "20,000 list.append": c_calls,
        "json.loads, C": json_library,
        "markdown-it, Python": markdown(),
    }
    print(sys.version.split()[0])
    for name, call in workloads.items():
        ratio, of_python, of_c = measured(call, seconds)
        print(f"  {name:40} {ratio:6.2f} ×  {of_python:8,} Python calls {of_c:8,} C calls")


if __name__ == "__main__":
    main()
