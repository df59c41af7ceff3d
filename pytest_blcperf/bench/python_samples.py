"""What was sampled from outside, joined with what the measured process knows of itself: weights by stack.

Pure functions over columns. Frames of the stacks are keys: the index of a Python function in the process's own list,
or, where there is none, a function by its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_blcperf.capture.spied_stacks import Places, SpiedStacks
from pytest_blcperf.model.function import Function

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]

Key = int | Function
Stack = tuple[Key, ...]

NO_STACK = -1
UNKNOWN = -1
INTERRUPTED = -2


@dataclass
class SeenStacks:
    """Weights (ns of CPU time) and numbers of samples by stack, leaf first, cut at the root: () is the root itself.

    `outside_ns` was sampled in the windows but not below the root; `unsure_ns` is known to the root only;
    of `without_leaf_ns` only the stack is known that a handler noted later.
    """

    weight: dict[Stack, float] = field(default_factory=dict)
    count: dict[Stack, int] = field(default_factory=dict)
    outside_ns: float = 0.0
    unsure_ns: float = 0.0
    without_leaf_ns: float = 0.0

    def add(self, stack: Stack, weight: float, count: int) -> None:
        """Charge a stack."""
        self.weight[stack] = self.weight.get(stack, 0.0) + weight
        self.count[stack] = self.count.get(stack, 0) + count

    @property
    def total_ns(self) -> float:
        """What all stacks stand for."""
        return sum(self.weight.values())

    def functions(self) -> list[int]:
        """The Python functions in them, rising."""
        return sorted({key for stack in self.weight for key in stack if isinstance(key, int)})


def inside(time: Ints, windows: Sequence[tuple[int, int]]) -> Ints:
    """For each time the window [start, end] that holds it, -1 where none does. Windows do not overlap, and rise."""
    starts = np.array([start for start, _ in windows], np.int64)
    ends = np.array([end for _, end in windows], np.int64)
    if not len(starts):
        return np.full(len(time), -1, np.int64)
    found = np.searchsorted(starts, time, "right").astype(np.int64) - 1
    return np.where((found >= 0) & (time <= ends[np.maximum(found, 0)]), found, -1)


def located(pointers: Words, ranges: Sequence[Sequence[int]]) -> Ints:
    """For each pointer the (address, bytes) range that holds it, UNKNOWN where none does."""
    if not len(ranges):
        return np.full(len(pointers), UNKNOWN, np.int64)
    table = np.array(ranges, np.uint64).reshape(-1, 2)
    order = np.argsort(table[:, 0], kind="stable")
    start, size = table[order, 0], table[order, 1]
    row = np.searchsorted(start, pointers, "right").astype(np.int64) - 1
    held = (row >= 0) & (pointers - start[np.maximum(row, 0)] < size[np.maximum(row, 0)])
    return np.where(held, order[np.maximum(row, 0)], UNKNOWN)


def called_after(time: Ints, window_end: Ints, calls: Sequence[Sequence[int]]) -> Ints:
    """For each sample, the stack noted by the first handler call at or after it and not after the end of its window;
    NO_STACK where there is none. `calls` are (time, stack) in the order of time.
    """
    if not len(calls):
        return np.full(len(time), NO_STACK, np.int64)
    table = np.array(calls, np.int64).reshape(-1, 2)
    position = np.minimum(np.searchsorted(table[:, 0], time), len(table) - 1)
    moment = table[position, 0]
    return np.where((moment >= time) & (moment <= window_end), table[position, 1], NO_STACK)


def with_leaf(stack: Sequence[int], leaf: int, root: int) -> tuple[int, ...]:
    """The stack a sample was in, from the one noted a moment later and the function that ran: it is in the noted stack,
    whose frames below it came since; or it has returned, to the top of it; or it is the root, and all came since.
    """
    if leaf == root:
        return ()
    if leaf in stack:
        return tuple(stack[list(stack).index(leaf) :])
    return (leaf, *stack)


@dataclass(frozen=True, eq=False)
class BytecodeSamples:
    """n samples, with the interpreter's bytecode pointer (0: none) and their native frames, `native[native_of[i]]`."""

    time: Ints
    period: Ints
    pointer: Words
    native: Sequence[Stack]
    native_of: Ints


def by_bytecode(samples: BytecodeSamples, windows: Sequence[tuple[int, int]], said: Mapping[str, Any]) -> SeenStacks:
    """Backend `perf-bytecode`: what was sampled in the windows; `said` is `Observed.finish`."""
    time = samples.time
    seen = SeenStacks()
    window = inside(time, windows)
    chosen = np.flatnonzero(window >= 0)
    if not len(chosen):
        return seen
    ends = np.array([end for _, end in windows], np.int64)[window[chosen]]
    leaf = located(samples.pointer[chosen], said["bytecode"])
    # The profiler's handler is on top of the function it has interrupted, which the stack it notes says.
    leaf[np.isin(leaf, said["own"])] = INTERRUPTED
    noted = called_after(time[chosen], ends, said["calls"])
    keys = np.stack([leaf, noted, samples.native_of[chosen]], axis=1)
    for (function, stack, above), weight, count in summed(keys, samples.period[chosen]):
        # Handlers that ran outside the root (the last one of a round) have nothing to say but the leaf has.
        frames: tuple[int, ...] = tuple(said["stacks"][stack]) if stack != NO_STACK else ()
        if function >= 0:
            frames = with_leaf(frames, function, said["root"])
        else:
            seen.without_leaf_ns += weight * (function == UNKNOWN)
            seen.unsure_ns += weight * (stack == NO_STACK)
        seen.add((*samples.native[above], *frames), weight, count)
    return seen


def summed(keys: Ints, weight: Ints) -> Iterator[tuple[tuple[int, ...], float, int]]:
    """(row, sum of weights, number) of the distinct rows of `keys`."""
    rows, inverse, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    sums = np.bincount(inverse.reshape(-1), weights=weight, minlength=len(rows))
    for row, total, count in zip(rows.tolist(), sums.tolist(), counts.tolist(), strict=True):
        yield tuple(row), total, count


def by_names(spied: SpiedStacks, said: Mapping[str, Any], period_ns: float) -> SeenStacks:
    """Backends that read the process's memory: frames are looked up among the functions it has. Stacks without the root
    are outside: the process waits, or does something else. Functions that are gone keep the name they were seen under.
    """
    places = Places([(str(file), int(line), str(name)) for file, line, name in said["places"]])
    seen = SeenStacks()
    for frames, count in zip(spied.stacks, spied.counts, strict=True):
        keys: list[Key] = []
        for frame in frames:
            index = places.find(frame)
            if index == said["root"]:
                seen.add(tuple(keys), count * period_ns, count)
                break
            keys.append(Function(frame.file, frame.name) if index is None else index)
        else:
            seen.outside_ns += count * period_ns
    return seen


def cut_at_root(stacks: Iterable[tuple[Stack, float, int, bool]], root: int) -> SeenStacks:
    """Backend `perf-trampoline`: (stack, weight, samples, whether it is the main thread's). The main thread's are cut
    at the root, or outside; other threads work for the root without being called by it.
    """
    seen = SeenStacks()
    for stack, weight, count, is_main in stacks:
        if root in stack:
            seen.add(stack[: stack.index(root)], weight, count)
        elif is_main:
            seen.outside_ns += weight
        else:
            seen.add(stack, weight, count)
    return seen
