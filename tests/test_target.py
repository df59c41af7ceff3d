"""Finding processes and control groups."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pytest_blcperf.errors import ExitCode, TargetError
from pytest_blcperf.target import cgroup
from pytest_blcperf.target import process as processes

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc exists on Linux only")


def test_this_process_is_found_with_its_start_and_threads() -> None:
    me = processes.find(os.getpid())
    assert processes.is_running(me)
    assert not processes.is_running(processes.Process(me.pid, me.start_ticks + 1))
    assert threading.get_native_id() in processes.threads(me.pid)
    assert me.pid in processes.every_process()
    assert [name for _, thread, name in processes.names([me.pid]) if thread == me.pid]


def test_a_thread_is_no_process() -> None:
    ready, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: (ready.set(), done.wait()))
    thread.start()
    try:
        ready.wait()
        with pytest.raises(TargetError, match=f"is a thread of process {os.getpid()}"):
            processes.find(thread.native_id)
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("pid", [0, -1, 1 << 30])
def test_no_process(pid) -> None:
    with pytest.raises(TargetError, match="no running process") as caught:
        processes.find(pid)
    assert caught.value.exit_code == ExitCode.TARGET


def test_a_child_is_a_descendant_until_it_ends_and_its_end_is_seen() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert processes.with_descendants([os.getpid()])[0] == os.getpid()
        assert child.pid in processes.with_descendants([os.getpid()])
        one = processes.find(child.pid)
        watch = processes.Watch([one])
        assert watch.any_running()
        child.stdin.close()
        # The end of the process is seen before anybody has waited for it.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not watch.any_running()
        assert not processes.is_running(one)
        assert child.pid not in processes.with_descendants([os.getpid()])
        watch.close()


def test_a_reused_number_is_refused() -> None:
    earlier = processes.Process(os.getpid(), 1)
    with pytest.raises(TargetError, match="its number belongs to another process now"):
        processes.Watch([earlier])


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc whose mounts are folders of the test."""
    unified, own = tmp_path / "uni fied", tmp_path / "perf_event"
    for folder in (unified / "a" / "b", own / "a"):
        folder.mkdir(parents=True)
        (folder / "cgroup.procs").write_text("5\n0\n7\n")
    (unified / "a" / "cgroup.procs").write_text("3\n")
    (tmp_path / "self").mkdir()
    (tmp_path / "77").mkdir()
    return tmp_path


def mounted(proc: Path, *lines: str) -> Path:
    (proc / "self" / "mountinfo").write_text("".join(f"{line}\n" for line in lines))
    return proc


def unified(proc: Path) -> str:
    return f"42 32 0:36 / {proc}/uni\\040fied rw,relatime - cgroup2 cgroup2 rw"


def test_a_group_is_found_by_its_folder_and_by_its_path(proc: Path) -> None:
    mounted(proc, "1 1 0:1 / / rw - ext4 /dev/root rw", unified(proc))
    folder = proc / "uni fied" / "a"
    assert cgroup.find(str(folder), proc).folder == cgroup.find("/a", proc).folder == folder
    assert cgroup.processes(cgroup.find("a", proc)) == [3, 5, 7]
    for missing in ("/c", "/../uni fied/a", str(folder / "c")):
        with pytest.raises(TargetError, match="no cgroup"):
            cgroup.find(missing, proc)


def test_the_group_of_a_process(proc: Path) -> None:
    mounted(proc, unified(proc))
    (proc / "77" / "cgroup").write_text("3:memory:/elsewhere\n0::/a/b\n")
    assert cgroup.of_process(77, proc).folder == proc / "uni fied" / "a" / "b"
    with pytest.raises(TargetError, match="no running process 78"):
        cgroup.of_process(78, proc)


def test_a_hierarchy_of_version_1_with_the_controller_comes_first(proc: Path) -> None:
    own = f"43 32 0:37 / {proc}/perf_event rw,relatime - cgroup cgroup rw,perf_event"
    other = f"44 32 0:38 / {proc}/memory rw,relatime - cgroup cgroup rw,memory"
    mounted(proc, unified(proc), own, other)
    (proc / "77" / "cgroup").write_text("9:perf_event:/a\n0::/a/b\n")
    assert list(cgroup.hierarchies(proc)) == [proc / "perf_event"]
    assert cgroup.of_process(77, proc).folder == proc / "perf_event" / "a"


def test_no_hierarchy_at_all(proc: Path) -> None:
    mounted(proc, "1 1 0:1 / / rw - ext4 /dev/root rw")
    with pytest.raises(TargetError, match="no cgroup hierarchy") as caught:
        cgroup.find("/a", proc)
    assert "mount" in caught.value.hint
