"""One benchmark compared: which functions, with which numbers and warnings."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from measurements import FILE, benchmark, chosen, function, profile

from pytest_blcperf.compare.compare import MOST_FUNCTIONS, compare_benchmark, sides
from pytest_blcperf.compare.decide import below_margin, detectable, launches_needed, p_above, p_below, upper_change
from pytest_blcperf.compare.explain import changed_calls, explain
from pytest_blcperf.model.comparison import SELF, TOTAL, BenchmarkComparison, Estimate, FunctionComparison
from pytest_blcperf.model.function import NATIVE, Function
from pytest_blcperf.model.run import Benchmark, Count, Counts
from pytest_blcperf.settings import FunctionRule, Settings

STACKS = {"leaf < mid < root": 300, "mid < root": 100, "other < root": 580, "cold < root": 20}


def compared(base: Benchmark, head: Benchmark, settings: Settings | None = None) -> BenchmarkComparison:
    return compare_benchmark(base, head, settings or chosen(), phase=None, paired=True)


def found(comparison: BenchmarkComparison) -> list[tuple[str, str]]:
    return [(one.function.name, one.kind) for one in comparison.functions]


def test_each_hypothesis_once_the_hottest_first() -> None:
    # The root's total is the benchmark itself, a leaf's total its self time, and `cold` is below 3 %.
    whole = benchmark(STACKS)
    assert found(compared(whole, whole)) == [("other", SELF), ("mid", TOTAL), ("leaf", SELF), ("mid", SELF)]


def test_hot_on_either_side_is_hot() -> None:
    cold, hot = benchmark(STACKS), benchmark({**STACKS, "cold < root": 50})
    assert ("cold", SELF) in found(compared(cold, hot))
    assert ("cold", SELF) in found(compared(hot, cold))


def test_total_time_alone_where_the_backend_knows_no_more() -> None:
    whole = benchmark(STACKS, self_time=False)
    assert found(compared(whole, whole)) == [("other", TOTAL), ("mid", TOTAL), ("leaf", TOTAL)]


def test_numbers_of_a_function() -> None:
    base = benchmark(STACKS, calls={"leaf": 4, "mid": 2})
    head = benchmark({**STACKS, "leaf < mid < root": 600}, calls={"leaf": 8}, edited={"leaf": "edited"})
    leaf, mid = (
        next(one for one in compared(base, head).functions if (one.function.name, one.kind) == key)
        for key in (("leaf", SELF), ("mid", TOTAL))
    )
    assert (leaf.share_base, leaf.share_head) == (pytest.approx(0.3, abs=1e-3), pytest.approx(0.6 / 1.3, abs=1e-3))
    assert (leaf.cost_base_ns, leaf.cost_head_ns) == (
        pytest.approx(300_000, rel=0.01),
        pytest.approx(600_000, rel=0.01),
    )
    assert leaf.ratio.change == pytest.approx(1, abs=0.01)
    assert leaf.impact == pytest.approx(0.3, abs=0.005)
    assert leaf.samples_base == 24 * 3000
    assert (leaf.calls_base, leaf.calls_head, leaf.counts_exact, leaf.code_changed) == (4, 8, True, True)
    assert (mid.calls_base, mid.calls_head, mid.counts_exact, mid.code_changed) == (2, 0, True, False)


def test_counts_that_vary_are_not_exact() -> None:
    base = benchmark(STACKS, calls={"leaf": 4})
    assert base.counts is not None
    vague = replace(base, counts=replace(base.counts, deterministic=False))
    leaf = next(one for one in compared(base, vague).functions if one.function.name == "leaf")
    assert (leaf.calls_head, leaf.counts_exact, explain(leaf)) == (4, False, None)
    uncounted = next(one for one in compared(base, benchmark(STACKS)).functions if one.function.name == "leaf")
    assert (uncounted.calls_base, uncounted.calls_head, uncounted.counts_exact) == (4, None, False)


def test_a_function_on_one_side_only_has_a_finite_impact() -> None:
    less = {name: cost for name, cost in STACKS.items() if "other" not in name}
    for base, head, impact in ((less, STACKS, 580 / 420), (STACKS, less, -0.58)):
        one = next(one for one in compared(benchmark(base), benchmark(head)).functions if one.function.name == "other")
        assert one.impact == pytest.approx(impact, abs=0.01)
        assert math.isfinite(one.ratio.standard_error)
        assert 0.0 in (one.share_base, one.share_head)


def test_rules_choose_the_functions() -> None:
    whole = benchmark(STACKS)
    named = replace(chosen(min_share="1%"), only_functions=("cold", f"{FILE}::leaf"))
    assert found(compared(whole, whole, named)) == [("leaf", SELF), ("cold", SELF)]
    rules = replace(chosen(), rules=(FunctionRule("other", ignore=True), FunctionRule("cold", min_share=0.02)))
    assert found(compared(whole, whole, rules)) == [("mid", TOTAL), ("leaf", SELF), ("mid", SELF), ("cold", SELF)]


def test_exactly_the_functions_asked_for_hot_or_not() -> None:
    whole = benchmark(STACKS)
    asked = [(function("cold"), SELF), (function("root"), TOTAL), (function("nowhere"), SELF)]
    assert found(compare_benchmark(whole, whole, chosen(), phase=None, paired=True, only=asked)) == [
        ("cold", SELF),
        ("root", TOTAL),
    ]


def test_too_many_functions_are_cut_with_a_warning() -> None:
    whole = benchmark({f"f{index} < root": 1000 + index for index in range(45)}, samples=100_000)
    comparison = compared(whole, whole, chosen(min_share="1%"))
    assert len(comparison.functions) == MOST_FUNCTIONS
    assert comparison.functions[0].function.name == "f44"
    assert [warning.code for warning in comparison.warnings] == ["functions-capped"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"profile": None}, "profile-missing"),
        ({"profile": profile(STACKS, 24, backend="another")}, "profile-backends"),
        ({"profile": profile({"root": 0.0, "a": 1.0}, 24, samples=0)}, "profile-empty"),
    ],
)
def test_profiles_that_cannot_be_compared(changes: dict[str, object], code: str) -> None:
    comparison = compared(benchmark(STACKS), replace(benchmark(STACKS), **changes))  # type: ignore[arg-type]
    assert (comparison.functions, comparison.backend) == ((), "")
    assert [warning.code for warning in comparison.warnings] == [code]
    assert comparison.ratio.change == pytest.approx(0)


def test_samples_of_one_launch_judge_no_function() -> None:
    whole = benchmark(STACKS)
    comparison = compared(whole, replace(whole, profile=profile(STACKS, 1)))
    assert {one.ratio.standard_error for one in comparison.functions} == {math.inf}
    assert [warning.code for warning in comparison.warnings] == ["profile-launches"]


def test_a_share_of_a_billionth() -> None:
    base = benchmark({"big < root": 1e9, "tiny < root": 1.0}, samples=2 * 10**9)
    head = benchmark({"big < root": 1e9, "tiny < root": 3.0}, samples=2 * 10**9)
    (tiny,) = compare_benchmark(
        base, head, chosen(), phase=None, paired=True, only=[(function("tiny"), SELF)]
    ).functions
    assert tiny.ratio.change == pytest.approx(2, rel=0.05)
    assert tiny.impact == pytest.approx(2e-9, rel=0.05)


def costs(before: float, after: float, calls: tuple[float | None, float | None]) -> FunctionComparison:
    return FunctionComparison(
        function("f"), SELF, 0, 0, before, after, Estimate(0, 0, 1), 0, 0, 0, calls[0], calls[1], counts_exact=True
    )


@pytest.mark.parametrize(
    ("before", "after", "calls", "expected"),
    [
        (100, 200, (10, 20), (100, 0)),
        (100, 200, (10, 10), (0, 100)),
        (100, 300, (10, 20), (125, 75)),
        (0, 50, (0, 5), (50, 0)),
        (50, 0, (5, 0), (-50, 0)),
    ],
)
def test_growth_is_calls_and_cost_per_call(
    before: float, after: float, calls: tuple[float, float], expected: tuple[float, float]
) -> None:
    told = explain(costs(before, after, calls))
    assert told is not None
    assert (told.called_more_ns, told.dearer_per_call_ns) == pytest.approx(expected)


@pytest.mark.parametrize("calls", [(None, 3), (3, None), (0, 0), (0, 3)])
def test_nothing_is_explained_without_calls(calls: tuple[float | None, float | None]) -> None:
    assert explain(costs(100, 200, calls)) is None


def test_p_values_at_and_around_the_margin() -> None:
    at = Estimate(math.log(1.05), 0.01, 11)
    assert p_above(at, 0.05) == pytest.approx(0.5)
    assert p_above(Estimate(math.log(1.05) + 0.04025, 0.01, 11), 0.05) == pytest.approx(0.001, rel=0.01)
    assert p_below(Estimate(math.log(0.95) - 0.04025, 0.01, 11), -0.05) == pytest.approx(0.001, rel=0.01)
    assert p_below(Estimate(-50, 0.01, 11), -1.0) == 1
    assert (p_above(Estimate(1, 0, 3), 0.05), p_above(Estimate(0, 0, 3), 0.05), p_above(Estimate(0, 0, 3), 0.0)) == (
        0,
        1,
        0.5,
    )


def test_no_error_means_no_statement() -> None:
    unknown = Estimate(5.0, math.inf, 0)
    assert (p_above(unknown, 0.05), p_below(unknown, -0.05)) == (1, 1)
    assert upper_change(unknown) == math.inf
    assert not below_margin(unknown, 0.05)
    assert detectable(unknown, 0.05) is None
    assert launches_needed(unknown, 1, 0.05, 0.001) is None


def test_what_could_be_seen_and_what_it_would_take() -> None:
    estimate = Estimate(0.02, 0.02, 11)
    assert detectable(estimate, 0.05) == pytest.approx(1.025 * math.exp(3.97 * 0.02) - 1)
    # t(0.95, 11) × 0.02 must shrink to log 1.05 − 0.02.
    assert launches_needed(estimate, 12, 0.05, 0.001) == math.ceil(12 * (1.7959 * 0.02 / (math.log(1.05) - 0.02)) ** 2)
    assert launches_needed(Estimate(math.log(1.0499), 0.02, 11), 12, 0.05, 0.001) is None
    assert launches_needed(Estimate(0.09, 0.02, 11), 12, 0.05, 0.001) == 19


APPEND = Function("<builtin>", "list.append", kind=NATIVE)
SQRT = Function("<stdlib>/lib-dynload/math.so", "math.sqrt", kind=NATIVE)


def counted(side: Benchmark, exact: bool = True, **calls: float) -> Benchmark:
    """The benchmark with counts: of `leaf`, `mid` and so on, and of two functions in C."""
    known = {"append": APPEND, "sqrt": SQRT}
    counts = tuple(Count(known.get(name) or function(name), number) for name, number in calls.items())
    return replace(side, counts=Counts(counts, exact))


def test_functions_in_c_have_counts_and_no_share_and_change_nothing_else() -> None:
    plain = compared(counted(benchmark(STACKS), leaf=2), counted(benchmark(STACKS), leaf=2))
    base = counted(benchmark(STACKS), leaf=2, append=10)
    head = counted(benchmark(STACKS), leaf=2, append=30, sqrt=1)
    assert compared(base, head) == plain


def test_a_function_in_c_is_not_changed_code_where_only_one_side_calls_it() -> None:
    base, head = counted(benchmark(STACKS), leaf=2), counted(benchmark(STACKS), leaf=2, sqrt=1, added=1)
    both = sides(base, head, phase=None, paired=True)
    assert both is not None
    changed = {pair.function.name: pair.code_changed for pair in both.pairs}
    assert (changed["math.sqrt"], changed["added"], changed["leaf"]) == (None, True, False)


def test_calls_that_changed_come_with_the_largest_difference_first() -> None:
    base = counted(benchmark(STACKS), leaf=2, mid=5, append=10, gone=1)
    head = counted(benchmark(STACKS), leaf=4, mid=5, append=30, sqrt=7)
    changes = [(one.function.name, one.base, one.head) for one in changed_calls(base, head)]
    assert changes == [("list.append", 10, 30), ("math.sqrt", 0, 7), ("leaf", 2, 4), ("gone", 1, 0)]
    assert changed_calls(base, counted(head, exact=False, leaf=9)) == ()
    assert changed_calls(benchmark(STACKS), head) == ()
