"""Measurements with chosen numbers: no noise but what a test puts in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pytest_blcperf.compare.compare import compare_benchmark
from pytest_blcperf.gate import judge, lockstep_trial, screen
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.profile import Profile
from pytest_blcperf.model.run import CONFIRM, LOOK, Benchmark, Count, Counts, FunctionTimes, Launch, Round
from pytest_blcperf.model.verdict import BenchmarkVerdict, FunctionVerdict
from pytest_blcperf.settings import Settings, resolve

Stacks = Mapping[str, float]
"""`"leaf < caller < root"` → what it costs, in µs per iteration."""
FILE = "src/lib.py"


def chosen(**changes: str) -> Settings:
    """The default settings, with some options changed."""
    return resolve(changes, {}, {}, {})


def rounds(*cpu_ns: int, iterations: int = 10) -> tuple[Round, ...]:
    """Rounds of that CPU time and the same wall time."""
    return tuple(Round(iterations, cpu, cpu) for cpu in cpu_ns)


def launches(times: Iterable[Sequence[int]], confirm_from: int = 10**6) -> tuple[Launch, ...]:
    """One launch a sequence of round times; LOOK first, CONFIRM from that index on."""
    return tuple(
        Launch(index, LOOK if index < confirm_from else CONFIRM, index, None, rounds(*row))
        for index, row in enumerate(times)
    )


def function(name: str, code: str = "") -> Function:
    """A function of the library; its code is its name unless said otherwise."""
    return Function(FILE, name, 1, code or f"code of {name}")


def profile(
    stacks: Stacks, count: int = 24, *, samples: int = 10_000, edited: Mapping[str, str] | None = None, **other: Any
) -> Profile:
    """The same samples in every launch, shared out by cost. `edited`: function → another fingerprint."""
    names = sorted({name for stack in stacks for name in stack.split(" < ")})
    place = {name: index for index, name in enumerate(names)}
    total = sum(stacks.values())
    seen = np.array([round(samples * cost / total) for cost in stacks.values()])
    launch, stack = np.divmod(np.arange(count * len(stacks)), len(stacks))
    return Profile(
        functions=tuple(function(name, (edited or {}).get(name, "")) for name in names),
        stacks=tuple(tuple(place[name] for name in text.split(" < ")) for text in stacks),
        launch=launch,
        stack=stack,
        weight=seen[stack] * 1e6,
        samples=seen[stack],
        backend=other.pop("backend", "test"),
        **other,
    )


def benchmark(
    stacks: Stacks, *, look: int = 12, confirm: int = 12, calls: Mapping[str, float] | None = None, **other: Any
) -> Benchmark:
    """A benchmark that costs what its stacks cost, with the same times in every launch."""
    time = round(10_000 * sum(stacks.values()))
    edited = other.get("edited") or {}
    counted = tuple(Count(function(name, edited.get(name, "")), number) for name, number in (calls or {}).items())
    return Benchmark(
        id="bench.py::test_lib",
        name="test_lib",
        file="bench.py",
        line=1,
        launches=launches([[time, time, time]] * (look + confirm), look),
        profile=profile(stacks, look + confirm, **other),
        counts=Counts(counted, True) if calls else None,
    )


def clocked(one: Benchmark, total_us: Mapping[str, float], own_us: Mapping[str, float] | None = None) -> Benchmark:
    """The benchmark with clocks on those functions in every launch, three rounds each."""
    names, own = list(total_us), {**total_us, **(own_us or {})}

    def columns(values: Mapping[str, float]) -> np.ndarray:
        return np.array([[round(10_000 * values[name]) for name in names]] * 3, np.int64)

    functions = tuple(function(name) for name in names)
    calls = np.ones((3, len(names)), np.int64)
    times = [
        FunctionTimes(launch.index, 10, functions, calls, columns(total_us), columns(own)) for launch in one.launches
    ]
    return replace(one, function_times=tuple(times))


def unprofiled(one: Benchmark, phase: str) -> Benchmark:
    """The benchmark without samples in launches of that phase."""
    assert one.profile is not None
    other = np.array([launch.index for launch in one.launches if launch.phase != phase])
    kept = np.isin(one.profile.launch, other)
    columns = {name: getattr(one.profile, name)[kept] for name in ("launch", "stack", "weight", "samples")}
    return replace(one, profile=replace(one.profile, **columns))


def gated(base: Benchmark, head: Benchmark, settings: Settings | None = None) -> BenchmarkVerdict:
    """The verdict of one lockstep measurement: screened on its LOOK launches, then judged."""
    settings = settings or chosen()
    found = screen(compare_benchmark(base, head, settings, phase=LOOK, paired=True), settings, last=True)
    return judge([lockstep_trial(base, head, settings, found.candidates)], settings.alpha)[0]


def of(verdict: BenchmarkVerdict, name: str, kind: str) -> FunctionVerdict:
    """The verdict of one function."""
    return next(one for one in verdict.functions if (one.comparison.function.name, one.comparison.kind) == (name, kind))
