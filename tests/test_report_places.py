"""Regressions at lines of code: GitHub annotations, GitLab code quality, SARIF."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import report_samples as samples
from hypothesis import given
from jsonschema import Draft4Validator
from report_samples import HOSTILE, gate, patient, renamed

from pytest_blcperf.model.function import Function
from pytest_blcperf.model.verdict import BenchmarkVerdict, GateVerdict
from pytest_blcperf.report import annotations, codequality, places, sarif

SARIF = Draft4Validator(
    json.loads((Path(__file__).parent / "schemas" / "sarif-2.1.0-rtm.5.json").read_text(encoding="utf-8"))
)
COMMAND = re.compile(r"::(\w+)((?: \w+=[^:,\n]*(?:,\w+=[^:,\n]*)*)?)::([^\n]*)")


def unescape(text: str) -> str:
    """What the runner does to properties, the reverse of the escapes."""
    for code, char in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        text = text.replace(code, char)
    return text


def commands(verdict: GateVerdict) -> list[tuple[str, dict[str, str], str]]:
    """Level, properties and text of each command, as the runner reads them."""
    found = []
    for line in annotations.render(verdict).splitlines():
        match = COMMAND.fullmatch(line)
        assert match, line
        pairs = [pair.split("=", 1) for pair in match[2].strip().split(",") if pair]
        found.append((match[1], {key: unescape(value) for key, value in pairs}, unescape(match[3])))
    return found


def in_file(verdict: BenchmarkVerdict, file: str) -> BenchmarkVerdict:
    """A regression whose one guilty function is in that file."""
    first = verdict.functions[0]
    moved = replace(first, comparison=replace(first.comparison, function=Function(file, "f", 3)))
    return replace(verdict, functions=(moved,))


def test_an_error_stands_at_the_guilty_functions_line() -> None:
    tokenize, push = commands(gate(samples.regressed()))
    assert tokenize[0] == "error"
    assert tokenize[1] == {
        "title": "performance regression: ParserInline.tokenize +59.8 % [+57.0, +62.6]",
        "file": "src/markdown_it/parser_inline.py",
        "line": "42",
    }
    assert "called 2.0× as often; 36 → 72 calls per iteration" in tokenize[2]
    assert samples.RENDERING in tokenize[2]
    # The changed line, where its own code changed; else what changed is named beside its first line.
    assert (push[1]["file"], push[1]["line"]) == ("src/markdown_it/rules_inline/state_inline.py", "112")
    assert "src/markdown_it/parser_block.py:97-98 changed in ParserBlock.parse, which calls it" in tokenize[2]


def test_what_does_not_fail_is_a_warning_and_what_is_in_doubt_a_notice() -> None:
    warning, notice = commands(gate(samples.tolerated(), samples.inconclusive()))
    assert (warning[0], warning[1]["file"], warning[1]["line"]) == ("warning", "tests/perf/test_links.py", "1")
    assert notice[0] == "notice"
    assert "inconclusive" in notice[2]


def test_nothing_compared_is_an_error() -> None:
    for verdict in (gate(), gate(samples.not_compared())):
        ((level, properties, text),) = commands(verdict)
        assert (level, properties["title"]) == ("error", "blcperf compared nothing")
        assert "NOTHING WAS COMPARED" in text


def test_nothing_to_say_says_nothing() -> None:
    assert annotations.render(gate(samples.unchanged(), samples.improved())) == ""
    assert json.loads(codequality.render(gate(samples.unchanged()))) == []


def test_no_more_than_the_platform_shows_and_the_last_says_so() -> None:
    many = [in_file(samples.regressed(), f"src/m{number}.py") for number in range(14)]
    found = commands(gate(*many))
    assert len(found) == annotations.LEVEL_LIMIT
    assert found[-1][2] == "5 more regressions are in the job summary and in verdict.json"


def test_one_function_in_many_benchmarks_is_one_place() -> None:
    many = [replace(samples.regressed(), id=f"tests/t.py::test_{number}") for number in range(5)]
    first, _ = places.remarks(gate(*many))
    assert first.text.count("\n") == 3
    assert first.text.endswith("and in 2 more benchmarks")


@pytest.mark.parametrize(
    "file",
    [
        *("/etc/passwd", "../secret.py", "a/../../b.py", "<stdlib>/json/decoder.py", "C:/x.py", "a\\b.py"),
        *("", "a\nb.py", "a\x1b.py"),
    ],
)
def test_a_place_outside_the_repository_is_none(file: str) -> None:
    verdict = gate(in_file(samples.regressed(), file))
    assert places.remarks(verdict)[0].file == "tests/perf/test_markdown.py"
    assert commands(verdict)[0][1]["line"] == "1"


def test_code_quality_has_what_gitlab_asks_for() -> None:
    issues = json.loads(codequality.render(gate(samples.regressed(), samples.tolerated())))
    assert [issue["severity"] for issue in issues] == ["major", "major", "minor"]
    assert issues[0]["location"] == {"path": "src/markdown_it/parser_inline.py", "lines": {"begin": 42}}
    assert issues[0]["check_name"] == "blcperf-regression"
    assert len({issue["fingerprint"] for issue in issues}) == 3
    again = json.loads(codequality.render(gate(replace(samples.regressed(), p=0.5))))
    assert again[0]["fingerprint"] == issues[0]["fingerprint"]


def test_sarif_follows_its_schema() -> None:
    for verdict in (samples.everything(), gate(), gate(in_file(samples.regressed(), "src/a b#c?.py"))):
        SARIF.validate(json.loads(sarif.render(verdict)))
    result = json.loads(sarif.render(samples.everything()))["runs"][0]["results"][0]
    assert result["level"] == "error"
    location = result["locations"][0]["physicalLocation"]
    assert location["artifactLocation"]["uri"] == "src/markdown_it/parser_inline.py"
    assert location["region"]["startLine"] == 42


@patient
@given(HOSTILE)
def test_hostile_names_end_no_command_and_begin_none(name: str) -> None:
    verdict = renamed(name)
    for level, properties, _ in commands(verdict):
        assert level in ("error", "warning", "notice")
        assert set(properties) <= {"title", "file", "line"}
        assert places.is_inside(properties.get("file", "x"))
    issues: list[dict[str, Any]] = json.loads(codequality.render(verdict))
    assert all(places.is_inside(issue["location"]["path"]) for issue in issues)
    SARIF.validate(json.loads(sarif.render(verdict)))
