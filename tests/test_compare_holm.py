"""Holm's correction."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_blcperf.compare.holm import adjust


def test_a_worked_example() -> None:
    assert adjust([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))


def test_nothing_and_one() -> None:
    assert adjust([]) == ()
    assert adjust([0.2]) == (0.2,)


@given(st.lists(st.floats(0, 1), max_size=20))
def test_order_is_kept_and_nothing_gets_smaller(p_values: list[float]) -> None:
    adjusted = adjust(p_values)
    assert all(raw <= new <= 1 for raw, new in zip(p_values, adjusted, strict=True))
    by_raw = [new for _, new in sorted(zip(p_values, adjusted, strict=True))]
    assert by_raw == sorted(by_raw)
    # Rejected at any level means rejected by Bonferroni or after a smaller one was: the smallest is Bonferroni's.
    if p_values:
        assert min(adjusted) == min(1, len(p_values) * min(p_values))
