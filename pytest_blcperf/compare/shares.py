"""How many samples each function, or any set of stacks, got in each launch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
import numpy.typing as npt

from pytest_blcperf.compare.align import merge
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.profile import Floats, Ints, Profile

Mask = npt.NDArray[np.bool_]
ABSENT = int(np.iinfo(np.int64).max)
"""A depth that no stack has."""


@dataclass(frozen=True, eq=False)
class Tally:
    """A profile cut down to some launches: F functions (each identity once), S stacks, K launches, M frames in all.

    `weights` [S, K] is CPU time expressed in samples: scaled so that it sums to the number of samples taken. `counts`
    [S] are samples as taken. Frame m is `frame_function[m]` at depth `frame_depth[m]` (0 is the leaf) of stack
    `frame_stack[m]`, ordered by stack and depth.
    """

    functions: tuple[Function, ...]
    weights: Floats
    counts: Ints
    frame_stack: Ints
    frame_function: Ints
    frame_depth: Ints
    design_effect: float
    """How much unequal weights inflate the variance of a share (Kish): n Σw² / (Σw)², 1 for equal weights."""

    @cached_property
    def index(self) -> dict[Function, int]:
        """Where each function stands in `functions`."""
        return {function: position for position, function in enumerate(self.functions)}

    @cached_property
    def samples(self) -> Floats:
        """Samples of each launch [K]."""
        return np.asarray(self.weights.sum(axis=0), dtype=np.float64)

    @cached_property
    def self_samples(self) -> Floats:
        """Samples with the function as leaf [F, K]."""
        leaf = self.frame_depth == 0
        return self._per_function(self.frame_stack[leaf], self.frame_function[leaf])

    @cached_property
    def total_samples(self) -> Floats:
        """Samples with the function anywhere, once a stack however often it recurs [F, K]."""
        return self._per_function(*self._members)

    @cached_property
    def self_counts(self) -> Ints:
        """Samples as taken with the function as leaf [F]."""
        leaf = self.frame_depth == 0
        return self._taken(self.frame_stack[leaf], self.frame_function[leaf])

    @cached_property
    def total_counts(self) -> Ints:
        """Samples as taken with the function anywhere [F]."""
        return self._taken(*self._members)

    def within(self, stacks: Mask) -> Floats:
        """Samples of each launch in the given stacks [K]."""
        return np.asarray(self.weights[stacks].sum(axis=0), dtype=np.float64)

    def containing(self, functions: Collection[int]) -> Mask:
        """The stacks [S] in which any of the functions occurs."""
        return self._stacks(np.isin(self.frame_function, list(functions)))

    def leaf_in(self, functions: Collection[int]) -> Mask:
        """The stacks [S] whose leaf is one of the functions."""
        return self._stacks(np.isin(self.frame_function, list(functions)) & (self.frame_depth == 0))

    def calls_through(self, caller: int, callee: int) -> Mask:
        """The stacks [S] in which the callee occurs nearer to the leaf than the caller, directly or not."""
        return np.asarray(self.innermost(callee) < self.outermost(caller), dtype=np.bool_)

    def innermost(self, function: int) -> Ints:
        """The depth in each stack [S] at which the function is nearest to the leaf; ABSENT where it is not."""
        return self._depths(function, ABSENT, np.minimum)

    def outermost(self, function: int) -> Ints:
        """The depth in each stack [S] at which the function is farthest from the leaf; -1 where it is not."""
        return self._depths(function, -1, np.maximum)

    def _depths(self, function: int, absent: int, keep: np.ufunc) -> Ints:
        if (function, absent) not in self._known_depths:
            depths = np.full(len(self.counts), absent, dtype=np.int64)
            at = self.frame_function == function
            keep.at(depths, self.frame_stack[at], self.frame_depth[at])
            self._known_depths[function, absent] = depths
        return self._known_depths[function, absent]

    @cached_property
    def _known_depths(self) -> dict[tuple[int, int], Ints]:
        """Many pairs of functions are asked about, which are few functions."""
        return {}

    def callers(self, function: int) -> frozenset[int]:
        """The functions that call it directly in a stack with samples, but itself."""
        last = len(self.frame_stack) - 1
        at = np.flatnonzero((self.frame_function == function) & (self.counts[self.frame_stack] > 0))
        at = at[at < last]
        at = at[self.frame_stack[at + 1] == self.frame_stack[at]]
        return frozenset(self.frame_function[at + 1].tolist()) - {function}

    def _stacks(self, frames: Mask) -> Mask:
        mask = np.zeros(len(self.counts), dtype=np.bool_)
        mask[self.frame_stack[frames]] = True
        return mask

    @cached_property
    def _members(self) -> tuple[Ints, Ints]:
        """Stack and function of each frame, recursion removed."""
        many = max(len(self.functions), 1)
        keys = np.sort(self.frame_stack * many + self.frame_function)
        # Not np.unique: hashing (numpy ≥ 2.3) took 20 times as long as sorting these nearly sorted keys.
        keys = keys[np.diff(keys, prepend=-1) != 0]
        return keys // many, keys % many

    def _taken(self, stacks: Ints, functions: Ints) -> Ints:
        taken = np.bincount(functions, weights=self.counts[stacks], minlength=len(self.functions))
        return taken.astype(np.int64)

    def _per_function(self, stacks: Ints, functions: Ints) -> Floats:
        """Sums over the given frames (ordered by stack) of each function [F, K].

        Only stacks seen in a launch are gathered for it: most are seen in one or two, and stacks × depth × launches of
        a deep profile would take hundreds of MB.
        """
        shape = len(self.functions), self.weights.shape[1]
        lengths = np.bincount(stacks, minlength=len(self.counts))
        seen, launch = np.nonzero(self.weights)
        size = lengths[seen]
        frames = np.repeat(np.cumsum(lengths)[seen] - np.cumsum(size), size) + np.arange(size.sum())
        cells = functions[frames] * shape[1] + np.repeat(launch, size)
        weights = np.repeat(self.weights[seen, launch], size)
        return np.bincount(cells, weights=weights, minlength=shape[0] * shape[1]).astype(np.float64).reshape(shape)


def tally(profile: Profile, launches: Sequence[int]) -> Tally:
    """The profile's samples in those launches, one column a launch in that order (zeros where a launch has none).

    Weights that are not finite or not positive count as no time.
    """
    functions = merge(profile.functions)
    position = {function: index for index, function in enumerate(functions)}
    identity = np.array([position[function] for function in profile.functions], dtype=np.int64)
    stack, launch, weight, samples = _rows(profile, launches)
    shape = (len(profile.stacks), len(launches))
    total = weight.sum()
    scaled = weight * (samples.sum() / total if total > 0 else 0.0)
    flat = np.bincount(stack * shape[1] + launch, weights=scaled, minlength=shape[0] * shape[1])
    lengths = np.fromiter((len(frames) for frames in profile.stacks), dtype=np.int64, count=shape[0])
    frames = np.fromiter(chain.from_iterable(profile.stacks), dtype=np.int64, count=int(lengths.sum()))
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    return Tally(
        functions=functions,
        weights=np.asarray(flat, dtype=np.float64).reshape(shape),
        counts=np.bincount(stack, weights=samples, minlength=shape[0]).astype(np.int64),
        frame_stack=np.repeat(np.arange(shape[0], dtype=np.int64), lengths),
        frame_function=identity[frames] if len(frames) else frames,
        frame_depth=np.arange(len(frames), dtype=np.int64) - starts,
        design_effect=_design_effect(scaled, samples),
    )


def _rows(profile: Profile, launches: Sequence[int]) -> tuple[Ints, Ints, Floats, Ints]:
    """Stack, position of the launch in `launches`, weight and samples of the rows in those launches."""
    place = {launch: index for index, launch in enumerate(launches)}
    known, each = np.unique(profile.launch, return_inverse=True)
    column = np.array([place.get(launch, -1) for launch in known.tolist()], dtype=np.int64)[each]
    usable = (column >= 0) & (profile.samples > 0) & np.isfinite(profile.weight) & (profile.weight > 0)
    return profile.stack[usable], column[usable], profile.weight[usable], profile.samples[usable]


def _design_effect(scaled: Floats, samples: Ints) -> float:
    """Kish's design effect from the mean weight of each row; spread inside a row is not recorded and not seen."""
    if not len(samples) or not scaled.any():
        return 1.0
    return float((scaled**2 / samples).sum() / samples.sum())
