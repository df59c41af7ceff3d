"""What a changed function cost, from the time of what it runs in, and where that tells nothing of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
from measurements import benchmark, chosen, clocked, function, gated, unprofiled

from pytest_blcperf.compare import attributed as module
from pytest_blcperf.compare import trial
from pytest_blcperf.compare.attributed import LAYOUT, Attributed, attributed
from pytest_blcperf.compare.compare import compare_benchmark, sides
from pytest_blcperf.compare.suspects import CLOCK_NS, needs_profile, suspects
from pytest_blcperf.model.comparison import SELF, TOTAL
from pytest_blcperf.model.run import CONFIRM, Benchmark
from pytest_blcperf.model.verdict import Evidence, Outcome

PLAIN = {"word < parse < run < test": 50, "parse < run < test": 150, "render < test": 300, "load < test": 500}
CALLS = {"word": 1000.0, "parse": 10.0, "render": 10.0, "load": 1.0, "run": 1.0, "test": 1.0}
SLOWER = {**PLAIN, "word < parse < run < test": 55}
Clocks = tuple[Mapping[str, float], Mapping[str, float]]
RUN: Clocks = ({"run": 200.0}, {"run": 205.0})


def told(
    *edited: str,
    head: Mapping[str, float] = SLOWER,
    kind: str = SELF,
    name: str = "word",
    calls: Mapping[str, float] = CALLS,
    clocks: Clocks = RUN,
    samples: int = 2000,
) -> Attributed | None:
    """What is attributed to a function of the head, where those were edited; `clocks` are totals of base and head."""
    two = benchmark(head, calls=calls, edited=dict.fromkeys(edited, "edited"), samples=samples)
    return of(clocked(benchmark(PLAIN, calls=CALLS, samples=samples), clocks[0]), clocked(two, clocks[1]), name, kind)


def of(base: Benchmark, head: Benchmark, name: str, kind: str = SELF, paired: bool = True) -> Attributed | None:
    both = sides(base, head, phase=None, paired=paired)
    assert both is not None
    return attributed(both, next(pair for pair in both.pairs if pair.function.name == name), kind)


def test_the_only_changed_function_has_the_growth_of_what_it_runs_in() -> None:
    found = told("word")
    assert found is not None and found.within == function("run")
    assert found.cost.ratio.change == pytest.approx(0.1, rel=0.03)
    assert found.share == pytest.approx(0.05, rel=0.03)
    assert found.cost.head_ns - found.cost.base_ns == pytest.approx(5000, rel=0.01)


def test_the_least_time_that_contains_it_tells() -> None:
    found = told("word", clocks=({"run": 201.0, "parse": 200.0}, {"run": 206.0, "parse": 205.0}))
    assert found is not None and found.within.name == "parse"
    found = told("word", clocks=({"run": 200.0, "load": 500.0}, {"run": 205.0, "load": 500.0}))
    assert found is not None and found.within.name == "run"


def test_the_benchmark_itself_tells_nothing_nor_what_is_nearly_all_of_it() -> None:
    assert told("word", clocks=({}, {})) is None
    head = {"word < parse < run < test": 55, "parse < run < test": 895, "load < test": 50}
    base = {**head, "word < parse < run < test": 50}
    one = clocked(benchmark(base, calls=CALLS), {"run": 945.0})
    two = clocked(benchmark(head, calls=CALLS, edited={"word": "edited"}), {"run": 950.0})
    assert of(one, two, "word") is None


def test_where_all_gets_dearer_nobody_is_to_blame() -> None:
    diffuse = {stack: 1.03 * cost for stack, cost in PLAIN.items()}
    found = told("word", head=diffuse, clocks=({"run": 200.0}, {"run": 206.0}))
    assert found is not None
    assert found.cost.ratio.change == pytest.approx(0, abs=0.005)
    one = clocked(benchmark(PLAIN, calls=CALLS), {"run": 200.0})
    two = clocked(benchmark(diffuse, calls=CALLS, edited={"word": "edited"}), {"run": 206.0})
    verdict = gated(one, two)
    assert verdict.outcome is Outcome.REGRESSED
    assert not [one for one in verdict.functions if one.evidence is Evidence.ATTRIBUTED and one in verdict.guilty]


def test_what_got_cheaper_elsewhere_is_not_counted() -> None:
    found = told("word", "load", head={**SLOWER, "load < test": 400})
    assert found is not None
    assert found.cost.ratio.change == pytest.approx(0.1, rel=0.03)


def test_what_else_changed_may_be_elsewhere_but_not_in_there() -> None:
    assert told("word", "load") is not None
    assert told("word", "parse") is None


def test_a_changed_caller_of_what_was_timed_does_not_matter() -> None:
    found = told("word", "run", clocks=({"parse": 200.0}, {"parse": 205.0}))
    assert found is not None and found.within.name == "parse"
    assert told("word", "run") is None


def test_nobody_knows_where_a_function_runs_that_was_hardly_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = {**CALLS, "rare": 1.0}
    assert told("word", calls=calls) is None
    head = {**SLOWER, "rare < test": 1.0}
    assert told("word", head=head, calls=calls) is not None
    monkeypatch.setattr(module, "FEWEST_SAMPLES", 100)
    assert told("word", head=head, calls=calls) is None


def test_what_runs_more_often_in_there_may_be_the_reason() -> None:
    assert told("word", calls={**CALLS, "parse": 11.0}) is None
    assert told("word", kind=TOTAL, calls={**CALLS, "parse": 11.0}) is None
    assert told("word", calls={**CALLS, "load": 2.0}) is not None


def test_what_it_calls_more_often_is_its_doing_and_total_time_of_it() -> None:
    head = {**PLAIN, "word < parse < run < test": 60}
    calls = {**CALLS, "word": 1200.0}
    clocks = {"run": 200.0}, {"run": 210.0}
    assert told("parse", head=head, name="parse", calls=calls, clocks=clocks) is None
    found = told("parse", head=head, name="parse", kind=TOTAL, calls=calls, clocks=clocks)
    assert found is not None
    assert found.cost.ratio.change == pytest.approx(0.05, rel=0.03)


def test_what_runs_in_what_is_known_from_all_launches() -> None:
    base = unprofiled(clocked(benchmark(PLAIN, calls=CALLS), {"run": 200.0}), CONFIRM)
    head = benchmark(SLOWER, calls=CALLS, edited={"word": "edited"})
    head = unprofiled(clocked(head, {"run": 205.0}), CONFIRM)
    confirmed = compare_benchmark(base, head, chosen(), phase=CONFIRM, paired=True, only=[(function("word"), SELF)])
    assert [one.timed_in for one in confirmed.functions] == [function("run")]


def test_own_time_with_untimed_callees_tells_of_a_change_beside_them() -> None:
    head = {**PLAIN, "parse < run < test": 165}
    clocks = {"parse": 200.0}, {"parse": 215.0}
    found = told("parse", head=head, name="parse", clocks=clocks)
    assert found is not None and found.within.name == "parse"
    assert found.cost.ratio.change == pytest.approx(0.1, rel=0.03)
    assert told("parse", "word", head=head, name="parse", clocks=clocks) is None


def test_what_its_samples_contradict_is_not_attributed() -> None:
    elsewhere = {**PLAIN, "parse < run < test": 155}
    assert told("word", head=elsewhere, samples=200_000) is None
    assert told("word", samples=200_000) is not None


def test_only_counted_changed_python_functions_in_lockstep() -> None:
    assert told() is None
    assert told("word", calls={}) is None
    base = clocked(benchmark(PLAIN, calls=CALLS), {"run": 200.0})
    head = clocked(benchmark(SLOWER, calls=CALLS, edited={"word": "edited"}), {"run": 205.0})
    assert of(base, head, "word") is not None
    assert of(base, head, "word", paired=False) is None
    assert head.counts is not None
    assert of(base, replace(head, counts=replace(head.counts, deterministic=False)), "word") is None
    assert told("word", samples=8) is None  # Too few for any to be of it.


def test_the_error_is_that_of_both_times_of_the_layout_and_of_the_share() -> None:
    base = clocked(benchmark(PLAIN, calls=CALLS, samples=200_000), RUN[0])
    head = clocked(benchmark(SLOWER, calls=CALLS, samples=200_000, edited={"word": "edited"}), RUN[1])
    found, both = of(base, head, "word"), sides(base, head, phase=None, paired=True)
    assert found is not None and both is not None
    run = 0.205 * math.hypot(both.timed[function("run")].total.ratio.standard_error, LAYOUT)
    rest = math.hypot(both.times.ratio.standard_error, run) / 0.8
    expected = math.hypot(run, 0.2 * rest) / 0.05 / 1.1
    assert found.cost.ratio.standard_error == pytest.approx(expected, rel=0.05)
    fewer = told("word", samples=400)
    assert fewer is not None
    assert fewer.cost.ratio.standard_error > found.cost.ratio.standard_error


def test_it_is_compared_with_that_and_needs_no_profile() -> None:
    base = clocked(benchmark(PLAIN, calls=CALLS), {"run": 200.0})
    head = clocked(benchmark(SLOWER, calls=CALLS, edited={"word": "edited"}), {"run": 205.0})
    compared = compare_benchmark(base, head, chosen(), phase=None, paired=True)
    (one,) = [one for one in compared.functions if one.function.name == "word"]
    assert (one.timed, one.timed_in) == (True, function("run"))
    assert one.impact == pytest.approx(0.005, rel=0.03)
    both = sides(base, head, phase=None, paired=True)
    assert both is not None
    (tested,) = [
        one for one in trial.tests(compared, chosen()) if one.function and one.function.function.name == "word"
    ]
    assert not needs_profile([tested], (), both, tried=False)
    assert not needs_profile([tested], (), both, tried=True)


class TestSuspects:
    """Changed functions are timed before others, and at higher cost."""

    def timed(self, base: Benchmark, head: Benchmark) -> list[str]:
        both = sides(base, head, phase=None, paired=True)
        assert both is not None
        return [two.name for _, two in suspects(both, chosen(), head.id)]

    def test_changed_ones_come_first_at_the_cost_of_their_own_time(self) -> None:
        calls = {**CALLS, "parse": 150_000 / CLOCK_NS}
        base = benchmark(PLAIN, calls=calls)
        assert "parse" not in self.timed(base, base)
        assert self.timed(base, benchmark(PLAIN, calls=calls, edited={"parse": "edited"}))[0] == "parse"

    def test_many_small_edits_do_not_keep_the_hot_ones_out(self) -> None:
        small = [f"small{number}" for number in range(30)]
        stacks = {**PLAIN, **{f"{name} < test": 8.0 for name in small}}
        calls = {**CALLS, **dict.fromkeys(small, 1.0)}
        head = benchmark(stacks, calls=calls, edited=dict.fromkeys(small, "edited"))
        assert {"run", "load", "render"} <= set(self.timed(benchmark(stacks, calls=calls), head))
