"""The JSON report against its published schema."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import report_samples as samples
from hypothesis import given
from jsonschema import Draft202012Validator
from report_samples import HOSTILE, gate, patient, renamed

from pytest_blcperf.model.comparison import Estimate
from pytest_blcperf.model.verdict import Evidence, GateVerdict, Outcome
from pytest_blcperf.report.json import SCHEMA, as_data, render

FILE = Path(__file__).parents[1] / "docs" / "schemas" / "blcperf.verdict-1.json"
PUBLISHED = json.loads(FILE.read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(PUBLISHED)


def strict(text: str) -> Any:
    """JSON data, refusing NaN and infinities as the standard does."""

    def refuse(word: str) -> None:
        raise AssertionError(word)

    return json.loads(text, parse_constant=refuse)


def objects(schema: Any) -> list[dict[str, Any]]:
    """Every object schema in a schema."""
    if isinstance(schema, list):
        return [found for part in schema for found in objects(part)]
    if not isinstance(schema, dict):
        return []
    return [schema] * ("properties" in schema) + [found for part in schema.values() for found in objects(part)]


def test_the_schema_is_one_and_allows_nothing_unknown() -> None:
    Draft202012Validator.check_schema(PUBLISHED)
    assert len(objects(PUBLISHED)) > 5
    for part in objects(PUBLISHED):
        assert part["additionalProperties"] is False
        assert sorted(part["required"]) == sorted(part["properties"])


@pytest.mark.parametrize("verdict", [samples.everything(), gate(), gate(samples.not_compared())])
def test_a_verdict_follows_the_schema(verdict: GateVerdict) -> None:
    VALIDATOR.validate(strict(render(verdict)))
    assert strict(render(verdict)) == as_data(verdict)


@patient
@given(HOSTILE)
def test_hostile_names_stay_json(name: str) -> None:
    text = render(renamed(name))
    assert text.isascii()
    assert all(char.isprintable() or char == "\n" for char in text)
    data = strict(text)
    VALIDATOR.validate(data)
    if name.isprintable():
        assert data["benchmarks"][0]["functions"][0]["name"] == name


def test_every_outcome_and_evidence_is_in_the_schema() -> None:
    assert set(PUBLISHED["$defs"]["outcome"]["enum"]) == {outcome.value for outcome in Outcome}
    assert set(PUBLISHED["$defs"]["evidence"]["enum"]) == {evidence.value for evidence in Evidence}
    assert PUBLISHED["properties"]["schema"]["const"] == SCHEMA


def test_the_numbers_are_those_of_the_model() -> None:
    verdict = gate(samples.regressed())
    data = as_data(verdict)["benchmarks"][0]
    function, follower = data["functions"][0], data["functions"][2]
    assert data["measured"]["ratio"]["change"] == pytest.approx(0.201)
    assert (data["p"], data["detectable"], data["fails"]) == (1e-12, 0.016, True)
    assert (function["calls_base"], function["calls_head"], function["guilty"]) == (36, 72, True)
    assert function["explanation"] == {
        "called_more_ns": 272000,
        "dearer_per_call_ns": 0,
        "text": "called 2.0× as often",
    }
    assert follower["follows_from"] == {"file": samples.TOKENIZE.file, "name": samples.TOKENIZE.name, "line": 42}
    assert not follower["guilty"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_is_null(value: float) -> None:
    one = samples.regressed()
    assert one.comparison is not None
    broken = replace(one.comparison, base_ns=value, ratio=Estimate(value, value, 3))
    data = strict(render(gate(replace(one, comparison=broken, p=value, detectable=value), alpha=value, seconds=value)))
    VALIDATOR.validate(data)
    measured = data["benchmarks"][0]["measured"]
    assert measured["base_ns"] is None
    assert measured["ratio"]["interval_low"] is None
    assert data["benchmarks"][0]["p"] is None
