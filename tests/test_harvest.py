"""Profiles and counts of several launches become one."""

from __future__ import annotations

from typing import Any

from pytest_blcperf.bench.harvest import merge_counts, merge_profiles
from pytest_blcperf.model.function import Function

A = ["lib/a.py", "f", 1, "aa"]
B = ["lib/a.py", "g", 9, "bb"]


def profile(functions: list[Any], stacks: list[list[int]], weight: list[int], **changes: Any) -> dict[str, Any]:
    count = [1] * len(stacks)
    return {
        "backend": "perf-signal",
        "self_time": True,
        "functions": functions,
        "stacks": stacks,
        "weight": weight,
        "count": count,
        **changes,
    }


def test_functions_and_stacks_are_interned_across_launches() -> None:
    merged = merge_profiles(
        [(0, profile([A, B], [[0, 1], [1]], [5, 7])), (3, profile([B, A], [[1, 0], [1, 0]], [2, 3]))]
    )
    assert merged is not None
    assert merged.functions == (Function("lib/a.py", "f"), Function("lib/a.py", "g"))
    assert merged.stacks == ((0, 1), (1,))
    rows = list(
        zip(merged.launch.tolist(), merged.stack.tolist(), merged.weight.tolist(), merged.samples.tolist(), strict=True)
    )
    assert rows == [(0, 0, 5.0, 1), (0, 1, 7.0, 1), (3, 0, 5.0, 2)]


def test_self_time_is_claimed_only_when_every_launch_claims_it() -> None:
    merged = merge_profiles([(0, profile([A], [[0]], [1])), (1, profile([A], [[0]], [1], self_time=False))])
    assert merged is not None and not merged.self_time
    assert merge_profiles([]) is None


def counted(*passes: list[list[int]]) -> dict[str, Any]:
    return {"functions": [A, B], "passes": list(passes)}


def test_counts_are_exact_only_when_every_pass_agrees() -> None:
    same = merge_counts([counted([[0, 3], [1, 4]], [[0, 3], [1, 4]]), counted([[0, 3], [1, 4]])])
    assert same is not None and same.deterministic
    assert [(one.function.name, one.calls) for one in same.calls] == [("f", 3), ("g", 4)]
    other = merge_counts([counted([[0, 3]], [[0, 5]])])
    assert other is not None and not other.deterministic
    assert other.calls[0].calls == 4
    once = merge_counts([counted([[0, 3]])])
    assert once is not None and not once.deterministic
