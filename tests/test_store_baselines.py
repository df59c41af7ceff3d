"""Where runs and baselines are kept, under which names, and how many of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from formats.make_run_1 import SAMPLE, sample_run

from pytest_blcperf.errors import BaselineError, UsageError
from pytest_blcperf.store import baselines, run_file


def test_a_saved_baseline_is_found_by_its_name(tmp_path: Path) -> None:
    path = baselines.save_baseline(tmp_path, sample_run(), "feature/x")
    assert baselines.find(tmp_path, "feature/x") == path
    assert run_file.read(path).name == "feature/x"
    assert [(item.name, item.size) for item in baselines.list_baselines(tmp_path)] == [
        ("feature/x", path.stat().st_size)
    ]


def test_a_branch_and_a_branch_below_its_name_can_both_be_kept(tmp_path: Path) -> None:
    for name in ("feature/x", "feature"):
        baselines.save_baseline(tmp_path, sample_run(), name)
    assert [item.name for item in baselines.list_baselines(tmp_path)] == ["feature", "feature/x"]


def test_saving_again_replaces(tmp_path: Path) -> None:
    baselines.save_baseline(tmp_path, sample_run(), "main")
    path = baselines.save_baseline(tmp_path, replace(sample_run(), dirty=False), "main")
    assert not run_file.read(path).dirty
    assert len(baselines.list_baselines(tmp_path)) == 1


UNUSABLE = [
    "",
    ".",
    "..",
    "../main",
    "a/../b",
    "/etc/passwd",
    "a//b",
    "a/",
    "-rf",
    ".hidden",
    "a b",
    "a\nb",
    "a\0b",
    "a\\b",
]


@pytest.mark.parametrize("name", [*UNUSABLE, "%2F", "ä", "x" * 101])
def test_unusable_names_are_refused_and_never_found(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="a baseline cannot be called") as caught:
        baselines.save_baseline(tmp_path, sample_run(), name)
    assert "\n" not in caught.value.message
    with pytest.raises(UsageError):
        baselines.remove(tmp_path, name)
    assert baselines.find(tmp_path, name) is None
    assert list(tmp_path.iterdir()) == []


def test_a_run_file_at_that_path_comes_before_a_baseline_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stored = baselines.save_baseline(tmp_path, sample_run(), "main")
    Path("main").write_text("#!/bin/sh\n")
    assert baselines.find(tmp_path, "main") == stored, "a script is no run file"
    Path("main").write_bytes(SAMPLE.read_bytes())
    assert baselines.find(tmp_path, "main") == Path("main")


def test_a_damaged_run_file_is_found_so_that_its_error_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "x.blcperf"
    path.write_bytes(b"damaged")
    assert baselines.find(tmp_path, str(path)) == path


def test_names_of_git_revisions_are_somebody_elses(tmp_path: Path) -> None:
    for name in ("main", "HEAD~1", "main@{1}", "v1^{commit}"):
        assert baselines.find(tmp_path, name) is None


def test_remove(tmp_path: Path) -> None:
    path = baselines.save_baseline(tmp_path, sample_run(), "main")
    assert baselines.remove(tmp_path, "main") == path
    assert not path.exists()
    baselines.save_baseline(tmp_path, sample_run(), "other")
    with pytest.raises(BaselineError, match="'main'") as caught:
        baselines.remove(tmp_path, "main")
    assert "other" in caught.value.hint


def test_a_run_is_saved_under_time_and_commit(tmp_path: Path) -> None:
    assert baselines.save_run(tmp_path, sample_run(), 20).name.startswith("20260102T030405Z-012345678-")
    assert "-nogit-" in baselines.save_run(tmp_path, replace(sample_run(), commit=""), 20).name


def test_the_newest_runs_are_kept_and_nothing_else_is_touched(tmp_path: Path) -> None:
    baselines.save_baseline(tmp_path, sample_run(), "main")
    first = baselines.save_run(tmp_path, sample_run(), 3)
    foreign = first.with_name("mine.blcperf")
    foreign.write_bytes(b"")
    for minute in range(10, 15):
        baselines.save_run(tmp_path, replace(sample_run(), created=f"2026-01-02T03:{minute}:00+00:00"), 3)
    kept = baselines.sorted_runs(tmp_path)
    assert [path.name[:16] for path in kept] == ["20260102T031400Z", "20260102T031300Z", "20260102T031200Z"]
    assert foreign.exists()
    assert baselines.find(tmp_path, "main") is not None


def test_the_run_just_saved_is_kept_even_with_an_old_date(tmp_path: Path) -> None:
    baselines.save_run(tmp_path, sample_run(), 1)
    path = baselines.save_run(tmp_path, replace(sample_run(), created="2020-01-01T00:00:00+00:00"), 1)
    assert path.exists()


def test_a_committed_link_does_not_send_files_elsewhere(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    outside.mkdir()
    (root / ".blcperf").mkdir(parents=True)
    (root / ".blcperf" / "baselines").symlink_to(outside)
    with pytest.raises(UsageError, match="symbolic link"):
        baselines.save_baseline(root, sample_run(), "main")
    assert list(outside.iterdir()) == []
