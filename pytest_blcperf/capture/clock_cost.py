"""What the function clock itself takes, measured while it is open. Standard library only.

On a shared machine everything takes up to twice as long in spells of a tenth of a second to two, the clock's own work
too. So it is measured anew for every reading, on the spot, and only how it splits is measured once.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import repeat

from pytest_blcperf.capture.activations import Activations, ClockCost

CALLS = 40
STRETCHES = 5
"""A measurement: the median of so many stretches of so many calls, some 0.1 ms altogether."""
FIRST_STRETCHES = 25
REMEMBERED = 7
"""Measurements whose median is used: rounds last 10 ms, spells 100 ms and more, and single ones scatter by a tenth."""


def timed_nothing() -> None:
    """To be among the timed functions."""


def _plain_nothing() -> None:
    """To be compared with."""


class CostGauge:
    """Measures by calling a function that does nothing, timed and not timed."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._inside_share = 0.0
        self._unwind_share = 0.0
        self._plain_raising = 0.0
        self._recent: deque[float] = deque(maxlen=REMEMBERED)

    def prepare(self) -> None:
        """Before the clock is installed: what exceptions take without it."""
        self._plain_raising = statistics.median(self._stretch(_catch) for _ in repeat(None, FIRST_STRETCHES))

    def calibrate(self, activations: Activations, place: int) -> None:
        """When it is installed: how its cost splits. `place` is that of `timed_nothing` in the sums."""
        for _ in repeat(None, STRETCHES):  # until the interpreter has specialised both
            self._stretch(_call_timed)
            self._stretch(_call_plain)
        activations.cost = ClockCost()
        shares, raised = [], []
        for _ in repeat(None, FIRST_STRETCHES):
            before = activations.sums()[place][1]
            added = self._stretch(_call_timed) - self._stretch(_call_plain)
            inside = (activations.sums()[place][1] - before) / CALLS
            if added > 0:
                shares.append(min(1.0, inside / added))
                raised.append(max(0.0, self._stretch(_catch) - self._plain_raising) / added)
        for _ in repeat(None, REMEMBERED):
            self.measured()
        if shares:
            self._inside_share = statistics.median(shares)
            self._unwind_share = statistics.median(raised)

    def measured(self) -> ClockCost:
        """The cost at present, an activation: the median of the last few measurements, this one included."""
        differences = [self._stretch(_call_timed) - self._stretch(_call_plain) for _ in repeat(None, STRETCHES)]
        self._recent.append(statistics.median(differences))
        added = max(0.0, statistics.median(self._recent))
        inside = added * self._inside_share
        return ClockCost(inside, added - inside, added * self._unwind_share)

    def _stretch(self, loop: Callable[[int], None]) -> float:
        """One call of what the loop calls, ns."""
        began = self._clock()
        loop(CALLS)
        return (self._clock() - began) / CALLS


def _call_timed(times: int) -> None:
    for _ in repeat(None, times):
        timed_nothing()


def _call_plain(times: int) -> None:
    for _ in repeat(None, times):
        _plain_nothing()


def _raise() -> None:
    raise LookupError


def _catch(times: int) -> None:
    for _ in repeat(None, times):
        with suppress(LookupError):
            _raise()
