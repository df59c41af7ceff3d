"""Reading callgrind's output and perf maps: what is there, and nothing of what contradicts itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_blcperf.capture.callgrind_output import (
    MAX_FRAMES,
    CallgrindError,
    InstructionCounts,
    read_dump,
    read_perf_map,
    split_context,
)

DUMP = """\
# callgrind format
version: 1
creator: callgrind-3.19.0
pid: 17982
cmd:  python bench.py
part: 2


desc: I1 cache:
desc: Trigger: Client Request

positions: line
events: Ir
summary: 0


ob=(4) /usr/lib/libpython3.12.so.1.0
fl=(17) ./Python/ceval.c
fn=(10) _PyEval_EvalFrameDefault'0x00000000054be2c0'py_trampoline_evaluator
203 28
+3 2
fi=(16) ./Include/object.h
* 4
fe=(17)
cob=(5) /usr/lib/libc.so.6
cfi=(18) memcpy.S
cfn=(11) memcpy'_PyEval_EvalFrameDefault'0x00000000054be2c0'py_trampoline_evaluator
calls=6 1327
* 7164
-1 6

ob=(5)
fl=(18)
fn=(11)
0 7164

fn=(12) walk'2'walk'main
0 36

totals: 7240
"""


def read(text: str) -> InstructionCounts:
    return read_dump(text.splitlines(keepends=True))


def test_instructions_stand_where_they_were_executed_and_not_at_the_caller() -> None:
    counts = read(DUMP)
    evaluator = ("_PyEval_EvalFrameDefault", "0x00000000054be2c0", "py_trampoline_evaluator")
    assert counts.stacks == {evaluator: 40, ("memcpy", *evaluator): 7164, ("walk", "walk", "main"): 36}
    assert counts.total == 7240


def test_names_have_their_objects() -> None:
    objects = read(DUMP).objects
    assert objects["_PyEval_EvalFrameDefault"] == "/usr/lib/libpython3.12.so.1.0"
    assert objects["memcpy"] == objects["walk"] == "/usr/lib/libc.so.6"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("totals: 7240\n", "", "totals say 0"),
        ("summary: 0\n", "", "no totals"),
        ("totals: 7240", "totals: 7241", "its totals say 7241"),
        ("totals: 7240", "totals: many", "not a number"),
        ("version: 1", "version: 2", "another version"),
        ("events: Ir", "events: Ir Dr", "other events"),
        ("positions: line", "positions: instr line", "more than one position"),
        ("fn=(11)\n0 7164", "fn=(99)\n0 7164", "never told"),
        ("203 28", "203 28 5", "not a position and a cost"),
        ("203 28", "203", "not a position and a cost"),
        ("203 28", "203 -28", "not a position and a cost"),
        ("203 28", "203 99999999999999999999", "more instructions than"),
        ("fn=(10) ", "xx=(10) ", "an unknown position"),
        ("creator: c", "creator c", "neither a header"),
        ("fn=(12)", "calls=1 2\ncalls=1 2\nfn=(12)", "not a position and a cost"),
    ],
)
def test_what_contradicts_itself_is_refused(old: str, new: str, problem: str) -> None:
    assert old in DUMP
    text = DUMP.replace(old, new) if old != "summary: 0\n" else DUMP.replace(old, "").replace("totals: 7240\n", "")
    with pytest.raises(CallgrindError) as error:
        read(text)
    assert problem in error.value.message


def test_an_end_inside_a_call() -> None:
    with pytest.raises(CallgrindError, match="inside a call"):
        read(DUMP[: DUMP.index("* 7164")])


def test_costs_and_calls_before_any_function() -> None:
    for text in ("events: Ir\n1 2\n", "events: Ir\ncalls=1 2\n* 3\n"):
        with pytest.raises(CallgrindError, match="no function"):
            read(text)


def test_contexts() -> None:
    assert split_context("leaf") == ("leaf",)
    assert split_context("walk'2'walk'main") == ("walk", "walk", "main")
    assert split_context("_ZN3foo3barE'main'(below main)") == ("_ZN3foo3barE", "main", "(below main)")
    with pytest.raises(CallgrindError):
        split_context("a'" * (MAX_FRAMES + 1))


def test_perf_maps() -> None:
    lines = [
        "54be25d b py::<module>:/tmp/wl.py\n",
        "54be2c0 b py::Class.work.<locals>.inner:<frozen importlib._bootstrap>\n",
        "54be2d0 b py::odd:C:/x.py\n",
        "7f00 b native\n",
        "zz b py::a:b\n",
        "1234567890123456789 b py::a:b\n",
        "-5 b py::a\n",
        "\n",
    ]
    assert read_perf_map(lines) == {
        0x54BE25D: ("<module>", "/tmp/wl.py"),
        0x54BE2C0: ("Class.work.<locals>.inner", "<frozen importlib._bootstrap>"),
        0x54BE2D0: ("odd", "C:/x.py"),
    }


LINES = (
    st.sampled_from(DUMP.splitlines()) | st.text(max_size=40) | st.from_regex(r"c?fn=\(\d\)( [a-z']+)?", fullmatch=True)
)


@given(st.lists(LINES, max_size=60))
def test_any_lines_are_counts_or_an_error(lines: list[str]) -> None:
    try:
        counts = read_dump(lines)
    except CallgrindError as error:
        assert error.message
    else:
        assert counts.total == sum(counts.stacks.values())


@given(st.lists(st.text(max_size=60)))
def test_any_lines_are_a_perf_map(lines: list[str]) -> None:
    read_perf_map(lines)
