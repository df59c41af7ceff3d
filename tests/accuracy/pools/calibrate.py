"""What an edit costs: `work()` of two trees, in two processes on one CPU, in turn; CPU time, interquartile means.

Both have the same hash seed and addresses, and between rounds each takes some memory and keeps it, so that no layout
decides a whole launch; their frames lie in one chunk.
"""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

from pytest_blcperf.bench.memory_layout import fixed_addresses

ROUND_NS = 5_000_000
ROUNDS = 40
_WORKER = """
import importlib.util, os, random, sys, time
from pytest_blcperf.bench.memory_layout import ShiftingHeap, with_room
os.sched_setaffinity(0, {int(sys.argv[2])})
sys.path.insert(0, os.path.join(sys.argv[1], "src"))
spec = importlib.util.spec_from_file_location("test_it", os.path.join(sys.argv[1], "benchmarks", "test_it.py"))
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
work, heap, generator = module.work, ShiftingHeap(), random.Random(os.environ["PYTHONHASHSEED"])

def calls(number):
    start = time.process_time_ns()
    for _ in range(number):
        work()
    return time.process_time_ns() - start

for line in sys.stdin:
    heap.shift(generator.randrange(2**32))
    print(with_room(calls, int(line)), flush=True)
"""


def effect(base: Path, head: Path, launches: int, cpus: Sequence[int]) -> tuple[float, float]:
    """By what fraction `head` is dearer than `base`, and the standard error of that over launches of both."""
    ratios = [_launch(base, head, cpus[number % len(cpus)]) for number in range(launches)]
    error = stdev(ratios) / math.sqrt(launches) if launches > 1 else math.inf
    return math.expm1(mean(ratios)), error


def interquartile_mean(values: Sequence[float]) -> float:
    """The mean of the middle half."""
    ordered = sorted(values)
    quarter = len(ordered) // 4
    return mean(ordered[quarter : len(ordered) - quarter])


def _launch(base: Path, head: Path, cpu: int) -> float:
    seed = random.randrange(1, 2**32 - 1)
    with fixed_addresses():
        workers = [_Worker(base, cpu, seed), _Worker(head, cpu, seed)]
    try:
        for worker in workers:
            worker.round(20)
        calls = max(1, round(20 * ROUND_NS / workers[0].round(20)))
        logs = []
        for number in range(ROUNDS):
            order = (0, 1) if number % 2 else (1, 0)
            taken = {index: workers[index].round(calls) for index in order}
            logs.append(math.log(taken[1] / taken[0]))
        return interquartile_mean(logs)
    finally:
        for worker in workers:
            worker.close()


class _Worker:
    def __init__(self, tree: Path, cpu: int, seed: int) -> None:
        command = [sys.executable, "-c", _WORKER, str(tree), str(cpu)]
        environment = os.environ | {"PYTHONHASHSEED": str(seed)}
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def round(self, calls: int) -> int:
        """CPU time of so many calls, ns."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{calls}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the workload ended: see its error above")
        return max(1, int(answer))

    def close(self) -> None:
        """Let it end."""
        self._process.communicate()
