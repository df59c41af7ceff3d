"""The recorder on real processes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from pytest_blcperf.capture import probe
from pytest_blcperf.capture.recorder import Recorder
from pytest_blcperf.capture.recording_plan import RecordingPlan
from pytest_blcperf.model.recording import MODE_USER, Recording, SampleBatch
from pytest_blcperf.target import process as processes
from pytest_blcperf.target.process import Processes

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


def record(what: Processes, seconds: float, plan: RecordingPlan = USER) -> tuple[Recording, list[SampleBatch]]:
    with Recorder(what, plan) as recorder:
        recorder.enable()
        batches = list(recorder.batches(seconds))
        return recorder.finish(), batches


def test_all_threads_are_recorded_with_stacks_in_the_order_of_time(run) -> None:
    child = run(
        BUSY + "import threading\nthreading.Thread(target=busy, daemon=True).start()\nprint(flush=True)\nbusy()"
    )
    recording, batches = record(target(child), 0.3)
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
