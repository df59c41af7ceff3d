"""Functions under clocks: their estimates, what they are used for, and which functions are chosen."""

from __future__ import annotations

from dataclasses import replace

import pytest
from measurements import benchmark, chosen, clocked, function, gated, launches, of, unprofiled

from pytest_blcperf.compare import trial
from pytest_blcperf.compare.compare import compare_benchmark, sides
from pytest_blcperf.compare.suspects import CLOCK_NS, needs_profile, open_hypotheses, suspects
from pytest_blcperf.compare.timed import timed_functions
from pytest_blcperf.compare.trial import lockstep_trial
from pytest_blcperf.gate import judge, screen
from pytest_blcperf.model.comparison import SELF, TOTAL
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.run import CONFIRM, LOOK, Benchmark
from pytest_blcperf.model.verdict import Evidence, Outcome

PLAIN = {"parse < run < test": 330, "render < run < test": 270, "load < test": 400}
"""µs per iteration, ten iterations a round."""


def test_times_are_per_iteration_and_paired_by_launch() -> None:
    base = clocked(benchmark(PLAIN, look=4, confirm=0), {"parse": 330})
    head = clocked(benchmark(PLAIN, look=4, confirm=0), {"parse": 363})
    pair = function("parse"), function("parse")
    (found,) = timed_functions(base, head, [0, 1, 2], [pair]).values()
    assert (found.total.base_ns, found.total.head_ns) == (330_000, 363_000)
    assert found.total.ratio.change == pytest.approx(0.1)
    assert found.total.ratio.freedom == 2
    assert timed_functions(base, head, [], [pair]) == {}
    assert timed_functions(base, benchmark(PLAIN, look=4, confirm=0), [0, 1], [pair]) == {}


def test_rounds_in_which_a_side_did_not_call_the_function_are_taken_together() -> None:
    base = clocked(benchmark(PLAIN, look=2, confirm=0), {"parse": 330})
    idle = [replace(one, total_ns=one.total_ns * [[1], [0], [1]]) for one in base.function_times]
    head = replace(base, function_times=tuple(idle))
    (found,) = timed_functions(base, head, [0, 1], [(function("parse"), function("parse"))]).values()
    assert found.total.ratio.change == pytest.approx(-1 / 3)
    none = replace(head, function_times=tuple(replace(one, total_ns=one.total_ns * 0) for one in idle))
    (found,) = timed_functions(base, none, [0, 1], [(function("parse"), function("parse"))]).values()
    assert found.total.ratio.freedom == 0


def test_clocks_find_what_the_profile_cannot_and_convict_without_samples() -> None:
    # The function got 6 % dearer, which the profiles of 100 samples a launch do not show.
    base = clocked(benchmark(PLAIN, samples=100), {"parse": 330, "run": 600})
    head = clocked(benchmark(PLAIN, samples=100), {"parse": 350, "run": 620})
    verdict = gated(unprofiled(base, CONFIRM), unprofiled(head, CONFIRM), chosen(min_impact="1%"))
    assert verdict.outcome is Outcome.REGRESSED
    guilty = verdict.functions[0]
    assert (guilty.comparison.function.name, guilty.evidence) == ("parse", Evidence.LOCKSTEP)
    assert guilty.comparison.timed
    assert guilty.comparison.ratio.change == pytest.approx(350 / 330 - 1)
    assert guilty.comparison.impact == pytest.approx(0.02, abs=0.001)
    assert of(verdict, "load", SELF).comparison.timed is False


def test_a_caller_follows_from_its_timed_callee() -> None:
    base = clocked(benchmark(PLAIN), {"parse": 330, "run": 600}, {"run": 1})
    head = clocked(benchmark(PLAIN), {"parse": 390, "run": 660}, {"run": 1})
    verdict = gated(base, head)
    run = of(verdict, "run", TOTAL)
    assert run.outcome is Outcome.REGRESSED
    assert run.follows_from == function("parse")
    assert [one.comparison.function.name for one in verdict.guilty] == ["parse"]


def test_an_inlined_helper_has_only_moved() -> None:
    head = benchmark({**PLAIN, "parse < run < test": 10, "run < test": 320}, edited={"run": "inlined"})
    verdict = gated(
        clocked(benchmark({**PLAIN, "run < test": 1e-9}), {"run": 600}), clocked(head, {"run": 600}, {"run": 320})
    )
    assert verdict.outcome is not Outcome.REGRESSED


def test_own_time_with_untimed_callees_is_no_self_time() -> None:
    base = clocked(benchmark(PLAIN), {"run": 600})
    found = compare_benchmark(base, base, chosen(), phase=LOOK, paired=True, only=[(function("run"), SELF)])
    assert [one.timed for one in found.functions] == [False]
    base = clocked(benchmark(PLAIN), {"parse": 330})
    found = compare_benchmark(base, base, chosen(), phase=LOOK, paired=True, only=[(function("parse"), SELF)])
    assert [one.timed for one in found.functions] == [True]


CALLS = {"parse": 10.0, "render": 10.0, "load": 1.0, "run": 1.0, "test": 1.0}


def chosen_of(base: Benchmark, head: Benchmark, **settings: str) -> list[str]:
    both = sides(base, head, phase=LOOK, paired=True)
    assert both is not None
    return [two.name for _, two in suspects(both, chosen(**settings), head.id)]


def test_hot_functions_are_suspects_the_largest_first() -> None:
    one = benchmark(PLAIN, calls=CALLS)
    assert chosen_of(one, one) == ["run", "load", "parse", "render"]
    assert chosen_of(one, one, min_share="35%") == ["run", "load"]


def test_what_cannot_be_timed_is_no_suspect() -> None:
    plain = benchmark(PLAIN, calls=CALLS)
    # Clocks would add half of what it takes.
    often = benchmark(PLAIN, calls={**CALLS, "parse": 165_000 / CLOCK_NS})
    assert "parse" not in chosen_of(plain, often)
    assert chosen_of(benchmark(PLAIN), benchmark(PLAIN)) == []
    new = benchmark({**PLAIN, "token < parse < run < test": 100}, calls={**CALLS, "token": 1.0})
    assert "token" not in chosen_of(plain, new)


def test_a_changed_function_is_timed_and_judged_though_it_is_not_hot() -> None:
    stacks = {**PLAIN, "rare < test": 12}
    calls = {**CALLS, "rare": 1.0}
    base, head = benchmark(stacks, calls=calls), benchmark(stacks, calls=calls, edited={"rare": "edited"})
    assert "rare" in chosen_of(base, head)
    assert "rare" not in chosen_of(base, base)
    timed = compare_benchmark(
        clocked(base, {"rare": 12}), clocked(head, {"rare": 24}), chosen(), phase=LOOK, paired=True
    )
    assert [one.ratio.change for one in timed.functions if one.function.name == "rare"] == [pytest.approx(1)]


def test_a_profile_is_needed_only_for_what_no_clock_can_tell() -> None:
    base = benchmark(PLAIN, calls=CALLS)
    both = sides(base, base, phase=LOOK, paired=True)
    assert both is not None
    compared = compare_benchmark(base, base, chosen(), phase=LOOK, paired=True)
    every = trial.tests(compared, chosen())
    timed = tuple((function(name), function(name)) for name in ("run", "parse", "render", "load"))
    assert not needs_profile(every, timed, both, tried=False)
    assert needs_profile(every, timed[:3], both, tried=False)
    assert needs_profile(every, timed, both, tried=True)
    own = [one.hypothesis for one in every if one.function is None]
    assert not needs_profile(open_hypotheses(every, own), (), both, tried=False)


def test_functions_of_other_launches_and_names_do_not_mix() -> None:
    old = Function("src/old.py", "parse")
    base = clocked(benchmark(PLAIN, look=3, confirm=0), {"parse": 330})
    moved = tuple(replace(one, functions=(old,)) for one in base.function_times)
    found = timed_functions(replace(base, function_times=moved), base, [0, 1, 2], [(old, function("parse"))])
    assert found[function("parse")].total.ratio.change == pytest.approx(0)
    assert timed_functions(base, base, [0, 1, 2], [(old, function("parse"))]) == {}


def test_a_cheap_function_called_twice_as_often_is_convicted_without_a_confirmation() -> None:
    # 1.6 % of the benchmark, then twice that: never hot, and no candidate of a look.
    stacks, twice = {**PLAIN, "cheap < run < test": 16}, {**PLAIN, "cheap < run < test": 32}
    base = benchmark(stacks, confirm=0, calls={**CALLS, "cheap": 40.0})
    head = benchmark(twice, confirm=0, calls={**CALLS, "cheap": 80.0})
    (verdict,) = judge([lockstep_trial(base, head, chosen())], 0.001)
    assert verdict.outcome is Outcome.REGRESSED
    guilty = verdict.guilty[0]
    assert (guilty.comparison.function.name, guilty.evidence) == ("cheap", Evidence.COUNTS)
    assert verdict.evidence is Evidence.COUNTS


def test_the_same_work_in_more_calls_is_no_regression() -> None:
    stacks = {**PLAIN, "cheap < run < test": 16}
    base = benchmark(stacks, confirm=0, calls={**CALLS, "cheap": 40.0})
    head = benchmark(stacks, confirm=0, calls={**CALLS, "cheap": 80.0})
    (verdict,) = judge([lockstep_trial(base, head, chosen())], 0.001)
    assert verdict.outcome is Outcome.UNCHANGED


def test_noise_of_a_share_is_no_candidate_where_all_around_it_stayed_as_it_was() -> None:
    # 30 samples a launch: the share of `cheap` is off by 30 %, its caller is timed and the same.
    base = clocked(benchmark({**PLAIN, "cheap < run < test": 40}, look=6, confirm=0, samples=300), {"run": 640})
    noisy = {**PLAIN, "cheap < run < test": 60, "parse < run < test": 310}
    head = clocked(benchmark(noisy, look=6, confirm=0, samples=300), {"run": 640})
    compared = compare_benchmark(base, head, chosen(), phase=LOOK, paired=True)
    cheap = next(
        one for one in trial.tests(compared, chosen()) if one.function and one.function.function.name == "cheap"
    )
    assert cheap.slower and 0.001 < cheap.p_slower < 0.1
    assert cheap.bounded
    assert screen(compared, chosen(), last=True).candidates == ()
    grown = clocked(benchmark(noisy, look=6, confirm=0, samples=300), {"run": 700})
    faster = replace(grown, launches=launches([[10_800_000] * 3] * 6))
    compared = compare_benchmark(base, faster, chosen(), phase=LOOK, paired=True)
    assert "cheap" in {one.function.name for one in screen(compared, chosen(), last=True).candidates if one.function}
