"""What a changed function cost, from the time of what it runs in, and where that tells nothing of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from measurements import benchmark, chosen, clocked

from pytest_blcperf.compare import trial
from pytest_blcperf.compare.attributed import Attributed, attributed
from pytest_blcperf.compare.compare import compare_benchmark, sides
from pytest_blcperf.compare.suspects import CLOCK_NS, needs_profile, suspects
from pytest_blcperf.model.comparison import SELF, TOTAL
from pytest_blcperf.model.run import Benchmark

PLAIN = {"word < parse < run < test": 50, "parse < run < test": 150, "render < test": 300, "load < test": 500}
CALLS = {"word": 1000.0, "parse": 10.0, "render": 10.0, "load": 1.0, "run": 1.0, "test": 1.0}
SLOWER = {**PLAIN, "word < parse < run < test": 55}


def told(
    *edited: str,
    head: Mapping[str, float] = SLOWER,
    kind: str = SELF,
    name: str = "word",
    calls: Mapping[str, float] = CALLS,
    clocks: tuple[Mapping[str, float], Mapping[str, float]] = ({}, {}),
    samples: int = 2000,
) -> Attributed | None:
    """What is attributed to a function of the head, where those were edited; `clocks` are totals of base and head."""
    two = benchmark(head, calls=calls, edited=dict.fromkeys(edited, "edited"), samples=samples)
    return of(clocked(benchmark(PLAIN, calls=CALLS, samples=samples), clocks[0]), clocked(two, clocks[1]), name, kind)


def of(base: Benchmark, head: Benchmark, name: str, kind: str = SELF, paired: bool = True) -> Attributed | None:
    both = sides(base, head, phase=None, paired=paired)
    assert both is not None
    return attributed(both, next(pair for pair in both.pairs if pair.function.name == name), kind)


def test_the_only_changed_function_has_the_growth_of_the_benchmark() -> None:
    found = told("word")
    assert found is not None and found.within == ""
    assert found.cost.ratio.change == pytest.approx(0.1, rel=0.03)
    assert found.share == pytest.approx(0.05, rel=0.03)
    assert found.cost.head_ns - found.cost.base_ns == pytest.approx(5000)


def test_the_least_time_that_contains_it_tells() -> None:
    clocks = {"run": 200.0, "parse": 200.0}, {"run": 205.0, "parse": 205.0}
    found = told("word", clocks=clocks)
    assert found is not None and found.within in ("run", "parse")
    only = {"run": 200.0, "load": 500.0}, {"run": 205.0, "load": 500.0}
    found = told("word", clocks=only)
    assert found is not None and found.within == "run"


def test_what_else_changed_may_be_elsewhere_but_not_in_there() -> None:
    clocks = {"run": 200.0}, {"run": 205.0}
    head = {**SLOWER, "load < test": 450}
    found = told("word", "load", head=head, clocks=clocks)
    assert found is not None and found.within == "run"
    assert found.cost.ratio.change == pytest.approx(0.1, rel=0.03)
    assert told("word", "load", head=head) is None
    assert told("word", "parse", clocks=clocks) is None


def test_a_changed_caller_of_what_was_timed_does_not_matter() -> None:
    found = told("word", "run", clocks=({"parse": 200.0}, {"parse": 205.0}))
    assert found is not None and found.within == "parse"
    assert told("word", "run", clocks=({"run": 200.0}, {"run": 205.0})) is None


def test_nobody_knows_where_a_function_runs_that_was_never_sampled() -> None:
    clocks = {"run": 200.0}, {"run": 205.0}
    assert told("word", clocks=clocks, calls={**CALLS, "rare": 1.0}) is None


def test_more_calls_of_another_are_total_time_of_it_but_no_self_time() -> None:
    head = {**PLAIN, "word < parse < run < test": 60}
    calls = {**CALLS, "word": 1200.0}
    assert told("parse", head=head, calls=calls, name="parse") is None
    found = told("parse", head=head, calls=calls, name="parse", kind=TOTAL)
    assert found is not None
    assert found.cost.ratio.change == pytest.approx(0.05, rel=0.03)


def test_own_time_with_untimed_callees_tells_of_a_change_beside_them() -> None:
    head = {**PLAIN, "parse < run < test": 165}
    found = told("parse", head=head, name="parse", clocks=({"parse": 200.0}, {"parse": 215.0}))
    assert found is not None and found.within == "parse"
    assert found.cost.ratio.change == pytest.approx(0.1, rel=0.03)
    assert told("parse", "word", head=head, name="parse", clocks=({"parse": 200.0}, {"parse": 215.0})) is None


def test_what_its_samples_contradict_is_not_attributed() -> None:
    elsewhere = {**PLAIN, "load < test": 505}
    assert told("word", head=elsewhere, samples=200_000) is None
    assert told("word", head=elsewhere, samples=200) is not None


def test_only_counted_changed_python_functions_in_lockstep() -> None:
    assert told() is None
    assert told("word", calls={}) is None
    base, head = benchmark(PLAIN, calls=CALLS), benchmark(SLOWER, calls=CALLS, edited={"word": "edited"})
    assert of(base, head, "word") is not None
    assert of(base, head, "word", paired=False) is None
    assert told("word", samples=8) is None  # Too few for any to be of it.


def test_the_error_is_that_of_the_growth_and_of_the_share() -> None:
    base, head = benchmark(PLAIN, calls=CALLS), benchmark(SLOWER, calls=CALLS, edited={"word": "edited"})
    found = of(base, head, "word")
    assert found is not None
    # No noise between launches but the least that is assumed; the share is known from 5 % of 48,000 samples.
    both = sides(base, head, phase=None, paired=True)
    assert both is not None
    growth = both.times.ratio.standard_error / found.share
    assert found.cost.ratio.standard_error == pytest.approx(growth / 1.1, rel=0.1)
    assert found.cost.ratio.freedom == both.times.ratio.freedom


def test_it_is_compared_with_that_and_needs_no_profile() -> None:
    base = benchmark(PLAIN, calls=CALLS)
    head = benchmark(SLOWER, calls=CALLS, edited={"word": "edited"})
    compared = compare_benchmark(base, head, chosen(), phase=None, paired=True)
    (one,) = [one for one in compared.functions if one.function.name == "word"]
    assert (one.timed, one.timed_in) == (True, "")
    assert one.impact == pytest.approx(0.005, rel=0.03)
    both = sides(base, head, phase=None, paired=True)
    assert both is not None
    (tested,) = [
        one for one in trial.tests(compared, chosen()) if one.function and one.function.function.name == "word"
    ]
    assert not needs_profile([tested], (), both, tried=False)
    assert not needs_profile([tested], (), both, tried=True)


def test_changed_functions_are_timed_first_and_at_higher_cost() -> None:
    often = 150_000 / 10 / CLOCK_NS * 8
    calls = {**CALLS, "parse": often}
    base = benchmark(PLAIN, calls=calls)

    def timed(head: Benchmark) -> list[str]:
        both = sides(base, head, phase=None, paired=True)
        assert both is not None
        return [two.name for _, two in suspects(both, chosen(), head.id)]

    assert "parse" not in timed(base)
    assert timed(benchmark(PLAIN, calls=calls, edited={"parse": "edited"}))[0] == "parse"
    assert timed(replace(base, profile=benchmark(PLAIN, edited={"word": "edited"}).profile))[0] != "word"
