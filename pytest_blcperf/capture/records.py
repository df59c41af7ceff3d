"""Samples as the kernel writes them → columns, many at once. The bytes may be anything: what is broken is counted.

Format: `enum perf_event_type` of include/uapi/linux/perf_event.h. Records are whole 64-bit words, little-endian, and a
position here is an index into those words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_blcperf.capture import perf_event as abi
from pytest_blcperf.capture.perf_attributes import REGISTER_MASKS
from pytest_blcperf.model.recording import REGISTERS, Booleans, Bytes, Ints, SampleBatch, Words

_FIRST_MARKER = (1 << 64) - 4095
_CONTEXT_KERNEL = (1 << 64) - 128
_CONTEXT_USER = (1 << 64) - 512
_ABI_64 = 2
_FIRST_USER_TYPE = 64
_RUN = 4
_LOOK_AHEAD = 4096


@dataclass(frozen=True)
class RecordIndex:
    """Where records are: `position` (words) of their headers, and the header's `type`, `misc` and `size` (words)."""

    position: Ints
    type: Ints
    misc: Ints
    size: Ints
    broken: int
    """Stretches that could not be walked."""


def index_records(words: Words, segments: Sequence[tuple[int, int]]) -> RecordIndex:
    """The records in each segment [from, to) of the words, which begins with one. A segment ends at the first record
    that cannot be right.
    """
    pieces = []
    broken = 0
    for start, end in segments:
        position, stop = walk(words, start, end)
        pieces.append(position)
        broken += stop < end
    return index_at(words, np.concatenate(pieces) if pieces else np.zeros(0, np.int64), broken)


def index_at(words: Words, position: Ints, broken: int = 0) -> RecordIndex:
    """The records at these positions."""
    header = words[position]
    return RecordIndex(
        position=position,
        type=(header & np.uint64(0xFFFFFFFF)).astype(np.int64),
        misc=(header >> np.uint64(32) & np.uint64(0xFFFF)).astype(np.int64),
        size=(header >> np.uint64(51)).astype(np.int64),
        broken=broken,
    )


def walk(words: Words, start: int, end: int) -> tuple[Ints, int]:
    """Positions of the kernel's records in [start, end), and where they stop: at `end`, at a record that is not whole,
    or at one of perf's own types (64 and above), whose sizes mean something else.
    """
    pieces: list[Ints] = []
    found: list[int] = []
    memory = words.data
    position, last, alike = start, 0, 0
    while position < end:
        header = memory[position]
        step = header >> 51
        if header >> 48 & 7 or not 0 < step <= end - position or header & 0xFFFFFFFF >= _FIRST_USER_TYPE:
            break
        found.append(position)
        position += step
        alike = alike + 1 if step == last else 0
        last = step
        if alike >= _RUN:
            # Samples mostly have one size, and a run of them need not be walked one by one.
            run = min(
                _run_length(words[position : position + step * _LOOK_AHEAD : step], step), (end - position) // step
            )
            if run:
                pieces += [np.array(found, np.int64), np.arange(position, position + run * step, step, dtype=np.int64)]
                found.clear()
                position += run * step
            alike = 0
    pieces.append(np.array(found, np.int64))
    return np.concatenate(pieces), position


def _run_length(headers: Words, step: int) -> int:
    """How many of the headers, from the first one on, are of kernel records of that size."""
    same = (headers >> np.uint64(48)) == np.uint64(step << 3)
    same &= (headers & np.uint64(0xFFFFFFFF)) < np.uint64(_FIRST_USER_TYPE)
    first = int(same.argmin()) if len(same) else 0
    return first if len(same) and not same[first] else len(same)


@dataclass(frozen=True)
class SampleLayout:
    """What an event puts into its samples, from its attributes."""

    machine: str
    sample_type: int
    read_format: int = 0
    branch_type: int = 0
    registers_mask: int = 0

    @property
    def identified(self) -> bool:
        """Whether its samples say which event they are of."""
        return bool(self.sample_type & (abi.SAMPLE_IDENTIFIER | abi.SAMPLE_ID))

    @property
    def trailer_words(self) -> int:
        """Size of the `sample_id` at the end of other records, when the event has `sample_id_all`."""
        fields = (
            *(abi.SAMPLE_TID, abi.SAMPLE_TIME, abi.SAMPLE_ID),
            *(abi.SAMPLE_STREAM_ID, abi.SAMPLE_CPU, abi.SAMPLE_IDENTIFIER),
        )
        return sum(bool(self.sample_type & field) for field in fields)


@dataclass(frozen=True, eq=False)
class SampleTable:
    """Decoded samples, n rows, whose stacks are still where they were read: at `stack_at` (bytes of `source`)."""

    machine: str
    source: Bytes
    identifier: Words
    time: Ints
    process: Ints
    thread: Ints
    cpu: Ints
    period: Ints
    mode: Bytes
    address: Words
    chain_offsets: Ints
    kernel_depth: Ints
    chain: Words
    has_registers: Booleans
    registers: Words
    stack_at: Ints
    stack_bytes: Ints
    broken: int = 0

    def __len__(self) -> int:
        return len(self.time)

    def copy(self, rows: Ints) -> SampleTable:
        """Some rows with their stacks, independent of where they were read."""
        lengths = np.diff(self.chain_offsets)[rows]
        chain_offsets = _offsets(lengths)
        stack_offsets, source = _stacks_of([self], [rows], np.arange(len(rows)))
        names = ("identifier", "time", "process", "thread", "cpu", "period", "mode", "address", "kernel_depth")
        return SampleTable(
            machine=self.machine,
            source=source,
            chain_offsets=chain_offsets,
            chain=self.chain[_ranges(self.chain_offsets[:-1][rows], chain_offsets)],
            has_registers=self.has_registers[rows],
            registers=self.registers[rows],
            stack_at=stack_offsets[:-1],
            stack_bytes=self.stack_bytes[rows],
            **{name: getattr(self, name)[rows] for name in names},
        )


class _Cursor:
    """Reads the same field of all samples at once, and moves on in each. What does not fit into its record is not ok,
    and its row reads zeros from there on.
    """

    def __init__(self, words: Words, position: Ints, size: Ints) -> None:
        self.words = words
        self.at = position + 1
        self.end = position + size
        self.ok = np.ones(len(position), np.bool_)

    def require(self, words: Ints | int) -> None:
        """Mark the rows that have fewer words left."""
        self.ok &= (words <= self.end - self.at) & (words >= 0)

    def word(self) -> Words:
        """The word at the cursor, which stays."""
        valid = self.ok & (self.at < self.end)
        values = self.words[np.where(valid, self.at, 0)] if len(self.words) else np.zeros(len(self.at), np.uint64)
        return np.where(valid, values, np.uint64(0))

    def next(self) -> Words:
        """The word at the cursor, which moves behind it."""
        self.require(1)
        value = self.word()
        self.at = self.at + 1
        return value

    def skip(self, words: Ints | int) -> None:
        """Move on."""
        self.require(words)
        self.at = self.at + np.where(self.ok, words, 0)


def decode(words: Words, position: Ints, misc: Ints, size: Ints, layout: SampleLayout) -> SampleTable:
    """The samples whose headers are at `position`, in that order. Those that contradict their size are left out and
    counted as broken.
    """
    cursor = _Cursor(words, position, size)
    fields = layout.sample_type
    zeros = np.zeros(len(position), np.uint64)

    def take(field: int) -> Words:
        return cursor.next() if fields & field else zeros

    identifier = take(abi.SAMPLE_IDENTIFIER)
    address = take(abi.SAMPLE_IP)
    process, thread = _halves(take(abi.SAMPLE_TID))
    time = take(abi.SAMPLE_TIME)
    take(abi.SAMPLE_ADDRESS)
    number = take(abi.SAMPLE_ID)
    take(abi.SAMPLE_STREAM_ID)
    cpu = _halves(take(abi.SAMPLE_CPU))[0]
    period = take(abi.SAMPLE_PERIOD)
    _skip_read(cursor, layout)
    chain_at, chain_words = _chain(cursor, fields)
    _skip_raw(cursor, fields)
    _skip_branches(cursor, layout)
    registers_at, register_abi = _registers(cursor, layout)
    stack_at, stack_bytes = _stack(cursor, fields)
    keep = np.flatnonzero(cursor.ok)
    offsets, depth, chain = _flatten(words, chain_at[keep], chain_words[keep])
    has_registers, registers = _pick_registers(words, registers_at[keep], register_abi[keep], layout)
    return SampleTable(
        machine=layout.machine,
        source=words.view(np.uint8),
        identifier=(identifier if fields & abi.SAMPLE_IDENTIFIER else number)[keep],
        time=_signed(time[keep]),
        process=process[keep],
        thread=thread[keep],
        cpu=cpu[keep],
        period=_signed(period[keep]),
        mode=(misc[keep] & abi.MISC_MODE).astype(np.uint8),
        address=address[keep],
        chain_offsets=offsets,
        kernel_depth=depth,
        chain=chain,
        has_registers=has_registers,
        registers=registers,
        stack_at=stack_at[keep] * 8,
        stack_bytes=np.where(has_registers, stack_bytes[keep], 0),
        broken=len(position) - len(keep),
    )


def _signed(values: Words) -> Ints:
    """As signed numbers; what is too large is no time and no period, and becomes the largest."""
    small: Words = np.minimum(values, np.uint64((1 << 63) - 1))
    return small.astype(np.int64)


def _halves(word: Words) -> tuple[Ints, Ints]:
    """The two 32-bit signed numbers of a word; -1 is the kernel's for "none here"."""
    low = (word & np.uint64(0xFFFFFFFF)).astype(np.uint32).view(np.int32)
    high = (word >> np.uint64(32)).astype(np.uint32).view(np.int32)
    return low.astype(np.int64), high.astype(np.int64)


def _count(cursor: _Cursor) -> Ints:
    """A number of words or more that must lie in the record: larger ones are not ok, and 0."""
    value = cursor.next()
    cursor.ok &= value < np.uint64(1 << 16)
    return np.where(cursor.ok, value, np.uint64(0)).astype(np.int64)


def _skip_read(cursor: _Cursor, layout: SampleLayout) -> None:
    if not layout.sample_type & abi.SAMPLE_READ:
        return
    read = layout.read_format
    times = bool(read & abi.READ_ENABLED) + bool(read & abi.READ_RUNNING)
    each = 1 + bool(read & abi.READ_ID) + bool(read & abi.READ_LOST)
    if read & abi.READ_GROUP:
        cursor.skip(_count(cursor) * each + times)
    else:
        cursor.skip(each + times)


def _chain(cursor: _Cursor, fields: int) -> tuple[Ints, Ints]:
    """(position, words) of the call chains, context markers included."""
    if not fields & abi.SAMPLE_CALLCHAIN:
        return cursor.at, np.zeros(len(cursor.at), np.int64)
    length = _count(cursor)
    start = cursor.at
    cursor.skip(length)
    return start, length


def _skip_raw(cursor: _Cursor, fields: int) -> None:
    if fields & abi.SAMPLE_RAW:
        # A 32-bit size and that many bytes, padded so that whole words follow.
        cursor.skip(((cursor.word() & np.uint64(0xFFFFFFFF)).astype(np.int64) + 4 + 7) >> 3)


def _skip_branches(cursor: _Cursor, layout: SampleLayout) -> None:
    if not layout.sample_type & abi.SAMPLE_BRANCH_STACK:
        return
    number = _count(cursor)
    cursor.skip(bool(layout.branch_type & abi.BRANCH_HARDWARE_INDEX))
    cursor.skip(number * (4 if layout.branch_type & abi.BRANCH_COUNTERS else 3))


def _registers(cursor: _Cursor, layout: SampleLayout) -> tuple[Ints, Words]:
    """(position, ABI) of the user registers; the ABI is 0 where there are none."""
    if not layout.sample_type & abi.SAMPLE_REGISTERS_USER:
        return cursor.at, np.zeros(len(cursor.at), np.uint64)
    kind = cursor.next()
    start = cursor.at
    cursor.skip(np.where(kind != 0, layout.registers_mask.bit_count(), 0))
    return start, kind


def _stack(cursor: _Cursor, fields: int) -> tuple[Ints, Ints]:
    """(position, bytes that the kernel could copy, whole words) of the stacks."""
    nothing = np.zeros(len(cursor.at), np.int64)
    if not fields & abi.SAMPLE_STACK_USER:
        return cursor.at, nothing
    size = _count(cursor)
    cursor.ok &= size % 8 == 0
    start = cursor.at
    cursor.skip(size >> 3)
    copied = np.where(size > 0, cursor.word(), np.uint64(0))
    # The size that was really copied follows only where there is room for a stack at all.
    cursor.skip(np.where(size > 0, 1, 0))
    copied = np.where(cursor.ok, np.minimum(copied, size.astype(np.uint64)), np.uint64(0))
    return start, copied.astype(np.int64) & ~np.int64(7)


def _flatten(words: Words, start: Ints, length: Ints) -> tuple[Ints, Ints, Words]:
    """(offsets, kernel entries of each, addresses) of the chains without their context markers."""
    total = int(length.sum())
    if not total:
        return np.zeros(len(start) + 1, np.int64), np.zeros(len(start), np.int64), np.zeros(0, np.uint64)
    row = np.repeat(np.arange(len(start)), length)
    begins = np.cumsum(length) - length
    value = words[np.arange(total) + np.repeat(start - begins, length)]
    is_marker = value >= np.uint64(_FIRST_MARKER)
    marker_at = np.maximum.accumulate(np.where(is_marker, np.arange(total), -1))
    # What stands before a chain's own first marker is the kernel's only if the kernel wrote none at all: user.
    marked = marker_at >= begins[row]
    context = np.where(marked, value[marker_at], np.uint64(_CONTEXT_USER))
    kernel = ~is_marker & (context == np.uint64(_CONTEXT_KERNEL))
    keep = np.flatnonzero(kernel | (~is_marker & (context == np.uint64(_CONTEXT_USER))))
    # Kernel first: that is the kernel's order, and a chain in another one is brought into it.
    key = 2 * row[keep] + ~kernel[keep]
    if (np.diff(key) < 0).any():
        keep = keep[key.argsort(kind="stable")]
    counts = np.bincount(row[keep], minlength=len(start))
    depth = np.bincount(row[kernel], minlength=len(start))
    return _offsets(counts), depth.astype(np.int64), value[keep]


def _no_registers(rows: int, machine: str) -> Words:
    """Zeros that take no memory."""
    return np.broadcast_to(np.zeros((1, 1), np.uint64), (rows, len(REGISTERS[machine])))


_BITS = {
    # PERF_REG_X86_R8 is 16: DS, ES, FS and GS lie between.
    "x86_64": (*range(12), *range(16, 24)),
    "aarch64": tuple(range(33)),
}


def _pick_registers(words: Words, start: Ints, kind: Words, layout: SampleLayout) -> tuple[Booleans, Words]:
    """(which rows have the registers of a 64-bit program, n × len(REGISTERS) values)."""
    names = REGISTERS[layout.machine]
    present = (kind == np.uint64(_ABI_64)) & bool(layout.registers_mask)
    rows = np.flatnonzero(present)
    if not len(rows):
        return present, _no_registers(len(start), layout.machine)
    out = np.zeros((len(start), len(names)), np.uint64)
    mask = layout.registers_mask
    if mask == REGISTER_MASKS[layout.machine]:
        out[rows] = words[start[rows][:, None] + np.arange(len(names))]
        return present, out
    for column, bit in enumerate(_BITS[layout.machine]):
        if mask >> bit & 1:
            out[rows, column] = words[start[rows] + (mask & ((1 << bit) - 1)).bit_count()]
    return present, out


def batch(tables: Sequence[SampleTable], chosen: Sequence[Ints], events: Sequence[Ints]) -> SampleBatch:
    """The chosen rows of some tables as one batch in the order of time; `events` are their events, by table.

    Stacks are copied here and nowhere else.
    """

    def column(name: str) -> npt.NDArray[np.generic]:
        parts = [getattr(table, name)[rows] for table, rows in zip(tables, chosen, strict=True)]
        return np.concatenate(parts)[order]

    order: Ints = np.concatenate([table.time[rows] for table, rows in zip(tables, chosen, strict=True)]).argsort(
        kind="stable"
    )
    chain_offsets, chain = _chains_of(tables, chosen, order)
    machine = tables[0].machine
    any_registers = any(table.has_registers.any() for table in tables)
    registers: Any = column("registers") if any_registers else _no_registers(len(order), machine)
    stack_offsets, stack = _stacks_of(tables, chosen, order)
    names = ("time", "process", "thread", "cpu", "period", "mode", "address", "kernel_depth", "has_registers")
    return SampleBatch(
        machine=machine,
        event=np.concatenate(list(events))[order],
        registers=registers,
        chain_offsets=chain_offsets,
        chain=chain,
        stack_offsets=stack_offsets,
        stack=stack,
        **{name: column(name) for name in names},  # type: ignore[arg-type]
    )


def _chains_of(tables: Sequence[SampleTable], chosen: Sequence[Ints], order: Ints) -> tuple[Ints, Words]:
    source = np.concatenate([table.chain for table in tables])
    base = np.cumsum([0, *(len(table.chain) for table in tables)])[:-1]
    pairs = list(zip(tables, chosen, base.tolist(), strict=True))
    start = np.concatenate([table.chain_offsets[rows] + before for table, rows, before in pairs])[order]
    length = np.concatenate([np.diff(table.chain_offsets)[rows] for table, rows, _ in pairs])[order]
    offsets = _offsets(length)
    return offsets, source[_ranges(start, offsets)]


def _stacks_of(tables: Sequence[SampleTable], chosen: Sequence[Ints], order: Ints) -> tuple[Ints, Bytes]:
    length = np.concatenate([table.stack_bytes[rows] for table, rows in zip(tables, chosen, strict=True)])[order]
    offsets = _offsets(length)
    out = np.empty(int(offsets[-1]), np.uint8)
    if len(out):
        start = np.concatenate([table.stack_at[rows] for table, rows in zip(tables, chosen, strict=True)])[order]
        which = np.concatenate([np.full(len(rows), index) for index, rows in enumerate(chosen)])[order]
        sources = [table.source for table in tables]
        # One copy of a contiguous stretch a sample beats an index array eight times as large as the stacks.
        for index, at, to, size in zip(which.tolist(), start.tolist(), offsets.tolist(), length.tolist(), strict=False):
            out[to : to + size] = sources[index][at : at + size]
    return offsets, out


def _offsets(lengths: Ints) -> Ints:
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)


def _ranges(starts: Ints, offsets: Ints) -> Ints:
    """The indices of stretches that begin at `starts` and have the lengths that the offsets tell, one after another."""
    return np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], np.diff(offsets))
