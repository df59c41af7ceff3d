"""Files of the real perf, read, and held against what `perf script` makes of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pytest_blcperf.capture.perf_data import PerfData
from pytest_blcperf.model.recording import Recording, SampleBatch

PERF = shutil.which("perf")
WORK = "import threading; t = threading.Thread(target=lambda: sum(range(4_000_000))); t.start(); sum(range(4_000_000)); t.join(); bytearray(10**7)"


def perf_record(folder: Path, *options: str, pipe: bool = False) -> Path:
    """A recording of a short Python program. Skips where perf cannot make it."""
    if PERF is None:
        pytest.skip("perf is not installed (Debian: linux-perf, Ubuntu: linux-tools-generic)")
    path = folder / "perf.data"
    command = [
        PERF,
        "record",
        "--sample-cpu",
        *options,
        "-o",
        "-" if pipe else str(path),
        "--",
        sys.executable,
        "-c",
        WORK,
    ]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"perf record {' '.join(options)} does not work here: {done.stderr.decode()[-200:].strip()}")
    if pipe:
        path.write_bytes(done.stdout)
    return path


def read(path: Path, **options: int) -> tuple[Recording, list[SampleBatch]]:
    with PerfData(path, **options) as file:
        batches = list(file.batches())
        return file.finish(), batches


LINE = re.compile(r"(\d+)/(\d+)\s+\[(\d+)\]\s+(\d+)\.(\d+):\s+(\d+)\s+(.+?):\s+([0-9a-f]+)$")


def perf_script(path: Path) -> list[tuple[int, int, int, int, int, str, int]]:
    """(process, thread, CPU, ns, period, event, address) of each sample, as perf reads it."""
    command = [PERF, "script", "-i", str(path), "--ns", "-G", "-F", "pid,tid,cpu,time,period,event,ip"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = []
    for line in done.stdout.splitlines():
        match = LINE.search(line.strip())
        assert match, line
        pid, tid, cpu, seconds, fraction, period, event, address = match.groups()
        time = int(seconds) * 10**9 + int(fraction)
        rows.append((int(pid), int(tid), int(cpu), time, int(period), event.strip(), int(address, 16)))
    return rows


def ours(recording: Recording, batches: list[SampleBatch]) -> list[tuple[int, int, int, int, int, str, int]]:
    rows = []
    for batch in batches:
        columns = (batch.process, batch.thread, batch.cpu, batch.time, batch.period, batch.event, batch.address)
        for pid, tid, cpu, time, period, event, address in zip(*(column.tolist() for column in columns), strict=True):
            rows.append((pid, tid, cpu, time, period, recording.events[event].name, address))
    return rows


@pytest.mark.parametrize(
    ("options", "pipe"),
    [
        (("-F", "2000", "--call-graph", "dwarf,8192"), False),
        (("-F", "2000", "-g"), True),
        (("-F", "2000", "-g", "-z"), False),
        (("-c", "500000", "-e", "cpu-clock:u", "-e", "page-faults", "-s", "-d", "-B"), False),
        (("-F", "2000", "-e", "{cpu-clock,task-clock}:S", "-k", "CLOCK_MONOTONIC"), False),
    ],
    ids=["stacks", "pipe", "compressed", "two events", "group reads"],
)
def test_samples_are_those_of_perf_script(tmp_path: Path, options: tuple[str, ...], pipe: bool) -> None:
    if "-z" in options:
        pytest.importorskip("backports.zstd" if sys.version_info < (3, 14) else "compression.zstd")
    path = perf_record(tmp_path, *options, pipe=pipe)
    recording, batches = read(path)
    mine, theirs = ours(recording, batches), perf_script(path)
    if "{cpu-clock,task-clock}:S" in options:
        # perf makes a sample of every member of the group, with what it counted since the last one as its period.
        mine = [(*row[:4], 0, *row[5:]) for row in mine]
        theirs = [(*row[:4], 0, *row[5:]) for row in theirs if row[5] == "cpu-clock"]
    assert len(mine) == recording.health.samples == len(theirs) > 50
    assert sorted(mine) == sorted(theirs)
    assert recording.health.broken == 0
    assert (np.diff(np.concatenate([batch.time for batch in batches])) >= 0).all()
    assert any(one.executed for one in recording.names)
    assert any("python" in one.path for one in recording.mappings)
    assert {fork.process for fork in recording.forks} <= {row[0] for row in mine} | {
        fork.process for fork in recording.forks
    }
    if "dwarf,8192" in options:
        assert all(batch.has_registers.any() and len(batch.stack) for batch in batches)


def test_a_small_memory_gives_the_same_samples_in_more_batches(tmp_path: Path) -> None:
    path = perf_record(tmp_path, "-F", "2000", "--call-graph", "dwarf,8192")
    recording, whole = read(path)
    parts_recording, parts = read(path, batch_bytes=200_000)
    assert len(parts) > 3 >= len(whole)
    assert sorted(ours(recording, whole)) == sorted(ours(parts_recording, parts))
    assert sum(len(batch.stack) for batch in parts) == sum(len(batch.stack) for batch in whole)


def test_a_file_that_was_cut_off_gives_what_is_there_and_says_so(tmp_path: Path) -> None:
    path = perf_record(tmp_path, "-F", "2000", "--call-graph", "dwarf,8192")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    recording, batches = read(path)
    assert 10 < sum(len(batch) for batch in batches) == recording.health.samples
    assert recording.health.broken >= 1
    assert "damaged or cut off" in dict(recording.warnings)["broken-records"]


def test_build_ids_of_the_header_reach_the_mappings(tmp_path: Path) -> None:
    recording, _ = read(perf_record(tmp_path, "-F", "2000"))
    named = {one.path: one.build_id for one in recording.mappings if one.build_id}
    assert named and all(re.fullmatch("[0-9a-f]{16,40}", build_id) for build_id in named.values())
