"""The mean over launches, against independent calculations and the spread of simulated repetitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_blcperf.compare.decide import p_above
from pytest_blcperf.compare.launch_mean import LEAST_SPREAD, NOTHING, interquartile_mean, launch_mean
from pytest_blcperf.model.comparison import Estimate


def of(*values: float) -> Estimate:
    return launch_mean([np.array([value]) for value in values])


def test_the_interquartile_mean_leaves_out_both_tails() -> None:
    assert interquartile_mean(np.array([1, 1, 1, 900.0])) == 1
    # Of six values, the middle three: the second and the fifth by half.
    assert interquartile_mean(np.array([9, 2, 4, 3, 0, 7.0])) == pytest.approx((2 / 2 + 3 + 4 + 7 / 2) / 3)
    assert interquartile_mean(np.array([5.0])) == 5


def test_few_launches_have_the_error_of_a_plain_mean() -> None:
    found = of(0.01, 0.03, 0.02, 0.06)
    values = np.array([0.01, 0.03, 0.02, 0.06])
    assert found.log_ratio == pytest.approx(values.mean())
    assert found.standard_error == pytest.approx(values.std(ddof=1) / 2)
    assert found.freedom == 3


def test_of_ten_launches_the_outermost_are_left_out() -> None:
    # Winsorized: 1 1 2 3 4 5 6 7 8 8; h = 8.
    found = of(0, 1, 2, 3, 4, 5, 6, 7, 8, 90)
    winsorized = np.array([1, 1, 2, 3, 4, 5, 6, 7, 8, 8.0])
    assert found.log_ratio == pytest.approx(4.5)
    assert found.standard_error == pytest.approx(math.sqrt(((winsorized - winsorized.mean()) ** 2).sum() / (8 * 7)))
    assert found.freedom == 7


def test_a_launch_counts_once_however_many_rounds_it_has() -> None:
    one = launch_mean([np.full(100, 0.02), np.full(3, 0.04), np.array([])])
    assert (one.log_ratio, one.freedom) == (pytest.approx(0.03), 1)


def test_too_little_has_no_error_and_equal_values_some() -> None:
    assert launch_mean([]) == NOTHING
    assert of(0.5) == Estimate(0.5, math.inf, 0)
    assert of(0.5, 0.5, 0.5, 0.5).standard_error == pytest.approx(LEAST_SPREAD / 2)


@pytest.mark.parametrize("launches", [6, 12, 24])
@pytest.mark.parametrize("noise", ["normal", "spoiled"])
def test_no_change_is_called_significant_as_often_as_asked_for(launches: int, noise: str) -> None:
    rng = np.random.default_rng([launches, len(noise)])
    spread = rng.normal(0, 0.01, (4000, launches))
    if noise == "spoiled":
        spread += rng.choice([0, 0.08, -0.08], (4000, launches), p=[0.94, 0.03, 0.03])
    p = np.array([p_above(of(*values), 0.0) for values in spread])
    assert (p < 0.01).mean() < 0.016
    assert (p < 0.1).mean() < 0.12
    if noise == "normal":
        assert (p < 0.1).mean() > 0.08
