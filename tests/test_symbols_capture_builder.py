"""Recording + stacks + names → capture, against the same done one sample at a time."""

from __future__ import annotations

import random
import tracemalloc

import numpy as np
import pytest

from pytest_blcperf.model.capture import Capture, ObjectFile, Thread
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.recording import Event, Recording, RecordingHealth, SampleBatch, ThreadName
from pytest_blcperf.symbols import capture_builder
from pytest_blcperf.symbols.capture_builder import CaptureBuilder, interned
from pytest_blcperf.symbols.resolve import FrameNames
from pytest_blcperf.symbols.unwind import AS_RECORDED, BROKEN, COMPLETE, NO_USER_STACK, TRUNCATED, Chains

Sample = tuple[int, int, int, list[int], int]
"""Time, thread, event, frames, how the stack ended."""


def names(number: int = 6) -> FrameNames:
    """Frame n is function n // 2: two places in each."""
    return FrameNames(
        functions=tuple(Function("lib.so", f"f{n}", kind="native") for n in range((number + 1) // 2)),
        objects=(ObjectFile("/lib.so"),),
        function=np.arange(number) // 2,
        unknown=np.arange(number) == 5,
        place_object=np.where(np.arange(number) == 5, -1, 0),
        place_address=np.arange(number) * 16,
        replaced=np.zeros(number, np.bool_),
    )


def recording(end_ns: int = 1100) -> Recording:
    return Recording(
        machine="x86_64",
        events=(Event("cpu-clock", "ns", 1000), Event("cycles", "cycles")),
        start_ns=100,
        end_ns=end_ns,
        mappings=(),
        names=(ThreadName(7, 7, 0, "early"), ThreadName(7, 7, 5, "server"), ThreadName(7, 9, 5, "worker")),
        forks=(),
        health=RecordingHealth(lost=3),
        warnings=(("lost", "3 samples were lost"),),
    )


def batch(samples: list[Sample]) -> tuple[SampleBatch, Chains]:
    number = len(samples)
    none = np.zeros(number + 1, np.int64)
    made = SampleBatch(
        machine="x86_64",
        time=np.array([one[0] for one in samples], np.int64),
        process=np.full(number, 7),
        thread=np.array([one[1] for one in samples], np.int64),
        cpu=np.arange(number) % 2,
        period=np.array([1000 + one[0] for one in samples], np.int64),
        event=np.array([one[2] for one in samples], np.int64),
        mode=np.full(number, 2, np.uint8),
        address=np.zeros(number, np.uint64),
        chain_offsets=none,
        kernel_depth=none[1:],
        chain=np.zeros(0, np.uint64),
        has_registers=np.zeros(number, np.bool_),
        registers=np.zeros((number, 20), np.uint64),
        stack_offsets=none,
        stack=np.zeros(0, np.uint8),
    )
    offsets = np.concatenate([[0], np.cumsum([len(one[3]) for one in samples])]).astype(np.int64)
    frame = np.array([frame for one in samples for frame in one[3]], np.int32)
    return made, Chains(offsets, frame, np.zeros(number, np.int64), np.array([one[4] for one in samples], np.uint8))


def built(*batches: list[Sample], event: int = 0, known: FrameNames | None = None) -> Capture:
    builder = CaptureBuilder()
    for one in batches:
        builder.add(*batch(one))
    return builder.build(recording(), known or names(), event=event, started="2026-01-01T00:00:00+00:00")


def test_stacks_of_the_same_functions_are_one() -> None:
    capture = built([(100, 7, 0, [0, 2], COMPLETE), (200, 7, 0, [1, 3], COMPLETE)], [(150, 9, 0, [4, 2], COMPLETE)])
    assert capture.time.tolist() == [0, 50, 100]
    assert [capture.stack_of(stack) for stack in capture.stack] == [(0, 1), (2, 1), (0, 1)]
    assert len(capture.stack_offsets) == 3
    assert capture.weight.tolist() == [1100, 1150, 1200]
    assert capture.threads == (Thread(7, 7, "server", "server"), Thread(7, 9, "worker", "server"))
    assert capture.thread.tolist() == [0, 1, 0]
    assert [(capture.place_object[one], capture.place_address[one]) for one in capture.place] == [
        (0, 0),
        (0, 64),
        (0, 16),
    ]
    assert (capture.event, capture.unit, capture.duration_ns) == ("cpu-clock", "ns", 1000)


def test_only_the_window_and_the_event_count() -> None:
    samples = [
        (99, 7, 0, [0], COMPLETE),
        (100, 7, 1, [2], COMPLETE),
        (1099, 7, 0, [4], COMPLETE),
        (1100, 7, 0, [0], COMPLETE),
    ]
    capture = built(samples)
    assert [capture.stack_of(stack) for stack in capture.stack] == [(2,)]
    assert len(capture.stack_offsets) == 2
    assert built(samples, event=1).unit == "cycles"


def test_what_is_not_known_is_counted() -> None:
    capture = built(
        [
            (100, 7, 0, [5, 0], TRUNCATED),
            (200, 7, 0, [5, 5], BROKEN),
            (300, 7, 0, [0], AS_RECORDED),
            (400, 7, 0, [], NO_USER_STACK),
        ]
    )
    assert (capture.health.truncated, capture.health.unknown_frames, capture.health.frames) == (2, 3, 5)
    assert capture.health.recording.lost == 3
    assert capture.place.tolist() == [-1, -1, 0, -1]
    assert [one.code for one in capture.warnings] == ["lost"]
    assert capture.stack_of(int(capture.stack[3])) == ()


def test_without_samples_there_is_an_empty_capture() -> None:
    assert len(built()) == 0
    assert len(built([])) == 0
    assert built([]).stack_offsets.tolist() == [0]


def test_against_one_sample_at_a_time() -> None:
    choose = random.Random(1)
    batches = [
        [
            (
                choose.randrange(100, 1100),
                choose.choice([7, 9]),
                0,
                [choose.randrange(6) for _ in range(choose.randrange(4))],
                COMPLETE,
            )
            for _ in range(choose.randrange(60))
        ]
        for _ in range(5)
    ]
    capture = built(*batches)
    known = names()
    expected = sorted(
        (time - 100, thread, tuple(int(known.function[frame]) for frame in stack))
        for one in batches
        for time, thread, _, stack, _ in one
    )
    stacks = [capture.stack_of(index) for index in range(len(capture.stack_offsets) - 1)]
    assert len(set(stacks)) == len(stacks)
    threads = [capture.threads[one].thread for one in capture.thread]
    assert sorted(zip(capture.time.tolist(), threads, [stacks[one] for one in capture.stack], strict=True)) == expected


def test_replaced_code_splits_stacks_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    known = names()
    known.replaced[4] = True
    monkeypatch.setattr(
        FrameNames, "functions_at", lambda self, frames, time: np.where(time < 500, 0, self.function[frames])
    )
    capture = built(
        [(100, 7, 0, [4, 2], COMPLETE), (600, 7, 0, [4, 2], COMPLETE), (700, 7, 0, [0], COMPLETE)], known=known
    )
    assert [capture.stack_of(stack) for stack in capture.stack] == [(0, 1), (2, 1), (0,)]


def test_rows_of_any_length_are_interned() -> None:
    rows = [[], [0], [0, 0], [0], [], [1, 2, 3], [3, 2, 1], [1, 2, 3], [0, 1], [1]]
    found = interned(
        np.concatenate([[0], np.cumsum([len(row) for row in rows])]),
        np.array([one for row in rows for one in row], np.int32),
    )
    back = [found.frame[found.offsets[n] : found.offsets[n + 1]].tolist() for n in found.stack]
    assert back == rows
    assert len(found.offsets) - 1 == len({tuple(row) for row in rows})


def test_a_quarter_of_a_million_samples_stay_far_below_a_quarter_of_a_gigabyte() -> None:
    """25 batches of 10,000 samples, 2,000 distinct stacks of 40 frames in each."""
    generator = np.random.default_rng(1)
    known = names(4096)
    builder = CaptureBuilder()
    made, chains = batch([(100, 7, 0, [], COMPLETE)] * 10_000)
    tracemalloc.start()
    try:
        for _ in range(25):
            frame = np.repeat(generator.integers(0, 4096, (2000, 40), np.int32), 5, axis=0).reshape(-1)
            builder.add(made, Chains(np.arange(10_001) * 40, frame, chains.kernel_depth, chains.end))
        capture = builder.build(recording(), known)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(capture) == 250_000
    assert peak < 200 << 20


def test_the_start_is_told_in_utc() -> None:
    text = capture_builder.utc_of(0)
    assert text.endswith("+00:00")
