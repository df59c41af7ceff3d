"""A capture as a profile."""

from __future__ import annotations

import numpy as np

from pytest_blcperf.model.capture import Capture, Thread, profile_of
from pytest_blcperf.model.function import Function


def capture() -> Capture:
    """Four samples, 1 ms each, of three stacks, the last of which no sample has."""
    column = np.array
    return Capture(
        functions=(Function("libc.so.6", "read", kind="native"), Function("main", "work"), Function("main", "main")),
        objects=(),
        threads=(Thread(1, 1, "main"),),
        stack_offsets=column([0, 2, 5, 6]),
        stack_functions=column([1, 2, 0, 1, 2, 2]),
        time=column([0, 1, 2, 3]),
        thread=column([0, 0, 0, 0]),
        cpu=column([0, 0, 0, 0]),
        mode=column([2, 2, 2, 2]),
        stack=column([1, 0, 1, 1]),
        weight=column([10, 20, 30, 40]),
        place=column([-1, -1, -1, -1]),
        place_object=column([], np.int64),
        place_address=column([], np.int64),
        event="cpu-clock",
        unit="ns",
        backend="perf",
        started="2026-01-01T00:00:00+00:00",
        duration_ns=4,
    )


def test_samples_are_summed_by_stack() -> None:
    profile = profile_of(capture())
    assert profile.stacks == ((1, 2), (0, 1, 2))
    assert profile.weight.tolist() == [20, 80]
    assert profile.samples.tolist() == [1, 3]


def test_a_part_of_the_samples_is_a_profile_too() -> None:
    whole = capture()
    profile = profile_of(whole, whole.time < 2)
    assert profile.weight.tolist() == [20, 10]
    assert profile.total_samples == 2
