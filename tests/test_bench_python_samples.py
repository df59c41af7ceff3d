"""Samples joined with what the process knows of itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_blcperf.bench.python_samples import (
    BytecodeSamples,
    by_bytecode,
    by_names,
    called_after,
    cut_at_root,
    inside,
    located,
    with_leaf,
)
from pytest_blcperf.capture.spied_stacks import read_spied
from pytest_blcperf.model.function import Function

ROOT, OUTER, INNER, LEAF, HANDLER = range(5)
JSON = Function("_json.so", "scan_once", kind="native")


def test_times_are_in_their_windows_ends_included():
    assert inside(np.array([9, 10, 15, 20, 21, 30, 35, 41]), [(10, 20), (30, 40)]).tolist() == [
        *(-1, 0, 0, 0, -1, 1, 1, -1)
    ]
    assert inside(np.array([5]), []).tolist() == [-1]


def test_pointers_are_located_in_ranges_of_any_order():
    ranges = [[200, 10], [100, 50], [150, 10]]
    pointers = np.array([99, 100, 149, 150, 160, 205, 210, 2**63], np.uint64)
    assert located(pointers, ranges).tolist() == [-1, 1, 1, 2, -1, 0, -1, -1]
    assert located(pointers, []).tolist() == [-1] * 8


@given(st.lists(st.integers(0, 50), unique=True, min_size=1), st.lists(st.integers(0, 520), min_size=1))
def test_located_agrees_with_a_search_one_by_one(starts, pointers):
    ranges = [[10 * start, 7] for start in starts]
    expected = [
        next((index for index, (begin, size) in enumerate(ranges) if begin <= one < begin + size), -1)
        for one in pointers
    ]
    assert located(np.array(pointers, np.uint64), ranges).tolist() == expected


def test_a_sample_belongs_to_the_first_call_after_it_within_its_window():
    calls = [[10, 1], [20, 2], [35, 3]]
    found = called_after(np.array([5, 10, 11, 21, 36]), np.array([30, 30, 30, 30, 60]), calls)
    assert found.tolist() == [1, 1, 2, -1, -1]
    assert called_after(np.array([5]), np.array([30]), []).tolist() == [-1]


@pytest.mark.parametrize(
    ("noted", "leaf", "expected"),
    [
        ([INNER, OUTER], INNER, (INNER, OUTER)),
        ([INNER, OUTER], OUTER, (OUTER,)),  # INNER was called since
        ([OUTER], LEAF, (LEAF, OUTER)),  # LEAF has returned since
        ([INNER, OUTER], ROOT, ()),
        ([INNER, INNER, OUTER], INNER, (INNER, INNER, OUTER)),
    ],
)
def test_the_leaf_corrects_the_stack_that_was_noted_later(noted, leaf, expected):
    assert with_leaf(noted, leaf, ROOT) == expected


def said():
    return {
        "bytecode": [[1000 * index, 100] for index in range(5)],
        "calls": [[110, 1], [120, 0], [190, 2]],
        "stacks": [[], [OUTER], [INNER, OUTER]],
        "root": ROOT,
        "own": [HANDLER],
    }


def samples(*rows, native=((),)):
    time, pointer, native_of = (np.array(column) for column in zip(*rows, strict=True))
    return BytecodeSamples(
        time.astype(np.int64), np.full(len(rows), 5), pointer.astype(np.uint64), native, native_of.astype(np.int64)
    )


def test_the_pointer_says_where_and_the_handler_how_one_came_there():
    seen = by_bytecode(
        samples(
            (105, 3050, 0),  # in LEAF, called by OUTER
            (106, 1050, 0),  # in OUTER
            (115, 500, 0),  # nobody knows: as the handler says, the root
            (180, 4050, 0),  # in the handler, which interrupted INNER
            (195, 500, 0),  # no pointer, no call before the window ends
            (196, 2050, 0),  # a pointer, but no call
            (300, 1050, 0),  # outside
        ),
        [(100, 200)],
        said(),
    )
    assert seen.weight == {
        **{(LEAF, OUTER): 5, (OUTER,): 5, (): 10, (INNER, OUTER): 5},
        (INNER,): 5,
    }
    assert seen.unsure_ns == 5
    assert seen.without_leaf_ns == 10
    assert seen.functions() == [OUTER, INNER, LEAF]


def test_native_frames_stand_above_the_function():
    seen = by_bytecode(samples((105, 1050, 1), (106, 1050, 0), native=((), (JSON,))), [(100, 200)], said())
    assert seen.weight == {(JSON, OUTER): 5, (OUTER,): 5}


def test_no_samples_give_nothing():
    assert by_bytecode(samples((5, 0, 0)), [(100, 200)], said()).weight == {}


def test_stacks_of_the_trampoline_are_cut_at_the_root():
    seen = cut_at_root(
        [
            ((JSON, LEAF, OUTER, ROOT, HANDLER), 10.0, 2, True),
            ((HANDLER,), 5.0, 1, True),  # the main thread outside the root
            ((INNER,), 7.0, 1, False),  # a thread that works for it
            ((ROOT,), 1.0, 1, True),
        ],
        ROOT,
    )
    assert seen.weight == {(JSON, LEAF, OUTER): 10.0, (INNER,): 7.0, (): 1.0}
    assert seen.outside_ns == 5.0


def test_spied_stacks_are_cut_at_the_root_and_named_by_the_process():
    places = [["/x/target.py", 1, "root"], ["/x/a.py", 10, "outer"], ["/x/a.py", 20, "inner"]]
    seen = by_names(
        read_spied(
            [
                "<module> (/x/m.py:1);root (/x/target.py:1);outer (/x/a.py:10);inner (/x/a.py:20) 3",
                "<module> (/x/m.py:1);root (/x/target.py:1);gone (/x/b.py:5) 2",
                "<module> (/x/m.py:1);wait (/x/m.py:9) 100",
            ]
        ),
        {"places": places, "root": 0},
        1000.0,
    )
    assert seen.weight == {(2, 1): 3000.0, (Function("/x/b.py", "gone"),): 2000.0}
    assert seen.outside_ns == 100_000.0
