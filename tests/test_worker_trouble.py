"""Benchmarks that crash, hang, exit, fork and print: the controller survives each and says what happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from gate_runs import BENCHMARK, LIBRARY, QUICK, environment, run_gate, run_pytest, slower, src_repo
from gitrepo import GitRepo

from pytest_blcperf.bench import launch as launch_module
from pytest_blcperf.bench.launch import Failure, run_launch
from pytest_blcperf.bench.service import Service
from pytest_blcperf.bench.worker_process import Side, WorkerLost
from pytest_blcperf.errors import TargetError, UsageError

IMPORTS = "import os, sys, time, signal, threading\nfrom lib.core import total\n"

TROUBLE = {
    "crashes": "def test_bad(benchmark):\n    benchmark(os.kill, os.getpid(), signal.SIGSEGV)\n",
    "exits": "def test_bad(benchmark):\n    print('last words', file=sys.__stderr__)\n    benchmark(os._exit, 7)\n",
    "raises": "def test_bad(benchmark):\n    benchmark(int, 'no number')\n",
    "raises SystemExit": "def test_bad(benchmark):\n    benchmark(sys.exit, 3)\n",
    "raises late": (
        "calls = []\n\ndef late():\n    calls.append(1)\n    if len(calls) == 9:\n        raise RuntimeError('ninth call')\n"
        "    total(range(300))\n\ndef test_bad(benchmark):\n    benchmark(late)\n"
    ),
}
EXPECTED = {
    "crashes": "killed by SIGSEGV",
    "exits": "exited with code 7",
    "raises": "invalid literal for int()",
    "raises SystemExit": "SystemExit: 3",
    "raises late": "ninth call",
}


def repo_with(path: Path, test: str) -> GitRepo:
    """A change that needs measuring, with one more benchmark beside the good one."""
    repo = src_repo(path).write({"src/lib/core.py": slower()})
    return repo.write({"benchmarks/test_bad.py": IMPORTS + "\n\n" + test}).commit()


@pytest.mark.parametrize("trouble", TROUBLE)
def test_a_bad_benchmark_fails_alone(tmp_path: Path, trouble: str) -> None:
    repo = repo_with(tmp_path / "repo", TROUBLE[trouble])
    run = run_gate(repo, "-v")
    # Which side is first to reach the ninth call is chance; what fails on the base alone is no failure of the head.
    assert run.code == 1 or "failed on the base" in run.output, run.output
    assert EXPECTED[trouble] in run.output
    assert run.benchmark("test_bad")["outcome"] == "not compared"
    # The neighbour after it in the same workers is measured all the same.
    assert run.benchmark("test_total")["evidence"] == "lockstep time"
    assert "INTERNALERROR" not in run.output


def test_the_last_words_of_a_worker_are_in_the_report(tmp_path: Path) -> None:
    run = run_gate(repo_with(tmp_path / "repo", TROUBLE["exits"]))
    assert "last words" in run.output


def test_a_hanging_benchmark_is_killed(tmp_path: Path) -> None:
    repo = repo_with(tmp_path / "repo", "def test_bad(benchmark):\n    benchmark(time.sleep, 3600)\n")
    run = run_gate(repo, "--blcperf-timeout=3s")
    assert run.code == 1
    assert "no answer for 3 s" in run.output
    assert run.benchmark("test_total")["evidence"] == "lockstep time"


def test_output_does_not_corrupt_the_protocol(tmp_path: Path) -> None:
    # GIVEN a benchmark that writes to every descriptor it can think of, and leaves a child that holds them open
    noisy = (
        "def noise():\n    print('x' * 100)\n    os.write(1, b'\\x00\\x00\\x00\\x05hello')\n    os.write(2, b'y' * 1000)\n"
        "    sys.__stdout__.write('z' * 1000)\n\ndef test_bad(benchmark):\n"
        "    if os.fork() == 0:\n        time.sleep(600)\n        os._exit(0)\n    benchmark(noise)\n"
    )
    # WHEN the gate runs, captured and not
    for capture in ("--capture=fd", "--capture=no"):
        run = run_gate(repo_with(tmp_path / capture, noisy), capture)
        # THEN both benchmarks were compared
        assert run.benchmark("test_bad")["evidence"] == "lockstep time", run.output
        assert run.benchmark("test_total")["evidence"] == "lockstep time"


def test_a_forked_child_that_comes_back_from_the_benchmark_is_stopped(tmp_path: Path) -> None:
    forks = "def test_bad(benchmark):\n    benchmark(total, range(300))\n    os.fork()\n"
    run = run_gate(repo_with(tmp_path / "repo", forks))
    assert run.benchmark("test_total")["evidence"] == "lockstep time", run.output


def test_failures_of_fixtures_and_skips_are_reported_as_pytest_does(tmp_path: Path) -> None:
    tests = (
        "import pytest\n\n@pytest.fixture\ndef broken():\n    raise OSError('no database')\n\n"
        "def test_broken(broken, benchmark):\n    benchmark(total, [1])\n\n"
        "@pytest.mark.skip(reason='not here')\ndef test_skipped(benchmark):\n    benchmark(total, [1])\n\n"
        "@pytest.mark.xfail(reason='known', strict=True)\ndef test_expected(benchmark):\n    assert benchmark(total, [1]) == 2\n\n"
        "def test_unused(benchmark):\n    pass\n"
    )
    run = run_gate(repo_with(tmp_path / "repo", tests), "-v", "-rA")
    for line in ("test_broken ERROR", "test_skipped SKIPPED (not here)", "test_expected XFAIL", "test_unused PASSED"):
        assert line in run.output
    assert "no database" in run.output
    assert run.benchmark("test_skipped")["outcome"] == "not compared"


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Poll until it holds; real processes give no other sign."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The worker processes of a running controller."""
    try:
        children = psutil.Process(process.pid).children()
        return [child for child in children if "pytest_blcperf.bench.worker" in " ".join(child.cmdline())]
    except psutil.Error:
        return []


def tree_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Everything a running controller has started, directly or not."""
    return psutil.Process(process.pid).children(recursive=True)


def is_running(process: psutil.Process) -> bool:
    """Whether it runs: a zombie, which somebody has yet to wait for, does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def start_long_gate(repo: GitRepo) -> subprocess.Popen[str]:
    """A gate in the middle of a launch: both workers are alive, each beside a `sleep` that a fixture has started, and at
    least one is in a benchmark that spins until it is told not to.
    """
    flag = repo.path.parent / "started"
    spin = (
        f"import pathlib, pytest, subprocess\n\ndef spin():\n    pathlib.Path({str(flag)!r}).touch()\n    while True:\n        total(range(300))\n\n"
        "@pytest.fixture\ndef server():\n    subprocess.Popen(['sleep', '600'])\n\n"
        "def test_bad(server, benchmark):\n    benchmark(spin)\n"
    )
    repo.write({"benchmarks/test_bad.py": IMPORTS + spin}).commit()
    command = [sys.executable, "-m", "pytest", "--blcperf", "--blcperf-baseline=main", *QUICK]
    process = subprocess.Popen(
        command,
        cwd=repo.path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Shells start background jobs with SIGINT ignored, and a test session run as one would pass that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    wait_until(lambda: flag.exists() and len(workers_of(process)) == 2)
    assert any(child.name() == "sleep" for child in tree_of(process))
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupting_leaves_no_process_and_no_worktree(tmp_path: Path, number: signal.Signals) -> None:
    repo = src_repo(tmp_path / "repo").write({"src/lib/core.py": slower()}).commit()
    process = start_long_gate(repo)
    started = tree_of(process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2, output
    assert "KeyboardInterrupt" in output
    wait_until(lambda: not any(map(is_running, started)))
    assert repo.git("worktree", "list").count("\n") == 0


def test_killing_the_controller_ends_all_it_started_and_the_next_run_cleans_up(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo").write({"src/lib/core.py": slower()}).commit()
    process = start_long_gate(repo)
    started = tree_of(process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    wait_until(lambda: not any(map(is_running, started)))
    assert repo.git("worktree", "list").count("\n") == 1
    repo.write({"benchmarks/test_bad.py": ""}).commit()
    assert run_gate(repo).benchmark("test_total")["evidence"] == "lockstep time"
    assert repo.git("worktree", "list").count("\n") == 0


def one_launch(folder: Path, python: str = sys.executable) -> Failure:
    """How a launch of one worker that cannot start fails."""
    side = Side("head", folder, folder, python, tuple(sys.path), {}, (), ())
    launch = run_launch([side], {"test_it": None}, seed=0, scratch=folder.parent, timeout=30, clock=time.monotonic)
    return launch.sides[0].failures["test_it"]


def descriptors() -> set[str]:
    """This process's open files."""
    return {path.name for path in Path("/proc/self/fd").iterdir()}


@pytest.mark.parametrize("missing", ["folder", "interpreter"])
def test_a_worker_that_cannot_be_started_is_a_lost_one_and_leaves_nothing_open(tmp_path: Path, missing: str) -> None:
    (tmp_path / "there").mkdir()
    before = descriptors()
    if missing == "folder":
        failure = one_launch(tmp_path / "gone")
    else:
        failure = one_launch(tmp_path / "there", python=str(tmp_path / "no-python"))
    assert failure.kind == "crashed"
    assert failure.text.startswith("could not be started: ")
    assert descriptors() == before
    assert {path.name for path in tmp_path.iterdir()} == {"there", "head.log"}


def test_a_worker_gone_before_the_first_message_is_a_lost_one(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    before = descriptors()
    failure = one_launch(tmp_path / "there", python="/bin/false")
    assert (failure.kind, failure.text) == ("crashed", "exited with code 1")
    assert descriptors() == before


def test_an_interpreter_behind_a_wrapper_that_does_not_exec(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    wrapper = tmp_path / "python"
    wrapper.write_text(f"#!/bin/sh\n'{sys.executable}' \"$@\"\nexit $?\n")
    wrapper.chmod(0o755)
    assert "started through a wrapper that does not exec" in one_launch(tmp_path / "there", str(wrapper)).text


def test_temporary_files_of_a_worker_go_with_it(tmp_path: Path) -> None:
    # GIVEN a benchmark that leaves a file behind in each worker, and fails if it is not the first to do so
    leaves = (
        "import pathlib, tempfile\n\ndef test_bad(benchmark):\n"
        "    pathlib.Path(tempfile.gettempdir(), 'left').touch(exist_ok=False)\n    benchmark(total, range(300))\n"
    )
    # WHEN discovery and a launch have run
    run = run_gate(repo_with(tmp_path / "repo", leaves))
    # THEN none has met the file of another
    assert run.benchmark("test_bad")["evidence"] == "lockstep time", run.output


@pytest.mark.skipif(sys.version_info < (3, 11), reason="PYTHONSAFEPATH came with 3.11")
def test_the_first_folder_of_the_path_stays_under_safe_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # GIVEN an interpreter that adds no folder to `sys.path`, and a PYTHONPATH that begins with the worker's folder
    GitRepo(tmp_path / "repo").write(
        {"core.py": LIBRARY, "benchmarks/test_it.py": BENCHMARK.replace("lib.core", "core")}
    )
    folder, file = tmp_path / "repo", str(tmp_path / "repo/benchmarks/test_it.py")
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    side = Side("head", folder, folder, sys.executable, (str(folder), *sys.path), {"blcperf_worker": True}, (), (file,))
    # WHEN the worker collects
    launch = run_launch([side], {}, seed=0, scratch=tmp_path, timeout=30, clock=time.monotonic)
    # THEN it can import from that folder
    assert launch.sides[0].collect_errors == []
    assert "benchmarks/test_it.py::test_total" in launch.sides[0].codes


REFUSED = {
    "an option": [sys.executable, "-u", "service.py"],
    "code": [sys.executable, "-c", "pass"],
    "no module": [sys.executable, "-m"],
    "nothing": [],
    "not Python": ["sleep", "1"],
}


@pytest.mark.parametrize("command", REFUSED)
def test_a_service_that_cannot_be_profiled_is_refused_before_anything_is_opened(command: str) -> None:
    before = descriptors()
    with pytest.raises(UsageError, match=r"sys\.executable, 'script\.py'"):
        Service(REFUSED[command])
    assert descriptors() == before


def test_a_service_that_ends_before_it_listens_leaves_nothing_open() -> None:
    before = descriptors()
    with pytest.raises(TargetError, match="ended with code"):
        Service([sys.executable, "service.py"], env={"PYTHONHOME": "/nowhere"}, stderr=subprocess.DEVNULL)
    assert descriptors() == before


def test_a_service_that_says_something_else_is_killed(tmp_path: Path) -> None:
    # GIVEN an interpreter that is none: it says something else on the channel and stays
    impostor = tmp_path / "python3"
    message = b'{"op":"hello"}'
    impostor.write_text(
        f"#!{sys.executable}\nimport os, time\nfrom pathlib import Path\n"
        f"Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n"
        f"os.write(int(os.environ['BLCPERF_SERVICE_FD']), {len(message).to_bytes(4, 'big') + message!r})\ntime.sleep(600)\n"
    )
    impostor.chmod(0o755)
    with pytest.raises(TargetError, match="'hello'"):
        Service([str(impostor), "service.py"])
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_without_workers_the_benchmarks_run_here(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo").write({"benchmarks/test_core.py": BENCHMARK})
    quick = [option for option in QUICK if "launches" not in option]
    done = run_pytest(repo.path, "--blcperf", "--blcperf-launches=0", *quick, "-v")
    assert done.returncode == 0, done.stdout
    assert "1 measured, nothing compared" in done.stdout


def test_either_side_is_started_first_and_the_seed_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []

    def lost(side: Side, *_arguments: object) -> None:
        started.append(side.name)
        raise WorkerLost("crashed", f"no {side.name}")

    monkeypatch.setattr(launch_module, "WorkerProcess", lost)
    sides = [Side(name, tmp_path, tmp_path, sys.executable, (), {}, (), ()) for name in ("base", "head")]
    for seed in (1, 1, *range(2, 10)):
        launch = run_launch(sides, {"test_it": None}, seed=seed, scratch=tmp_path, timeout=30, clock=time.monotonic)
        assert [side.failures["test_it"].text for side in launch.sides] == ["no base", "no head"]
    orders = [tuple(started[place : place + 2]) for place in range(0, len(started), 2)]
    assert orders[0] == orders[1]
    assert set(orders) == {("base", "head"), ("head", "base")}
