"""A profile: interned stacks with weights, as columns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pytest_blcperf.model.function import Function

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Profile:
    """Samples of one benchmark on one side, over all its launches.

    `stacks[i]` is a tuple of indices into `functions`, leaf first. Row r of the three columns says: in launch
    `launch[r]`, stack `stack[r]` was seen in `samples[r]` samples that stand for `weight[r]` ns of CPU time. One row a
    (launch, stack). `self_time` is False when the backend can attribute total time only.
    """

    functions: tuple[Function, ...]
    stacks: tuple[tuple[int, ...], ...]
    launch: Ints
    stack: Ints
    weight: Floats
    samples: Ints
    backend: str
    self_time: bool = True

    @cached_property
    def total_samples(self) -> int:
        """Number of samples in all launches."""
        return int(self.samples.sum())

    @cached_property
    def total_weight(self) -> float:
        """CPU time all samples stand for, ns."""
        return float(self.weight.sum())
