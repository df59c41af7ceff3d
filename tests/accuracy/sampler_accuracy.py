"""How right the sampling backends are, and what they cost, on a workload whose split is known.

Run from the repository root, pinned to a CPU, under every Python of interest:

    PYTHONPATH=. taskset -c 1 python tests/accuracy/sampler_accuracy.py --backend perf-signal --seconds 10

Blocks of rounds without and with a sampler alternate. Truth is each part's CPU time (thread clock around its call)
in the blocks without. Printed: the largest and the mean error of inclusive shares in percentage points, that of the
leaf's shares, the samples per second of CPU time, and the CPU time of rounds with the sampler against those without
(median, and the 95 % interval of the median over pairs of blocks by bootstrap). `--timer prof` tries
ITIMER_PROF.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable

from pytest_blcperf.capture.interval_timer import TimerSampler
from pytest_blcperf.capture.probe import open_sampler
from pytest_blcperf.capture.samples import Sampler, Samples

random.seed(1)
FLOATS = [random.random() for _ in range(3000)]
MANY_FLOATS = [random.random() for _ in range(20_000)]
DOCUMENT = json.dumps([{"id": number, "values": [number * 1.5, number]} for number in range(250)])
BLOCK = 5


def python_loop() -> int:
    total = 0
    for number in range(6000):
        total += number * number % 7
    return total


def short_c_calls() -> None:
    for _ in range(4):
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


STATEMENTS = "\n".join("    a=(a*3+b)&1023; b=(b^a)+1&2047" for _ in range(120))
NAMESPACE: dict[str, Callable[[int, int], int]] = {}
exec(compile(f"def straight(a,b):\n{STATEMENTS}\n    return a\n", "<straight>", "exec"), NAMESPACE)
straight = NAMESPACE["straight"]


def straight_line() -> int:
    total = 0
    for number in range(40):
        total = straight(total, number)
    return total


PARTS = (python_loop, short_c_calls, one_long_c_call, library, tiny_calls, generator, straight_line)


def rounds(truth: list[int], sampler: Sampler | None) -> list[int]:
    """CPU time (ns) of each round of a block; that of the parts is added to `truth`."""
    clock = time.thread_time_ns
    spent = []
    for _ in range(BLOCK):
        start, begin = time.perf_counter_ns(), clock()
        for index, part in enumerate(PARTS):
            before = clock()
            part()
            truth[index] += clock() - before
        spent.append(clock() - begin)
        if sampler:
            sampler.add_window(start, time.perf_counter_ns())
    return spent


def shares(samples: list[Samples], names: list[str]) -> tuple[Counter[str], Counter[str], int, int]:
    """Weights by part, inclusive and of the leaf; all weight; number of samples."""
    inclusive: Counter[str] = Counter()
    leaf: Counter[str] = Counter()
    everything = number = 0
    for part in samples:
        for stack, weight, count in zip(part.stacks, part.weight_ns, part.count, strict=True):
            everything += weight
            number += count
            inclusive.update(dict.fromkeys({part.codes[index].co_name for index in stack} & set(names), weight))
            leaf[part.codes[stack[0]].co_name if stack else "root"] += weight
    return inclusive, leaf, everything, number


def ratio_interval(ratios: list[float]) -> tuple[float, float, float]:
    """Median and the 95 % bootstrap interval of the median."""
    medians = sorted(statistics.median(random.choices(ratios, k=len(ratios))) for _ in range(1000))
    return statistics.median(ratios), medians[25], medians[975]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="perf-signal", choices=("perf-signal", "timer"))
    parser.add_argument("--timer", default="real", choices=("real", "prof"))
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    truth, ignored = [0] * len(PARTS), [0] * len(PARTS)
    rounds(ignored, None)
    all_samples, ratios, sampled_ns = [], [], 0
    until = time.monotonic() + options.seconds
    while time.monotonic() < until:
        plain = rounds(truth, None)
        sampler = open_sampler(options.backend, options.rate)
        if options.timer == "prof":
            sampler = TimerSampler(options.rate, signal.ITIMER_PROF)
        sampler.open(rounds.__code__)
        try:
            sampled = rounds(ignored, sampler)
        finally:
            all_samples.append(sampler.finish())
        sampled_ns += sum(sampled)
        ratios.append(statistics.median(sampled) / statistics.median(plain))
    report(options, all_samples, truth, ratios, sampled_ns)


def report(
    options: argparse.Namespace, samples: list[Samples], truth: list[int], ratios: list[float], sampled_ns: int
) -> None:
    """Print the errors and the cost."""
    names = [part.__name__ for part in PARTS]
    inclusive, leaf, everything, number = shares(samples, [*names, "straight", "generate", "tiny"])
    true = {name: spent / sum(truth) for name, spent in zip(names, truth, strict=True)}
    errors = {name: 100 * (inclusive[name] / everything - share) for name, share in true.items()}
    worst = max(errors, key=lambda name: abs(errors[name]))
    middle, low, high = ratio_interval(ratios)
    print(
        f"{sys.version.split()[0]} {options.backend}/{options.timer} {options.rate} Hz: "
        f"max error {errors[worst]:+.1f} pp ({worst}), mean {statistics.mean(map(abs, errors.values())):.1f} pp, "
        f"{number} samples, {number / sampled_ns * 1e9:.0f}/s, lost {sum(part.lost for part in samples)}, "
        f"CPU time {100 * (middle - 1):+.1f} % [{100 * (low - 1):+.1f}, {100 * (high - 1):+.1f}]"
    )
    print("  part               true  total  leaf (%)")
    for name in names:
        print(
            f"  {name:16} {100 * true[name]:5.1f} {100 * inclusive[name] / everything:5.1f} "
            f"{100 * leaf[name] / everything:5.1f}"
        )
    for name in ("straight", "generate", "tiny", "root"):
        print(f"  {name:16}   ?   {100 * inclusive[name] / everything:5.1f} {100 * leaf[name] / everything:5.1f}")
    for warning in {warning for part in samples for warning in part.warnings}:
        print("  warning", warning)


if __name__ == "__main__":
    main()
