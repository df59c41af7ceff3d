"""System calls from raw tracepoint records: pairs, stretches, doubles, hostile bytes; and how much may be traced."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pytest_blcperf.capture import perf_event as abi
from pytest_blcperf.capture import syscall_names
from pytest_blcperf.capture.syscall_records import SyscallSums, decode
from pytest_blcperf.capture.syscall_trace import Allowance

ENTER, LEAVE = 443, 442
READ, FUTEX, CLONE, EXIT_GROUP = 0, 202, 56, 231


def record(entering: bool, time: int, number: int, thread: int = 11, process: int = 10) -> bytes:
    """A sample as the kernel writes it: six arguments at the entry, a result at the return."""
    payload = struct.pack("=HHiq", ENTER if entering else LEAVE, 0, thread, number) + bytes(48 if entering else 8)
    body = struct.pack("=iiqI", process, thread, time, len(payload) + 4) + payload + bytes(4)
    return struct.pack("=IHH", abi.RECORD_SAMPLE, 1, len(body) + 8) + body


def summed(*batches: Sequence[bytes], begin: int = 0, end: int = 1000) -> dict[tuple[int, int], tuple[int, int]]:
    sums = SyscallSums("x86_64")
    for batch in batches:
        sums.add(decode(np.frombuffer(b"".join(batch), np.uint64), ENTER, LEAVE), begin)
    sums.end_stretch(end)
    return sums.sums


def test_a_call_is_an_entry_and_its_return() -> None:
    found = summed(
        [record(True, 100, READ), record(False, 130, READ), record(True, 140, READ), record(False, 150, READ)]
    )
    assert found == {(10, READ): (2, 40)}


def test_threads_do_not_mix_and_rings_need_no_order() -> None:
    entered = [record(True, 100, FUTEX, thread=11), record(True, 110, READ, thread=12)]
    left = [record(False, 400, FUTEX, thread=11), record(False, 120, READ, thread=12)]
    assert summed(left + entered) == {(10, FUTEX): (1, 300), (10, READ): (1, 10)}


def test_a_call_that_spans_batches_is_counted_once() -> None:
    entered, left = [record(True, 100, FUTEX)], [record(False, 900, FUTEX)]
    assert summed(entered, [record(True, 500, READ, thread=12), record(False, 501, READ, thread=12)], left) == {
        (10, FUTEX): (1, 800),
        (10, READ): (1, 1),
    }


def test_what_is_inside_at_the_ends_of_a_stretch_counts_for_its_time_there() -> None:
    assert summed([record(False, 60, FUTEX)], begin=50) == {(10, FUTEX): (0, 10)}
    assert summed([record(True, 900, FUTEX)]) == {(10, FUTEX): (1, 100)}
    assert summed([record(True, 900, EXIT_GROUP)]) == {(10, EXIT_GROUP): (1, 0)}


def test_a_new_thread_returns_from_a_call_that_its_parent_made() -> None:
    assert summed([record(False, 600, CLONE, thread=13)]) == {}


def test_a_return_whose_entry_was_lost_is_not_taken_for_the_beginning() -> None:
    first = [record(True, 100, READ), record(False, 110, READ)]
    assert summed(first, [record(False, 900, FUTEX)]) == {(10, READ): (1, 10)}


def test_a_thread_that_was_opened_twice_counts_once() -> None:
    twice = [record(True, 100, READ), record(True, 100, READ), record(False, 130, READ), record(False, 130, READ)]
    assert summed(twice) == {(10, READ): (1, 30)}


def test_stretches_add_up() -> None:
    sums = SyscallSums("x86_64")
    for begin in (0, 5_000):
        entry = decode(np.frombuffer(record(True, begin + 10, FUTEX), np.uint64), ENTER, LEAVE)
        sums.add(entry, begin)
        sums.end_stretch(begin + 100)
    assert sums.sums == {(10, FUTEX): (2, 180)}


@given(st.binary(max_size=600), st.integers(0, 5))
def test_any_bytes_are_read_without_an_error(data: bytes, cut: int) -> None:
    sound = record(True, 100, READ)
    words = np.frombuffer(
        (sound + data + sound)[cut * 8 :][: (len(data) + 2 * len(sound)) // 8 * 8 - cut * 8], np.uint64
    )
    sums = SyscallSums("x86_64")
    sums.add(decode(words, ENTER, LEAVE), 0)
    sums.end_stretch(1 << 62)
    assert all(calls >= 0 and time >= 0 for calls, time in sums.sums.values())


def test_numbers_have_the_names_of_their_machine() -> None:
    named = {
        (machine, name): number
        for machine, number, name in (
            ("x86_64", 0, "read"),
            ("x86_64", 202, "futex"),
            ("x86_64", 257, "openat"),
            ("x86_64", 435, "clone3"),
            ("aarch64", 63, "read"),
            ("aarch64", 98, "futex"),
            ("aarch64", 56, "openat"),
            ("aarch64", 435, "clone3"),
        )
    }
    for (machine, name), number in named.items():
        assert syscall_names.name_of(number, machine) == name
    assert syscall_names.name_of(99_999, "x86_64") == "syscall 99999"
    assert syscall_names.name_of(0, "riscv64") == "syscall 0"


def test_seldom_calls_are_traced_all_the_time_and_storms_in_stretches() -> None:
    second = 10**9
    seldom = Allowance(4_000, begin_ns=0)
    for tick in range(1, 101):
        seldom = seldom.after(30)
        assert seldom.pause_until(tick * second // 100) == tick * second // 100
    storm = Allowance(4_000, begin_ns=0).after(8_000)
    assert storm.pause_until(second // 100) == 2 * second
    assert Allowance(4_000, begin_ns=0).after(10**9).pause_until(0) == 5 * second
    assert Allowance(0, begin_ns=0).after(10**9).pause_until(7) == 7
