"""Launch after launch until every benchmark has the launches it was asked for, or its time is spent."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from pytest_blcperf.bench.cpus import allowed_cpus
from pytest_blcperf.bench.harvest import BenchmarkHarvest, Conditions
from pytest_blcperf.bench.instructions import launch_under_callgrind
from pytest_blcperf.bench.launch import Failure, LaunchData, run_launch
from pytest_blcperf.bench.lockstep import Plan, SideData
from pytest_blcperf.bench.outside import OutsideTools
from pytest_blcperf.bench.suite import Item
from pytest_blcperf.bench.worker_process import Side
from pytest_blcperf.capture.backends import CALLGRIND
from pytest_blcperf.capture.functions import Description
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.run import CONFIRM, LOOK, Benchmark
from pytest_blcperf.model.warning import Warning
from pytest_blcperf.settings import Settings

CONFIRM_WINDOWS = 2
"""How many windows' length is profiled in a launch that confirms. Shares are the least precise thing in a verdict, few
benchmarks get this far, and a window is cheaper than another launch."""

COUNTED_LAUNCHES = 2
"""The counting pass runs in this many launches, under different hash seeds: exact counts do not depend on them."""

INSTRUCTION_LAUNCHES = 2
"""Launches under callgrind, each with a hash seed of its own, the same on both sides."""

LOOK_SHARE = 0.55
"""Part of a benchmark's time budget that screening may spend; the rest is for the confirmation."""

MEMORY_SHARE = 0.3
"""Part of the memory that is free which the processes of a launch may take while they measure."""

MIN_LAUNCHES = 3
"""Fewer launches a side give no error to speak of, so the budget does not stop before."""


@dataclass(frozen=True)
class Focus:
    """What further launches of a benchmark are to find out: functions to time, as (base, head); whether to profile."""

    suspects: tuple[tuple[Function, Function], ...] = ()
    profile: bool = True


@dataclass
class Measurement:
    """The launches of one measurement on one or two sides (`base` first), kept in `harvests` as they come in."""

    sides: Sequence[Side]
    items: Sequence[Item]
    settings: Settings
    backend: str
    scratch: Path
    clock: Callable[[], float]
    tell: Callable[[str], None]
    codes: Mapping[str, str] = field(default_factory=dict)
    tools: Mapping[str, OutsideTools] = field(default_factory=dict)
    """By interpreter, what backends need that look from outside."""
    failures: dict[str, dict[str, Failure]] = field(default_factory=dict)
    """Id → side name → why it gave nothing; such a benchmark takes part in no further launch."""
    reports: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    """Id → the head's test reports of its first launch."""
    launches: int = 0
    started: float = 0.0
    """When the session began, by `clock`."""

    def __post_init__(self) -> None:
        self._items = {item.id: item for item in self.items}
        self._harvests = {item.id: self._new_harvests(item.id) for item in self.items}
        self._done: dict[tuple[str, str], int] = {}
        self._spent = dict.fromkeys(self._items, 0.0)
        self._iterations: dict[str, int] = {}
        self._longest = 0.0
        self._short: dict[str, Warning] = {}
        self._uncounted: dict[str, Warning] = {}
        self._scheduled: set[str] = set()
        self._focus: dict[str, Focus] = {}
        self._random = random.Random()

    def measure(self, ids: Sequence[str], launches: int, phase: str) -> None:
        """Add launches until each of `ids` has `launches` of this phase, failed, or spent its share of the budget."""
        attempts = 0
        while attempts < 2 * launches:
            pending = [identifier for identifier in ids if self._wants(identifier, launches, phase)]
            if not pending or self._session_is_over(pending, launches, phase):
                return
            attempts += 1
            number = 1 + min(self._done.get((identifier, phase), 0) for identifier in pending)
            self.tell(f"{phase} launch {number} of {launches}: {len(pending)} benchmark{'s'[: len(pending) != 1]}")
            alternating = [identifier for identifier in pending if not self._items[identifier].lockstep]
            conditions, start = self._conditions(phase), self.clock()
            self._launch([identifier for identifier in pending if self._items[identifier].lockstep], conditions)
            self._launch_one_after_the_other(alternating, conditions)
            self._longest = max(self._longest, self.clock() - start)

    def focus(self, identifier: str, suspects: Sequence[tuple[Function, Function]], profile: bool) -> None:
        """From now on, time these functions (as base and head know them), and profile only where told to."""
        self._focus[identifier] = Focus(tuple(suspects), profile)

    def complete(self) -> None:
        """Count instructions where they were asked for: launches under callgrind, one side after the other.

        What cannot be counted gets a warning, and its times are judged all the same.
        """
        if self.backend != CALLGRIND:
            return
        ids = [item.id for item in self.items if item.id not in self.failures]
        plans: dict[str, Plan | None] = {}
        for identifier in ids:
            plan = self._plan(identifier, Conditions(0, LOOK, 0, None), ())
            seconds = self._items[identifier].settings.max_time / INSTRUCTION_LAUNCHES
            plans[self._items[identifier].nodeid] = replace(plan, seconds=seconds)
        for index in range(INSTRUCTION_LAUNCHES if ids else 0):
            benchmarks = f"{len(ids)} benchmark{'s'[: len(ids) != 1]}"
            self.tell(f"callgrind launch {index + 1} of {INSTRUCTION_LAUNCHES}: {benchmarks}")
            seed = self._random.randrange(1, 2**32 - 1)
            for number, side in enumerate(self.sides):
                found = launch_under_callgrind(
                    side, plans, seed=seed, scratch=self.scratch, timeout=self.settings.timeout, clock=self.clock
                )
                for identifier in ids:
                    counted = found[self._items[identifier].nodeid]
                    if not isinstance(counted, str):
                        self._harvests[identifier][number].add_instructions(seed, counted)
                    else:
                        text = f"instructions of the {side.name} were not counted: {counted}"
                        self._uncounted.setdefault(identifier, Warning("instructions-missing", text))

    def benchmarks(self, side: int) -> dict[str, Benchmark]:
        """What the launches gave so far, by id, for one side."""
        return {
            one.id: one
            for identifier, harvests in self._harvests.items()
            if identifier not in self.failures
            for one in harvests[side].benchmarks(self._short.get(identifier), self._uncounted.get(identifier))
        }

    def seconds_a_launch(self, identifier: str) -> float:
        """The mean time of a benchmark's launches so far, sides and its part of start-up included; 0 without any."""
        done = sum(number for (one, _), number in self._done.items() if one == identifier)
        return self._spent[identifier] / done if done else 0.0

    def _wants(self, identifier: str, launches: int, phase: str) -> bool:
        done = self._done.get((identifier, phase), 0)
        if done >= launches or identifier in self.failures:
            return False
        budget = self._items[identifier].settings.max_time * (LOOK_SHARE if phase == LOOK else 1.0)
        if self._spent[identifier] < budget or done < MIN_LAUNCHES:
            return True
        self._cut_short(identifier, launches, phase, "--blcperf-max-time")
        return False

    def _session_is_over(self, pending: Sequence[str], launches: int, phase: str) -> bool:
        """Whether one more launch would overrun the session's time, or the part of it that looks may take."""
        if self.settings.session_time is None:
            return False
        enough = all(self._done.get((identifier, phase), 0) >= MIN_LAUNCHES for identifier in pending)
        part = LOOK_SHARE if phase == LOOK and enough else 1.0
        over = self.clock() + self._longest > self.started + part * self.settings.session_time
        for identifier in pending if over else ():
            self._cut_short(identifier, launches, phase, "--blcperf-session-time")
        return over

    def _cut_short(self, identifier: str, launches: int, phase: str, option: str) -> None:
        done = self._done.get((identifier, phase), 0)
        text = f"stopped after {done} of {launches} launches: the time budget was spent ({option})"
        self._short[identifier] = Warning("time-budget", text)

    def why_short(self, identifier: str) -> str:
        """What kept a benchmark from the launches it was to have, "" when nothing did."""
        return self._short[identifier].text if identifier in self._short else ""

    def _launch(self, ids: Sequence[str], conditions: Conditions) -> None:
        if ids:
            launch = self._run(self.sides, ids, conditions)
            ids = self._without_the_miscounted(launch, ids)
            for identifier in ids:
                data = launch.measured.get(self._items[identifier].nodeid)
                if data is not None:
                    self._take(identifier, conditions, data)
            self._notice(launch, self.sides, ids)

    def _launch_one_after_the_other(self, ids: Sequence[str], conditions: Conditions) -> None:
        """For benchmarks that cannot share the machine with their twin: whole launches alternate."""
        if not ids:
            return
        order = list(range(len(self.sides)))
        if conditions.index % 2:
            order.reverse()
        data: dict[str, dict[int, SideData]] = {identifier: {} for identifier in ids}
        for number in order:
            launch = self._run([self.sides[number]], ids, conditions)
            ids = self._without_the_miscounted(launch, ids)
            for identifier in ids:
                measured = launch.measured.get(self._items[identifier].nodeid)
                if measured is not None:
                    data[identifier][number] = measured[0]
            self._notice(launch, [self.sides[number]], ids)
        for identifier in ids:
            sides = data[identifier]
            if len(sides) == len(self.sides):
                self._take(identifier, conditions, [sides[number] for number in range(len(self.sides))])

    def _without_the_miscounted(self, launch: LaunchData, ids: Sequence[str]) -> list[str]:
        """Those of `ids` whose launch counts.

        A test that declares its calls (`benchmark.pedantic`) and failed may depend on them: targets that can be called
        once, assertions on how often they were. From now on it gets exactly those calls, and starts anew; only what
        fails then has failed.
        """
        kept = []
        for identifier in ids:
            nodeid = self._items[identifier].nodeid
            failures = [said.failures[nodeid] for said in launch.sides if nodeid in said.failures]
            miscounted = any(failure.kind == "failed" for failure in failures) and nodeid in launch.declared
            if not miscounted or identifier in self._scheduled:
                kept.append(identifier)
                continue
            self._scheduled.add(identifier)
            self._harvests[identifier] = self._new_harvests(identifier)
            self._iterations.pop(identifier, None)
            self._done = {key: done for key, done in self._done.items() if key[0] != identifier}
        return kept

    def _new_harvests(self, identifier: str) -> list[BenchmarkHarvest]:
        item = self._items[identifier]
        return [BenchmarkHarvest(item.id, item.file, item.line, self.codes.get(item.id, "")) for _ in self.sides]

    def _conditions(self, phase: str) -> Conditions:
        cpus = allowed_cpus()
        index, self.launches = self.launches, self.launches + 1
        seed = self._random.randrange(1, 2**32 - 1)
        return Conditions(index, phase, seed, cpus[index % len(cpus)] if cpus else None)

    def _run(self, sides: Sequence[Side], ids: Sequence[str], conditions: Conditions) -> LaunchData:
        plans: dict[str, Plan | None] = {self._items[i].nodeid: self._plan(i, conditions, sides) for i in ids}
        start = self.clock()
        launch = run_launch(
            sides,
            plans,
            seed=conditions.hash_seed,
            scratch=self.scratch,
            timeout=self.settings.timeout,
            clock=self.clock,
            timeouts={self._items[identifier].nodeid: self._items[identifier].settings.timeout for identifier in ids},
        )
        start_up = (self.clock() - start - sum(launch.seconds.values())) / len(ids)
        for identifier in ids:
            self._spent[identifier] += launch.seconds.get(self._items[identifier].nodeid, 0.0) + max(0.0, start_up)
        return launch

    def _plan(self, identifier: str, conditions: Conditions, sides: Sequence[Side]) -> Plan:
        settings = self._items[identifier].settings
        focus = self._focus.get(identifier, Focus())
        return Plan(
            rounds=settings.rounds,
            delay=settings.delay_start,
            profile_window=self._window(settings, conditions.phase) if focus.profile else 0.0,
            backend=self.backend,
            rate=settings.rate,
            count=conditions.index < COUNTED_LAUNCHES,
            seconds=self._most_seconds(settings) / (3 * max(1, settings.launches)),
            iterations=self._iterations.get(identifier),
            cpus=None if conditions.cpu is None else (conditions.cpu,),
            tools=tuple(self.tools.get(side.python, OutsideTools((side.python,))) for side in sides),
            suspects=self._suspects(focus, sides),
            keep_schedule=identifier in self._scheduled,
            memory=int(psutil.virtual_memory().available * MEMORY_SHARE / len(self.sides)),
        )

    def _most_seconds(self, settings: Settings) -> float:
        """What one benchmark may take in all."""
        session = self.settings.session_time
        return settings.max_time if session is None else min(settings.max_time, session / len(self._items))

    def _suspects(self, focus: Focus, sides: Sequence[Side]) -> tuple[tuple[Description, ...], ...]:
        if not focus.suspects:
            return ()
        functions = [tuple(pair[self.sides.index(side)] for pair in focus.suspects) for side in sides]
        return tuple(tuple((one.file, one.name, one.line, one.fingerprint) for one in side) for side in functions)

    def _window(self, settings: Settings, phase: str) -> float:
        """Seconds to profile; none where callgrind tells of functions."""
        if self.backend == CALLGRIND:
            return 0.0
        return settings.profile_window * (CONFIRM_WINDOWS if phase == CONFIRM else 1)

    def _take(self, identifier: str, conditions: Conditions, data: Sequence[SideData]) -> None:
        for harvest, one in zip(self._harvests[identifier], data, strict=True):
            harvest.add(conditions, one)
        key = identifier, conditions.phase
        self._done[key] = self._done.get(key, 0) + 1

    def _notice(self, launch: LaunchData, sides: Sequence[Side], ids: Sequence[str]) -> None:
        """Keep what the workers said besides figures: failures, the head's reports, names and parameters."""
        for side, said in zip(sides, launch.sides, strict=True):
            number = self.sides.index(side)
            for identifier in ids:
                nodeid = self._items[identifier].nodeid
                if nodeid in said.failures:
                    self.failures.setdefault(identifier, {})[side.name] = said.failures[nodeid]
                if nodeid in said.extra:
                    self._harvests[identifier][number].extra = said.extra[nodeid]
                failed = nodeid in said.failures
                if side.name == "head" and nodeid in said.reports and (failed or identifier not in self.reports):
                    self.reports[identifier] = said.reports[nodeid]
        for identifier in ids:
            iterations = launch.iterations.get(self._items[identifier].nodeid)
            if iterations is not None:
                # The same in every launch: a round of more iterations is not the same measurement.
                self._iterations.setdefault(identifier, iterations)
