"""Samples per function and launch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from measurements import function, profile

from pytest_blcperf.compare.shares import tally
from pytest_blcperf.model.hottest import hottest
from pytest_blcperf.model.profile import Profile

STACKS = {"leaf < mid < root": 3, "mid < root": 2, "mid < leaf < mid < root": 5}


def test_total_counts_a_recursive_function_once_a_stack() -> None:
    cut = tally(profile(STACKS, 2, samples=10), [0, 1])
    assert cut.total_samples[cut.index[function("mid")]].tolist() == [10, 10]
    assert cut.total_samples[cut.index[function("leaf")]].tolist() == [8, 8]
    assert cut.self_samples[cut.index[function("mid")]].tolist() == [7, 7]
    assert cut.self_samples[cut.index[function("root")]].tolist() == [0, 0]
    assert cut.total_counts[cut.index[function("leaf")]] == 16


def test_only_the_launches_asked_for_in_their_order() -> None:
    whole = profile(STACKS, 3, samples=10)
    scaled = replace(whole, samples=whole.samples * (1 + whole.launch), weight=whole.weight * (1 + whole.launch))
    assert tally(scaled, [2, 0, 7]).samples.tolist() == [30, 10, 0]


def test_weights_are_expressed_in_samples() -> None:
    whole = profile({"a": 1, "b": 1}, 1, samples=100)
    heavy = replace(whole, weight=np.where(whole.stack == 0, 3e9, 1e9))
    cut = tally(heavy, [0])
    assert cut.self_samples[:, 0].tolist() == [75, 25]
    assert cut.self_counts.tolist() == [50, 50]
    # Weights 1.5 and 0.5 a sample: n Σw² / (Σw)² = (1.5² + 0.5²) / 2.
    assert cut.design_effect == pytest.approx(1.25)


def test_functions_of_one_identity_are_one() -> None:
    plain = profile({"a < c": 1, "b < c": 3}, 1, samples=4)
    twice = replace(plain, functions=(function("a"), function("a", "other code"), function("c")))
    cut = tally(twice, [0])
    assert cut.self_samples[cut.index[function("a")]].tolist() == [4]
    assert cut.functions[0].fingerprint == "code of a+other code"


def test_sets_of_stacks() -> None:
    cut = tally(profile(STACKS, 1, samples=10), [0])
    leaf, mid, root = (cut.index[function(name)] for name in ("leaf", "mid", "root"))
    assert cut.within(cut.containing([mid]) & ~cut.leaf_in([leaf])).tolist() == [7]
    assert cut.within(cut.calls_through(mid, leaf)).tolist() == [8]
    assert cut.within(cut.calls_through(leaf, mid)).tolist() == [5]
    assert cut.within(cut.containing([])).tolist() == [0]
    assert cut.callers(leaf) == {mid}
    assert cut.callers(mid) == {leaf, root}
    assert cut.callers(root) == frozenset()


@pytest.mark.parametrize("launches", [[], [0], [5]])
def test_an_empty_profile_has_no_samples(launches: list[int]) -> None:
    none = np.array([], dtype=np.int64)
    empty = Profile((), (), none, none, none.astype(float), none, "test")
    cut = tally(empty, launches)
    assert cut.samples.shape == (len(launches),)
    assert cut.self_samples.shape == cut.total_samples.shape == (0, len(launches))
    assert hottest(empty, 5) == []


def test_weights_that_are_no_time_count_as_none() -> None:
    whole = profile({"a": 1, "b": 1, "c": 1, "d": 1}, 1, samples=4)
    cut = tally(replace(whole, weight=np.array([np.nan, -1.0, np.inf, 5.0])), [0])
    assert cut.self_samples[:, 0].tolist() == [0, 0, 0, 1]


def test_the_hottest_come_first() -> None:
    found = hottest(profile(STACKS, 2, samples=10), 2)
    assert [(one.function.name, one.self_share, one.total_share) for one in found] == [
        ("mid", 0.7, 1.0),
        ("leaf", 0.3, 0.8),
    ]
    unknown = profile(STACKS, 2, samples=10, self_time=False)
    assert hottest(unknown, 1)[0].self_share is None
    assert [one.function.name for one in hottest(unknown, 2, leaves_first=True)] == ["mid", "leaf"]
