"""Numbers and names as short text."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_samples import HOSTILE, patient, ratio

from pytest_blcperf.model.comparison import Estimate
from pytest_blcperf.report import text


@pytest.mark.parametrize(
    ("ns", "shown"),
    [
        (0, "0 ns"),
        (0.4, "0.40 ns"),
        (712.4, "712 ns"),
        (999.4, "999 ns"),
        (999.6, "1.00 µs"),
        (1_234_000, "1.23 ms"),
        (99_960, "100 µs"),
        (184.2e9, "184 s"),
        (1e300, "1.00e+291 s"),
        (-20_000, "-20.0 µs"),
        (math.nan, "n/a"),
        (math.inf, "n/a"),
    ],
)
def test_times_have_three_digits_and_a_unit(ns: float, shown: str) -> None:
    assert text.time_ns(ns) == shown


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        (0.201, "+20.1 %"),
        (-0.0001, "+0.0 %"),
        (-0.5, "-50.0 %"),
        (15, "+1500 %"),
        (1e9, "+1e+11 %"),
        (math.nan, "n/a"),
    ],
)
def test_changes_are_signed_percentages(change: float, shown: str) -> None:
    assert text.percent(change) == shown


def test_the_interval_is_the_t_interval_of_the_log_ratio() -> None:
    # t(0.975, 11) = 2.200985 from tables
    estimate = Estimate(math.log(1.2), 0.01, 11)
    low, high = 1.2 * math.exp(-0.02200985) - 1, 1.2 * math.exp(0.02200985) - 1
    assert text.bounds(estimate) == pytest.approx((low, high), abs=1e-7)
    assert text.interval(estimate) == "[+17.4, +22.7]"


@pytest.mark.parametrize(
    "estimate", [Estimate(0.1, 0.01, 0), Estimate(0.1, math.nan, 5), Estimate(math.inf, 0.1, 5), Estimate(0.1, -1, 5)]
)
def test_without_a_usable_error_nothing_is_significant(estimate: Estimate) -> None:
    assert text.interval(estimate) == "n/a"
    assert text.delta(estimate) == "~"


def test_a_change_whose_interval_contains_zero_is_a_tilde() -> None:
    assert text.delta(ratio(0.03, 0.016)) == "~"
    assert text.delta(ratio(0.03, 0.004)) == "+3.0 %"
    assert text.delta(ratio(-0.03, 0.004)) == "-3.0 %"


@patient
@given(HOSTILE, st.integers(1, 300))
def test_clean_text_is_printable_and_short(name: str, limit: int) -> None:
    cleaned = text.clean(name, limit)
    assert cleaned.isprintable()
    assert len(cleaned) <= limit
    cleaned.encode("utf-8")
    assert text.to_ascii(cleaned).isascii()


def test_clean_shows_what_it_replaces() -> None:
    assert text.clean("a\x1b[31m\n\u202eb") == "a\\x1b[31m\\n\\u202eb"
    assert text.clean("abcdef", 4) == "abc…"
    assert text.clean("漢字 é") == "漢字 é"


@patient
@given(HOSTILE.map(text.clean), st.integers(0, 60), st.sampled_from(["…", "..."]))
def test_cut_text_fits_and_keeps_its_end(name: str, width: int, ellipsis: str) -> None:
    cut = text.cut_middle(name, width, ellipsis)
    assert text.cells(cut) <= width
    if text.cells(name) > width >= 20:
        assert ellipsis in cut
        assert name.endswith(cut.rpartition(ellipsis)[2])


def test_wide_characters_take_two_columns() -> None:
    assert text.cells("漢字") == 4
    assert text.cells("e\u0301") == 1
    assert text.cells("abc") == 3


@pytest.mark.parametrize(
    ("value", "shown"), [(36, "36"), (0.5, "0.5"), (12_345.6, "12,346"), (1e12, "1e+12"), (math.nan, "n/a")]
)
def test_counts(value: float, shown: str) -> None:
    assert text.quantity(value) == shown


@patient
@given(st.floats())
def test_no_number_breaks_a_column(value: float) -> None:
    for shown in (
        text.time_ns(value),
        text.percent(value),
        text.share(value),
        text.quantity(value),
        text.p_value(value),
    ):
        assert 0 < len(shown) <= 14
    assert len(text.interval(Estimate(value, 0.1, 5))) <= 24
