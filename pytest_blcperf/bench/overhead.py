"""The harness's own time in a round, and how finely its clock can tell iterations apart. Standard library only."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

REPEATS = 7
STEPS = 50
LEAST = 0.05
"""What is left of a round at the least: a callable that does nothing must not come out as free, or as less."""


@dataclass(frozen=True)
class Overhead:
    """CPU and wall ns that the loop (or the clocks, where each call is timed by itself) adds to one iteration.

    `clock_step_ns` is the smallest step of the CPU clock: a round of n iterations is known to a step / n.
    """

    cpu_ns: float = 0.0
    wall_ns: float = 0.0
    clock_step_ns: float = 0.0

    @classmethod
    def measured(cls, empty_round: Callable[[int], tuple[int, int]], iterations: int) -> Overhead:
        """From rounds of `iterations` calls of nothing, given as (CPU ns, wall ns): the fastest of a few.

        The fastest, since whatever else happens only ever adds; a builtin without arguments is what is called, so
        what a Python function needs to be entered stays its own.
        """
        empty_round(iterations)
        rounds = [empty_round(iterations) for _ in range(REPEATS)]
        cpu = min(cpu for cpu, _ in rounds) / iterations
        wall = min(wall for _, wall in rounds) / iterations
        return cls(cpu, wall, _clock_step())

    def removed(self, iterations: int, cpu_ns: int, wall_ns: int) -> tuple[int, int]:
        """A round's times without it; never less than `LEAST` of them."""
        return (
            round(max(cpu_ns - iterations * self.cpu_ns, cpu_ns * LEAST)),
            round(max(wall_ns - iterations * self.wall_ns, wall_ns * LEAST)),
        )


def _clock_step() -> float:
    """The smallest difference that two readings of the CPU clock show, ns."""
    readings = [time.process_time_ns() for _ in range(STEPS)]
    steps = [after - before for before, after in pairwise(readings) if after > before]
    return float(min(steps, default=0))
