"""Saved runs: as baselines, compared by pytest and by the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from gate_runs import QUICK, environment, run_gate, run_pytest, slower, src_repo


def test_save_then_compare_with_the_stored_run(tmp_path: Path) -> None:
    # GIVEN a baseline saved on main
    repo = src_repo(tmp_path / "repo").checkout("main")
    saved = run_pytest(repo.path, "--blcperf", "--blcperf-save=release/1.0", *QUICK)
    assert saved.returncode == 0, saved.stdout
    assert "baseline saved" in saved.stdout
    # WHEN the head is compared with it
    repo.checkout("change").write({"src/lib/core.py": slower()}).commit()
    run = run_gate(repo, "--blcperf-mode=stored", base="release/1.0")
    # THEN only the head was measured, and the verdict rests on the stored run
    found = run.benchmark("test_total")
    assert found["evidence"] == "stored baseline"
    assert not found["measured"]["paired"]
    assert "stored" in run.last_line and "release/1.0" in run.last_line
    # AND in auto mode its commit is measured next to the head instead
    live = run_gate(repo, base="release/1.0")
    assert live.benchmark("test_total")["measured"]["paired"]


def test_a_stored_run_still_serves_when_its_commit_is_gone(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo").checkout("main")
    repo.write({"README.md": "not committed\n"})
    assert run_pytest(repo.path, "--blcperf", "--blcperf-save=mine", *QUICK).returncode == 0
    run = run_gate(repo, base="mine")
    assert run.benchmark("test_total")["evidence"] == "stored baseline"
    assert "could not be checked out" in run.output


def test_renamed_benchmark_is_matched_in_a_stored_run(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo")
    assert run_pytest(repo.path, "--blcperf", "--blcperf-save=mine", *QUICK).returncode == 0
    repo.git("mv", "benchmarks/test_core.py", "benchmarks/test_renamed.py")
    run = run_gate(repo, "--blcperf-mode=stored", base="mine")
    assert run.benchmark("test_renamed.py::test_total")["evidence"] == "stored baseline"


def test_both_runs_of_a_lockstep_session_are_kept_and_compare_again(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo").write({"src/lib/core.py": slower()}).commit()
    run = run_gate(repo, "--blcperf-keep=3")
    runs = sorted((repo.path / ".blcperf/runs").glob("*.blcperf"))
    assert len(runs) == 2
    by_name = {}
    for path in runs:
        command = [sys.executable, "-m", "pytest_blcperf", "report", "--json", str(path)]
        done = subprocess.run(command, cwd=repo.path, env=environment(), capture_output=True, text=True, check=True)
        by_name[json.loads(done.stdout)["name"]] = path
    compare = [sys.executable, "-m", "pytest_blcperf", "compare", "--json", "--no-fail"]
    done = subprocess.run(
        [*compare, str(by_name["base"]), str(by_name["head"])],
        cwd=repo.path,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    again = json.loads(done.stdout)["benchmarks"][0]
    first = run.benchmark("test_total")
    assert again["measured"]["ratio"] == first["measured"]["ratio"]
    assert again["outcome"] == first["outcome"]


def test_retention_keeps_the_newest(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo")
    for _ in range(3):
        run_pytest(repo.path, "--blcperf", "--blcperf-keep=2", "--blcperf-launches=1", *QUICK[1:])
    assert len(list((repo.path / ".blcperf/runs").glob("*.blcperf"))) == 2
    assert repo.git("status", "--porcelain") == ""
