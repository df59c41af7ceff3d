"""`blcperf ci`: rendering a stranger's verdict, and the last step's decision."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import report_samples as samples
from gitrepo import GitRepo
from hypothesis import given
from report_samples import HOSTILE, gate, patient, renamed

from pytest_blcperf import cli
from pytest_blcperf.cli.ci import SUMMARY_LIMIT
from pytest_blcperf.cli.ci_gate import decide
from pytest_blcperf.model.verdict import GateVerdict
from pytest_blcperf.report import annotations, codequality, comment, markdown, sarif
from pytest_blcperf.report.json import render

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def blcperf(capsysbinary: pytest.CaptureFixture[bytes]) -> Command:
    def run(*argv: str) -> tuple[int, str, str]:
        code = cli.main(list(argv))
        captured = capsysbinary.readouterr()
        return int(code), captured.out.decode(), captured.err.decode()

    return run


@pytest.fixture
def verdict(tmp_path: Path) -> Path:
    path = tmp_path / "verdict.json"
    path.write_text(render(samples.everything()))
    return path


@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        ("summary", markdown.render(samples.everything(), SUMMARY_LIMIT)),
        ("annotate", annotations.render(samples.everything())),
        ("codequality", codequality.render(samples.everything())),
        ("sarif", sarif.render(samples.everything())),
    ],
)
def test_what_is_rendered_is_what_the_gate_itself_would(
    verb: str, expected: str, verdict: Path, blcperf: Command
) -> None:
    assert blcperf("ci", verb, str(verdict)) == (0, expected, "")


@pytest.mark.parametrize("verb", ["summary", "annotate", "codequality", "sarif"])
@pytest.mark.parametrize("content", ["", "{}", "[]", '{"schema": "blcperf.verdict/1"}', "\0", "{" * 5000])
def test_what_is_no_verdict_is_one_clear_line(verb: str, content: str, tmp_path: Path, blcperf: Command) -> None:
    (tmp_path / "verdict.json").write_text(content)
    code, output, error = blcperf("ci", verb, str(tmp_path / "verdict.json"))
    assert (code, output) == (6, "")
    assert len(error.splitlines()) == 2
    assert "not a verdict" in error


def test_reports_are_utf_8_whatever_the_locale_is(verdict: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest_blcperf", "ci", "summary", str(verdict)],
        env={**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        capture_output=True,
        check=True,
    )
    assert "### ❌ blcperf" in done.stdout.decode("utf-8")


@patient
@given(HOSTILE)
def test_nothing_in_a_hostile_verdict_is_a_command(name: str) -> None:
    verdict = renamed(name)
    for line in (markdown.render(verdict) + comment.render([("x", verdict)], "https://x")).splitlines():
        assert not line.lstrip().startswith(("::", "##["))
    for line in annotations.render(verdict).splitlines():
        assert line.startswith(("::error ", "::warning ", "::notice "))
        assert "\r" not in line


def test_a_comment_fits_whatever_its_verdicts_are() -> None:
    many = gate(*[samples.regressed()] * 20)
    body = comment.render([(f"3.{minor}", many) for minor in range(9)], "https://x")
    assert len(body.encode()) < 65_536
    assert "**3 more verdicts are in the run's artifacts.**" in body
    assert comment.is_ours(body)


# ---- the last step


@pytest.mark.parametrize(
    ("status", "verdict", "code", "said"),
    [
        (0, gate(samples.unchanged()), 0, "PASSED: 1 unchanged"),
        (0, gate(samples.tolerated()), 0, "PASSED: 1 regressed (1 of them not failing the gate)"),
        (1, gate(samples.regressed()), 1, "FAILED: 1 regressed"),
        (0, gate(samples.regressed()), 1, "FAILED: 1 regressed"),
        (1, gate(samples.unchanged()), 1, "FAILED: a test failed; 1 unchanged"),
        (4, gate(samples.not_compared()), 6, "FAILED: NOTHING WAS COMPARED: 1 not compared"),
        (0, gate(samples.not_compared()), 6, "FAILED: NOTHING WAS COMPARED"),
        (0, gate(), 6, "FAILED: NOTHING WAS COMPARED: no benchmark ran"),
        (4, gate(samples.unchanged()), 4, "FAILED: pytest ended with exit code 4; 1 unchanged"),
        (2, gate(samples.unchanged()), 2, "FAILED: pytest ended with exit code 2"),
        (5, gate(), 5, "FAILED: pytest ended with exit code 5"),
        (0, None, 6, "FAILED: pytest wrote no verdict"),
        (3, None, 3, "FAILED: pytest ended with exit code 3 before there was a verdict"),
        (-9, None, -9, "FAILED: pytest ended with exit code -9"),
    ],
)
def test_the_last_step_is_green_only_when_something_was_compared(
    status: int, verdict: GateVerdict | None, code: int, said: str
) -> None:
    decision = decide(status, verdict, first=False, strict=False)
    assert decision.code == code
    assert decision.text.startswith(said)


def test_a_first_run_passes_only_when_nothing_failed() -> None:
    assert decide(4, gate(samples.not_compared()), first=True, strict=False).code == 0
    assert decide(1, gate(samples.not_compared()), first=True, strict=False).code == 1
    assert decide(4, gate(samples.unchanged()), first=True, strict=False).code == 4


def test_inconclusive_fails_where_that_is_asked_for() -> None:
    verdict = gate(samples.inconclusive(), samples.unchanged())
    assert decide(0, verdict, first=False, strict=False).code == 0
    assert decide(0, verdict, first=False, strict=True).code == 1


def test_a_first_run_is_one_whose_base_has_no_benchmark_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blcperf: Command
) -> None:
    repo = GitRepo(tmp_path / "repo").write({"a.txt": "1"}).commit().branch("change")
    path = samples.not_compared().id.partition("::")[0]
    repo.write({path: "x"}).commit()
    monkeypatch.chdir(repo.path)
    Path("verdict.json").write_text(render(gate(samples.not_compared())))
    arguments = ("ci", "gate", "verdict.json", "--status", "4", "--base")
    code, said, _ = blcperf(*arguments, "main")
    assert (code, said.startswith("blcperf: PASSED as a first run")) == (0, True)
    assert blcperf(*arguments, "change")[0] == 6  # the file is there: it should have been compared
    assert blcperf(*arguments, "nosuch")[0] == 6
    assert blcperf(*arguments[:-1])[0] == 6


def test_the_last_step_refuses_a_verdict_that_was_tampered_with(tmp_path: Path, blcperf: Command) -> None:
    data = json.loads(render(gate(samples.regressed())))
    data["failed"] = False
    data["benchmarks"][0]["fails"] = False
    (tmp_path / "verdict.json").write_text(json.dumps(data))
    code, _, error = blcperf("ci", "gate", str(tmp_path / "verdict.json"), "--status", "0")
    assert code == 6
    assert "contradicts the outcome" in error
