"""Records as the kernel writes them, made from plain values: what `records` is held against."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from pytest_blcperf.capture import perf_event as abi

CONTEXT_KERNEL = (1 << 64) - 128
CONTEXT_USER = (1 << 64) - 512
ALL_FIELDS = (1 << 14) - 1 | abi.SAMPLE_IDENTIFIER


@dataclass(frozen=True)
class Plain:
    """A sample as plain values."""

    identifier: int = 7
    address: int = 0x400000
    process: int = 10
    thread: int = 11
    time: int = 1000
    cpu: int = 0
    period: int = 1_000_000
    mode: int = 2
    kernel: tuple[int, ...] = ()
    user: tuple[int, ...] = ()
    raw: bytes = b"\0" * 4
    branches: int = 0
    read: int = 0
    registers: tuple[int, ...] | None = None
    stack: bytes = b""
    stack_room: int = 0
    """As many bytes as the plan asked for; 0: a kernel thread, without a stack."""


def words(*values: int) -> bytes:
    return struct.pack(f"={len(values)}Q", *values)


def record(kind: int, body: bytes, misc: int = 0) -> bytes:
    return struct.pack("=IHH", kind, misc, 8 + len(body)) + body


def encode(one: Plain, fields: int, read_format: int = 0, branch_type: int = 0) -> bytes:
    """A RECORD_SAMPLE with the `fields` of sample_type."""
    parts = {
        abi.SAMPLE_IDENTIFIER: words(one.identifier),
        abi.SAMPLE_IP: words(one.address),
        abi.SAMPLE_TID: struct.pack("=ii", one.process, one.thread),
        abi.SAMPLE_TIME: words(one.time),
        abi.SAMPLE_ADDRESS: words(0xADD),
        abi.SAMPLE_ID: words(one.identifier),
        abi.SAMPLE_STREAM_ID: words(99),
        abi.SAMPLE_CPU: struct.pack("=Ii", one.cpu, 0),
        abi.SAMPLE_PERIOD: words(one.period),
        abi.SAMPLE_READ: _read(one.read, read_format),
        abi.SAMPLE_CALLCHAIN: _chain(one),
        abi.SAMPLE_RAW: struct.pack("=I", len(one.raw)) + one.raw,
        abi.SAMPLE_BRANCH_STACK: _branches(one.branches, branch_type),
        abi.SAMPLE_REGISTERS_USER: words(0) if one.registers is None else words(2, *one.registers),
        abi.SAMPLE_STACK_USER: words(0)
        if not one.stack_room
        else words(one.stack_room) + one.stack.ljust(one.stack_room, b"\xee") + words(len(one.stack)),
    }
    return record(abi.RECORD_SAMPLE, b"".join(part for bit, part in parts.items() if fields & bit), one.mode)


def _read(number: int, read_format: int) -> bytes:
    times = bool(read_format & abi.READ_ENABLED) + bool(read_format & abi.READ_RUNNING)
    each = 1 + bool(read_format & abi.READ_ID) + bool(read_format & abi.READ_LOST)
    if read_format & abi.READ_GROUP:
        return words(number, *[5] * (times + number * each))
    return words(*[5] * (times + each))


def _chain(one: Plain) -> bytes:
    kernel = (CONTEXT_KERNEL, *one.kernel) if one.kernel else ()
    user = (CONTEXT_USER, *one.user) if one.user else ()
    return words(len(kernel) + len(user), *kernel, *user)


def _branches(number: int, branch_type: int) -> bytes:
    index = (0,) if branch_type & abi.BRANCH_HARDWARE_INDEX else ()
    each = 4 if branch_type & abi.BRANCH_COUNTERS else 3
    return words(number, *index, *range(number * each))


@dataclass
class Trailer:
    """The sample_id of other records, in the order of its fields."""

    process: int = 10
    thread: int = 11
    time: int = 1000
    identifier: int = 7
    cpu: int = 0
    fields: int = field(default=abi.SAMPLE_TID | abi.SAMPLE_TIME | abi.SAMPLE_CPU | abi.SAMPLE_IDENTIFIER)

    def encode(self) -> bytes:
        parts = {
            abi.SAMPLE_TID: struct.pack("=ii", self.process, self.thread),
            abi.SAMPLE_TIME: words(self.time),
            abi.SAMPLE_ID: words(self.identifier),
            abi.SAMPLE_STREAM_ID: words(99),
            abi.SAMPLE_CPU: struct.pack("=Ii", self.cpu, 0),
            abi.SAMPLE_IDENTIFIER: words(self.identifier),
        }
        return b"".join(part for bit, part in parts.items() if self.fields & bit)


def name(text: str) -> bytes:
    """Zero-terminated and padded to whole words, as in COMM and MMAP records."""
    data = text.encode() + b"\0"
    return data.ljust(-(-len(data) // 8) * 8, b"\0")
