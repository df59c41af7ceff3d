"""How right the sampling backends are, and what they cost, on a workload whose split is known.

    python tests/accuracy/sampler_accuracy.py --backend perf-bytecode,perf-trampoline,py-spy --seconds 20
    python tests/accuracy/sampler_accuracy.py --python python3.13 --backend perf-trampoline
    python tests/accuracy/sampler_accuracy.py --python 'chroot /var/tmp/forky python3.15' --backend profiling.sampling

The workload (sampler_workload.py) is a process of its own, as benchmarks are, bound to one CPU; this one stays off it.
Blocks of plain rounds and blocks of rounds profiled by each of the backends alternate. Truth is each part's CPU time
(thread clock around its call) in the plain rounds; `against the same rounds`: in the profiled ones, without what the
backend itself changes in the split. Printed for each backend: the largest and the mean error of self time, over the
functions whose self time is known, and of inclusive time over all parts, in percentage points; the scatter of self
shares between launches against that of as many independent samples; samples per second of CPU time; and the CPU time of
profiled rounds against plain ones (median, 95 % bootstrap interval of the median over pairs of blocks).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shlex
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(Path(__file__).parent))

from sampler_workload import FD_VARIABLE, PARTS, SELF  # noqa: E402

from pytest_blcperf.bench.calibration import calibrate  # noqa: E402
from pytest_blcperf.bench.channel import Channel, pair  # noqa: E402
from pytest_blcperf.bench.outside import OutsideProfile, OutsideTools  # noqa: E402
from pytest_blcperf.capture.backends import ALL, BYTECODE, OUTSIDE, PY_SPY, TIMER  # noqa: E402
from pytest_blcperf.errors import BlcperfError  # noqa: E402

ITERATIONS = 1
"""Passes a round: 8 to 10 ms, as the gate's rounds."""
PLAIN_ROUNDS = 120
ROUNDS = {PY_SPY: 25}
"""Rounds a block. py-spy stops the process so often that its rounds last many times as long."""
NAMES = [part.__name__ for part in PARTS]


class Process:
    """The workload, as a side that can be asked."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.version: str = channel.receive(30)["version"]

    def request(self, op: str, **arguments: Any) -> Mapping[str, Any]:
        self._channel.send({"op": op, **arguments})
        answer = self._channel.receive(120)
        if answer["op"] == "raised":
            raise RuntimeError(answer["text"])
        return answer

    def truth(self) -> list[int]:
        return self.request("truth")["truth"]

    def stop(self) -> None:
        self._channel.send({"op": "stop"})


@contextmanager
def workload(python: list[str]) -> Iterator[Process]:
    """The workload under that Python, on the last CPU; this process on the others."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) > 1:
        os.sched_setaffinity(0, set(cpus[:-1]))
    channel, theirs = pair()
    environment = {**os.environ, FD_VARIABLE: str(theirs.fileno())}
    packages = [path for path in sys.path if path.endswith("-packages")]
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *packages])
    with theirs:
        process = subprocess.Popen(
            ["taskset", "-c", str(cpus[-1]), *python, str(Path(__file__).parent / "sampler_workload.py")],
            env=environment,
            pass_fds=[theirs.fileno()],
        )
    try:
        side = Process(channel)
        yield side
        with contextlib.suppress(Exception):
            side.stop()
            process.wait(5)
    finally:
        process.kill()
        process.wait()
        channel.close()


@dataclass
class Block:
    """A profile's shares: of self and inclusive time by function, and how many samples they are made of."""

    own: Counter[str] = field(default_factory=Counter)
    inclusive: Counter[str] = field(default_factory=Counter)
    everything: float = 0.0
    samples: int = 0

    def add(self, profile: Mapping[str, Any]) -> None:
        """Take in one profile. Native frames count for the Python function that called them, as truth does."""
        names = [function[1] for function in profile["functions"]]
        python = [(function[4] if len(function) > 4 else "python") == "python" for function in profile["functions"]]
        for stack, weight, count in zip(profile["stacks"], profile["weight"], profile["count"], strict=True):
            frames = [names[index] for index in stack if python[index]]
            self.everything += weight
            self.samples += count
            self.own[frames[0] if frames else "?"] += weight
            self.inclusive.update(dict.fromkeys(set(frames), weight))

    def self_share(self, name: str) -> float:
        return self.own[name] / self.everything

    def total_share(self, name: str) -> float:
        return self.inclusive[name] / self.everything


@dataclass
class Result:
    """What one backend has given so far: all in all, and launch by launch."""

    backend: str
    all: Block = field(default_factory=Block)
    launches: list[Block] = field(default_factory=list)
    spent_in: list[int] = field(default_factory=lambda: [0] * len(PARTS))
    """CPU time of the parts in the profiled rounds, ns."""
    lost: int = 0
    sampled_ns: int = 0
    ratios: list[float] = field(default_factory=list)
    warnings: set[str] = field(default_factory=set)

    def add(self, profile: Mapping[str, Any]) -> None:
        """Take in one profile."""
        self.all.add(profile)
        self.launches[-1].add(profile)
        self.lost += profile["lost"]
        self.warnings |= {f"{code}: {text}" for code, text in profile["warnings"]}

    def errors(self, truth: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
        """(self, inclusive) errors in percentage points."""
        own = {name: 100 * (self.all.self_share(name) - truth[part or name]) for name, part in SELF.items()}
        return own, {name: 100 * (self.all.total_share(name) - truth[name]) for name in NAMES}

    def noise(self) -> float | None:
        """How much self shares of launches scatter, against what their numbers of samples let expect (1: no more)."""
        excess = []
        for name in SELF:
            shares = [(block.self_share(name), block.samples) for block in self.launches if block.samples > 100]
            if len(shares) > 2:
                mean = statistics.mean(share for share, _ in shares)
                expected = statistics.mean(mean * (1 - mean) / samples for _, samples in shares)
                excess.append(statistics.variance([share for share, _ in shares]) / max(expected, 1e-12))
        return statistics.mean(excess) ** 0.5 if excess else None


def profiled(side: Process, result: Result, rate: int, tools: OutsideTools) -> list[int]:
    """A block of rounds with the backend: the CPU time of each."""
    rounds = ROUNDS.get(result.backend, PLAIN_ROUNDS)
    if result.backend in OUTSIDE:
        profile = OutsideProfile(side, result.backend, rate, tools)
        spent = [int(profile.round(ITERATIONS)["cpu"]) for _ in range(rounds)]
        result.add(profile.close())
    else:
        side.request("profile-open", backend=result.backend, rate=rate)
        spent = [side.request("profile-round", iterations=ITERATIONS)["cpu"] for _ in range(rounds)]
        result.add(side.request("profile-close"))
    result.sampled_ns += sum(spent)
    return spent


def ratio_interval(ratios: list[float]) -> tuple[float, float, float]:
    """Median and the 95 % bootstrap interval of the median."""
    medians = sorted(statistics.median(random.choices(ratios, k=len(ratios))) for _ in range(1000))
    return statistics.median(ratios), medians[25], medians[975]


def measure(side: Process, results: list[Result], rate: int, seconds: float, tools: OutsideTools) -> list[int]:
    """One launch: alternate until the time is over, each backend once at least. CPU time of the parts in plain rounds."""
    spent_in = [0] * len(PARTS)
    for result in results:
        result.launches.append(Block())
    side.request("round", iterations=20)
    side.truth()
    until = time.monotonic() + seconds
    while True:
        for result in random.sample(results, len(results)):
            plain = [side.request("round", iterations=ITERATIONS)["cpu"] for _ in range(PLAIN_ROUNDS)]
            spent_in = added(spent_in, side.truth())
            try:
                spent = profiled(side, result, rate, tools)
            except BlcperfError as error:
                result.warnings.add(f"no profile: {error.message}")
                continue
            result.spent_in = added(result.spent_in, side.truth())
            result.ratios.append(statistics.median(spent) / statistics.median(plain))
        if time.monotonic() >= until:
            return spent_in


def added(before: list[int], more: list[int]) -> list[int]:
    """Sums, one by one."""
    return [one + other for one, other in zip(before, more, strict=True)]


def split(spent_in: list[int]) -> dict[str, float]:
    """Shares of the parts."""
    return {name: spent / sum(spent_in) for name, spent in zip(NAMES, spent_in, strict=True)}


def report(result: Result, truth: Mapping[str, float], version: str, rate: int, verbose: bool) -> dict[str, Any]:
    """Print the errors and the cost; give them too."""
    own, inclusive = result.errors(truth)
    own_same, _ = result.errors(split(result.spent_in))
    worst_own, worst, worst_same = (
        max(errors, key=lambda name: abs(errors[name])) for errors in (own, inclusive, own_same)
    )
    middle, low, high = ratio_interval(result.ratios)
    noise = result.noise()
    figures = {
        "python": version,
        "backend": result.backend,
        "rate_asked": rate,
        "self_max": own[worst_own],
        "self_mean": statistics.mean(map(abs, own.values())),
        "self_max_same_rounds": own_same[worst_same],
        "total_max": inclusive[worst],
        "total_mean": statistics.mean(map(abs, inclusive.values())),
        "tiny": inclusive["tiny_calls"],
        "noise": noise,
        "samples": result.all.samples,
        "rate": result.all.samples / result.sampled_ns * 1e9,
        "cost": 100 * (middle - 1),
        "cost_low": 100 * (low - 1),
        "cost_high": 100 * (high - 1),
        "lost": result.lost,
    }
    said = (
        f"self max {own[worst_own]:+.2f} pp ({worst_own}), mean {figures['self_mean']:.2f}, "
        f"against the same rounds {own_same[worst_same]:+.2f}; "
    )
    print(
        f"{version} {result.backend} {rate} Hz: {said if result.backend != TIMER else ''}"
        f"total max {inclusive[worst]:+.2f} pp ({worst}), mean {figures['total_mean']:.2f}; "
        f"tiny calls {inclusive['tiny_calls']:+.2f}; noise {noise or 0:.2f}; {result.all.samples} samples, "
        f"{figures['rate']:.0f}/s, lost {result.lost}, CPU time {figures['cost']:+.1f} % "
        f"[{figures['cost_low']:+.1f}, {figures['cost_high']:+.1f}]",
        flush=True,
    )
    if verbose:
        print_shares(result.all, truth)
    for warning in sorted(result.warnings):
        print("  warning", warning)
    return figures


def print_shares(seen: Block, truth: Mapping[str, float]) -> None:
    """Share by share."""
    print("  part              true  total   self (%)")
    others = ["tiny", "generate", "one_pass", "<benchmark>", "?"]
    for name in [*NAMES, *(name for name in SELF if name not in NAMES), *others]:
        part = name if name in truth else SELF.get(name)
        true = f"{100 * truth[part]:5.1f}" if part else "    ?"
        print(f"  {name:16} {true}  {100 * seen.total_share(name):5.1f}  {100 * seen.self_share(name):5.1f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default=BYTECODE, help=f"some of {', '.join(ALL)}, with commas between them")
    parser.add_argument("--python", default=sys.executable, help="the command of the interpreter to measure")
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10, help="all launches together")
    parser.add_argument("--launches", type=int, default=1, help="fresh processes")
    parser.add_argument("--json", help="append one line a backend to this file")
    parser.add_argument("-v", "--verbose", action="store_true")
    options = parser.parse_args()
    python = shlex.split(options.python)
    backends = options.backend.split(",")
    try:
        tools = OutsideTools(tuple(python), calibrate(python) if BYTECODE in backends else None)
    except BlcperfError as error:
        raise SystemExit(f"{error.message}\nhint: {error.hint}") from None
    results = [Result(backend) for backend in backends]
    spent_in = [0] * len(PARTS)
    for _ in range(options.launches):
        with workload(python) as side:
            version = side.version
            spent = measure(side, results, options.rate, options.seconds / options.launches, tools)
            spent_in = added(spent_in, spent)
    for result in results:
        if not result.ratios:
            print(f"{version} {result.backend}: nothing was measured; {'; '.join(sorted(result.warnings))}")
            continue
        figures = report(result, split(spent_in), version, options.rate, options.verbose)
        if options.json:
            with Path(options.json).open("a", encoding="utf-8") as file:
                file.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
