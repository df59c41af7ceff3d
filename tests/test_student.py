"""Student's t against closed forms, and against values of scipy 1.x and mpmath (40 digits) written down here."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_blcperf.compare.student import cdf, normal, quantile, survival, upper_quantile


@pytest.mark.parametrize("t", [1e-9, 0.1, 1.0, 7.0, 1e5, 1e11])
def test_one_degree_of_freedom_is_cauchy(t: float) -> None:
    assert survival(t, 1) == pytest.approx(math.atan(1 / t) / math.pi, rel=1e-11)


@pytest.mark.parametrize("t", [0.01, 0.5, 3.0, 40.0])
def test_two_degrees_of_freedom_in_closed_form(t: float) -> None:
    root = math.sqrt(2 + t * t)
    assert survival(t, 2) == pytest.approx(1 / (root * (root + t)), rel=1e-11)


# mpmath.betainc(nu/2, 1/2, 0, nu/(nu + t²), regularized=True)/2
REFERENCE = [
    (0.25, 3, 0.409364611214415),
    (4.5, 3, 0.0102452061722267),
    (10.0, 5, 8.54737878714818e-5),
    (1.5, 11, 0.080879008527727),
    (4.02, 11, 0.0010080570187759),
    (30.0, 11, 3.33346561068252e-12),
    (3.5, 23, 0.000964030276213751),
    (7.0, 47, 4.08675163736737e-9),
    (0.01, 200, 0.496015627576641),
    (6.0, 999, 1.37813453445221e-9),
    (2.0, 1000, 0.0228851732466258),
]


@pytest.mark.parametrize(("t", "freedom", "tail"), REFERENCE)
def test_tails_to_ten_digits(t: float, freedom: int, tail: float) -> None:
    assert survival(t, freedom) == pytest.approx(tail, rel=1e-10)


@given(st.floats(1e-12, 0.4999), st.integers(1, 1000))
def test_the_quantile_inverts_the_tail(p: float, freedom: int) -> None:
    assert survival(upper_quantile(p, freedom), freedom) == pytest.approx(p, rel=1e-10)


@given(st.floats(-50, 50), st.integers(1, 1000))
def test_both_tails_make_one(t: float, freedom: int) -> None:
    assert cdf(t, freedom) + survival(t, freedom) == pytest.approx(1, abs=1e-14)


def test_the_ends() -> None:
    assert survival(0, 5) == 0.5
    assert survival(math.inf, 5) == 0
    assert survival(-math.inf, 5) == 1
    assert quantile(0.5, 5) == 0
    assert quantile(0.025, 11) == pytest.approx(-quantile(0.975, 11), rel=1e-12)
    assert survival(2.0, math.inf) == pytest.approx(0.022750131948179207, rel=1e-12)
    assert normal(0.975) == pytest.approx(1.959963984540054)


@pytest.mark.parametrize(("t", "freedom"), [(math.nan, 5), (1.0, 0), (1.0, -1), (1.0, math.nan)])
def test_no_distribution(t: float, freedom: float) -> None:
    with pytest.raises(ValueError, match="no t distribution"):
        survival(t, freedom)


@pytest.mark.parametrize("p", [0.0, 1.0, -0.1, math.nan])
def test_no_quantile(p: float) -> None:
    with pytest.raises(ValueError, match="no quantile"):
        quantile(p, 5)
