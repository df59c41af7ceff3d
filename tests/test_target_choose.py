"""Choosing processes by name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_blcperf.errors import TargetError, UsageError
from pytest_blcperf.target import choose
from pytest_blcperf.target.choose import Candidate
from pytest_blcperf.target.process import Process


def candidate(pid: int, name: str, command: str = "") -> Candidate:
    return Candidate(Process(pid, pid), name, (command or name).split()[0].rpartition("/")[2], command or name)


PROCESSES = [
    candidate(1, "mariadbd", "/usr/sbin/mariadbd --port 1"),
    candidate(2, "mariadbd-safe"),
    candidate(3, "python3", "python3 -m mariadbd.tool"),
]


@pytest.mark.parametrize(
    ("name", "pids"), [("mariadbd", [1]), ("maria", [1, 2]), ("tool", [3]), ("python3", [3]), ("postgres", [])]
)
def test_the_exact_name_comes_before_a_part_and_the_command_line_last(name: str, pids: list[int]) -> None:
    assert [one.process.pid for one in choose.matching(name, PROCESSES)] == pids


@pytest.fixture
def sleepers(tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two processes of a name that nobody else has."""
    name = f"blc-{os.getpid()}"
    (tmp_path / name).symlink_to(sys.executable)
    code = "import sys; print(1, flush=True); sys.stdin.read()"
    started = [
        subprocess.Popen([str(tmp_path / name), "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    for one in started:
        assert one.stdout is not None
        one.stdout.readline()
    yield started
    for one in started:
        one.kill()
        one.communicate()


def test_several_processes_are_listed_and_refused_unless_wanted(sleepers: list[subprocess.Popen[bytes]]) -> None:
    name = f"blc-{os.getpid()}"
    pids = sorted(one.pid for one in sleepers)
    with pytest.raises(UsageError, match=f"2 processes match '{name}'") as caught:
        choose.by_name(name)
    assert all(str(pid) in caught.value.message for pid in pids)
    assert "--newest" in caught.value.hint
    assert sorted(one.pid for one in choose.by_name(name, every=True)) == pids
    (newest,) = choose.by_name(name, newest=True)
    assert newest.pid == sleepers[1].pid
    assert choose.describe([newest]) == f"process {newest.pid} ({name})"
    assert choose.describe(choose.by_name(name, every=True), True) == f"2 processes ({name}) and their children"


def test_nobody_of_that_name(sleepers: list[subprocess.Popen[bytes]]) -> None:
    del sleepers
    with pytest.raises(TargetError, match="no running process is called"):
        choose.by_name("no-such-process-anywhere")
    with pytest.raises(UsageError, match="needs a name"):
        choose.by_name("")


def test_this_process_and_its_parents_are_never_meant() -> None:
    assert os.getpid() not in [one.process.pid for one in choose.running()]
    assert os.getppid() not in [one.process.pid for one in choose.running()]
