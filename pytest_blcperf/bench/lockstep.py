"""One benchmark in one launch: warm-up, timed, profiled and counted rounds, those of the two sides alternated.

The sides are anything that answers requests (`target.Target.answer` says which), in another process or in this one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from pytest_blcperf.capture.backends import OUTSIDE
from pytest_blcperf.capture.functions import Description
from pytest_blcperf.errors import BlcperfError
from pytest_blcperf.model.run import Round
from pytest_blcperf.model.warning import Warning
from pytest_blcperf.window.warm_up import WarmUp

if TYPE_CHECKING:
    from pytest_blcperf.bench.outside import OutsideTools

ROUND_NS = 6_000_000
"""Aimed-at length of a round. 5 ms rounds beat 19 and 75 ms at equal CPU time (notes: statistics)."""

MAX_ITERATIONS = 10_000_000

SLOW = 2.0
"""Seconds from which on a round is made once a launch instead of three times, and its calls are not counted."""

CLOCKED, FEWEST_CLOCKED = 1.5, 6
"""How much longer than the timed rounds those with clocks may take, and how many sweeps of them there are at least.
Where functions are called all the time, clocks make a round three times as long; another launch is worth more."""


class Requester(Protocol):
    """A side that can be asked for rounds."""

    def request(self, op: str, **arguments: Any) -> Mapping[str, Any]:
        """One request, one answer. Raises what the side raises."""


@dataclass(frozen=True)
class Plan:
    """What one launch of one benchmark is to consist of. Times in seconds."""

    rounds: int
    delay: float | None
    profile_window: float
    backend: str
    rate: int
    count: bool
    seconds: float
    """What the launch may take, both sides together; rounds and window shrink to fit."""
    iterations: int | None = None
    """Iterations a round; None finds it."""
    cpus: tuple[int, ...] | None = None
    tools: tuple[OutsideTools, ...] = ()
    """By side, what backends need that look from outside."""
    suspects: tuple[tuple[Description, ...], ...] = ()
    """By side, the functions to time in further rounds: the same ones in the same order, as the side describes them."""
    keep_schedule: bool = False
    """Make the calls that the test declares; `schedule` is then what it has declared."""
    schedule: tuple[int, int, int] | None = None
    """Warm-up rounds, rounds and iterations that the test declared and depends on: these calls and no others."""
    memory: int | None = None
    """Bytes a side may grow by; what leaks is stopped before the machine is full."""


@dataclass(frozen=True)
class Clocked:
    """Timed functions of one side: `readings[r][f]` are calls, total ns and self ns of function f in round r."""

    iterations: int
    functions: tuple[Description, ...]
    readings: list[list[list[int]]]


@dataclass
class SideData:
    """What one side gave: timed rounds, the profile and the counts as `target.py` sends them."""

    rounds: list[Round] = field(default_factory=list)
    profile: Mapping[str, Any] | None = None
    counts: Mapping[str, Any] | None = None
    instructions: Mapping[str, Any] | None = None
    """What `InstructionCounter.count` gave, in a launch under callgrind."""
    overhead_ns: float = 0.0
    """CPU time of the harness that was taken off each iteration."""
    resolution_ns: float = 0.0
    """The CPU clock's step as a part of one iteration."""
    clocked: Clocked | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    warnings: list[Warning] = field(default_factory=list)


def drive(sides: Sequence[Requester], plan: Plan, seed: int, clock: Callable[[], float]) -> tuple[list[SideData], int]:
    """Measure one benchmark on one or two sides, alternately.

    Gives the data in the order of `sides`, and the iterations a round that were used.
    """
    generator = random.Random(seed)
    data = [SideData() for _ in sides]
    if plan.cpus is not None:
        for side in sides:
            side.request("pin", cpus=list(plan.cpus))
    memory = _Memory(plan.memory, len(sides))
    if plan.schedule is not None:
        return _scheduled(sides, data, plan.schedule, generator), plan.schedule[2]
    iterations, per_iteration = _warm_up(sides, plan, clock, memory)
    round_seconds = iterations * per_iteration / 1e9
    at_least = 3 if round_seconds < SLOW else 1
    sweeps = _fit(plan.rounds, plan.seconds * 0.5, round_seconds * len(sides), at_least=at_least)
    _freeze(sides, data, iterations)
    _time(sides, data, iterations, sweeps=sweeps, generator=generator, memory=memory)
    if plan.profile_window > 0 and not memory.exceeded:
        left = plan.seconds * 0.9 - sweeps * round_seconds * len(sides) * (2 if plan.suspects else 1)
        _profile(
            sides, data, plan, iterations=iterations, seconds=left, generator=generator, clock=clock, memory=memory
        )
    if plan.suspects and not memory.exceeded:
        seconds = CLOCKED * sweeps * round_seconds * len(sides)
        _time_functions(
            sides,
            data,
            plan,
            iterations=iterations,
            sweeps=sweeps,
            seconds=seconds,
            generator=generator,
            clock=clock,
            memory=memory,
        )
    if plan.count and round_seconds < SLOW and not memory.exceeded:
        for index, side in enumerate(sides):
            data[index].counts = side.request("count", repeat=2)
    if memory.exceeded:
        for one in data:
            one.warnings.append(memory.warning())
    return data, iterations


def _freeze(sides: Sequence[Requester], data: Sequence[SideData], iterations: int) -> None:
    """End of the warm-up; each side tells what its harness adds to an iteration."""
    for side, one in zip(sides, data, strict=True):
        answer = side.request("freeze")
        one.overhead_ns = float(answer.get("overhead", 0.0))
        one.resolution_ns = float(answer.get("clock_step", 0.0)) / iterations


def _time(
    sides: Sequence[Requester],
    data: Sequence[SideData],
    iterations: int,
    *,
    sweeps: int,
    generator: random.Random,
    memory: _Memory,
) -> None:
    """The timed rounds."""
    for order in islice(_sweeps(len(sides), generator), sweeps):
        layout = generator.randrange(2**32)
        for index in order:
            answer = sides[index].request("round", iterations=iterations, timed=True, layout=layout)
            data[index].rounds.append(Round(iterations, answer["cpu"], answer["wall"]))
            memory.note(index, answer)
        if memory.exceeded:
            return


def _time_functions(
    sides: Sequence[Requester],
    data: Sequence[SideData],
    plan: Plan,
    *,
    iterations: int,
    sweeps: int,
    seconds: float,
    generator: random.Random,
    clock: Callable[[], float],
    memory: _Memory,
) -> None:
    """As many rounds as were timed, with clocks on the suspects that both sides can time, as far as `seconds` go."""
    answers = [side.request("clock-find", functions=wanted) for side, wanted in zip(sides, plan.suspects, strict=True)]
    timed = [number for number in range(len(plan.suspects[0])) if all(answer["found"][number] for answer in answers)]
    if not timed:
        return
    readings: list[list[list[list[int]]]] = [[] for _ in sides]
    opened = [side.request("clock-open", chosen=timed, iterations=iterations) for side in sides]
    untimed = {int(number) for answer in opened for number in answer["untimed"]}
    between = min(float(answer["between"]) for answer in opened)
    for side in sides:
        # The same clock on both: they have different errors.
        side.request("clock-fit", between=between, iterations=iterations, untimed=sorted(untimed))
    end = clock() + seconds
    for number, order in enumerate(islice(_sweeps(len(sides), generator), sweeps), start=1):
        layout = generator.randrange(2**32)
        for index in order:
            answer = sides[index].request("clock-round", iterations=iterations, layout=layout)
            readings[index].append(answer["readings"])
            memory.note(index, answer)
        if memory.exceeded or (number >= FEWEST_CLOCKED and clock() >= end):
            break
    for side in sides:
        side.request("clock-close")
    kept = [place for place in range(len(timed)) if place not in untimed]
    rounds = [number for number, one in enumerate(zip(*readings, strict=False)) if all(one)]
    for index, one in enumerate(readings):
        functions = tuple(plan.suspects[index][timed[place]] for place in kept)
        if functions and rounds:
            data[index].clocked = Clocked(iterations, functions, [[one[r][place] for place in kept] for r in rounds])


def _scheduled(
    sides: Sequence[Requester],
    data: list[SideData],
    schedule: tuple[int, int, int],
    generator: random.Random,
) -> list[SideData]:
    """The declared calls, alternately; no profile and no counts, which would take more calls."""
    warm_up, rounds, iterations = schedule
    _freeze(sides, data, iterations)
    for number, order in enumerate(islice(_sweeps(len(sides), generator), warm_up + rounds)):
        for index in order:
            timed = number >= warm_up
            answer = sides[index].request("round", iterations=iterations, timed=timed, scheduled=True)
            if timed:
                data[index].rounds.append(Round(iterations, answer["cpu"], answer["wall"]))
    for one in data:
        one.warnings.append(
            Warning("scheduled", "the test depends on its number of calls: no profile, only the calls it declares")
        )
    return data


class _Memory:
    """How much each side has grown since its first round."""

    def __init__(self, limit: int | None, sides: int) -> None:
        self._limit = limit
        self._first: list[int | None] = [None] * sides
        self._grown = 0

    def note(self, index: int, answer: Mapping[str, Any]) -> None:
        """Take in a round's answer."""
        resident = int(answer.get("memory", 0))
        first = self._first[index]
        if first is None:
            self._first[index] = resident
        else:
            self._grown = max(self._grown, resident - first)

    @property
    def exceeded(self) -> bool:
        """Whether a side has grown beyond the limit."""
        return self._limit is not None and self._grown > self._limit

    def warning(self) -> Warning:
        """What happened, for the report."""
        grown = f"{self._grown / 2**20:,.0f} MiB"
        return Warning("memory", f"stopped early: the process had grown by {grown}, so the target keeps what it makes")


def _warm_up(sides: Sequence[Requester], plan: Plan, clock: Callable[[], float], memory: _Memory) -> tuple[int, float]:
    """Run rounds until every side is warm; gives iterations a round and the slower side's ns per iteration.

    The first call of all is a single iteration: it finds out whether a round can hold more than one.
    """
    iterations = plan.iterations or 1
    warm_ups = [WarmUp(plan.delay, clock) for _ in sides]
    while True:
        latest = 0.0
        for index, (warm_up, side) in enumerate(zip(warm_ups, sides, strict=True)):
            start = clock()
            answer = side.request("round", iterations=iterations)
            memory.note(index, answer)
            warm_up.observe(max(answer["wall"], 1) / iterations)
            # With what lies around the calls, such as a dear setup: it is time that passes all the same.
            latest = max(latest, answer["wall"] / iterations, (clock() - start) * 1e9 / iterations, 1e-3)
        wanted = _next_iterations(iterations, latest) if plan.iterations is None else iterations
        growing, iterations = wanted > 2 * iterations, wanted
        if memory.exceeded or (not growing and all(warm_up.finished for warm_up in warm_ups)):
            return iterations, latest


def _next_iterations(current: int, per_iteration: float) -> int:
    """Iterations that fill a round; never more than tenfold at once, since a first, cold call says little."""
    wanted = round(ROUND_NS / per_iteration)
    return max(1, min(wanted, current * 10, MAX_ITERATIONS))


def _profile(
    sides: Sequence[Requester],
    data: Sequence[SideData],
    plan: Plan,
    *,
    iterations: int,
    seconds: float,
    generator: random.Random,
    clock: Callable[[], float],
    memory: _Memory,
) -> None:
    """Profiled sweeps until each side has had the window's length of CPU time, which is what samples come from.

    At least one; no more once `seconds` are over, or three times what an undisturbed benchmark takes: one that waits
    has little CPU time to give. A side that cannot be profiled has no profile, but a warning.
    """
    profiles = [_open_profile(side, plan, number) for number, side in enumerate(sides)]
    end = clock() + min(seconds, 3 * plan.profile_window * len(sides))
    profiled_ns = [0] * len(sides)
    for order in _sweeps(len(sides), generator):
        for index in order:
            answer = profiles[index].round(iterations)
            profiled_ns[index] += answer["cpu"]
            memory.note(index, answer)
        if memory.exceeded or min(profiled_ns) >= plan.profile_window * 1e9 or clock() >= end:
            break
    for index, profile in enumerate(profiles):
        data[index].profile = _closed(profile, plan.backend)


class _SideProfile(Protocol):
    """A profile of one side, being taken."""

    def round(self, iterations: int) -> Mapping[str, Any]:
        """One profiled round, as the side answers."""

    def close(self) -> Mapping[str, Any]:
        """The profile, as `target.profile_data` gives it. Raises BlcperfError."""


@dataclass(frozen=True)
class _InsideProfile:
    """Taken by a sampler in the side's own process."""

    side: Requester

    def round(self, iterations: int) -> Mapping[str, Any]:
        return self.side.request("profile-round", iterations=iterations)

    def close(self) -> Mapping[str, Any]:
        return self.side.request("profile-close")


@dataclass(frozen=True)
class _NoProfile:
    """Of a side that cannot be profiled: its rounds run all the same, since the other side's do."""

    side: Requester
    error: BlcperfError

    def round(self, iterations: int) -> Mapping[str, Any]:
        return self.side.request("round", iterations=iterations)

    def close(self) -> Mapping[str, Any]:
        raise self.error


def _open_profile(side: Requester, plan: Plan, number: int) -> _SideProfile:
    if plan.backend not in OUTSIDE:
        side.request("profile-open", backend=plan.backend, rate=plan.rate)
        return _InsideProfile(side)
    # Not at import: it brings numpy and the symbol tables.
    from pytest_blcperf.bench.outside import OutsideProfile

    try:
        return OutsideProfile(side, plan.backend, plan.rate, plan.tools[number])
    except BlcperfError as error:
        return _NoProfile(side, error)


def _closed(profile: _SideProfile, backend: str) -> Mapping[str, Any]:
    try:
        return profile.close()
    except BlcperfError as error:
        return no_profile(backend, error)


def no_profile(backend: str, error: BlcperfError) -> dict[str, Any]:
    """In place of a profile that could not be taken: nothing but a warning."""
    warning = ["no-profile", f"{backend} gave no profile: {error.message} ({error.hint})"]
    return {"backend": backend, "refused": True, "lost": 0, "throttled": 0, "warnings": [warning]}


def _sweeps(sides: int, generator: random.Random) -> Iterator[list[int]]:
    """Orders of the sides, without end; each second one is the reverse of the one before, drawn at random."""
    while True:
        order = generator.sample(range(sides), sides)
        yield order
        yield order[::-1]


def _fit(wanted: int, seconds: float, each: float, at_least: int) -> int:
    if each <= 0:
        return wanted
    return max(min(at_least, wanted), min(wanted, int(seconds / each)))
