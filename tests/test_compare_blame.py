"""Who explains whose growth."""

from __future__ import annotations

from typing import Any

from measurements import Stacks, benchmark, chosen, function

from pytest_blcperf.compare.blame import follows_from, moved_within, p_callers_grew
from pytest_blcperf.compare.compare import Key, Sides, compare_benchmark, sides
from pytest_blcperf.model.comparison import SELF, TOTAL, FunctionComparison

BASE = {"parse < run < test": 300, "render < run < test": 300, "load < test": 400}


def measured(base: Stacks, head: Stacks, *wanted: Key, **other: Any) -> tuple[Sides, list[FunctionComparison]]:
    one, two = benchmark(base), benchmark(head, **other)
    both = sides(one, two, phase=None, paired=True)
    assert both is not None
    return both, list(compare_benchmark(one, two, chosen(), phase=None, paired=True, only=wanted).functions)


def followers(base: Stacks, head: Stacks, *wanted: Key) -> dict[tuple[str, str], str]:
    found = follows_from(*measured(base, head, *wanted))
    return {(one.name, kind): cause.name for (one, kind), cause in found.items()}


def key(name: str, kind: str = TOTAL) -> Key:
    return function(name), kind


def test_a_total_follows_from_the_guilty_leaf_that_adds_most() -> None:
    head = {**BASE, "parse < run < test": 350, "render < run < test": 450}
    asked = key("run"), key("parse", SELF), key("render", SELF)
    assert followers(BASE, head, *asked) == {("run", TOTAL): "render"}


def test_a_total_with_growth_of_its_own_stands_for_itself() -> None:
    # The native part of `run` grew by more than the guilty leaf did.
    head = {**BASE, "parse < run < test": 350, "native < run < test": 90}
    assert followers(BASE, head, key("run"), key("parse", SELF)) == {}


def test_of_a_chain_of_totals_the_deepest_is_guilty() -> None:
    base = {"c < b < a < test": 500, "x < test": 500}
    head = {"c < b < a < test": 900, "x < test": 500}
    assert followers(base, head, key("a"), key("b"), key("c")) == {("a", TOTAL): "c", ("b", TOTAL): "c"}


def test_mutual_recursion_has_one_guilty_function() -> None:
    base = {"a < b < a < b < test": 500, "x < test": 500}
    head = {"a < b < a < b < test": 900, "x < test": 500}
    assert followers(base, head, key("a"), key("b")) == {("b", TOTAL): "a"}


def test_a_sibling_explains_nothing() -> None:
    head = {**BASE, "parse < run < test": 400, "load < test": 500}
    assert followers(BASE, head, key("run"), key("load")) == {}


def test_a_new_function_is_judged_by_its_callers() -> None:
    split = {**BASE, "parse < run < test": 100, "token < parse < run < test": 200}
    both, (token,) = measured(BASE, split, key("token", SELF))
    assert p_callers_grew(both, token) > 0.3
    domain = moved_within(both, token)
    assert domain is not None
    assert domain.name == "parse"
    both, (token,) = measured(BASE, {**BASE, "token < parse < run < test": 200}, key("token", SELF))
    assert p_callers_grew(both, token) < 1e-6
    assert moved_within(both, token) is None


def test_a_new_function_that_nobody_calls_is_judged_by_the_benchmark() -> None:
    both, (other,) = measured(BASE, {**BASE, "other": 200}, key("other", SELF))
    assert p_callers_grew(both, other) < 1e-6
    both, (other,) = measured(BASE, {**BASE, "load < test": 200, "other": 200}, key("other", SELF))
    assert p_callers_grew(both, other) > 0.3


def test_an_old_function_needs_no_witness() -> None:
    both, (parse,) = measured(BASE, {**BASE, "parse < run < test": 400}, key("parse", SELF))
    assert p_callers_grew(both, parse) == 0


def test_growth_under_unchanged_callers_has_not_moved() -> None:
    # `load` got cheaper by as much as `parse` got dearer: nothing connects the two.
    head = {**BASE, "parse < run < test": 400, "load < test": 300}
    both, (parse,) = measured(BASE, head, key("parse", SELF), edited={"parse": "edited"})
    assert moved_within(both, parse) is None
