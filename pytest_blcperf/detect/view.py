"""A capture asked questions: what part of its time has certain functions on the stack, or on top of it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pytest_blcperf.model.capture import Capture
from pytest_blcperf.model.finding import Evidence
from pytest_blcperf.model.recording import MODE_GUEST_KERNEL, MODE_HYPERVISOR, MODE_KERNEL

Booleans = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

KERNEL_MODES = (MODE_KERNEL, MODE_HYPERVISOR, MODE_GUEST_KERNEL)


class View:
    """Sums over a capture's samples by stack, made once: S stacks, F functions, n samples."""

    def __init__(self, capture: Capture) -> None:
        self.capture = capture

    @cached_property
    def weight_by_stack(self) -> Floats:
        """Time of every stack (S), in the event's unit."""
        capture = self.capture
        stacks = len(capture.stack_offsets) - 1
        return np.bincount(capture.stack, weights=capture.weight, minlength=stacks).astype(np.float64)

    @cached_property
    def total(self) -> float:
        """Time of all samples."""
        return float(self.weight_by_stack.sum())

    @cached_property
    def leaf(self) -> Ints:
        """The function on top of every stack (S), -1 of a stack without frames."""
        offsets, functions = self.capture.stack_offsets, self.capture.stack_functions
        there = np.diff(offsets) > 0
        leaf = np.full(len(there), -1, np.int64)
        leaf[there] = functions[offsets[:-1][there]]
        return leaf

    @cached_property
    def self_time(self) -> Floats:
        """Time spent in every function itself (F)."""
        known = self.leaf >= 0
        weight = np.bincount(
            self.leaf[known], weights=self.weight_by_stack[known], minlength=len(self.capture.functions)
        )
        return weight.astype(np.float64)

    @cached_property
    def total_time(self) -> Floats:
        """Time with every function on the stack, once a stack (F)."""
        stack_of_frame = np.repeat(np.arange(len(self.leaf)), np.diff(self.capture.stack_offsets))
        pairs = np.unique(stack_of_frame * max(1, len(self.capture.functions)) + self.capture.stack_functions)
        stack, function = np.divmod(pairs, max(1, len(self.capture.functions)))
        times = np.bincount(function, weights=self.weight_by_stack[stack], minlength=len(self.capture.functions))
        return times.astype(np.float64)

    def stacks_with(self, chosen: Booleans) -> Booleans:
        """Which stacks (S) hold at least one of the chosen functions (F)."""
        counts = np.concatenate([[0], np.cumsum(chosen[self.capture.stack_functions])])
        offsets = self.capture.stack_offsets
        found: Booleans = counts[offsets[1:]] > counts[offsets[:-1]]
        return found

    def leaf_in(self, chosen: Booleans) -> Booleans:
        """Which stacks (S) have one of the chosen functions (F) on top."""
        return np.append(chosen, False)[self.leaf]

    def share(self, stacks: Booleans) -> float:
        """The part of all time that those stacks (S) hold."""
        return float(self.weight_by_stack[stacks].sum()) / self.total if self.total else 0.0

    def samples(self, stacks: Booleans) -> Booleans:
        """Which samples (n) have one of those stacks (S)."""
        return stacks[self.capture.stack]

    @cached_property
    def in_kernel(self) -> Booleans:
        """Which samples (n) were taken in the kernel, ours or a guest's, or in the hypervisor."""
        return np.isin(self.capture.mode, KERNEL_MODES)

    @property
    def has_kernel(self) -> bool:
        """Whether kernel time was recorded at all; it takes rights that a user may not have."""
        return bool(self.capture.settings.get("kernel", False)) or bool(self.in_kernel.any())

    @cached_property
    def time_by_thread(self) -> Floats:
        """Time of every thread, as in `capture.threads`."""
        times = np.bincount(self.capture.thread, weights=self.capture.weight, minlength=len(self.capture.threads))
        return times.astype(np.float64)

    def hottest(self, stacks: Booleans, chosen: Booleans, most: int = 5) -> tuple[Evidence, ...]:
        """The chosen functions (F) with most time in those stacks (S), each with the most frequent caller of them
        all.
        """
        capture, weight = self.capture, np.where(stacks, self.weight_by_stack, 0.0)
        stack_of_frame = np.repeat(np.arange(len(self.leaf)), np.diff(capture.stack_offsets))
        hit = np.flatnonzero(chosen[capture.stack_functions] & stacks[stack_of_frame])
        # The first hit of a stack is the one nearest to its leaf: what was being done; the others are on the way there.
        _, first = np.unique(stack_of_frame[hit], return_index=True)
        hit = hit[first]
        functions, stacks_hit = capture.stack_functions[hit], stack_of_frame[hit]
        time = np.bincount(functions, weights=weight[stacks_hit], minlength=len(capture.functions))
        order = [index for index in np.argsort(-time, kind="stable")[:most].tolist() if time[index] > 0]
        return tuple(
            Evidence(
                capture.functions[index],
                float(time[index]) / self.total,
                self._caller(hit[functions == index], stacks_hit[functions == index], chosen),
            )
            for index in order
        )

    def _caller(self, positions: Iterable[int], stacks: Iterable[int], chosen: Booleans) -> str:
        capture = self.capture
        times: dict[int, float] = {}
        for position, stack in zip(positions, stacks, strict=True):
            rest = capture.stack_functions[position : capture.stack_offsets[stack + 1]]
            # Behind the outermost of them: who wanted the lock, not the kernel's way to it.
            outside = rest[np.flatnonzero(chosen[rest])[-1] + 1 :]
            if len(outside):
                caller = int(outside[0])
                times[caller] = times.get(caller, 0.0) + float(self.weight_by_stack[stack])
        if not times:
            return ""
        return f"called from {capture.functions[max(times, key=times.__getitem__)].name}"
