"""Whole sessions: what time budgets cut short, and which functions get clocks."""

from __future__ import annotations

from pathlib import Path

from gate_runs import LIBRARY, run_gate, slower, src_repo

from pytest_blcperf.store import run_file

CORE = "src/lib/core.py"


def test_the_sessions_time_ends_the_measurement_and_is_said(tmp_path: Path) -> None:
    repo = src_repo(tmp_path).write({CORE: LIBRARY + "\nUNUSED = 1\n"}).commit("same")
    run = run_gate(repo, "--blcperf-launches=200", "--blcperf-session-time=5s")
    found = run.benchmark("test_total")
    assert 2 <= found["measured"]["launches"] < 200
    assert "--blcperf-session-time" in " ".join(one["text"] for one in found["measured"]["warnings"])


def test_without_time_for_a_launch_nothing_is_compared_and_that_is_said(tmp_path: Path) -> None:
    repo = src_repo(tmp_path).write({CORE: slower()}).commit("slower")
    run = run_gate(repo, "--blcperf-session-time=1ms")
    found = run.benchmark("test_total")
    assert found["outcome"] == "not compared"
    assert "0 of 1 launches" in found["reason"]
    assert "NOTHING WAS COMPARED" in run.last_line


def test_hot_functions_are_timed_after_the_first_look(tmp_path: Path) -> None:
    repo = src_repo(tmp_path).write({CORE: slower()}).commit("slower")
    run_gate(repo, "--blcperf-launches=4", "--blcperf-rounds=4", "--blcperf-profile-window=100ms")
    runs = [run_file.read(path) for path in sorted((tmp_path / ".blcperf" / "runs").glob("*.blcperf"))]
    assert len(runs) == 2
    for one in runs:
        times = one.benchmarks[0].function_times
        phases = {launch.index: launch.phase for launch in one.benchmarks[0].launches}
        assert times
        assert {phases[timed.launch] for timed in times} == {"confirm"}
        assert {"total"} <= {function.name for function in times[0].functions}
        assert (times[0].calls == times[0].iterations).all()
        assert (times[0].total_ns > 0).all()
