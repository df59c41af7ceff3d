"""The bytecode pointer's place: chosen by one half of the samples, judged by the other, and remembered."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_blcperf.bench.calibration import Phases, find_place
from pytest_blcperf.bench.calibration_cache import cache_file, remember, remembered
from pytest_blcperf.bench.pointer_place import PointerPlace

STRAIGHT, STRAIGHT_LINE, LOOP, TINY, TINY_CALLS, DRIVER, HANDLER = range(7)
OWNERS = ((STRAIGHT, STRAIGHT_LINE), (LOOP,), (TINY, TINY_CALLS))
RANGES = [[1000 * (function + 1), 100] for function in range(7)]
NUMBER = 600


def address(function):
    return 1000 * (np.asarray(function) + 1) + 8


def calibration():
    """(phases, which function ran in each sample)."""
    phase = np.repeat([0, 1, 2], NUMBER // 3)
    half = np.arange(NUMBER) % 2
    ran = np.where(phase == 0, STRAIGHT, np.where(phase == 1, LOOP, np.where(np.arange(NUMBER) % 3, TINY_CALLS, TINY)))
    ran[::50] = DRIVER
    ran[7::50] = HANDLER
    return Phases(phase, half, OWNERS, DRIVER, (HANDLER,)), ran


CANDIDATES = [PointerPlace(register="bx"), PointerPlace(register="r15"), PointerPlace(slot=2)]


def held(*columns):
    return np.stack([np.asarray(column, np.uint64) for column in columns], axis=1)


def test_the_place_that_follows_the_function_is_found():
    phases, ran = calibration()
    stale = np.where(phases.phase == 2, TINY_CALLS, ran)
    found = find_place(CANDIDATES, held(np.zeros(NUMBER), address(stale), address(ran)), phases, RANGES)
    assert (found.slot, found.hits) == (2, 1.0)


def test_a_place_that_knows_the_caller_only_is_worth_nothing():
    phases, ran = calibration()
    stale = np.where(phases.phase == 0, STRAIGHT_LINE, ran)
    found = find_place(CANDIDATES, held(*[address(stale)] * 3), phases, RANGES)
    assert found.hits == 0


def test_what_is_right_in_one_half_only_is_found_out_by_the_other():
    phases, ran = calibration()
    lucky = np.where(phases.half == 0, address(ran), 0)
    found = find_place(CANDIDATES, held(lucky, np.zeros(NUMBER), np.zeros(NUMBER)), phases, RANGES)
    assert found.hits == 0


def test_too_few_samples_of_a_phase_are_no_proof():
    phases, ran = calibration()
    few = Phases(np.where(np.arange(NUMBER) < 30, phases.phase, -1), phases.half, OWNERS, DRIVER)
    assert find_place(CANDIDATES, held(*[address(ran)] * 3), few, RANGES).hits == 0


def test_a_place_is_remembered(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    program = tmp_path / "bin/python3"
    program.parent.mkdir()
    program.write_text("")
    path = cache_file([str(program)])
    assert remembered(path, "x86_64") is None
    remember(path, PointerPlace(slot=2, hits=0.99))
    assert remembered(path, "x86_64") == PointerPlace(slot=2, hits=0.99)
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    # Another interpreter, or this one with another library, is another matter.
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/libpython3.13.so.1.0").write_text("x")
    assert cache_file([str(program)]) != path


def test_interpreters_that_cannot_be_told_again_are_not_remembered(tmp_path):
    assert cache_file(["chroot", "/srv", "python3"]) is None
    assert cache_file([str(tmp_path / "missing")]) is None
    remember(None, PointerPlace(slot=1))
    assert remembered(None, "x86_64") is None


@pytest.mark.parametrize(
    "data",
    [
        *({}, [], None, {"register": "r15", "slot": -1}, {"register": "zz", "slot": -1, "hits": 0.9}),
        *({"register": "", "slot": 10**9, "hits": 0.9}, {"register": "", "slot": 1, "hits": 7.0}),
        *({"register": [], "slot": {}, "hits": 0.9}, {"register": "", "slot": True, "hits": "0.9"}),
    ],
)
def test_what_is_no_place_is_not_believed(tmp_path, data):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(data))
    assert remembered(path, "x86_64") is None


@given(data=st.binary(max_size=200))
def test_any_file_is_a_place_or_nothing(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("cache") / "x.json"
    path.write_bytes(data)
    assert remembered(path, "x86_64") is None


def test_nothing_is_raised_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    remember(tmp_path / "file/pointers/x.json", PointerPlace(slot=1))
