"""Capture files: what is written comes back, what is damaged or lies is refused with one line."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import capture_pages
import jsonschema
import numpy as np
import pytest
from formats.make_capture_1 import SAMPLE, sample_captures
from hypothesis import given
from hypothesis import strategies as st
from report_samples import patient

from pytest_blcperf.errors import BaselineError
from pytest_blcperf.model.capture import Capture
from pytest_blcperf.model.syscalls import SyscallCount, Syscalls
from pytest_blcperf.store import archive, capture_file

SCHEMA = Path(__file__).parents[1] / "docs" / "schemas" / "blcperf.capture-1.json"


def same(one: Capture, two: Capture) -> bool:
    """Whether two captures are equal in every field."""
    return all(
        np.array_equal(value, getattr(two, name)) if isinstance(value, np.ndarray) else value == getattr(two, name)
        for name, value in vars(one).items()
    )


def test_the_sample_of_version_1_stays_readable() -> None:
    found = capture_file.read(SAMPLE)
    assert len(found) == 2
    for one, kept in zip(found, sample_captures(), strict=True):
        assert same(one, kept)
        assert [f.kind for f in one.functions] == [f.kind for f in kept.functions]


def test_equal_captures_give_equal_bytes(tmp_path: Path) -> None:
    capture_file.write(sample_captures(), tmp_path / "again.blcperf")
    assert (tmp_path / "again.blcperf").read_bytes() == SAMPLE.read_bytes()


def test_the_head_keeps_the_published_schema() -> None:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    for captures in (sample_captures(), [capture_pages.service()]):
        jsonschema.validate(json.loads(capture_file.encode(captures)[capture_file.HEAD]), schema)


def test_a_sample_takes_about_ten_bytes(tmp_path: Path) -> None:
    capture = capture_pages.large(5_000, 200_000)
    path = tmp_path / "large.blcperf"
    capture_file.write([capture], path)
    assert path.stat().st_size < 3_000_000
    assert same(capture_file.read(path)[0], capture)


def test_which_files_hold_captures(tmp_path: Path) -> None:
    (tmp_path / "junk.blcperf").write_bytes(b"junk")
    assert capture_file.holds_captures(SAMPLE)
    assert not any(
        map(capture_file.holds_captures, (SAMPLE.with_name("run-1.blcperf"), tmp_path / "junk.blcperf", tmp_path))
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"time": [5, 4, 6, 7]}, "time: must rise"),
        ({"time": [0, 1, 2, 7_000_000_000]}, "column time"),
        ({"time": [-1, 1, 2, 3]}, "column time"),
        ({"thread": [0, 0, 0, 2]}, "column thread"),
        ({"cpu": [0, 0, 0, -2]}, "column cpu"),
        ({"mode": [0, 0, 0, 6]}, "column mode"),
        ({"stack": [0, 0, 0, 3]}, "column stack"),
        ({"weight": [0, 0, 0, -1]}, "column weight"),
        ({"place": [0, 0, 0, 2]}, "column place"),
        ({"place_object": [0, 2]}, "column place_object"),
        ({"stack_functions": [2, 1, 0, 4]}, "column stack_functions"),
        ({"stack_offsets": [0, 3, 2, 4]}, "stack_offsets"),
        ({"stack_offsets": [1, 3, 4, 4]}, "stack_offsets"),
        ({"stack_offsets": []}, "stack_offsets"),
        ({"weight": [1, 2, 3]}, "different lengths"),
        ({"place_address": [1]}, "different lengths"),
    ],
)
def test_columns_that_cannot_be_are_never_written(change: dict[str, list[int]], says: str, tmp_path: Path) -> None:
    broken = replace(sample_captures()[0], **{name: np.array(column, np.int64) for name, column in change.items()})
    with pytest.raises(BaselineError, match=says):
        capture_file.write([broken], tmp_path / "broken.blcperf")
    assert list(tmp_path.iterdir()) == []


def rewritten(path: Path, change: Callable[[dict[str, Any]], None], **members: bytes) -> Path:
    """The sample with its head, and perhaps other members, changed."""
    head = json.loads(capture_file.encode(sample_captures())[capture_file.HEAD])
    change(head)
    found = {**capture_file.encode(sample_captures()), capture_file.HEAD: json.dumps(head).encode(), **members}
    with path.open("w+b") as file:
        archive.write(file, found)
    return path


def _wide(head: dict[str, Any]) -> None:
    head["captures"][0]["columns"]["cpu"]["type"] = "i8"


def _long(head: dict[str, Any]) -> None:
    head["captures"][0]["columns"]["time"]["length"] = 10**12


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda head: head.update(schema="blcperf.capture/2"), "newer pytest-blcperf"),
        (lambda head: head.update(schema="blcperf.run/1"), "expected blcperf.capture/1"),
        (lambda head: head.update(captures=[]), "captures: expected 1 to 64"),
        (lambda head: head["captures"].extend(head["captures"] * 40), "captures: expected 1 to 64"),
        (lambda head: head["captures"][0].pop("threads"), "threads is missing"),
        (lambda head: head["captures"][0].update(started="yesterday"), "started"),
        (lambda head: head["captures"][0]["counters"].update(x="y"), "counters"),
        (lambda head: head["captures"][0]["columns"]["time"].update(type="f8"), "does not match"),
        (_wide, "are not 4 numbers of type i8"),
        (_long, "whole number from 0 to 10000000"),
    ],
)
def test_heads_that_lie_are_refused(change: Callable[[dict[str, Any]], None], says: str, tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match=says):
        capture_file.read(rewritten(tmp_path / "lie.blcperf", change))


def test_sums_that_would_wrap_round_are_refused(tmp_path: Path) -> None:
    def wide(head: dict[str, Any]) -> None:
        head["captures"][0]["columns"]["time"] = {"type": "i8", "length": 4, "differences": True}

    path = tmp_path / "wrap.blcperf"
    members = {"captures/0001/time.bin": np.array([2**62, 2**62, 2**62, 2**62], "<i8").tobytes()}
    with pytest.raises(BaselineError, match="out of range"):
        capture_file.read(rewritten(path, wide, **members))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    members = capture_file.encode(sample_captures())
    del members["captures/0001/cpu.bin"]
    path = tmp_path / "less.blcperf"
    with path.open("w+b") as file:
        archive.write(file, members)
    with pytest.raises(BaselineError, match=r"cpu\.bin is missing"):
        capture_file.read(path)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.blcperf"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(capture_file.HEAD, "{}")
        file.writestr("captures/0001/time.bin", b"\0" * (70 << 20))
    with pytest.raises(BaselineError, match="times as many"):
        capture_file.read(path)


@given(st.data())
@patient
def test_damaged_members_are_refused_or_read_as_something_sound(data: st.DataObject) -> None:
    members = capture_file.encode(sample_captures())
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(sorted(members)))
        content = bytearray(members[name])
        if not content:
            continue
        place = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content[place] ^= data.draw(st.integers(1, 255))
        else:
            del content[place : place + data.draw(st.integers(1, 8))]
        members[name] = bytes(content)
    try:
        found = capture_file._decode(members.__getitem__)
    except (capture_file.MalformedError, BaselineError) as error:
        assert "\n" not in str(error).split("\nhint:")[0]
        return
    for capture in found:
        assert len(capture.stack_offsets) >= 1
        assert all(0 <= stack < len(capture.stack_offsets) - 1 for stack in capture.stack.tolist())
        assert all(0 <= index < len(capture.functions) for index in capture.stack_functions.tolist())


TRACED = Syscalls((SyscallCount(10, 202, "futex", 3, 700), SyscallCount(-1, 0, "read", 0, 5)), 900, 1_000, lost=2)


def test_counts_of_system_calls_come_back(tmp_path: Path) -> None:
    kept = replace(sample_captures()[0], syscalls=TRACED)
    capture_file.write([kept], tmp_path / "traced.blcperf")
    (found,) = capture_file.read(tmp_path / "traced.blcperf")
    assert found.syscalls == TRACED
    head = json.loads(capture_file.encode([kept])[capture_file.HEAD])
    jsonschema.validate(head, json.loads(SCHEMA.read_text()))


@pytest.mark.parametrize(
    ("column", "value"),
    [("calls", [-1, 0]), ("calls", [1]), ("name", [1, 2]), ("traced_ns", 1_001), ("process", [10**12, 1])],
)
def test_counts_that_lie_are_refused(tmp_path: Path, column: str, value: object) -> None:
    members = capture_file.encode([replace(sample_captures()[0], syscalls=TRACED)])
    head = json.loads(members[capture_file.HEAD])
    head["captures"][0]["syscalls"][column] = value
    path = tmp_path / "bad.blcperf"
    with path.open("w+b") as file:
        archive.write(file, {**members, capture_file.HEAD: json.dumps(head).encode()})
    with pytest.raises(BaselineError, match="syscalls"):
        capture_file.read(path)
