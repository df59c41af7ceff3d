"""Plans, event names, ring sizes, and the thread that drains, on rings that are not the kernel's."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from perf_records import record

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="perf_event_open exists on Linux only")

from pytest_blcperf.capture import perf_event as abi  # noqa: E402
from pytest_blcperf.capture import perf_names  # noqa: E402
from pytest_blcperf.capture.drain import Drain, drain_interval_ns  # noqa: E402
from pytest_blcperf.capture.perf_attributes import Features, Inheritance, interval, sampling  # noqa: E402
from pytest_blcperf.capture.perf_rings import online_cpus, sizes_to_try  # noqa: E402
from pytest_blcperf.capture.proc_maps import parse  # noqa: E402
from pytest_blcperf.capture.recording_plan import RecordingPlan  # noqa: E402
from pytest_blcperf.errors import PermissionDenied, UsageError  # noqa: E402

KIB = 1 << 10


@pytest.mark.parametrize(
    "wrong",
    [
        {"events": ()},
        {"rate": 0},
        {"rate": 4001},
        {"period": -1},
        {"user": False, "kernel": False},
        {"stack_bytes": 12},
        {"stack_bytes": 64 * KIB},
        {"ring_bytes": 4 * KIB},
        {"queue_bytes": KIB},
    ],
    ids=str,
)
def test_a_plan_that_cannot_be_is_refused(wrong) -> None:
    with pytest.raises(UsageError) as caught:
        RecordingPlan(**wrong)
    assert caught.value.hint


def test_ring_sizes_fit_what_may_be_locked() -> None:
    # Two CPUs at 516 KiB each: 512 KiB rings with a header page.
    assert sizes_to_try(4096 * KIB, 2, 2 * 516 * KIB) == [4096 * KIB, 512 * KIB, 256 * KIB, 128 * KIB, 64 * KIB]
    assert sizes_to_try(256 * KIB, 2, 2 * 516 * KIB) == [256 * KIB, 128 * KIB, 64 * KIB]
    assert sizes_to_try(4096 * KIB, 64, 100) == [4096 * KIB, 64 * KIB]


@given(st.integers(64 * KIB, 1 << 30), st.integers(1, 512), st.integers(0, 1 << 45))
def test_ring_sizes_are_powers_of_two_that_fall(wanted, rings, budget) -> None:
    sizes = sizes_to_try(wanted, rings, budget)
    assert all(size & (size - 1) == 0 for size in sizes)
    assert sizes == sorted(set(sizes), reverse=True) and sizes[-1] == 64 * KIB and sizes[0] <= wanted


def test_rings_are_drained_before_they_are_full() -> None:
    assert drain_interval_ns(512 * KIB, 16 * KIB, 1000) == 8_000_000
    assert drain_interval_ns(4096 * KIB, 400, 100) == 50_000_000
    assert drain_interval_ns(64 * KIB, 48 * KIB, 4000) == 1_000_000


def test_cpus_that_are_on(tmp_path: Path) -> None:
    (tmp_path / "online").write_text("0-2,8,10-11\n")
    assert online_cpus(tmp_path / "online") == [0, 1, 2, 8, 10, 11]
    assert online_cpus(tmp_path / "nothing")


def test_clocks_have_periods_others_frequencies_tracepoints_all() -> None:
    plan = RecordingPlan(rate=4000)
    assert interval(perf_names.find("cpu-clock"), plan) == (250_000, False)
    assert interval(perf_names.find("cycles"), plan) == (4000, True)
    tracepoint = perf_names.NamedEvent("sched:sched_switch", abi.TYPE_TRACEPOINT, 5, "events")
    assert interval(tracepoint, plan) == (1, False)
    assert interval(tracepoint, RecordingPlan(period=100)) == (100, False)


def test_what_a_kernel_does_not_know_is_not_asked_for() -> None:
    clock = perf_names.find("cpu-clock")
    new = sampling(clock, RecordingPlan(), Inheritance(True, False), Features(), tracking=True)
    old = sampling(clock, RecordingPlan(), Inheritance(True, False), Features(False, False, False), tracking=True)
    assert new.flags ^ old.flags == abi.FLAG_BUILD_ID | abi.FLAG_INHERIT_THREAD
    assert (new.read_format, old.read_format) == (abi.READ_LOST, 0)
    tree = sampling(clock, RecordingPlan(), Inheritance(True, True), Features(), tracking=False)
    assert not tree.flags & (abi.FLAG_INHERIT_THREAD | abi.FLAG_TASK) and tree.flags & abi.FLAG_INHERIT


def test_tracepoints_by_name(tmp_path: Path) -> None:
    root = tmp_path / "tracing"
    with pytest.raises(PermissionDenied, match="tracefs is not mounted") as caught:
        perf_names.find("sched:sched_switch", (root,))
    assert f"mount -t tracefs nodev {root}" in caught.value.hint
    event = root / "events" / "sched" / "sched_switch"
    event.mkdir(parents=True)
    with pytest.raises(UsageError, match="no tracepoint"):
        perf_names.find("sched:sched_switch", (root,))
    (event / "id").write_text("316\n")
    assert perf_names.find("sched:sched_switch", (root,)).config == 316
    for unknown in ("cpu", "sched:../x", "..:..", "a:b:c", ""):
        with pytest.raises(UsageError):
            perf_names.find(unknown, (root,))


def test_maps_of_a_process() -> None:
    text = (
        b"55d0-55e0 r-xp 00001000 08:01 42   /usr/bin/a b (deleted)\n55e0-55f0 rw-p 0 08:01 42 /data\n"
        b"7f00-7f10 r-xp 0 00:00 0\nff00-ff10 r-xp 0 00:00 0 [vdso]\nnonsense x\n1-2 r-xp z 0:0 0 x\n"
        b"aa-bb r-xp 0 08:01 7 /caf\xe9\n"
    )
    found = list(parse(text, 5))
    assert [one.path for one in found] == ["/usr/bin/a b (deleted)", "//anon", "[vdso]", "/caf\udce9"]
    assert (found[0].start, found[0].end, found[0].offset) == (0x55D0, 0x55E0, 0x1000)
    assert (found[0].device, found[0].inode, found[0].process) == ((8, 1), 42, 5)


class FakeRing:
    """A ring that holds what a test put there."""

    size = 64 * KIB

    def __init__(self) -> None:
        self.waiting = b""

    @property
    def used(self) -> int:
        return len(self.waiting)

    def drain(self) -> bytes:
        data, self.waiting = self.waiting, b""
        return data

    def drain_into(self, buffer: memoryview) -> int:
        data = self.drain()
        buffer[: len(data)] = data
        return len(data)


class FakeRings:
    size = FakeRing.size

    def __init__(self) -> None:
        self.rings = [FakeRing(), FakeRing()]


def filled(number: int) -> bytes:
    return record(abi.RECORD_SAMPLE, bytes(1016)) * number


def test_blocks_are_handed_on_and_filled_again() -> None:
    rings = FakeRings()
    drain = Drain(rings, 10**12, 128 * KIB, 2)  # type: ignore[arg-type]
    for _ in range(5):
        rings.rings[0].waiting, rings.rings[1].waiting = filled(60), filled(3)
        drain._round()
        block = drain.take()
        assert block is not None
        assert [end - begin for begin, end in block.segments] == [60 * KIB, 3 * KIB]
        drain.recycle(block)
    assert drain.take() is None
    assert drain.dropped == 0


def test_with_no_block_free_samples_are_dropped_and_the_rest_kept() -> None:
    rings = FakeRings()
    drain = Drain(rings, 10**12, 64 * KIB, 2)  # type: ignore[arg-type]
    for _ in range(4):
        rings.rings[0].waiting = filled(50) + record(abi.RECORD_COMM, bytes(24))
        drain._round()
    assert drain.dropped == 100
    assert drain.take_kept() == record(abi.RECORD_COMM, bytes(24)) * 2
    assert drain.take_kept() == b""
    first = drain.take()
    assert first is not None and first.used == 50 * KIB + 32


def test_only_what_every_ring_has_given_is_settled() -> None:
    rings = FakeRings()
    drain = Drain(rings, 10**12, 64 * KIB, 3)  # type: ignore[arg-type]
    settled = []
    for _ in range(3):
        rings.rings[0].waiting = filled(40)
        drain._round()
        settled.append(drain._round_ns)
    blocks = [drain.take(), drain.take()]
    # The first block was handed on in the second round, before the second ring had been looked at.
    assert [block.settled_ns for block in blocks if block] == [0, settled[0]]
    drain.start()
    drain.stop()
    last = drain.take()
    assert last is not None and last.settled_ns == np.iinfo(np.int64).max
    assert drain.take() is None and drain.ended


def test_the_last_block_settles_everything_even_when_it_is_empty() -> None:
    rings = FakeRings()
    drain = Drain(rings, 10**12, 64 * KIB, 2)  # type: ignore[arg-type]
    rings.rings[0].waiting = filled(1)
    drain._round()
    first = drain.take()
    assert first is not None and first.settled_ns == 0
    drain.start()
    drain.stop()
    last = drain.take(full=True)
    assert last is not None and last.used == 0 and last.settled_ns == np.iinfo(np.int64).max
    assert drain.take() is None
