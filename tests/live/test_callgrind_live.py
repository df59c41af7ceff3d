"""Counting under the real valgrind: what is counted, by whom, how exactly, and what is said where there is none."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gate_runs import run_gate, run_pytest, slower, src_repo

from pytest_blcperf.bench.instructions import REPEAT, Counted, collect, valgrind_version
from pytest_blcperf.capture.callgrind import FOLDER_VARIABLE, Valgrind, command
from pytest_blcperf.errors import PermissionDenied
from pytest_blcperf.model.function import NATIVE
from pytest_blcperf.store import run_file

pytestmark = pytest.mark.live
NAMES = sys.version_info >= (3, 12)
"""Whether Python functions have names in callgrind's output."""


@pytest.fixture(scope="module", autouse=True)
def valgrind() -> None:
    if shutil.which("valgrind") is None or os.uname().machine != "x86_64":
        pytest.skip("valgrind is missing (sudo apt-get install valgrind), or this is not an x86-64")


PROGRAM = """
import json, sys
from pytest_blcperf.bench.job import Job
from pytest_blcperf.bench.target import Target
from pytest_blcperf.capture.functions import Roots

def leaf(number):
    total = 0
    for value in range(number):
        total += value
    return total

def twice(number):
    return leaf(number) + leaf(number)

def work():
    sorted([3, 1, 2], key=lambda value: -value)
    json.dumps([1.5] * 50)
    return twice(300) + leaf(600)

def prepare():
    leaf(5000)
    return (), {}

setup = prepare if "setup" in sys.argv else None
target = Target(Job(work, "work", setup), Roots.of("/nowhere"))
for _ in range(20):
    target.answer({"op": "round", "iterations": 1})
answer = target.answer({"op": "instructions", "iterations": 5, "repeat": 2})
print(json.dumps(answer))
"""


def counted(folder: Path, *arguments: str) -> list[Counted]:
    """What callgrind counts of the program; its first argument may be `setup`."""
    folder.mkdir(exist_ok=True)
    (folder / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [*command(folder), sys.executable, "program.py", *arguments],
        cwd=folder,
        env={**os.environ, FOLDER_VARIABLE: str(folder), "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    try:
        return collect(answer, folder)
    finally:
        if answer["map"]:
            Path(answer["map"]).unlink()


def self_costs(one: Counted) -> dict[str, float]:
    costs: dict[str, float] = {}
    for stack, cost in one.stacks.items():
        if stack:
            costs[stack[0].name] = costs.get(stack[0].name, 0.0) + cost
    return costs


def test_who_executes_what(tmp_path: Path) -> None:
    one, two = counted(tmp_path / "one")
    costs = self_costs(one)
    assert two.instructions == pytest.approx(one.instructions, rel=0.01)
    assert sum(one.stacks.values()) == one.instructions
    if NAMES:
        # 1,200 turns of the loop, in three calls, are nearly all there is.
        assert costs["leaf"] > 0.5 * sum(costs.values())
        assert costs["work.<locals>.<lambda>"] > 0
        ways = {tuple(function.name for function in stack) for stack in one.stacks}
        assert {("leaf", "twice", "work"), ("leaf", "work")} <= ways
        leaf = next(function for stack in one.stacks for function in stack if function.name == "leaf")
        assert (leaf.line, bool(leaf.fingerprint)) == (6, True)
    else:
        assert {function.kind for stack in one.stacks for function in stack} == {NATIVE}
        assert "_PyEval_EvalFrameDefault" in costs
    # Another process, with a setup before every call that would be more than the work: the same is counted.
    prepared = counted(tmp_path / "setup", "setup")[0]
    assert prepared.instructions == pytest.approx(one.instructions, rel=0.02)


def test_the_whole_way_into_a_run_file(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo").write({"src/lib/core.py": slower()}).commit()
    quick = ("--blcperf-launches=1", "--blcperf-rounds=2", "--blcperf-delay-start=0")
    done = run_pytest(repo.path, "--blcperf", "--blcperf-backend=callgrind", "--blcperf-only", *quick, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "callgrind launch 2 of 2" in done.stdout
    (path,) = (repo.path / ".blcperf/runs").glob("*.blcperf")
    (benchmark,) = run_file.read(path).benchmarks
    assert benchmark.instructions is not None, benchmark.warnings
    assert len(benchmark.instructions.counts) == 2 * REPEAT
    assert benchmark.profile is None
    counts = [one.instructions / one.iterations for one in benchmark.instructions.counts]
    assert max(counts) / min(counts) < 1.02
    if NAMES:
        assert {"square", "total"} <= {function.name for function in benchmark.instructions.profile.functions}


def test_a_gate_by_instructions(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo").write({"src/lib/core.py": slower()})
    run = run_gate(repo, "--blcperf-metric=instructions", "--blcperf-only")
    found = run.benchmark("test_total")
    assert (run.code, found["outcome"], found["evidence"]) == (1, "regressed", "exact counts"), run.output
    assert found["measured"]["judged"] == "instructions"
    assert found["instructions"]["ratio"]["change"] > 2
    assert "base → head: instructions per iteration" in run.output
    # What is guilty is native code where Python functions have no names; the changed lines are known all the same.
    lines = [*found["changed_lines"], *(one for judged in found["functions"] for one in judged["changed_lines"])]
    assert ("square", 9, 10) in [(one["name"], one["first"], one["last"]) for one in lines]


def test_outside_of_valgrind_and_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="does not run under valgrind"):
        Valgrind()
    assert valgrind_version().startswith("valgrind-")
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(PermissionDenied) as error:
        valgrind_version()
    assert "valgrind" in error.value.message
    assert "valgrind" in error.value.hint
