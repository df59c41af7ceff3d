"""Makes `capture-1.blcperf`, the sample of the format blcperf.capture/1: `python tests/formats/make_capture_1.py`.

The sample is kept for ever: every later release must read it as `sample_captures` has it. A new format gets a new sample.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pytest_blcperf.model.capture import Capture, CaptureHealth, ObjectFile, Thread
from pytest_blcperf.model.environment import Environment
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.recording import MODE_KERNEL, MODE_UNKNOWN, MODE_USER, RecordingHealth
from pytest_blcperf.model.warning import Warning

SAMPLE = Path(__file__).with_name("capture-1.blcperf")


def sample_captures() -> tuple[Capture, ...]:
    """Two events, every field of the model, numbers that need each width, and one capture with nothing in it."""
    clock = Capture(
        functions=(
            Function("src/shop/parse.py", "Parser.parse", 12, "1f2e3d4c"),
            Function("libc.so.6", "malloc", kind="native"),
            Function("[kernel]", "do_syscall_64", kind="kernel"),
            Function("[jit]", "größer", kind="jit"),
        ),
        objects=(ObjectFile("/usr/lib/libc.so.6", "00ff"), ObjectFile("[kernel]")),
        threads=(Thread(10, 11, "main", "shop"), Thread(10, 12, "")),
        stack_offsets=np.array([0, 3, 4, 4]),
        stack_functions=np.array([2, 1, 0, 3]),
        time=np.array([0, 1_000_000, 1_000_000, 5_000_000_000]),
        thread=np.array([0, 1, 0, 0]),
        cpu=np.array([-1, 3, 300, 0]),
        mode=np.array([MODE_KERNEL, MODE_USER, MODE_UNKNOWN, MODE_USER]),
        stack=np.array([0, 1, 2, 0]),
        weight=np.array([1_000_000, 999_999, 70_000, 0]),
        place=np.array([0, 1, -1, 0]),
        place_object=np.array([0, -1]),
        place_address=np.array([0x1F40, -0x7FFF_FFFF_8100_0000]),
        event="task-clock",
        unit="ns",
        backend="perf-ring",
        started="2026-01-02T03:04:05+00:00",
        duration_ns=6_000_000_000,
        target="process 10 (shop)",
        self_time=True,
        environment=Environment(machine="x86_64", cpu_model="Example CPU 3000", cpu_count=2, packages={"shop": "1.0"}),
        settings={"rate": 1000, "trigger": None},
        counters={"page-faults": 12.5},
        health=CaptureHealth(RecordingHealth(4, 1, 2, 3, 4), truncated=1, unknown_frames=2, frames=9),
        warnings=(Warning("lost", "a sample was lost"),),
    )
    nothing = np.zeros(0, np.int64)
    empty = Capture(
        *((), (), (), np.zeros(1, np.int64), nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing),
        *(nothing, nothing, "page-faults", "events", "perf-ring", "", 0),
        self_time=False,
    )
    return clock, empty


if __name__ == "__main__":
    from pytest_blcperf.store import capture_file

    capture_file.write(sample_captures(), SAMPLE)
