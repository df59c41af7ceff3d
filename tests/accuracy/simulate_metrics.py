"""Error rates of the gate on metrics, by simulation: python tests/accuracy/simulate_metrics.py [SESSIONS]

Each session has one metric whose two sides differ by a known factor; a launch's log value is noise that both sides share
(the machine at that time) plus noise of its own. The package's own code screens, confirms and judges, as in a session:
looks after 6 and 12 launches, 24 fresh ones to confirm, alpha 0.001, threshold 5 %.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

import numpy as np

from pytest_blcperf.compare.compare import compare_benchmark
from pytest_blcperf.gate import Hypothesis, Step, judge, lockstep_trial, screen
from pytest_blcperf.model.metric import Metric
from pytest_blcperf.model.run import CONFIRM, LOOK, Benchmark, Launch
from pytest_blcperf.model.verdict import Outcome
from pytest_blcperf.settings import resolve

SETTINGS = resolve({}, {}, {}, {})
LOOKS, FRESH = (6, 12), 24
Noise = Callable[[np.random.Generator, int], np.ndarray]


def normal(generator: np.random.Generator, count: int) -> np.ndarray:
    """5 % from launch to launch."""
    return generator.normal(0, 0.05, count)


def heavy(generator: np.random.Generator, count: int) -> np.ndarray:
    """The same spread, with tails: Student's t with 3 degrees of freedom."""
    return generator.standard_t(3, count) * 0.05 / math.sqrt(3)


def skewed(generator: np.random.Generator, count: int) -> np.ndarray:
    """Latencies: one launch in ten meets a disturbance of up to 40 %."""
    return generator.normal(0, 0.03, count) + (generator.random(count) < 0.1) * generator.uniform(0, 0.4, count)


def drifting(generator: np.random.Generator, count: int) -> np.ndarray:
    """Each side's own noise depends on that of the launch before (lag-1 correlation 0.5)."""
    noise = generator.normal(0, 0.05 * math.sqrt(0.75), count)
    for index in range(1, count):
        noise[index] += 0.5 * noise[index - 1]
    return noise


NOISES: dict[str, Noise] = {"normal": normal, "heavy tails": heavy, "skewed": skewed, "autocorrelated": drifting}


def session(generator: np.random.Generator, noise: Noise, change: float) -> Outcome:
    """One session's verdict."""
    count = LOOKS[-1] + FRESH
    shared = generator.normal(0, 0.10, count)
    base = 100 * np.exp(shared + noise(generator, count))
    head = 100 * (1 + change) * np.exp(shared + noise(generator, count))
    candidates: tuple[Hypothesis, ...] = ()
    used = LOOKS[0]
    for used in LOOKS:
        old, new = side(base, used, 0), side(head, used, 0)
        comparison = compare_benchmark(old, new, SETTINGS, phase=LOOK, paired=True)
        looked = screen(comparison, SETTINGS, last=used == LOOKS[-1])
        candidates = looked.candidates
        if looked.step is not Step.EXTEND:
            break
    fresh = FRESH if candidates else 0
    trial = lockstep_trial(side(base, used, fresh), side(head, used, fresh), SETTINGS, candidates)
    return judge([trial], SETTINGS.alpha)[0].outcome


def side(values: np.ndarray, looked: int, fresh: int) -> Benchmark:
    """The launches so far: `looked` of the first, and `fresh` after all looks."""
    launches = [Launch(index, LOOK, 0, None, (), float(values[index])) for index in range(looked)]
    first = LOOKS[-1]
    launches += [Launch(index, CONFIRM, 0, None, (), float(values[index])) for index in range(first, first + fresh)]
    return Benchmark("t#m", "t#m", "t", 1, tuple(launches), metric=Metric("m", "ms", "lower"))


def main(sessions: int) -> None:
    """A table: noise × true change → outcomes."""
    print("| noise | true change | sessions | failed | inconclusive |\n|---|---|---|---|---|")
    for name, noise in NOISES.items():
        for change in (0.0, 0.05, 0.20):
            generator = np.random.default_rng(sum(map(ord, name)) + round(1000 * change))
            outcomes = [session(generator, noise, change) for _ in range(sessions)]
            failed, open_ = (outcomes.count(one) for one in (Outcome.REGRESSED, Outcome.INCONCLUSIVE))
            print(
                f"| {name} | {change:.0%} | {sessions:,} | {failed} ({failed / sessions:.2%}) | {open_ / sessions:.1%} |",
                flush=True,
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4000)
