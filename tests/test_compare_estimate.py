"""Ratios and their errors, against independent calculations and against the spread of simulated repetitions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from measurements import benchmark, launches, profile

from pytest_blcperf.compare.estimate import (
    SESSION_DRIFT,
    dispersion,
    function_ratio,
    paired_times,
    share_ratio,
    unpaired_times,
)
from pytest_blcperf.compare.launch_mean import LEAST_SPREAD, launch_mean
from pytest_blcperf.compare.shares import tally
from pytest_blcperf.model.comparison import Estimate
from pytest_blcperf.model.run import CONFIRM, LOOK, Benchmark, Round


def timed(rows: Sequence[Sequence[int]], confirm_from: int = 10**6) -> Benchmark:
    return Benchmark("id", "name", "file", 1, launches(rows, confirm_from))


def test_paired_times_take_the_rounds_of_a_launch_together() -> None:
    rng = np.random.default_rng(1)
    rows = rng.integers(1000, 2000, (4, 10))
    found = paired_times(timed([[1000] * 10] * 4), timed(rows.tolist()), None)
    assert found.ratio == launch_mean(list(np.log(rows / 1000)))
    assert found.head_ns == pytest.approx(np.median(np.median(rows, axis=1)) / 10)


def test_drift_common_to_both_sides_cancels() -> None:
    base = [[1000 * speed, 1300 * speed] for speed in (10, 17, 23, 11)]
    head = [[2 * cpu for cpu in row] for row in base]
    found = paired_times(timed(base), timed(head), None).ratio
    assert found.change == pytest.approx(1)
    assert found.standard_error == pytest.approx(LEAST_SPREAD / 2)


def test_rounds_and_launches_pair_by_index_and_phase() -> None:
    base = timed([[100], [200], [400], [800]], confirm_from=2)
    head = timed([[100, 9], [200], [800], [1600], [5]], confirm_from=2)
    assert paired_times(base, head, LOOK).ratio.change == pytest.approx(0)
    confirmed = paired_times(base, head, CONFIRM)
    assert confirmed.ratio.change == pytest.approx(1)
    assert confirmed.launches_base == (2, 3)


def test_unusable_rounds_are_dropped_with_their_partner_and_counted() -> None:
    base, head = timed([[100, 0, 100], [100, 100, -5]]), timed([[200, 1, 200], [200, 200, 200]])
    found = paired_times(base, head, None)
    assert found.ratio.change == pytest.approx(1)
    assert [warning.text[:6] for warning in found.warnings] == ["2 of 6"]
    none = replace(head, launches=tuple(replace(one, rounds=(Round(0, 5, 5),)) for one in head.launches))
    assert paired_times(base, none, None).ratio == Estimate(0.0, math.inf, 0)


def test_one_launch_has_no_error() -> None:
    found = paired_times(timed([[100, 100]]), timed([[150, 150]]), None).ratio
    assert (found.log_ratio, found.standard_error, found.freedom) == (pytest.approx(math.log(1.5)), math.inf, 0)


def test_unpaired_is_the_mean_of_launch_medians_and_never_sharper_than_drift() -> None:
    base, head = timed([[100, 100, 900], [121, 121, 1]]), timed([[220], [220], [220]])
    found = unpaired_times(base, head, None).ratio
    assert found.log_ratio == pytest.approx(math.log(2))
    # Launches of 10 and 12.1 ns: SD log(1.21)/√2, over two launches.
    assert found.standard_error == pytest.approx(math.hypot(SESSION_DRIFT, math.log(1.1)))
    assert found.freedom == 3
    assert unpaired_times(base, timed([[1]]), None).ratio.standard_error == math.inf
    assert unpaired_times(base, timed([]), None).ratio.freedom == 0


def counts(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)


def test_the_share_ratio_by_hand() -> None:
    found = share_ratio(counts(30, 50), counts(100, 100), counts(60, 60), counts(100, 100), dispersion=0.4, paired=True)
    assert found.log_ratio == pytest.approx(math.log((120.5 / 201) / (80.5 / 201)))
    left_out = [math.log(60.5 / 50.5), math.log(60.5 / 30.5)]
    assert found.standard_error == pytest.approx(abs(left_out[0] - left_out[1]) / 2)
    assert found.freedom == 1


def test_without_spread_the_sampling_error_is_left() -> None:
    whole = counts(1000, 1000, 1000)
    found = share_ratio(counts(100, 100, 100), whole, counts(300, 300, 300), whole, dispersion=0.4, paired=True)
    sampling = 0.4 * ((1 - 0.1) / 300 + (1 - 0.3) / 900)
    assert found.standard_error == pytest.approx(math.sqrt(sampling), rel=0.01)
    assert found.freedom == 4


def test_what_both_sides_of_a_launch_share_cancels_when_paired() -> None:
    both = counts(100, 300, 200, 400)
    whole = counts(1000, 1000, 1000, 1000)
    paired = share_ratio(both, whole, both, whole, dispersion=0.4, paired=True)
    unpaired = share_ratio(both, whole, both, whole, dispersion=0.4, paired=False)
    assert unpaired.standard_error > 4 * paired.standard_error


@pytest.mark.parametrize("paired", [True, False])
def test_launches_without_samples_do_not_count(paired: bool) -> None:
    one = share_ratio(counts(5, 0), counts(10, 0), counts(5, 5), counts(10, 10), dispersion=1, paired=paired)
    assert (one.standard_error, one.freedom) == (math.inf, 0)
    none = share_ratio(counts(0), counts(0), counts(5), counts(10), dispersion=1, paired=paired)
    assert none == Estimate(0.0, math.inf, 0)


def test_a_share_of_nothing_stays_finite() -> None:
    whole = counts(1e9, 1e9)
    found = share_ratio(counts(0, 0), whole, counts(1, 0), whole, dispersion=1, paired=True)
    assert 0 < found.log_ratio < 2
    assert 1 < found.standard_error < 3


def test_the_function_ratio_adds_logs_and_variances() -> None:
    found = function_ratio(Estimate(0.1, 0.03, 11), Estimate(0.2, 0.04, 11))
    assert (found.log_ratio, found.standard_error, found.freedom) == (pytest.approx(0.3), pytest.approx(0.05), 11)
    assert function_ratio(Estimate(0.1, 0.001, 11), Estimate(0.2, 0.04, 22)).freedom == 22
    assert function_ratio(Estimate(0.1, 0.04, 11), Estimate(0.2, 0.001, 22)).freedom == 11
    assert function_ratio(Estimate(0.1, math.inf, 0), Estimate(0.2, 0.04, 22)).freedom == 0


def test_dispersion_follows_the_data() -> None:
    rng = np.random.default_rng(4)
    even = tally(profile({"a": 4, "b": 3, "c": 3}, 12, samples=1000), list(range(12)))
    assert dispersion(even, even, leaf=True) == 0.4
    many = tally(profile({"a": 4, "b": 3, "c": 3}, 200), list(range(200)))
    binomial = replace(many, weights=rng.multinomial(1000, [0.4, 0.3, 0.3], 200).T.astype(float))
    assert dispersion(binomial, binomial, leaf=True) == pytest.approx(1, rel=0.25)
    wide = replace(even, weights=even.weights * np.exp(rng.normal(0, 0.2, even.weights.shape)))
    assert dispersion(wide, wide, leaf=True) > 4
    # Unequal weights raise the floor; too few launches leave the binomial value.
    assert dispersion(replace(even, design_effect=2.0), even, leaf=True) == pytest.approx(0.8)
    short = tally(profile({"a": 4, "b": 6}, 2), [0, 1])
    assert dispersion(short, short, leaf=True) == 1


def test_wall_time_is_reported_beside_cpu_time() -> None:
    waiting = tuple(replace(one, rounds=(Round(1, 100, 5000),)) for one in benchmark({"a": 1}).launches)
    found = paired_times(replace(benchmark({"a": 1}), launches=waiting), benchmark({"a": 1}), None)
    assert (found.base_ns, found.base_wall_ns, found.head_wall_ns) == (100, 5000, 1000)
