"""Warm-up ends by delay or by settling; a fake clock keeps this instant."""

from __future__ import annotations

import pytest

from pytest_blcperf.window.warm_up import PATIENCE, WarmUp, settled


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([], False),
        ([10.0] * 7, False),
        ([10.0] * 8, True),
        ([20, 20, 20, 20, 10, 10, 10, 10], False),
        ([99, 99, 10.1, 10.1, 10.1, 10.1, 10, 10, 10, 10], True),
        ([10, 10, 10, 10, 30, 30, 30, 30], True),
    ],
)
def test_settled_means_no_longer_falling(times: list[float], expected: bool) -> None:
    assert settled(times) is expected


def test_a_delay_ends_by_the_clock_alone() -> None:
    clock = Clock()
    warm_up = WarmUp(2.0, clock)
    for _ in range(50):
        warm_up.observe(10.0)
    assert not warm_up.finished
    clock.now += 1.99
    assert not warm_up.finished
    clock.now += 0.01
    assert warm_up.finished


def test_settling_ends_it_early_and_patience_at_the_latest() -> None:
    clock = Clock()
    falling = WarmUp(None, clock)
    assert not falling.finished
    for time in range(100, 50, -2):
        falling.observe(float(time))
    assert not falling.finished
    clock.now += PATIENCE
    assert falling.finished


def test_nothing_is_warm_before_its_first_round() -> None:
    clock = Clock()
    warm_up = WarmUp(None, clock)
    clock.now += 10 * PATIENCE
    assert not warm_up.finished
