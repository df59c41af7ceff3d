"""Stacks gathered into a capture, whatever format they came in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pytest_blcperf.model.capture import Capture, Thread
from pytest_blcperf.model.function import KERNEL, Function
from pytest_blcperf.model.recording import MODE_KERNEL, MODE_USER
from pytest_blcperf.store.checked import MalformedError, bounded

SAMPLE_LIMIT = 20_000_000
FRAME_LIMIT = 50_000_000
"""Frames of all different stacks together."""
DEPTH_LIMIT = 10_000
WEIGHT_LIMIT = 10**15


class Gathering:
    """Takes stacks one by one; `capture` gives what was gathered. Raises MalformedError beyond the limits."""

    def __init__(self) -> None:
        self._functions: dict[Function, int] = {}
        self._stacks: dict[tuple[int, ...], int] = {}
        self._threads: dict[Thread, int] = {}
        self._rows: list[tuple[int, int, int, int, int]] = []
        self._samples = self._frames = 0
        self.timed = False

    def function(self, file: str, name: str, line: int = 0, kind: str = "native") -> int:
        """The number of a function."""
        function = Function(bounded(file), bounded(name) or "[unknown]", max(0, line), kind=kind)
        return self._functions.setdefault(function, len(self._functions))

    def add(self, stack: Sequence[int], count: int, weight: int, thread: Thread, time: int = 0) -> None:
        """`count` samples of a stack (numbers of functions, leaf first) that stand for `weight` units together."""
        if len(stack) > DEPTH_LIMIT:
            raise MalformedError(f"a stack of {len(stack):,} frames, more than {DEPTH_LIMIT:,}")
        if not (0 < count <= SAMPLE_LIMIT and 0 <= weight <= WEIGHT_LIMIT and 0 <= time <= WEIGHT_LIMIT):
            raise MalformedError(f"a stack with {count} samples of weight {weight} at {time}")
        self._samples += count
        if self._samples > SAMPLE_LIMIT:
            raise MalformedError(f"more than {SAMPLE_LIMIT:,} samples")
        number = self._stacks.get(tuple(stack))
        if number is None:
            self._frames += len(stack)
            if self._frames > FRAME_LIMIT:
                raise MalformedError(f"stacks of more than {FRAME_LIMIT:,} frames")
            number = self._stacks[tuple(stack)] = len(self._stacks)
        self._rows.append((time, self._threads.setdefault(thread, len(self._threads)), number, count, weight))

    def capture(self, *, event: str, unit: str, backend: str, started: str, duration_ns: int, target: str) -> Capture:
        """Everything so far; a row of several samples becomes as many, which share its weight."""
        functions = tuple(self._functions)
        rows = np.array(self._rows, np.int64).reshape(-1, 5)
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        time, thread, stack, count, weight = rows.T
        each, left = np.divmod(weight, np.maximum(count, 1))
        repeated = np.repeat(each, count)
        # What does not divide goes to a row's first samples, so that sums stay exact.
        position = np.arange(len(repeated)) - np.repeat(np.cumsum(count) - count, count)
        repeated += position < np.repeat(left, count)
        offsets = np.cumsum([0, *map(len, self._stacks)]).astype(np.int64)
        none, number = np.zeros(0, np.int64), len(repeated)
        return Capture(
            functions=functions,
            objects=(),
            threads=tuple(self._threads),
            stack_offsets=offsets,
            stack_functions=np.array([frame for one in self._stacks for frame in one], np.int64),
            time=np.repeat(time, count),
            thread=np.repeat(thread, count),
            cpu=np.zeros(number, np.int64),
            mode=np.repeat(self._modes(functions)[stack], count) if number else none,
            stack=np.repeat(stack, count),
            weight=repeated,
            place=np.full(number, -1, np.int64),
            place_object=none,
            place_address=none,
            event=event,
            unit=unit,
            backend=backend,
            started=started,
            duration_ns=duration_ns,
            target=target,
            settings={"timed": self.timed},
        )

    def _modes(self, functions: Sequence[Function]) -> np.typing.NDArray[np.int64]:
        kernel = [bool(stack) and functions[stack[0]].kind == KERNEL for stack in self._stacks]
        return np.where(np.array(kernel, bool), MODE_KERNEL, MODE_USER).astype(np.int64)
