"""The recorder on real processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from pytest_blcperf.capture import probe
from pytest_blcperf.capture.perf_attributes import features
from pytest_blcperf.capture.recorder import Recorder
from pytest_blcperf.capture.recording_plan import RecordingPlan
from pytest_blcperf.errors import PermissionDenied, TargetError, UsageError
from pytest_blcperf.model.recording import MODE_KERNEL, MODE_USER, Recording, SampleBatch
from pytest_blcperf.target import cgroup
from pytest_blcperf.target import process as processes
from pytest_blcperf.target.process import Processes, WholeSystem

REFUSAL = probe.perf_refusal(1000)
pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(REFUSAL is not None, reason=REFUSAL.message if REFUSAL else ""),
]
USER = RecordingPlan(kernel=False)
BUSY = "def busy():\n    while True:\n        sum(range(1000))\n"


@pytest.fixture
def run() -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Start a Python program that prints a line when it is ready; it is killed at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(code: str) -> subprocess.Popen[bytes]:
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE)
        started.append(child)
        assert child.stdout is not None
        child.stdout.readline()
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


def target(child: subprocess.Popen[bytes], children: bool = False) -> Processes:
    return Processes((processes.find(child.pid),), children)


def record(
    child: subprocess.Popen[bytes], cpu_seconds: float, plan: RecordingPlan = USER, children: bool = False
) -> tuple[Recording, list[SampleBatch]]:
    """Record a program for so much CPU time of its own."""
    with Recorder(target(child, children), plan) as recorder:
        recorder.enable()
        work(child, cpu_seconds)
        recorder.stop()
        batches = list(recorder.take())
        return recorder.finish(), batches


def work(child: subprocess.Popen[bytes], cpu_seconds: float) -> None:
    """Wait until the program has used so much CPU time: how long that takes depends on who else runs."""
    until = cpu_time_ns(child.pid) + round(cpu_seconds * 1e9)
    deadline = time.monotonic() + 30
    while cpu_time_ns(child.pid) < until and time.monotonic() < deadline:
        time.sleep(0.01)


def cpu_time_ns(pid: int) -> int:
    """CPU time of a process so far: its clock as in `clock_getcpuclockid` (the kernel's CPUCLOCK_SCHED)."""
    return time.clock_gettime_ns((~pid << 3) | 2)


def test_all_threads_are_recorded_with_stacks_in_the_order_of_time(run) -> None:
    child = run(
        BUSY + "import threading\nthreading.Thread(target=busy, daemon=True).start()\nprint(flush=True)\nbusy()"
    )
    recording, batches = record(child, 0.2)
    [batch] = batches
    assert len(batch) == recording.health.samples > 30
    assert set(batch.process.tolist()) == {child.pid}
    assert len(set(batch.thread.tolist())) == 2
    assert (np.diff(batch.time) >= 0).all()
    assert (batch.time >= recording.start_ns).all() and (batch.time < recording.end_ns).all()
    assert (batch.mode == MODE_USER).all() and batch.has_registers.all()
    assert (batch.registers[:, 8] == batch.address).all()
    assert (np.diff(batch.stack_offsets) > 0).all() and batch.stack_offsets[-1] == len(batch.stack)
    code = [one for one in recording.mappings if one.process == child.pid]
    inside = np.zeros(len(batch), np.bool_)
    for one in code:
        inside |= (batch.address >= np.uint64(one.start)) & (batch.address < np.uint64(one.end))
    assert inside.all()


def test_frame_pointers_give_user_addresses_too_leaf_first(run) -> None:
    child = run(BUSY + "print(flush=True)\nbusy()")
    _, [batch] = record(child, 0.1, RecordingPlan(kernel=False, stack_bytes=0, frame_pointers=True))
    assert not batch.kernel_depth.any() and not batch.has_registers.any() and not len(batch.stack)
    assert (np.diff(batch.chain_offsets) > 0).all()
    assert (batch.chain[batch.chain_offsets[:-1]] == batch.address).all()


def test_what_drives_the_target_itself_takes_batches_when_it_likes(run) -> None:
    child = run(BUSY + "print(flush=True)\nbusy()")
    with Recorder(target(child), USER) as recorder:
        start = recorder.enable()
        assert list(recorder.take()) is not None
        deadline = time.monotonic() + 5
        number = 0
        while number < 20 and time.monotonic() < deadline:
            time.sleep(0.02)
            number += sum(len(batch) for batch in recorder.take())
        end = recorder.stop()
        number += sum(len(batch) for batch in recorder.take())
        recording = recorder.finish((start, end))
    assert recording.health.samples == number >= 20


def test_samples_stand_for_the_cpu_time_of_the_window(run) -> None:
    child = run(BUSY + "print(flush=True)\nbusy()")
    with Recorder(target(child), RecordingPlan(kernel=allowed(kernel=True), stack_bytes=0)) as recorder:
        recorder.enable()
        before = cpu_time_ns(child.pid)
        work(child, 0.4)
        used = cpu_time_ns(child.pid) - before
        recorder.stop()
        sampled = sum(int(batch.period.sum()) for batch in recorder.take())
    assert abs(sampled - used) < 0.05 * used


def allowed(kernel: bool = False, system: bool = False) -> bool:
    """What this user may record besides its own processes in user mode."""
    what = WholeSystem() if system else Processes((processes.find(os.getpid()),))
    try:
        with Recorder(what, RecordingPlan(user=not kernel, kernel=kernel, stack_bytes=0)):
            return True
    except PermissionDenied:
        return False


def test_kernel_mode_is_left_out_and_that_is_said_where_it_is_refused(run) -> None:
    child = run(BUSY + "print(flush=True)\nbusy()")
    recording, [batch] = record(child, 0.15, RecordingPlan(stack_bytes=0))
    warned = [text for code, text in recording.warnings if code == "user-only"]
    assert len(batch) > 20
    assert bool(warned) != allowed(kernel=True)
    assert not warned or (batch.mode == MODE_USER).all()


def test_children_are_recorded_when_asked_for_and_only_then(run) -> None:
    fork = "import os\nif os.fork() == 0:\n    busy()\nprint(flush=True)\nbusy()"
    child = run(BUSY + fork)
    try:
        _, alone = record(child, 0.1)
        recording, tree = record(child, 0.15, children=True)
    finally:
        for pid in processes.with_descendants([child.pid])[1:]:
            os.kill(pid, signal.SIGKILL)
    assert {int(pid) for batch in alone for pid in batch.process} == {child.pid}
    pids = {int(pid) for batch in tree for pid in batch.process}
    assert len(pids) == 2 and child.pid in pids
    assert {one.process for one in recording.mappings} == pids


def test_200_children_forked_inside_the_window(run) -> None:
    child = run(
        BUSY + "import os, time\n"
        "def burn():\n    until = time.process_time() + 0.004\n    while time.process_time() < until:\n        sum(range(1000))\n"
        "print(flush=True)\ninput()\n"
        "for _ in range(200):\n"
        "    if os.fork() == 0:\n        burn()\n        os._exit(0)\n"
        "    os.wait()\nprint(flush=True)\nbusy()"
    )
    with Recorder(target(child, children=True), USER) as recorder:
        recorder.enable()
        finish_line(child)
        recorder.stop()
        pids = {int(pid) for batch in recorder.take() for pid in batch.process}
        recording = recorder.finish()
    forked = {fork.process for fork in recording.forks if fork.parent_process == child.pid}
    assert len(forked) == 200
    assert len(pids & forked) > 190
    assert recording.health.lost == recording.health.broken == 0


def finish_line(child: subprocess.Popen[bytes]) -> None:
    """Let the program go on from its `input()`, and wait until it prints a line."""
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write(b"\n")
    child.stdin.flush()
    assert child.stdout.readline()


def test_500_threads_started_inside_the_window(run) -> None:
    child = run(
        BUSY + "import threading, time\n"
        "def burn():\n    until = time.thread_time() + 0.003\n    while time.thread_time() < until:\n        sum(range(1000))\n"
        "print(flush=True)\ninput()\n"
        "threads = [threading.Thread(target=burn) for _ in range(500)]\n"
        "for one in threads:\n    one.start()\n"
        "for one in threads:\n    one.join()\nprint(flush=True)\nbusy()"
    )
    with Recorder(target(child), USER) as recorder:
        recorder.enable()
        finish_line(child)
        recorder.stop()
        seen = {int(thread) for batch in recorder.take() for thread in batch.thread}
        recording = recorder.finish()
    begun = {fork.thread for fork in recording.forks if fork.process == fork.parent_process == child.pid}
    assert len(begun) == 500
    assert len(seen & begun) > 450
    assert recording.health.lost == recording.health.broken == 0


def test_a_process_with_many_threads_that_keep_beginning_is_attached_to_without_doubles(run) -> None:
    child = run(
        BUSY + "import threading, time\n"
        "def short():\n    time.sleep(0.002)\n    threading.Thread(target=short, daemon=True).start()\n"
        "for _ in range(50):\n    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "for _ in range(4):\n    short()\n"
        "threading.Thread(target=busy, daemon=True).start()\nprint(flush=True)\nbusy()"
    )
    with Recorder(target(child), RecordingPlan(kernel=allowed(kernel=True), stack_bytes=0)) as recorder:
        recorder.enable()
        before = cpu_time_ns(child.pid)
        work(child, 0.3)
        used = cpu_time_ns(child.pid) - before
        recorder.stop()
        sampled = sum(int(batch.period.sum()) for batch in recorder.take())
        recording = recorder.finish()
    assert sampled < 1.05 * used
    assert len([fork for fork in recording.forks if fork.process == child.pid]) > 20
    assert not [text for code, text in recording.warnings if code == "threads-missed"]


def test_a_killed_target_ends_the_recording_and_keeps_its_samples(run) -> None:
    child = run(BUSY + "print(flush=True)\nbusy()")
    with Recorder(target(child), USER) as recorder:
        recorder.enable()
        work(child, 0.1)
        child.kill()
        batches = list(recorder.batches(60))
        recording = recorder.finish()
    assert sum(len(batch) for batch in batches) > 20
    assert recording.end_ns - recording.start_ns < 20e9
    assert "before the end of the window" in dict(recording.warnings)["target-ended"]
    with pytest.raises(TargetError, match=f"process {child.pid} has ended"):
        Recorder(Processes((processes.Process(child.pid, 1),))).__enter__()


def test_an_exec_inside_the_window_is_followed(run) -> None:
    again = "import sys; print(flush=True); [sum(range(1000)) for _ in iter(int, 1)]"
    child = run(
        BUSY + f"import os, sys\nprint(flush=True)\ninput()\nos.execv(sys.executable, ['python', '-c', {again!r}])"
    )
    with Recorder(target(child), USER) as recorder:
        recorder.enable()
        finish_line(child)
        work(child, 0.2)
        recorder.stop()
        batches = list(recorder.take())
        recording = recorder.finish()
    [executed] = [one.time for one in recording.names if one.executed]
    after = [one for one in recording.mappings if one.time >= executed]
    late = np.concatenate([batch.address[batch.time > executed + 20_000_000] for batch in batches])
    assert len(late) > 20
    inside = np.zeros(len(late), np.bool_)
    for one in after:
        inside |= (late >= np.uint64(one.start)) & (late < np.uint64(one.end))
    assert inside.all()
    assert any(one.build_id for one in after) or not features().build_id


def test_what_the_rings_had_no_room_for_is_told(run) -> None:
    child = run(BUSY + "print(flush=True)\nbusy()")
    plan = RecordingPlan(kernel=False, rate=4000, ring_bytes=64 << 10)
    with Recorder(target(child), plan) as recorder:
        recorder.enable()
        assert recorder._drain is not None
        with recorder._drain._changed:  # the thread that drains cannot
            work(child, 0.2)
        recorder.stop()
        batches = list(recorder.take())
        recording = recorder.finish()
    assert recording.health.lost > 50
    assert dict(recording.warnings)["lost-samples"].startswith(f"{recording.health.lost} records were lost")
    assert sum(len(batch) for batch in batches) == recording.health.samples > 0


def test_a_slow_reader_loses_samples_but_no_mapping(run) -> None:
    child = run(
        BUSY + "import threading\nthreading.Thread(target=busy, daemon=True).start()\nprint(flush=True)\ninput()\n"
        "import _decimal, _ssl\nprint(flush=True)\nbusy()"
    )
    plan = RecordingPlan(kernel=False, rate=4000, ring_bytes=64 << 10, batch_bytes=64 << 10, queue_bytes=128 << 10)
    with Recorder(target(child), plan) as recorder:
        recorder.enable()
        work(child, 0.3)
        finish_line(child)
        recording = recorder.finish()
    assert "samples were dropped" in " ".join(text for _, text in recording.warnings)
    assert any("_decimal" in one.path for one in recording.mappings)


@pytest.mark.skipif(not allowed(system=True), reason="the whole system may not be recorded by this user")
def test_the_whole_system(run) -> None:
    children = [run(BUSY + "print(flush=True)\nbusy()") for _ in range(2)]
    with Recorder(WholeSystem(), RecordingPlan(stack_bytes=0)) as recorder:
        recorder.enable()
        batches = list(recorder.batches(0.3))
        recording = recorder.finish()
    pids = {int(pid) for batch in batches for pid in batch.process}
    assert {child.pid for child in children} <= pids and 0 not in pids
    assert {child.pid for child in children} <= {one.process for one in recording.mappings}
    kernel = [batch for batch in batches if (batch.mode == MODE_KERNEL).any()]
    assert kernel
    rows = kernel[0].mode == MODE_KERNEL
    assert (kernel[0].kernel_depth[rows] > 0).all()
    assert (kernel[0].chain[kernel[0].chain_offsets[:-1][rows]] == kernel[0].address[rows]).all()


@pytest.fixture
def group() -> Iterator[cgroup.Cgroup]:
    """A new control group, removed at the end."""
    roots = list(cgroup.hierarchies())
    if not roots or not os.access(roots[0], os.W_OK):
        pytest.skip("no cgroup hierarchy that this user may add a group to")
    folder = roots[0] / f"blcperf-test-{os.getpid()}"
    folder.mkdir()
    yield cgroup.find(f"/{folder.name}")
    deadline = time.monotonic() + 5
    while cgroup.processes(cgroup.Cgroup(folder)) and time.monotonic() < deadline:
        time.sleep(0.01)
    folder.rmdir()


@pytest.mark.skipif(not allowed(system=True), reason="cgroups may not be recorded by this user")
def test_a_cgroup_and_nothing_else(run, group) -> None:
    inside, outside = (run(BUSY + "print(flush=True)\nbusy()") for _ in range(2))
    (group.folder / "cgroup.procs").write_text(str(inside.pid))
    try:
        assert cgroup.processes(group) == [inside.pid]
        with Recorder(group, USER) as recorder:
            recorder.enable()
            batches = list(recorder.batches(0.3))
            recording = recorder.finish()
    finally:
        inside.kill()
        inside.wait()
    pids = {int(pid) for batch in batches for pid in batch.process}
    assert pids == {inside.pid} and outside.pid not in pids
    assert {one.process for one in recording.mappings} == pids


def test_an_event_that_does_not_exist_here_is_told(run) -> None:
    child = run(BUSY + "print(flush=True)\nbusy()")
    try:
        recording, batches = record(child, 0.15, RecordingPlan(events=("cycles",), kernel=False))
    except UsageError as error:
        assert "'cycles' does not exist here" in error.message and error.hint == "use cpu-clock"
    else:
        assert recording.events[0].unit == "cycles" and sum(len(batch) for batch in batches)


def test_several_events_are_told_apart(run) -> None:
    child = run(
        "import mmap\nprint(flush=True)\nzeros = bytes(1 << 20)\n"
        "while True:\n    with mmap.mmap(-1, len(zeros)) as memory:\n        memory[:] = zeros"
    )
    plan = RecordingPlan(events=("task-clock", "page-faults"), kernel=allowed(kernel=True), stack_bytes=0)
    recording, batches = record(child, 0.15, plan)
    assert [event.unit for event in recording.events] == ["ns", "events"]
    kinds = np.concatenate([batch.event for batch in batches])
    periods = np.concatenate([batch.period for batch in batches])
    assert set(kinds.tolist()) == {0, 1}
    assert (periods[kinds == 0] == 1_000_000).all()


TRACEPOINT = """
import subprocess, sys
subprocess.run(["mount", "-t", "tracefs", "nodev", "/sys/kernel/tracing"], check=True)
from pytest_blcperf.capture.recorder import Recorder
from pytest_blcperf.capture.recording_plan import RecordingPlan
from pytest_blcperf.target import process
child = subprocess.Popen([sys.executable, "-c", "import time\\nfor _ in range(300): time.sleep(0.001)"])
with Recorder(process.Processes((process.find(child.pid),)), RecordingPlan(events=("sched:sched_switch",))) as recorder:
    recorder.enable()
    found = sum(len(batch) for batch in recorder.batches(30))
print(found)
"""


def test_a_tracepoint_by_name() -> None:
    if os.geteuid() or not shutil.which("unshare"):
        pytest.skip("mounting tracefs takes root and unshare")
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, "-c", TRACEPOINT], capture_output=True, text=True, check=False
    )
    if "mount" in done.stderr:
        pytest.skip(f"tracefs cannot be mounted here: {done.stderr.splitlines()[-1]}")
    assert int(done.stdout) >= 250, done.stderr
