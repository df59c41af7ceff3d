"""Captures written down sample by sample, for tests of what is made of captures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from pytest_blcperf.model.capture import Capture, Thread
from pytest_blcperf.model.function import KERNEL, NATIVE, PYTHON, Function
from pytest_blcperf.model.recording import MODE_KERNEL, MODE_USER

MILLISECOND = 1_000_000


class Sampled(NamedTuple):
    """`count` samples of one stack, leaf first and separated by `;`, spread evenly over [start, end) ms of the window.

    A frame is `name`, a native function of the program; `name@file` one of another object; `[name]` one of the kernel;
    `name.py:function` a Python function.
    """

    stack: str
    count: int
    thread: str = "main"
    start: float = 0.0
    end: float = 1000.0
    cpu: int = 0


def function(frame: str) -> Function:
    if frame.startswith("["):
        return Function("[kernel]", frame[1:-1], kind=KERNEL)
    if ".py:" in frame:
        file, _, name = frame.partition(":")
        return Function(file, name, kind=PYTHON)
    name, _, file = frame.partition("@")
    return Function(file or "program", name, kind=NATIVE)


def capture_of(
    *samples: Sampled,
    seconds: float = 1.0,
    counters: Mapping[str, float] | None = None,
    kernel: bool = True,
    threads: Iterable[str] = (),
) -> Capture:
    """A capture at 1 kHz of process 1 (`program`)."""
    functions: dict[Function, int] = {}
    stacks: dict[tuple[int, ...], int] = {}
    names = {name: index for index, name in enumerate(dict.fromkeys([*(one.thread for one in samples), *threads]))}
    rows = []
    for one in samples:
        stack = tuple(functions.setdefault(function(frame), len(functions)) for frame in one.stack.split(";") if frame)
        number = stacks.setdefault(stack, len(stacks))
        mode = MODE_KERNEL if one.stack.startswith("[") else MODE_USER
        for moment in np.linspace(one.start, one.end, one.count, endpoint=False):
            rows.append((int(moment * MILLISECOND), names[one.thread], one.cpu, mode, number))
    time, thread, cpu, mode_column, stack_column = np.array(sorted(rows), np.int64).reshape(-1, 5).T
    none = np.zeros(0, np.int64)
    return Capture(
        functions=tuple(functions),
        objects=(),
        threads=tuple(Thread(1, 1 + index, name, "program") for name, index in names.items()),
        stack_offsets=np.cumsum([0, *map(len, stacks)]).astype(np.int64),
        stack_functions=np.array([frame for stack in stacks for frame in stack], np.int64),
        time=time,
        thread=thread,
        cpu=cpu,
        mode=mode_column,
        stack=stack_column,
        weight=np.full(len(time), MILLISECOND, np.int64),
        place=np.full(len(time), -1, np.int64),
        place_object=none,
        place_address=none,
        event="cpu-clock",
        unit="ns",
        backend="perf",
        started="2026-01-01T00:00:00+00:00",
        duration_ns=int(seconds * 1e9),
        target="process 1 (program)",
        settings={"kernel": kernel},
        counters=counters or {},
    )
