"""Profiles and counts of several launches become one."""

from __future__ import annotations

from typing import Any

from pytest_blcperf.bench.harvest import BenchmarkHarvest, Conditions, merge_counts, merge_profiles
from pytest_blcperf.bench.lockstep import SideData, no_profile
from pytest_blcperf.errors import PermissionDenied
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


def test_a_profile_that_could_not_be_taken_is_a_warning_and_nothing_else() -> None:
    refused = no_profile("perf-trampoline", PermissionDenied("a subinterpreter is running", "choose another"))
    assert merge_profiles([(0, refused)]) is None
    both = merge_profiles([(0, refused), (1, profile([A], [[0]], [1]))])
    assert both is not None and both.launch.tolist() == [1]
    harvest = BenchmarkHarvest("t.py::b", "t.py", 1)
    harvest.add(Conditions(0, "look", 1, None), SideData(profile=refused))
    (warning,) = harvest.benchmark().warnings
    assert warning.code == "no-profile"
    assert warning.text == "perf-trampoline gave no profile: a subinterpreter is running (choose another)"


def test_native_functions_keep_their_kind() -> None:
    merged = merge_profiles([(0, profile([["_json.so", "scan", 0, "cc", "native"], A], [[0, 1]], [1]))])
    assert merged is not None
    assert [function.kind for function in merged.functions] == ["native", "python"]
