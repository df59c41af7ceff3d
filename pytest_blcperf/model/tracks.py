"""Runs and captures in the one shape that files of other tools are written from: stacks, and tracks of samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_blcperf.model.capture import Capture
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.run import Benchmark, Run
from pytest_blcperf.model.stack_tree import flattened

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Track:
    """What one thread, or one benchmark, was seen doing, as columns of n rows.

    Row i: stack `stack[i]` was seen in `samples[i]` samples that stand for `weight[i]` units, at `time[i]` ns after the
    start; `time` is None where only sums are known.
    """

    name: str
    stack: Ints
    weight: Floats
    samples: Ints
    time: Ints | None = None
    process: int = 0
    thread: int = 0
    process_name: str = ""


@dataclass(frozen=True, eq=False)
class Tracks:
    """Tracks over one table of functions and one of stacks: stack s is `stack_functions[stack_offsets[s]:
    stack_offsets[s + 1]]`, leaf first. `started` is UTC, ISO 8601; `unit` is what weights count.
    """

    title: str
    functions: tuple[Function, ...]
    stack_offsets: Ints
    stack_functions: Ints
    tracks: tuple[Track, ...]
    event: str
    unit: str
    backend: str
    started: str
    duration_ns: int = 0
    self_time: bool = True

    def stack_of(self, stack: int) -> tuple[int, ...]:
        """The functions of a stack, leaf first."""
        return tuple(self.stack_functions[self.stack_offsets[stack] : self.stack_offsets[stack + 1]].tolist())


def tracks_of_capture(capture: Capture) -> Tracks:
    """One track a thread, in the order of the threads; those without samples are left out."""
    tracks = []
    for number, thread in enumerate(capture.threads):
        rows = np.flatnonzero(capture.thread == number)
        if len(rows):
            track = Track(
                name=thread.name or f"thread {thread.thread}",
                stack=capture.stack[rows],
                weight=capture.weight[rows].astype(np.float64),
                samples=np.ones(len(rows), np.int64),
                time=capture.time[rows],
                process=thread.process,
                thread=thread.thread,
                process_name=thread.process_name,
            )
            tracks.append(track)
    return Tracks(
        title=capture.target or "capture",
        functions=capture.functions,
        stack_offsets=capture.stack_offsets,
        stack_functions=capture.stack_functions,
        tracks=tuple(tracks),
        event=capture.event,
        unit=capture.unit,
        backend=capture.backend,
        started=capture.started,
        duration_ns=capture.duration_ns,
        self_time=capture.self_time,
    )


def tracks_of_run(run: Run, benchmarks: Sequence[Benchmark]) -> Tracks:
    """One track a benchmark that has a profile, summed over its launches; CPU time in ns."""
    functions: dict[tuple[Function, int, str], int] = {}
    stacks: list[tuple[int, ...]] = []
    tracks = []
    profiled = [(one, one.profile) for one in benchmarks if one.profile is not None]
    for benchmark, profile in profiled:
        place = [functions.setdefault((one, one.line, one.fingerprint), len(functions)) for one in profile.functions]
        first = len(stacks)
        stacks += [tuple(place[index] for index in stack) for stack in profile.stacks]
        count = len(profile.stacks)
        samples = np.bincount(profile.stack, weights=profile.samples, minlength=count).astype(np.int64)
        weight = np.bincount(profile.stack, weights=profile.weight, minlength=count).astype(np.float64)
        used = np.flatnonzero((samples > 0) | (weight > 0))
        tracks.append(Track(benchmark.id, used + first, weight[used], samples[used]))
    backends = sorted({profile.backend for _, profile in profiled})
    return Tracks(
        run.label,
        tuple(function for function, _, _ in functions),
        *flattened(stacks),
        tracks=tuple(tracks),
        event="cpu",
        unit="ns",
        backend=", ".join(backends),
        started=run.created,
        self_time=all(profile.self_time for _, profile in profiled),
    )
