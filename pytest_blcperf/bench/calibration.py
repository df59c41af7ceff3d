"""Where an interpreter keeps its bytecode pointer: found by sampling functions of known cost, or not at all.

The evaluation loop of CPython holds `next_instr`, a pointer into the bytecode of the function that runs, in a register
or a slot of its stack frame; which one, the compiler decided. So a process of that interpreter runs functions that are
known to take all the time (`calibration_process.py`), and the place is taken that points into the right function in
nearly every sample of every one of them. Half of the samples choose, the other half judge.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_blcperf.bench.calibration_cache import cache_file, remember, remembered
from pytest_blcperf.bench.calibration_process import FD_VARIABLE
from pytest_blcperf.bench.channel import ChannelClosed, ChannelTimeout, pair
from pytest_blcperf.bench.native_walk import NativeCode, NativeWalk
from pytest_blcperf.bench.outside import OutsideProfile, OutsideTools
from pytest_blcperf.bench.pointer_place import PointerPlace, places
from pytest_blcperf.bench.python_samples import located
from pytest_blcperf.capture.backends import BYTECODE, TRAMPOLINE
from pytest_blcperf.capture.thread_event import ThreadEvent
from pytest_blcperf.errors import BlcperfError, PermissionDenied, TargetError
from pytest_blcperf.model.recording import SampleBatch
from pytest_blcperf.symbols.unwind_machine import MACHINES

Flags = npt.NDArray[np.bool_]

RATE = 4000
ROUNDS = 60
NEEDED = 0.95
"""Of the samples of every phase, in both halves, must point into the right function."""
NEEDED_BY_SPIES = 0.7
"""py-spy and profiling.sampling tear some stacks, and see the phases' clocks too often."""
PRESENT = 0.03
"""Of the samples of a phase with two functions must point into each: a place that went stale knows one of them only."""
DOMINANT = 0.85
"""Of the samples of `straight line` must point into the function called, not its caller."""
MIN_SAMPLES = 20
"""Of a phase, in each half."""
TRIAL_ROUNDS = 10
_PATIENCE = 30.0
_PROGRAM = "bench/calibration_process.py"


@dataclass(frozen=True, eq=False)
class Phases:
    """Samples of the calibration: `phase[i]` is the number of the phase sample i lies in, -1 for none,
    `half[i]` its half.
    `owners` are the functions of each phase, the first one being the one called; `driver` is what runs the phases, and
    reads the clock between the calls; `own` are the profiler's functions, which are not counted.
    """

    phase: npt.NDArray[np.int64]
    half: npt.NDArray[np.int64]
    owners: tuple[tuple[int, ...], ...]
    driver: int
    own: tuple[int, ...] = ()

    def score(self, function: npt.NDArray[np.int64], half: int) -> float:
        """The smallest share of samples in the right function over all phases; 0 when a phase has too few samples, or
        one of its functions is hardly seen.
        """
        scores = []
        for number, owners in enumerate(self.owners):
            seen = function[(self.phase == number) & (self.half == half) & ~np.isin(function, self.own)]
            if len(seen) < MIN_SAMPLES:
                return 0.0
            shares = [float((seen == owner).mean()) for owner in owners]
            if (min(shares) < PRESENT and number != 0) or (number == 0 and shares[0] < DOMINANT):
                return 0.0
            scores.append(sum(shares) + float((seen == self.driver).mean()))
        return min(scores)


def find_place(
    candidates: Sequence[PointerPlace], held: npt.NDArray[np.uint64], phases: Phases, ranges: Sequence[Sequence[int]]
) -> PointerPlace:
    """The place that is right most often, the first of equals; its `hits` say how often. `held` is n × candidates."""
    scores = [phases.score(located(held[:, number], ranges), half=0) for number in range(len(candidates))]
    best = int(np.argmax(scores))
    return replace(candidates[best], hits=phases.score(located(held[:, best], ranges), half=1) if scores[best] else 0.0)


def calibrate(python: Sequence[str], path: Sequence[str] = ()) -> PointerPlace:
    """The place of the bytecode pointer of that interpreter (a command); `path` is its PYTHONPATH. Found once, it is
    kept in the user's cache.

    Raises PermissionDenied with the reason when the interpreter, the machine or the kernel does not let it be found.
    """
    key = tuple(python)
    found = _calibrated(key, tuple(path), _identity(key[0]))
    if isinstance(found, BlcperfError):
        raise found
    return found


def _identity(program: str) -> tuple[int, int, int]:
    try:
        status = Path(program).stat()
    except OSError:
        return 0, 0, 0
    return status.st_dev, status.st_ino, status.st_mtime_ns


@lru_cache(maxsize=16)
def _calibrated(python: tuple[str, ...], path: tuple[str, ...], _identity: object) -> PointerPlace | BlcperfError:
    kept = cache_file(python)
    known = remembered(kept, os.uname().machine)
    if known is not None:
        return known
    try:
        place = _measured(python, path)
    except BlcperfError as error:
        return error
    if place.hits < NEEDED:
        return PermissionDenied(
            f"the bytecode pointer of {python[-1]} is not where it can be found: right in {place.hits:.0%} of the "
            f"calibration's samples at best, {NEEDED:.0%} are needed",
            "choose another --blcperf-backend",
        )
    remember(kept, place)
    return place


def _measured(python: tuple[str, ...], path: tuple[str, ...]) -> PointerPlace:
    batches: list[SampleBatch] = []
    with CalibrationProcess(python, path) as process:
        facts = process.ask("open", backend=BYTECODE)
        with closing(ThreadEvent(facts["thread"], RATE, facts["signal"], batches.append)) as event:
            event.start()
            rounds = [process.ask("round") for _ in range(ROUNDS)]
            event.stop()
        walk = NativeWalk(facts["process"], NativeCode())
        candidates = places(MACHINES[os.uname().machine])
        held = [walk.walk(batch, candidates).held for batch in batches]
        said = process.ask("close")
    if not held:
        raise PermissionDenied("the calibration has no samples", "choose another --blcperf-backend")
    return find_place(candidates, np.concatenate(held), _phases(batches, rounds, said), said["bytecode"])


def _phases(batches: Sequence[SampleBatch], rounds: Sequence[Mapping[str, Any]], said: Mapping[str, Any]) -> Phases:
    time = np.concatenate([batch.time for batch in batches])
    names = list(said["owners"])
    phase = np.full(len(time), -1, np.int64)
    half = np.zeros(len(time), np.int64)
    for number, one in enumerate(rounds):
        for name, start, end in one["phases"]:
            rows = (time >= start) & (time <= end)
            phase[rows] = names.index(name)
            half[rows] = number % 2
    return Phases(phase, half, tuple(tuple(said["owners"][name]) for name in names), said["root"], tuple(said["own"]))


def try_out(backend: str, rate: int, python: Sequence[str], path: Sequence[str] = ()) -> float:
    """Profile the calibration's functions with a backend that looks from outside and needs no calibration: the share
    of its samples that are in them. Raises the reason when it does not work, or is right too rarely.
    """
    key = tuple(python)
    found = _tried_out(backend, rate, key, tuple(path), _identity(key[0]))
    if isinstance(found, BlcperfError):
        raise found
    return found


@lru_cache(maxsize=16)
def _tried_out(
    backend: str, rate: int, python: tuple[str, ...], path: tuple[str, ...], _identity: object
) -> float | BlcperfError:
    try:
        with CalibrationProcess(python, path) as process:
            profile = OutsideProfile(process, backend, rate, OutsideTools(python))
            for _ in range(TRIAL_ROUNDS):
                profile.round(1)
            seen = profile.close()
    except BlcperfError as error:
        return error
    ours = [function[0].endswith(_PROGRAM) for function in seen["functions"]]
    total = sum(seen["weight"])
    right = sum(
        weight
        for stack, weight in zip(seen["stacks"], seen["weight"], strict=True)
        if any(ours[index] for index in stack)
    )
    needed = NEEDED if backend == TRAMPOLINE else NEEDED_BY_SPIES
    if total == 0 or right < needed * total:
        return PermissionDenied(
            f"{backend} is right in {right / max(total, 1):.0%} of the samples of a trial with {python[-1]}, "
            f"{needed:.0%} are needed",
            "choose another --blcperf-backend",
        )
    return float(right / total)


class CalibrationProcess:
    """A process of that interpreter which runs functions of known cost. Use as a context manager."""

    def __init__(self, python: Sequence[str], path: Sequence[str]) -> None:
        self._python = python
        self._channel, theirs = pair()
        package = str(Path(__file__).resolve().parents[2])
        environment = {
            **os.environ,
            FD_VARIABLE: str(theirs.fileno()),
            "PYTHONPATH": os.pathsep.join([*path, package]),
        }
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [*python, "-m", "pytest_blcperf.bench.calibration_process"],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            except OSError as error:
                self._channel.close()
                raise TargetError(f"{python[0]} cannot be started: {error}", "check --blcperf-base-python") from None

    def __enter__(self) -> CalibrationProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()
        self._process.kill()
        self._process.wait()

    def ask(self, op: str, **arguments: object) -> Mapping[str, Any]:
        """Ask once. Raises PermissionDenied when the interpreter refuses, TargetError when it is gone."""
        try:
            self._channel.send({"op": op, **arguments})
            answer = self._channel.receive(_PATIENCE)
        except (ChannelClosed, ChannelTimeout) as error:
            raise TargetError(
                f"{self._python[-1]} could not be calibrated: {error or 'no answer'}",
                "choose another --blcperf-backend",
            ) from error
        if answer["op"] == "refused":
            raise PermissionDenied(answer["message"], answer["hint"])
        return answer

    def request(self, op: str, **arguments: Any) -> Mapping[str, Any]:
        """As a side of a benchmark answers; every round is the same."""
        if op == "profile-open":
            return self.ask("open", backend=arguments["backend"])
        if op == "profile-round":
            return {**self.ask("round"), "cpu": 0}
        return self.ask(op.removeprefix("profile-"), **arguments)
