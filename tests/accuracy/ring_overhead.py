"""What the recorder costs a native program, what a window keeps, and what a ring that is too small loses.

Run from the repository root, on a quiet machine if there is one:

    PYTHONPATH=. python tests/accuracy/ring_overhead.py --pairs 40

Overhead: a C program (compiled here) does rounds of fixed work on one CPU and times them itself; blocks of rounds with and
without a recorder on another CPU alternate. Printed per setting: the median over pairs of blocks of (median round with /
median round without), in CPU time of the thread and in elapsed time, with the 95 % interval by bootstrap over pairs.
Interrupts may be left out of CPU time by the kernel, so both matter.

Precision: windows of 0.5 s on a program that never stops. Expected are as many samples as the kernel's CPU clock of the
program says; what was stamped outside the window is counted too.

Losses: the same at 4 kHz with rings of 64 KiB that nobody drains for a while: samples kept and lost, against expected.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from pytest_blcperf.capture.recorder import Recorder
from pytest_blcperf.capture.recording_plan import RecordingPlan
from pytest_blcperf.target import process as processes
from pytest_blcperf.target.process import Processes

PROGRAM = r"""
#include <stdio.h>
#include <stdint.h>
#include <time.h>
static uint64_t now(clockid_t clock) {
    struct timespec t; clock_gettime(clock, &t); return t.tv_sec * 1000000000ull + t.tv_nsec;
}
static volatile uint64_t table[1 << 14];
static uint64_t step(uint64_t x) { x ^= x << 13; x ^= x >> 7; x ^= x << 17; return x; }
static uint64_t recurse(int depth, uint64_t x) {
    volatile char here[128]; here[0] = x;
    if (depth) return recurse(depth - 1, x) + here[0];
    for (int i = 0; i < 4000000; i++) { x = step(x); table[x & 16383] += x; }
    return x;
}
int main(void) {
    unsigned rounds; uint64_t x = 88172645463325252ull;
    while (scanf("%u", &rounds) == 1) {
        for (unsigned i = 0; i < rounds; i++) {
            uint64_t cpu = now(CLOCK_THREAD_CPUTIME_ID), wall = now(CLOCK_MONOTONIC);
            x = recurse(60, x);
            printf("%llu %llu ", (unsigned long long)(now(CLOCK_THREAD_CPUTIME_ID) - cpu), (unsigned long long)(now(CLOCK_MONOTONIC) - wall));
        }
        printf("\n"); fflush(stdout);
    }
    return x == 1;
}
"""
ROUNDS = 20
"""Of about 6 ms: in shorter ones the median round would be one without a sample."""
SETTINGS = {
    "1 kHz, 16 KiB stacks": RecordingPlan(),
    "1 kHz, no stacks": RecordingPlan(stack_bytes=0),
    "4 kHz, 16 KiB stacks": RecordingPlan(rate=4000),
}


class Program:
    """The compiled program, on the last CPU; this script on the others."""

    def __init__(self, folder: Path) -> None:
        source = folder / "rounds.c"
        source.write_text(PROGRAM)
        subprocess.run(["cc", "-O1", "-o", str(folder / "rounds"), str(source)], check=True)
        cpus = sorted(os.sched_getaffinity(0))
        self.child = subprocess.Popen(
            ["taskset", "-c", str(cpus[-1]), str(folder / "rounds")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        os.sched_setaffinity(0, set(cpus[:-1]) or set(cpus))
        self.run(2)
        self.target = Processes((processes.find(self.child.pid),))

    def ask(self, rounds: int) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(f"{rounds}\n")
        self.child.stdin.flush()

    def run(self, rounds: int) -> tuple[float, float]:
        """Median (CPU, elapsed) ns of a round."""
        self.ask(rounds)
        assert self.child.stdout is not None
        numbers = [int(word) for word in self.child.stdout.readline().split()]
        return statistics.median(numbers[::2]), statistics.median(numbers[1::2])

    def recorded(self, plan: RecordingPlan) -> tuple[tuple[float, float], int, int]:
        """A block with a recorder: its medians, samples, and records lost."""
        with Recorder(self.target, plan) as recorder:
            recorder.enable()
            medians = self.run(ROUNDS)
            recorder.stop()
            samples = sum(len(batch) for batch in recorder.take())
            return medians, samples, recorder.finish().health.lost

    def cpu_ns(self) -> int:
        return time.clock_gettime_ns((~self.child.pid << 3) | 2)


def interval(ratios: list[float]) -> str:
    rng = random.Random(1)
    medians = sorted(statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(2000))
    return f"{100 * (statistics.median(ratios) - 1):+.2f} % [{100 * (medians[50] - 1):+.2f}, {100 * (medians[1949] - 1):+.2f}]"


def overhead(program: Program, pairs: int) -> None:
    for title, plan in SETTINGS.items():
        cpu, wall, samples, lost = [], [], 0, 0
        for number in range(pairs):
            if number % 2:
                plain = program.run(ROUNDS)
            profiled, found, missing = program.recorded(plan)
            if not number % 2:
                plain = program.run(ROUNDS)
            samples, lost = samples + found, lost + missing
            cpu.append(profiled[0] / plain[0])
            wall.append(profiled[1] / plain[1])
        print(f"{title}: CPU {interval(cpu)}, elapsed {interval(wall)}, {samples} samples, {lost} lost, {pairs} pairs")


def precision(program: Program, windows: int) -> None:
    shares, outside, cut = [], 0, 0
    for _ in range(windows):
        program.ask(140)
        with Recorder(program.target, RecordingPlan()) as recorder:
            start = recorder.enable()
            before = program.cpu_ns()
            time.sleep(0.5)
            used = program.cpu_ns() - before
            end = recorder.stop()
            batches = list(recorder.take())
            cut += recorder.finish().health.outside
        outside += sum(int(((batch.time < start) | (batch.time >= end)).sum()) for batch in batches)
        shares.append(sum(len(batch) for batch in batches) / (used / 1e6))
        assert program.child.stdout is not None
        program.child.stdout.readline()
    print(
        f"windows of 0.5 s: kept {100 * min(shares):.2f} to {100 * max(shares):.2f} % of the expected samples, "
        f"median {100 * statistics.median(shares):.2f} %, {windows} windows; {outside} from outside, {cut} cut off"
    )


def losses(program: Program) -> None:
    program.ask(80)
    with Recorder(program.target, RecordingPlan(rate=4000, ring_bytes=64 << 10)) as recorder:
        recorder.enable()
        before = program.cpu_ns()
        assert recorder._drain is not None
        with recorder._drain._changed:
            time.sleep(0.2)
        time.sleep(0.1)
        used = program.cpu_ns() - before
        recorder.stop()
        kept = sum(len(batch) for batch in recorder.take())
        health = recorder.finish().health
    expected = used / 250_000
    print(
        f"rings of 64 KiB not drained for 0.2 s: kept {kept}, told lost {health.lost}, expected {expected:.0f} in all"
    )
    assert program.child.stdout is not None
    program.child.stdout.readline()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--windows", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        program = Program(Path(folder))
        try:
            precision(program, given.windows)
            losses(program)
            overhead(program, given.pairs)
        finally:
            program.child.kill()
            program.child.wait()


if __name__ == "__main__":
    main()
