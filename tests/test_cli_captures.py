"""`blcperf report` and `blcperf compare` on captures, ours and others'."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from capture_samples import Sampled, capture_of

from pytest_blcperf import cli
from pytest_blcperf.model.capture import Capture
from pytest_blcperf.model.run import Run
from pytest_blcperf.store import capture_file, run_file


def keep(path: Path, capture: Capture) -> str:
    path.parent.mkdir(exist_ok=True)
    capture_file.write([capture], path)
    return str(path)


def server(parse: int) -> Capture:
    return capture_of(Sampled("parse;handle;main", parse), Sampled("sort;handle;main", 500))


def test_a_regression_of_a_server_fails_where_it_is_asked_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = keep(tmp_path / "a.blcperf", server(300)), keep(tmp_path / "b.blcperf", server(600))
    assert cli.main(["compare", before, after]) == 0
    assert "parse" in capsys.readouterr().out
    assert cli.main(["compare", before, after, "--fail-over", "5%", "--quiet"]) == 1
    assert cli.main(["compare", before, after, "--fail-over", "80%", "--quiet"]) == 0
    assert cli.main(["compare", before, after, "--fail-over", "5%", "--no-fail", "--quiet"]) == 0
    assert capsys.readouterr().out == ""


def test_folders_are_sides_of_several_captures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        keep(tmp_path / "before" / f"{number}.blcperf", server(300 + number))
        keep(tmp_path / "after" / f"{number}.blcperf", server(400 - number))
    assert cli.main(["compare", str(tmp_path / "before"), str(tmp_path / "after"), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["captures"] == [3, 3]
    assert data["between_captures"]
    assert data["functions"][0]["name"] == "parse"


def test_captures_of_other_profilers_are_compared_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("main;parse 300\nmain;sort 500\n")
    (tmp_path / "b.txt").write_text("main;parse 600\nmain;sort 500\n")
    assert cli.main(["compare", str(tmp_path / "a.txt"), str(tmp_path / "b.txt"), "--fail-over", "5%"]) == 1
    assert "of the time" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["{run}", "{capture}"], 2, "a run of benchmarks and a capture cannot be compared"),
        (["{capture}", "{capture}", "--fail-over", "much"], 2, "--fail-over much"),
        (["{capture}", "{capture}", "--markdown", "x.md"], 2, "is for runs of benchmarks"),
        (["{folder}", "{capture}"], 6, "0 captures in this folder"),
        (["{capture}", "{broken}"], 6, "not a readable profile"),
    ],
)
def test_what_cannot_be_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    from formats.make_run_1 import sample_run

    run: Run = sample_run()
    run_file.write(run, tmp_path / "run.blcperf")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.txt").write_text("no stack at all\n")
    names = {
        "run": str(tmp_path / "run.blcperf"),
        "capture": keep(tmp_path / "capture.blcperf", server(300)),
        "folder": str(tmp_path / "empty"),
        "broken": str(tmp_path / "broken.txt"),
    }
    assert cli.main(["compare", *(one.format(**names) for one in arguments)]) == code
    shown = capsys.readouterr()
    assert message in shown.err
    assert len(shown.err.splitlines()) == 2
