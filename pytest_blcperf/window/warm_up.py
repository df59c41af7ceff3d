"""When warm-up ends: after a delay, or when the time of a round has settled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

GROUP = 4
"""Rounds that are compared with the same number of rounds before them."""

TOLERANCE = 0.03
"""A warm program's groups differ by less than this; noise is larger than any trend left below it."""

PATIENCE = 1.0
"""Seconds after which a program that never settles is measured as it is."""


def settled(times: Sequence[float]) -> bool:
    """Whether the last GROUP round times are no longer falling: their median against that of the group before.

    `times` are ns per iteration, oldest first. Only a fall counts: caches fill and interpreters specialise, but a noisy
    neighbour that makes rounds slower says nothing about warmth.
    """
    if len(times) < 2 * GROUP:
        return False
    return median(times[-GROUP:]) >= (1 - TOLERANCE) * median(times[-2 * GROUP : -GROUP])


class WarmUp:
    """The state of one side's warm-up. `clock` gives seconds and is injected, so tests need not wait.

    With `delay` None it ends when the round time settles, at the latest after PATIENCE seconds; otherwise after `delay`
    seconds, however the rounds look. Time counts from construction.
    """

    def __init__(self, delay: float | None, clock: Callable[[], float]) -> None:
        self._delay = delay
        self._clock = clock
        self._start = clock()
        self.times: list[float] = []

    def observe(self, time_per_iteration: float) -> None:
        """Note a finished warm-up round, in ns per iteration."""
        self.times.append(time_per_iteration)

    @property
    def finished(self) -> bool:
        """Whether the window may open."""
        elapsed = self._clock() - self._start
        if self._delay is not None:
            return elapsed >= self._delay
        return bool(self.times) and (settled(self.times) or elapsed >= PATIENCE)
