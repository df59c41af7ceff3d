"""How often the gate is wrong, on synthetic measurements whose truth is known.

Plays whole sessions as a lockstep measurement does: a look at 6 launches, then 12, then 24 fresh ones to confirm what
looks suspicious; 5 benchmarks of 8 functions. Everything but the measuring is the package's own code.

    PYTHONPATH=tests python tests/accuracy/simulate_gate.py --sessions 2000
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from accuracy.pools.wilson import wilson

from pytest_blcperf.bench.measure import CONFIRM_WINDOWS
from pytest_blcperf.compare.compare import compare_benchmark
from pytest_blcperf.gate import Step, judge, lockstep_trial, screen
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.profile import Profile
from pytest_blcperf.model.run import CONFIRM, LOOK, Benchmark, Launch, Round
from pytest_blcperf.model.verdict import BenchmarkVerdict, Outcome
from pytest_blcperf.settings import Settings, resolve

SHARES = (0.33, 0.20, 0.15, 0.10, 0.08, 0.06, 0.05, 0.03)
LEAVES = tuple(Function("src/lib.py", f"work_{index}", index + 1, f"code{index}") for index in range(len(SHARES)))
MIDDLES = (Function("src/lib.py", "left", 101, "left"), Function("src/lib.py", "right", 102, "right"))
ROOT = Function("benchmarks/test_lib.py", "test_lib", 1, "root")
FUNCTIONS = (*LEAVES, *MIDDLES, ROOT)
STACKS = tuple((index, len(LEAVES) + index % 2, len(LEAVES) + 2) for index in range(len(LEAVES)))
LOOKS = (6, 12)


@dataclass(frozen=True)
class Noise:
    """The machine. Standard deviations of logarithms; `launch` is that of a launch's head / base ratio."""

    launch: float = 0.011
    rounds: float = 0.09
    memory: float = 0.6
    """Lag-1 autocorrelation of the rounds' noise."""
    common: float = 0.25
    """Drift that hits both sides of a launch alike."""
    shares: float = 0.0
    """Launch-to-launch variation of each function's cost, on top of sampling."""
    samples: int = 500
    """Samples a launch and side in a look; a launch that confirms has CONFIRM_WINDOWS times as many."""
    count: int = 30
    """Rounds a launch and side."""


SPECIFIED = Noise()
PINNED = Noise(rounds=0.03)
HARSH = Noise(launch=0.02, shares=0.03)


@dataclass(frozen=True)
class Tally:
    """Counts over sessions."""

    sessions: int = 0
    failed: int = 0
    named: int = 0
    others: int = 0
    improved: int = 0
    inconclusive: int = 0
    benchmarks: int = 0
    confirmations: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


def settings(**changes: str) -> Settings:
    """The default settings, with some options changed."""
    return resolve(changes, {}, {}, {})


def measure(
    rng: np.random.Generator, noise: Noise, growth: Sequence[float], *, look: int, confirm: int, name: str = "test_lib"
) -> tuple[Benchmark, Benchmark]:
    """Base and head of one benchmark whose function i costs `growth[i]` times as much on the head."""
    launches = look + confirm
    costs = np.array([SHARES, np.multiply(SHARES, growth)])
    seen = costs[:, None, :] * np.exp(rng.normal(0, noise.shares, (2, launches, len(SHARES))))
    level = np.log(2e6 * costs.sum(axis=1))[:, None, None] + rng.normal(0, noise.common, (1, launches, 1))
    level = level + rng.normal(0, noise.launch / math.sqrt(2), (2, launches, 1))
    times = np.exp(level + _autocorrelated(rng, noise, (2, launches, noise.count)))
    base, head = (_side(rng, noise, seen[side], times[side], look) for side in (0, 1))
    file = f"benchmarks/{name}.py"
    identity = f"{file}::{name}"
    return replace(base, id=identity, name=name, file=file), replace(head, id=identity, name=name, file=file)


def _autocorrelated(rng: np.random.Generator, noise: Noise, shape: tuple[int, int, int]) -> np.ndarray:
    steps = rng.normal(0, noise.rounds * math.sqrt(1 - noise.memory**2), shape)
    steps[..., 0] /= math.sqrt(1 - noise.memory**2)
    for index in range(1, shape[-1]):
        steps[..., index] += noise.memory * steps[..., index - 1]
    return steps


def _side(rng: np.random.Generator, noise: Noise, costs: np.ndarray, times: np.ndarray, look: int) -> Benchmark:
    launches = tuple(
        Launch(
            index, LOOK if index < look else CONFIRM, 0, None, tuple(Round(4, int(4 * ns), int(4 * ns)) for ns in row)
        )
        for index, row in enumerate(times)
    )
    taken = [noise.samples * (1 if index < look else CONFIRM_WINDOWS) for index in range(len(costs))]
    counts = np.array([rng.multinomial(size, cost / cost.sum()) for size, cost in zip(taken, costs, strict=True)])
    launch, stack = np.nonzero(counts)
    samples = counts[launch, stack]
    profile = Profile(FUNCTIONS, STACKS, launch, stack, samples * 1e6, samples, "synthetic")
    return Benchmark("", "", "", 1, launches, profile)


def first_looks(benchmark: Benchmark, look: int) -> Benchmark:
    """The benchmark as it was after that many launches."""
    return replace(benchmark, launches=benchmark.launches[:look])


def session(
    rng: np.random.Generator,
    noise: Noise,
    growths: Sequence[Sequence[float]],
    chosen: Settings,
    *,
    edited: bool = False,
) -> tuple[tuple[BenchmarkVerdict, ...], int]:
    """One session's verdicts, and how many benchmarks went into confirmation. `edited`: all functions changed."""
    trials = []
    confirmed = 0
    for number, growth in enumerate(growths):
        base, head = measure(rng, noise, growth, look=LOOKS[-1], confirm=0, name=f"test_{number}")
        head = _edited(head) if edited else head
        for look in LOOKS:
            early = first_looks(base, look), first_looks(head, look)
            comparison = compare_benchmark(*early, chosen, phase=LOOK, paired=True)
            found = screen(comparison, chosen, last=look == LOOKS[-1])
            if found.step is not Step.EXTEND:
                break
        if found.step is Step.CONFIRM:
            confirmed += 1
            fresh = measure(rng, noise, growth, look=look, confirm=24, name=f"test_{number}")
            early = _joined(base, fresh[0], look), _joined(head, fresh[1], look)
        trials.append(lockstep_trial(*early, chosen, found.candidates))
    return judge(trials, chosen.alpha), confirmed


def _joined(seen: Benchmark, fresh: Benchmark, look: int) -> Benchmark:
    """The launches already looked at, followed by fresh ones."""
    old, new = seen.profile, fresh.profile
    assert old is not None
    assert new is not None
    before, after = old.launch < look, new.launch >= look
    profile = replace(
        old,
        launch=np.concatenate([old.launch[before], new.launch[after]]),
        stack=np.concatenate([old.stack[before], new.stack[after]]),
        weight=np.concatenate([old.weight[before], new.weight[after]]),
        samples=np.concatenate([old.samples[before], new.samples[after]]),
    )
    return replace(seen, launches=seen.launches[:look] + fresh.launches[look:], profile=profile)


def _edited(head: Benchmark) -> Benchmark:
    assert head.profile is not None
    functions = tuple(replace(one, fingerprint=f"{one.fingerprint}, edited") for one in head.profile.functions)
    return replace(head, profile=replace(head.profile, functions=functions))


def play(
    seed: int,
    sessions: int,
    noise: Noise,
    growths: Sequence[Sequence[float]],
    chosen: Settings,
    *,
    edited: bool = False,
) -> Tally:
    """Sessions from one seed; the guilty function, if any, is work_0 of the first benchmark."""
    rng = np.random.default_rng(seed)
    found = Tally()
    for _ in range(sessions):
        verdicts, confirmations = session(rng, noise, growths, chosen, edited=edited)
        guilty = verdicts[0].guilty
        found += Tally(
            sessions=1,
            failed=any(verdict.fails for verdict in verdicts),
            named=bool(guilty) and guilty[0].comparison.function == LEAVES[0],
            others=any(one.comparison.function in LEAVES[1:] for verdict in verdicts for one in verdict.guilty),
            improved=any(verdict.outcome is Outcome.IMPROVED for verdict in verdicts),
            inconclusive=sum(verdict.outcome is Outcome.INCONCLUSIVE for verdict in verdicts),
            benchmarks=len(verdicts),
            confirmations=confirmations,
        )
    return found


@dataclass(frozen=True)
class Scenario:
    """A name, the part of the sessions asked for, and what `play` takes."""

    name: str
    part: float
    noise: Noise
    growths: Sequence[Sequence[float]]
    settings: Settings
    edited: bool = False


def scenarios() -> Iterator[Scenario]:
    """What is played."""
    same = [1.0] * 8
    slow = [1.2, *same[1:]]
    yield Scenario("A/A, default gate", 1, SPECIFIED, [same] * 5, settings())
    yield Scenario("A/A, harsh machine, default gate", 0.5, HARSH, [same] * 5, settings())
    # With a margin of zero, no change lies exactly on the boundary of the null: the error rate is used up to the full.
    edge = settings(threshold="0%", min_impact="0%", alpha="0.05")
    yield Scenario("A/A at the boundary, alpha 5 %", 0.5, SPECIFIED, [same] * 5, edge)
    yield Scenario("A/A at the boundary, alpha 5 %, pinned", 0.5, PINNED, [same] * 5, edge)
    yield Scenario("A/A at the boundary, alpha 5 %, harsh", 0.5, HARSH, [same] * 5, edge)
    yield Scenario(
        "A/A at the boundary, alpha 5 %, all functions edited", 0.5, SPECIFIED, [same] * 5, edge, edited=True
    )
    yield Scenario("33 % function 20 % dearer", 0.25, SPECIFIED, [slow, *[same] * 4], settings())
    yield Scenario("33 % function 20 % dearer, pinned", 0.25, PINNED, [slow, *[same] * 4], settings())
    yield Scenario("33 % function 30 % dearer", 0.25, SPECIFIED, [[1.3, *same[1:]], *[same] * 4], settings())
    yield Scenario("33 % function 30 % cheaper", 0.25, SPECIFIED, [[0.7, *same[1:]], *[same] * 4], settings())


def main() -> None:
    """Run every scenario and print its rates with 95 % intervals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=2000, help="sessions of the first scenario (default: 2000)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first batch (default: 1)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--only", default="", help="scenarios whose name contains this")
    chosen = parser.parse_args()
    with ProcessPoolExecutor(chosen.workers) as pool:
        for one in scenarios():
            if chosen.only not in one.name:
                continue
            batches = max(1, int(chosen.sessions * one.part / 25))
            run = partial(
                play, sessions=25, noise=one.noise, growths=one.growths, chosen=one.settings, edited=one.edited
            )
            total = sum(pool.map(run, range(chosen.seed, chosen.seed + batches)), Tally())
            print(f"{one.name}: {total.sessions} sessions", flush=True)
            for label, hits, tries in (
                ("failed", total.failed, total.sessions),
                ("guilty function named first", total.named, total.sessions),
                ("another function blamed", total.others, total.sessions),
                ("a benchmark called improved", total.improved, total.sessions),
                ("benchmarks inconclusive", total.inconclusive, total.benchmarks),
                ("benchmarks confirmed", total.confirmations, total.benchmarks),
            ):
                low, high = wilson(hits, tries)
                print(f"  {label}: {hits}/{tries} = {hits / tries:.3%} ({low:.3%} to {high:.3%})", flush=True)


if __name__ == "__main__":
    main()
