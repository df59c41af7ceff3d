"""Report files appear whole, or not at all."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import report_samples as samples

from pytest_blcperf.errors import BlcperfError
from pytest_blcperf.report.write import write_reports


def test_all_reports_are_written_with_their_folders(tmp_path: Path) -> None:
    paths = [tmp_path / "deep" / "er" / name for name in ("verdict.json", "junit.xml", "summary.md")]
    messages = write_reports(samples.everything(), *paths)
    assert messages == [
        f"{name} report: {path}" for name, path in zip(("JSON", "JUnit", "Markdown"), paths, strict=True)
    ]
    assert json.loads(paths[0].read_text())["schema"] == "blcperf.verdict/1"
    assert ElementTree.parse(paths[1]).getroot().tag == "testsuites"
    assert paths[2].read_text(encoding="utf-8").startswith("### ❌ blcperf")
    assert sorted(path.name for path in paths[0].parent.iterdir()) == ["junit.xml", "summary.md", "verdict.json"]


def test_reports_about_lines_of_code_are_written(tmp_path: Path) -> None:
    quality, found = tmp_path / "quality.json", tmp_path / "found.sarif"
    messages = write_reports(samples.everything(), codequality_path=quality, sarif_path=found)
    assert messages == [f"code quality report: {quality}", f"SARIF report: {found}"]
    assert len(json.loads(quality.read_text())) == len(json.loads(found.read_text())["runs"][0]["results"]) > 0


def test_no_path_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert write_reports(samples.everything(), None, "", None) == []
    assert list(tmp_path.iterdir()) == []


def test_an_unusable_path_is_an_error_with_path_and_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BlcperfError) as caught:
        write_reports(samples.everything(), tmp_path / "file" / "verdict.json")
    assert "JSON report" in caught.value.message
    assert str(tmp_path / "file" / "verdict.json") in caught.value.message
    assert caught.value.hint
    with pytest.raises(BlcperfError, match="Is a directory"):
        write_reports(samples.everything(), None, None, tmp_path)


def test_nothing_is_written_when_one_report_cannot_be_rendered(tmp_path: Path) -> None:
    broken = replace(samples.regressed(), id=None)  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        write_reports(samples.gate(broken), None, tmp_path / "junit.xml", tmp_path / "summary.md")
    assert list(tmp_path.iterdir()) == []


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    write_reports(samples.everything(), tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "real.json").read_text())["failed"] is True


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_reports(samples.gate(samples.identical()), markdown_path=pipe)
        assert os.read(reader, 100_000).decode().startswith("### ✅")
    finally:
        os.close(reader)
    assert pipe.is_fifo()
