"""Samples decoded many at once, held against what was written; and any bytes at all."""

from __future__ import annotations

import struct
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perf_records import ALL_FIELDS, CONTEXT_USER, Plain, Trailer, encode, name, record, words

from pytest_blcperf.capture import perf_event as abi
from pytest_blcperf.capture.records import SampleLayout, SampleTable, batch, decode, index_records
from pytest_blcperf.capture.side_band import SideBand, trailer_time
from pytest_blcperf.model.recording import REGISTERS, SampleBatch

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the kernel's records are written little-endian here")

MASK = 0xFF0FFF
u64 = st.integers(0, (1 << 64) - 4096)
addresses = st.lists(u64, max_size=5).map(tuple)
fields = st.integers(0, ALL_FIELDS).map(lambda value: value & ALL_FIELDS)
whole_words = st.integers(0, 40).map(lambda number: number * 8)


@st.composite
def samples(draw: st.DrawFn) -> Plain:
    room = draw(whole_words)
    return Plain(
        identifier=draw(u64),
        address=draw(u64),
        process=draw(st.integers(-1, (1 << 31) - 1)),
        thread=draw(st.integers(-1, (1 << 31) - 1)),
        time=draw(st.integers(0, (1 << 63) - 1)),
        cpu=draw(st.integers(0, 4095)),
        period=draw(st.integers(0, (1 << 63) - 1)),
        mode=draw(st.integers(0, 5)),
        kernel=draw(addresses),
        user=draw(addresses),
        raw=draw(st.binary(max_size=4)).ljust(4, b"\0") + bytes(8 * draw(st.integers(0, 3))),
        branches=draw(st.integers(0, 4)),
        read=draw(st.integers(0, 4)),
        registers=draw(st.none() | st.lists(u64, min_size=20, max_size=20).map(tuple)),
        stack=draw(st.binary(max_size=room)),
        stack_room=room,
    )


def table(data: bytes, layout: SampleLayout) -> SampleTable:
    content = np.frombuffer(data, np.uint64)
    index = index_records(content, [(0, len(content))])
    rows = np.flatnonzero(index.type == abi.RECORD_SAMPLE)
    return decode(content, index.position[rows], index.misc[rows], index.size[rows], layout)


def in_order(found: SampleTable) -> SampleBatch:
    return batch([found], [np.arange(len(found))], [np.zeros(len(found), np.int64)])


def expected(one: Plain, present: int) -> tuple[object, ...]:
    """The row of a sample in a batch."""

    def when(field: int, value: object, otherwise: object = 0) -> object:
        return value if present & field else otherwise

    registers = one.registers if present & abi.SAMPLE_REGISTERS_USER else None
    stack = one.stack[: len(one.stack) // 8 * 8] if present & abi.SAMPLE_STACK_USER and registers is not None else b""
    return (
        when(abi.SAMPLE_TIME, one.time),
        when(abi.SAMPLE_TID, (one.process, one.thread), (0, 0)),
        when(abi.SAMPLE_CPU, one.cpu),
        when(abi.SAMPLE_PERIOD, one.period),
        one.mode,
        when(abi.SAMPLE_IP, one.address),
        when(abi.SAMPLE_CALLCHAIN, one.kernel, ()),
        when(abi.SAMPLE_CALLCHAIN, one.user, ()),
        registers is not None,
        registers or (0,) * 20,
        stack,
    )


def rows(found: SampleBatch) -> list[tuple[object, ...]]:
    result: list[tuple[object, ...]] = []
    for at in range(len(found)):
        chain = found.chain[found.chain_offsets[at] : found.chain_offsets[at + 1]].tolist()
        depth = int(found.kernel_depth[at])
        result.append(
            (
                int(found.time[at]),
                (int(found.process[at]), int(found.thread[at])),
                int(found.cpu[at]),
                int(found.period[at]),
                int(found.mode[at]),
                int(found.address[at]),
                tuple(chain[:depth]),
                tuple(chain[depth:]),
                bool(found.has_registers[at]),
                tuple(found.registers[at].tolist()),
                found.stack[found.stack_offsets[at] : found.stack_offsets[at + 1]].tobytes(),
            )
        )
    return result


@settings(max_examples=150, deadline=None)
@given(
    st.lists(samples(), min_size=1, max_size=8),
    fields,
    st.integers(0, 31),
    st.sampled_from([0, abi.BRANCH_HARDWARE_INDEX, abi.BRANCH_COUNTERS]),
)
def test_what_was_written_is_read(written, present, read_format, branch_type) -> None:
    layout = SampleLayout("x86_64", present, read_format, branch_type, MASK)
    found = table(b"".join(encode(one, present, read_format, branch_type) for one in written), layout)
    assert found.broken == 0
    order = sorted(written, key=lambda one: one.time) if present & abi.SAMPLE_TIME else written
    assert rows(in_order(found)) == [expected(one, present) for one in order]
    copied = found.copy(np.arange(len(found))[::-1])
    assert rows(in_order(copied.copy(np.arange(len(found))[::-1]))) == rows(in_order(found))


@settings(max_examples=150, deadline=None)
@given(st.lists(samples(), min_size=1, max_size=4), fields, st.data())
def test_changed_bytes_are_broken_or_read_but_never_more(written, present, data) -> None:
    content = bytearray(b"".join(encode(one, present) for one in written))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    found = table(bytes(content), SampleLayout("x86_64", present, 0, 0, MASK))
    batched = in_order(found)
    assert len(batched.stack) + 8 * len(batched.chain) <= len(content)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=600), st.integers(0, (1 << 17) - 1), st.integers(0, 31), st.integers(0, (1 << 24) - 1))
def test_any_bytes_are_decoded_without_an_error(data, present, read_format, mask) -> None:
    whole = data[: len(data) // 8 * 8]
    # Headers that hold, so that the bytes behind them are looked at.
    headed = record(abi.RECORD_SAMPLE, whole) * 2
    found = table(headed, SampleLayout("x86_64", present, read_format, 0, mask))
    assert len(found) + found.broken == 2
    in_order(found)
    content = np.frombuffer(whole, np.uint64)
    index_records(content, [(0, len(content))])


def test_the_walk_finds_every_record_of_mixed_sizes() -> None:
    sizes = [3] * 5000 + [1, 2, 3] * 7 + [4] * 5 + [9000 // 8] * 20 + [3] * 40
    data = np.frombuffer(b"".join(record(1 + at % 9, bytes(8 * size - 8)) for at, size in enumerate(sizes)), np.uint64)
    index = index_records(data, [(0, len(data))])
    assert index.position.tolist() == np.concatenate(([0], np.cumsum(sizes)[:-1])).tolist()
    assert index.size.tolist() == sizes
    assert index.type.tolist() == [1 + at % 9 for at in range(len(sizes))]
    assert index.broken == 0


@pytest.mark.parametrize("size", [0, 4, 12, 400])
def test_a_size_that_cannot_be_ends_its_segment_only(size) -> None:
    good = record(abi.RECORD_SAMPLE, bytes(8))
    bad = struct.pack("=IHH", 9, 0, size)
    data = np.frombuffer(good * 20 + bad + good + good, np.uint64)
    index = index_records(data, [(0, 43), (43, 45)])
    assert len(index.position) == 21 and index.broken == 1


def test_kernel_entries_come_first_and_markers_are_left_out() -> None:
    guest = (1 << 64) - 2048
    chain = (CONTEXT_USER, 1, 2, guest, 8, (1 << 64) - 128, 3)
    data = record(abi.RECORD_SAMPLE, words(len(chain), *chain))
    found = table(data, SampleLayout("x86_64", abi.SAMPLE_CALLCHAIN))
    assert found.chain.tolist() == [3, 1, 2] and found.kernel_depth.tolist() == [1]


def test_registers_of_other_masks_find_their_columns() -> None:
    names = REGISTERS["x86_64"]
    mask = 1 << 6 | 1 << 7 | 1 << 8 | 1 << 16  # bp, sp, ip, r8
    data = record(abi.RECORD_SAMPLE, words(2, 60, 70, 80, 160))
    found = table(data, SampleLayout("x86_64", abi.SAMPLE_REGISTERS_USER, registers_mask=mask))
    row = dict(zip(names, found.registers[0].tolist(), strict=True))
    assert {key: value for key, value in row.items() if value} == {"bp": 60, "sp": 70, "ip": 80, "r8": 160}


def test_a_32_bit_program_has_no_registers_to_unwind_with() -> None:
    data = record(abi.RECORD_SAMPLE, words(1, *range(20), 16, 1, 2, 16))
    fields = abi.SAMPLE_REGISTERS_USER | abi.SAMPLE_STACK_USER
    found = table(data, SampleLayout("x86_64", fields, registers_mask=MASK))
    assert not found.has_registers[0] and found.stack_bytes[0] == 0 and not found.broken


def side(kind: int, body: bytes, misc: int = 0, trailer: Trailer | None = None) -> SideBand:
    """What one record leaves behind."""
    trailer = trailer or Trailer()
    layout = SampleLayout("x86_64", trailer.fields)
    whole = body + trailer.encode()
    found = SideBand()
    found.add(kind, misc, whole, layout.trailer_words, trailer_time(whole, layout))
    return found


def test_mappings_with_an_inode_and_with_a_build_id() -> None:
    head = struct.pack("=iiQQQ", 10, 11, 0x1000, 0x2000, 0x3000)
    [one] = side(10, head + struct.pack("=IIQQII", 8, 1, 55, 2, 5, 2) + name("/lib/x y.so"), 2).mappings
    assert (one.process, one.start, one.end, one.offset, one.path) == (10, 0x1000, 0x3000, 0x3000, "/lib/x y.so")
    assert (one.time, one.device, one.inode, one.generation, one.build_id) == (1000, (8, 1), 55, 2, "")
    identity = struct.pack("=BBH20sII", 20, 0, 0, bytes(range(20)), 5, 2)
    [one] = side(10, head + identity + name("/lib/x.so"), abi.MISC_MMAP_BUILD_ID).mappings
    assert one.build_id == bytes(range(20)).hex() and one.inode == 0
    [one] = side(1, head + name("//anon")).mappings
    assert one.path == "//anon"
    assert not side(10, head + struct.pack("=IIQQII", 8, 1, 55, 2, 1, 2) + name("/data")).mappings
    assert not side(1, head + name("/data"), abi.MISC_MMAP_DATA).mappings


def test_names_new_and_ended_threads_and_losses() -> None:
    [named] = side(3, struct.pack("=ii", 10, 11) + name("worker"), abi.MISC_COMM_EXEC).names
    assert (named.process, named.thread, named.time, named.name, named.executed) == (10, 11, 1000, "worker", True)
    [named] = side(3, struct.pack("=ii", 10, 11) + b"caf\xe9\0\0\0\0").names
    assert named.name == "caf\\xe9"
    [fork] = side(7, struct.pack("=iiiiQ", 20, 10, 21, 11, 900)).forks
    assert (fork.process, fork.parent_process, fork.thread, fork.parent_thread, fork.time) == (20, 10, 21, 11, 900)
    assert side(4, struct.pack("=iiiiQ", 20, 10, 21, 11, 900)).ended == [(20, 21, 900)]
    assert side(2, words(1, 42)).lost == 42
    assert side(13, words(5)).lost_samples == 5
    assert side(13, words(5), 1 << 15).lost_samples == 0
    assert side(5, words(1, 2, 3)).throttled == 1


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 90), st.integers(0, 65535), st.binary(max_size=200), st.integers(0, (1 << 17) - 1))
def test_any_other_record_is_noted_or_broken(kind, misc, body, present) -> None:
    layout = SampleLayout("x86_64", present)
    found = SideBand()
    found.add(kind, misc, body, layout.trailer_words, trailer_time(body, layout))
    assert found.broken <= 1
