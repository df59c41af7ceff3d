"""A capture: who was sampled where and when in a window of any processes, interned, as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_blcperf.model.environment import Environment
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.profile import Profile
from pytest_blcperf.model.recording import RecordingHealth
from pytest_blcperf.model.syscalls import Syscalls
from pytest_blcperf.model.warning import Warning

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ObjectFile:
    """Where code came from: a path as the process saw it, or `[kernel]`, `[vdso]`, `[jit]`; and its build-id."""

    path: str
    build_id: str = ""


@dataclass(frozen=True)
class Thread:
    """A thread that was sampled, with its last name and that of its process."""

    process: int
    thread: int
    name: str
    process_name: str = ""


@dataclass(frozen=True)
class CaptureHealth:
    """What to know before trusting a capture: the recording's losses; samples whose stack is `truncated`; frames that
    are addresses without a function (`unknown_frames` of `frames`, counted once a sample).
    """

    recording: RecordingHealth = field(default_factory=RecordingHealth)
    truncated: int = 0
    unknown_frames: int = 0
    frames: int = 0


@dataclass(frozen=True, eq=False)
class Capture:
    """The samples of one event in one window, n of them.

    Stack s is `stack_functions[stack_offsets[s]:stack_offsets[s + 1]]`, indices into `functions`, leaf first; kernel
    frames, native and Python ones stand in one stack. Sample i was taken `time[i]` ns after the start of the window, on
    `cpu[i]`, in `threads[thread[i]]`, in `mode[i]` (MODE_… of `model.recording`), with stack `stack[i]`, and stands for
    `weight[i]` units of the event (ns of CPU time for the clocks). `place[i]` is the sampled instruction: an index into
    the columns `place_object` (into `objects`) and `place_address` (as in the file's symbol table), -1 where unknown.
    Times are in order.
    """

    functions: tuple[Function, ...]
    objects: tuple[ObjectFile, ...]
    threads: tuple[Thread, ...]
    stack_offsets: Ints
    stack_functions: Ints
    time: Ints
    thread: Ints
    cpu: Ints
    mode: Ints
    stack: Ints
    weight: Ints
    place: Ints
    place_object: Ints
    place_address: Ints
    event: str
    unit: str
    backend: str
    started: str
    """UTC, ISO 8601: the start of the window."""
    duration_ns: int
    target: str = ""
    """What was profiled, in words: `process 4711 (mariadbd)`, `cgroup /system.slice/x`, a command line."""
    self_time: bool = True
    environment: Environment = field(default_factory=Environment)
    settings: Mapping[str, Any] = field(default_factory=dict)
    counters: Mapping[str, float] = field(default_factory=dict)
    health: CaptureHealth = field(default_factory=CaptureHealth)
    warnings: tuple[Warning, ...] = ()
    syscalls: Syscalls | None = None
    """Counts and times of system calls, where they were traced; `settings["syscalls"]` says what was done."""

    def __len__(self) -> int:
        return len(self.time)

    def stack_of(self, stack: int) -> tuple[int, ...]:
        """The functions of a stack, leaf first."""
        return tuple(self.stack_functions[self.stack_offsets[stack] : self.stack_offsets[stack + 1]].tolist())


def profile_of_all(captures: Sequence[Capture]) -> Profile:
    """Several captures as one profile, each counted for its part of a second (or of the whole, where it has no length),
    so that the total is the mean rate times their number.
    """
    index: dict[Function, int] = {}
    stacks: dict[tuple[int, ...], int] = {}
    weight: list[float] = []
    samples: list[int] = []
    for capture in captures:
        one = profile_of(capture)
        places = [index.setdefault(function, len(index)) for function in capture.functions]
        scale = 1e9 / (capture.duration_ns or one.total_weight or 1.0)
        for stack, time, number in zip(one.stacks, one.weight.tolist(), one.samples.tolist(), strict=True):
            place = stacks.setdefault(tuple(places[function] for function in stack), len(stacks))
            if place == len(weight):
                weight.append(0.0)
                samples.append(0)
            weight[place] += time * scale
            samples[place] += number
    return Profile(
        functions=tuple(index),
        stacks=tuple(stacks),
        launch=np.zeros(len(stacks), np.int64),
        stack=np.arange(len(stacks), dtype=np.int64),
        weight=np.array(weight, np.float64),
        samples=np.array(samples, np.int64),
        backend=captures[0].backend,
        self_time=all(one.self_time for one in captures),
    )


def profile_of(capture: Capture, chosen: npt.NDArray[np.bool_] | None = None) -> Profile:
    """The capture, or its samples where `chosen` (n booleans) is true, summed by stack as one launch's profile."""
    stack = capture.stack if chosen is None else capture.stack[chosen]
    weight = capture.weight if chosen is None else capture.weight[chosen]
    number = len(capture.stack_offsets) - 1
    samples = np.bincount(stack, minlength=number).astype(np.int64)
    used = np.flatnonzero(samples)
    return Profile(
        functions=capture.functions,
        stacks=tuple(capture.stack_of(index) for index in used.tolist()),
        launch=np.zeros(len(used), np.int64),
        stack=np.arange(len(used), dtype=np.int64),
        weight=np.bincount(stack, weights=weight, minlength=number)[used].astype(np.float64),
        samples=samples[used],
        backend=capture.backend,
        self_time=capture.self_time,
    )
