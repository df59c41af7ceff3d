"""What more calls add to a benchmark, from exact counts and the base's profile."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from measurements import benchmark, chosen, function

from pytest_blcperf.compare.compare import compare_benchmark
from pytest_blcperf.compare.exact_calls import MoreCalls, more_calls
from pytest_blcperf.model.comparison import SELF, TOTAL, Estimate, FunctionComparison

RATIO = Estimate(math.log(2), 0.1, 11)


def hot(**changes: Any) -> FunctionComparison:
    """A function of a tenth of the benchmark that is called twice as often and costs twice as much."""
    values: dict[str, Any] = {
        "function": function("parse"),
        "kind": SELF,
        "share_base": 0.1,
        "share_head": 0.18,
        "cost_base_ns": 100.0,
        "cost_head_ns": 200.0,
        "ratio": RATIO,
        "impact": 0.1,
        "samples_base": 1000,
        "samples_head": 1800,
        "calls_base": 10.0,
        "calls_head": 20.0,
        "counts_exact": True,
    }
    return FunctionComparison(**{**values, **changes})


def one(comparison: FunctionComparison) -> MoreCalls:
    (found,) = more_calls([comparison])
    return found


def test_the_worth_is_the_share_times_the_growth_of_calls() -> None:
    found = one(hot(calls_head=13.0))
    assert found.growth == pytest.approx(1.3)
    assert found.likely == pytest.approx(0.1 * 0.3)
    assert found.worth.standard_error == 0.1
    # Student's t of 11 degrees of freedom leaves 0.001 above 4.025.
    assert found.least(0.001) == pytest.approx(0.03 * math.exp(-4.025 * 0.1), rel=1e-3)


def test_the_error_is_at_least_that_of_counting_samples() -> None:
    found = one(hot(ratio=replace(RATIO, standard_error=0.001), samples_base=90))
    assert found.worth.standard_error == pytest.approx(math.sqrt(0.9 / 90.5))


def test_the_p_value_and_the_bound_agree() -> None:
    found = one(hot(calls_head=12.0))
    for alpha in (0.05, 0.001, 1e-6):
        assert found.p(found.least(alpha)) == pytest.approx(alpha, rel=1e-3)
    assert found.p(0.02) == pytest.approx(0.5)
    assert found.p(0.001) < 1e-9


@pytest.mark.parametrize(
    "changes",
    [
        {"counts_exact": False},
        {"calls_base": None},
        {"calls_head": None},
        {"calls_base": 0.0},
        {"calls_head": 10.0},
        {"calls_head": 9.0},
        {"samples_base": 0, "share_base": 0.0},
    ],
)
def test_without_more_exact_calls_or_a_known_share_there_is_nothing(changes: dict[str, Any]) -> None:
    assert more_calls([hot(**changes)]) == ()


def test_calls_that_got_cheaper_by_the_clock_convict_nobody() -> None:
    # GIVEN twice the calls, and a time that rules out twice the cost: each call has half the work
    split = one(hot(ratio=Estimate(0.0, 0.1, 11)))
    assert split.cheaper_per_call
    assert (split.least(0.001), split.p(0.01)) == (0.0, 1.0)
    # AND a time too uncertain to rule it out leaves the counts their say
    assert not one(hot(ratio=Estimate(0.0, 0.4, 11))).cheaper_per_call
    assert not one(hot(ratio=Estimate(0.0, math.inf, 0))).cheaper_per_call


def test_a_share_without_an_error_bounds_nothing() -> None:
    assert one(hot(ratio=Estimate(0.5, math.inf, 0))).least(0.001) == 0.0
    assert one(hot(ratio=Estimate(0.5, math.inf, 0))).p(0.01) == 1.0


def test_self_time_counts_where_there_is_one_and_the_worth_most_comes_first() -> None:
    total = hot(kind=TOTAL, share_base=0.6)
    small = hot(function=function("scan"), kind=TOTAL, share_base=0.05)
    found = more_calls([total, small, hot()])
    assert [(more.comparison.function.name, more.comparison.kind) for more in found] == [
        ("parse", SELF),
        ("scan", TOTAL),
    ]
    assert more_calls([hot(), total])[0].comparison.kind == SELF


def test_from_a_measurement() -> None:
    stacks = {"parse < run < test": 330, "load < test": 670}
    calls = {"parse": 10.0, "run": 1.0, "load": 1.0}
    base, head = (
        benchmark(stacks, calls=calls),
        benchmark({**stacks, "parse < run < test": 363}, calls={**calls, "parse": 11.0}),
    )
    compared = compare_benchmark(base, head, chosen(), phase=None, paired=True)
    (found,) = more_calls(compared.functions)
    assert (found.comparison.function.name, found.growth) == ("parse", 1.1)
    assert found.likely == pytest.approx(0.033, rel=0.01)
    assert found.least(0.001) > 0.03


@pytest.mark.parametrize("samples", [300, 3000])
def test_the_bound_keeps_its_level_over_drawn_profiles(samples: int) -> None:
    """Shares drawn from the true one, their error from the samples alone: a bound above the truth is an error."""
    random = np.random.default_rng(5)
    truth, draws, alpha = 0.08, 4000, 0.05
    wrong = 0
    for count in random.binomial(samples, truth, draws):
        drawn = hot(share_base=count / samples, samples_base=int(count), ratio=replace(RATIO, standard_error=0.0))
        wrong += one(drawn).least(alpha) > truth
    assert wrong / draws < alpha + 3 * math.sqrt(alpha / draws)
