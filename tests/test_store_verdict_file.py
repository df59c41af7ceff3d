"""Verdicts read back: what was rendered comes back the same, and what is not a sound verdict is refused in one line."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import report_samples as samples
from hypothesis import given, settings
from hypothesis import strategies as st
from report_samples import HOSTILE, gate, patient, renamed

from pytest_blcperf.errors import BaselineError
from pytest_blcperf.model.verdict import CallChange, GateVerdict
from pytest_blcperf.report import annotations, codequality, junit, markdown, sarif
from pytest_blcperf.report.json import render
from pytest_blcperf.store import verdict_file
from pytest_blcperf.store.checked import MalformedError

CALLS = replace(
    samples.regressed(), changed_calls=(CallChange(samples.PUSH, 1.0, 2.5), CallChange(samples.PARSE, 0, 1))
)
LINES = ("benchmarks", 0, "functions", 0, "changed_lines", 0)


def data() -> Any:
    return json.loads(render(gate(*samples.everything().benchmarks, CALLS)))


@pytest.mark.parametrize("verdict", [samples.everything(), gate(CALLS), gate(), gate(samples.not_compared())])
def test_what_was_rendered_comes_back_the_same(verdict: GateVerdict) -> None:
    text = render(verdict)
    assert render(verdict_file.parse(text.encode())) == text


@patient
@given(HOSTILE)
def test_hostile_names_come_back_as_they_were(name: str) -> None:
    text = render(renamed(name))
    assert render(verdict_file.parse(text.encode())) == text


def test_the_first_files_of_the_version_had_no_changed_calls() -> None:
    older = json.loads(render(gate(CALLS)))
    del older["benchmarks"][0]["changed_calls"]
    assert render(verdict_file.parse(json.dumps(older).encode())) == render(gate(samples.regressed()))


def test_the_first_files_of_the_version_had_no_changed_lines() -> None:
    older = data()
    for one in older["benchmarks"]:
        del one["changed_lines"]
        for judged in one["functions"]:
            del judged["changed_lines"]
    read = verdict_file.parse(json.dumps(older).encode())
    assert not any(judged.changed_lines for one in read.benchmarks for judged in one.functions)


def test_unknown_members_are_left_alone() -> None:
    more = json.loads(render(samples.everything()))
    more["pull_request"] = 7
    more["benchmarks"][0]["later"] = {"a": [1]}
    assert render(verdict_file.parse(json.dumps(more).encode())) == render(samples.everything())


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("schema",), "blcperf.verdict/2", "schema 'blcperf.verdict/2', and this release reads blcperf.verdict/1"),
        (("failed",), False, "failed is False, but its benchmarks say True"),
        (("compared",), 0, "compared is 0, but its benchmarks say 8"),
        (("counts", "unchanged"), 9, "counts.unchanged is 9, but its benchmarks say 2"),
        (("benchmarks", 0, "fails"), False, "benchmarks[0].fails contradicts the outcome regressed"),
        (("benchmarks", 0, "outcome"), "fine", "benchmarks[0].outcome: 'fine' is not one of the known words"),
        (("benchmarks", 0, "outcome"), [1], "benchmarks[0].outcome: [1] is not one of the known words"),
        (("benchmarks", 0, "p"), "small", "benchmarks[0].p: expected a number or null, not 'small'"),
        (("benchmarks", 0, "threshold"), True, "benchmarks[0].threshold: expected a number or null, not True"),
        (("benchmarks", 0, "measured", "ratio", "freedom"), 1.5, "measured.ratio.freedom: expected a whole number"),
        (("benchmarks", 0, "functions", 0, "line"), -1, "functions[0].line: expected a whole number from 0"),
        (("benchmarks", 0, "id"), "x" * 10_001, "benchmarks[0].id: a string of 10,001 characters"),
        (("benchmarks",), {}, "benchmarks: expected an array"),
        ((*LINES, "relation"), "beside", "relation: 'beside' is not one of the known words"),
        ((*LINES, "text"), ["x"], "text: a line without - or + in front"),
        ((*LINES, "text"), ["+x"] * 101, "text: more than 100 lines"),
        ((*LINES, "last"), 95, "last: expected a whole number from 96"),
        (("warnings",), [{"code": "x", "text": "y"}] * 1_001, "warnings: more than 1,000 members"),
    ],
)
def test_what_is_not_a_sound_verdict_is_refused(path: tuple[Any, ...], value: Any, said: str) -> None:
    wrong = data()
    place = wrong
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(MalformedError, match=re.escape(said)):
        verdict_file.parse(json.dumps(wrong).encode())


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{" * 2000, b"\xff", b'{"schema": NaN}', b"[" * 1_000_001])
def test_what_is_no_verdict_at_all_is_refused(content: bytes) -> None:
    with pytest.raises(MalformedError):
        verdict_file.parse(content)


RENDERERS = (render, markdown.render, annotations.render, codequality.render, sarif.render, junit.render)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None, max_examples=60)
@given(st.data(), JSON | st.sampled_from([1e308, -1e308, 5e-324, 10**38, -(10**38), 0, -1]))
def test_any_value_in_any_place_is_read_or_refused(choose: st.DataObject, value: Any) -> None:
    wrong = copy.deepcopy(data())
    place = wrong
    while True:
        key = choose.draw(st.sampled_from(range(len(place)) if isinstance(place, list) else sorted(place)))
        inner = place[key]
        if not isinstance(inner, (list, dict)) or not inner or choose.draw(st.booleans()):
            place[key] = value
            break
        place = inner
    try:
        read = verdict_file.parse(json.dumps(wrong).encode())
    except MalformedError as error:
        assert "\n" not in str(error)
    else:
        assert all(isinstance(each(read), str) for each in RENDERERS)


def test_a_missing_file_and_a_large_one_are_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match="no such file"):
        verdict_file.read(tmp_path / "verdict.json")
    large = tmp_path / "large.json"
    with large.open("wb") as file:
        file.truncate(verdict_file.SIZE_LIMIT + 10)
    with pytest.raises(BaselineError, match="more than 33,554,432 bytes"):
        verdict_file.read(large)
    with pytest.raises(BaselineError, match="no such file"):
        verdict_file.read(tmp_path)
