"""Accepted regressions: which ones, until when, and that every report shows the reason."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import report_samples as samples

from pytest_blcperf import pyproject
from pytest_blcperf.compare.accept import accept
from pytest_blcperf.errors import UsageError
from pytest_blcperf.model.verdict import BenchmarkVerdict
from pytest_blcperf.report import json, junit, markdown, terminal
from pytest_blcperf.settings import Acceptance, resolve

TODAY = date(2030, 1, 31)
WHOLE = Acceptance("tests/perf/test_markdown.py::*", "tables need it", TODAY)
TOKENIZE = replace(WHOLE, function="ParserInline.tokenize")
PUSH = replace(WHOLE, function="*state_inline.py::StateInline.*", reason="correct at last")


def judged(*acceptances: Acceptance, everything: str | None = None, today: date = TODAY) -> BenchmarkVerdict:
    (verdict,) = accept([samples.regressed()], acceptances, everything, today)
    return verdict


def said(verdict: BenchmarkVerdict) -> list[tuple[str, str]]:
    return [(note.code, note.text) for note in verdict.warnings]


def test_a_benchmark_accepted_as_a_whole_does_not_fail() -> None:
    verdict = judged(WHOLE)
    assert not verdict.fails
    assert verdict.gate == "accepted"
    assert said(verdict) == [("accepted", "accepted until 2030-01-31: tables need it")]


def test_a_benchmark_id_is_taken_literally_too() -> None:
    assert not judged(replace(WHOLE, benchmark=samples.RENDERING)).fails  # its [..] is no character class


def test_every_guilty_function_must_be_accepted() -> None:
    assert judged(TOKENIZE).fails
    assert judged(TOKENIZE).warnings == ()
    both = judged(TOKENIZE, PUSH)
    assert not both.fails
    assert [text for _, text in said(both)] == [
        "accepted until 2030-01-31: tables need it",
        "accepted until 2030-01-31: correct at last",
    ]


def test_no_guilty_function_is_covered_by_no_function() -> None:
    spread = replace(samples.regressed(), functions=())
    (verdict,) = accept([spread], [TOKENIZE, PUSH], None, TODAY)
    assert verdict.fails


def test_the_day_after_it_fails_and_says_why() -> None:
    verdict = judged(WHOLE, today=date(2030, 2, 1))
    assert verdict.fails
    assert said(verdict) == [("acceptance-expired", "its acceptance ended on 2030-01-31: tables need it")]
    assert "its acceptance ended on 2030-01-31: tables need it" in terminal.failure_text(verdict, "main", "head")


def test_another_benchmark_is_not_accepted() -> None:
    assert judged(replace(WHOLE, benchmark="tests/perf/test_links.py::*")).fails


def test_a_reason_for_everything_accepts_everything() -> None:
    assert said(judged(everything="label x")) == [("accepted", "accepted for this run: label x")]


def test_what_does_not_fail_is_left_alone() -> None:
    for verdict in (samples.unchanged(), samples.tolerated(), samples.inconclusive()):
        assert accept([verdict], [Acceptance("*", "r", TODAY)], "all", TODAY) == (verdict,)


@pytest.mark.parametrize("render", [markdown.render, junit.render, json.render])
def test_the_reports_show_the_reason(render: Any) -> None:
    text = render(samples.gate(judged(WHOLE)))
    assert "accepted until 2030-01-31: tables need it" in text
    assert "<failure" not in text


def test_the_terminal_shows_the_reason() -> None:
    lines = terminal.render(samples.gate(judged(WHOLE)), width=120, color=False, unicode=True)
    assert "accepted until 2030-01-31: tables need it" in " ".join(lines)


def read(tmp_path: Path, project: str, accept_file: str | None = None) -> tuple[Acceptance, ...]:
    (tmp_path / "pyproject.toml").write_text(project)
    if accept_file is not None:
        (tmp_path / pyproject.ACCEPT_FILE).write_text(accept_file)
    return resolve({}, {}, pyproject.table(tmp_path), {}).accept


TABLE = 'benchmark = "tests/*"\nfunction = "f"\nreason = "needed"\nuntil = 2030-01-31\n'


def test_both_files_are_read(tmp_path: Path) -> None:
    found = read(
        tmp_path, f"[[tool.blcperf.accept]]\n{TABLE}", '[[accept]]\nbenchmark = "b"\nreason = "r"\nuntil = "2031-01-01"'
    )
    assert found == (
        Acceptance("tests/*", "needed", TODAY, "f"),
        Acceptance("b", "r", date(2031, 1, 1)),
    )
    assert read(tmp_path, "") == (Acceptance("b", "r", date(2031, 1, 1)),)


@pytest.mark.parametrize(
    ("project", "said"),
    [
        ("[tool.blcperf]\naccept = 1", "expected a list of tables"),
        ("[[tool.blcperf.accept]]\n" + TABLE.replace("needed", " "), "`reason` is missing"),
        ("[[tool.blcperf.accept]]\n" + TABLE.replace("benchmark", "bench"), "unknown key 'bench'"),
        ("[[tool.blcperf.accept]]\n" + TABLE.replace("2030-01-31", "2030-01-31T00:00:00"), "`until` is no date"),
        ("[[tool.blcperf.accept]]\n" + TABLE.replace("2030-01-31", '"soon"'), "`until` is no date: 'soon'"),
        ("[[tool.blcperf.accept]]\n" + TABLE.replace("until = 2030-01-31", ""), "`until` is no date: 'None'"),
        ("[[tool.blcperf.accept]]\n" + TABLE.replace('"f"', "3"), "`function` is no pattern"),
    ],
)
def test_what_is_wrong_is_refused(tmp_path: Path, project: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read(tmp_path, project)


def test_an_accept_file_holds_nothing_else(tmp_path: Path) -> None:
    for content, said in (
        ('threshold = "1%"', "unknown key"),
        ("accept = 3", "no list"),
        ("[[accept", "cannot be read"),
    ):
        with pytest.raises(UsageError, match=said):
            read(tmp_path, "", content)
