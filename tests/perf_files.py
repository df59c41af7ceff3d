"""perf.data files made from plain values: with a header, and as a pipe."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from perf_records import record

from pytest_blcperf.capture import perf_event as abi

FIELDS = abi.SAMPLE_IDENTIFIER | abi.SAMPLE_IP | abi.SAMPLE_TID | abi.SAMPLE_TIME | abi.SAMPLE_CPU | abi.SAMPLE_PERIOD
ROUND = record(68, b"")


def attributes(fields: int = FIELDS, config: int = 0, period: int = 1000, mask: int = 0) -> bytes:
    """A `struct perf_event_attr` of a software event with sample_id_all."""
    head = struct.pack("=IIQQQQQ", 1, 128, config, period, fields, 0, abi.FLAG_SAMPLE_ID_ALL)
    return (head + bytes(32) + struct.pack("=Q", mask)).ljust(128, b"\0")


def string(value: str) -> bytes:
    data = value.encode() + b"\0"
    size = -(-len(data) // 64) * 64
    return struct.pack("=I", size) + data.ljust(size, b"\0")


def event_names(events: Sequence[tuple[str, Sequence[int]]]) -> bytes:
    """The feature EVENT_DESC."""
    content = struct.pack("=II", len(events), 128)
    for name, numbers in events:
        content += (
            bytes(128) + struct.pack("=I", len(numbers)) + string(name) + struct.pack(f"={len(numbers)}Q", *numbers)
        )
    return content


def build_ids(*entries: tuple[str, bytes]) -> bytes:
    """The feature BUILD_ID."""
    content = b""
    for path, build_id in entries:
        name = path.encode().ljust(64, b"\0")
        body = struct.pack("=i", -1) + build_id.ljust(20, b"\0") + bytes([len(build_id), 0, 0, 0]) + name
        content += struct.pack("=IHH", 67, 1 << 15, 8 + len(body)) + body
    return content


def with_header(
    records: bytes,
    events: Sequence[tuple[bytes, Sequence[int]]] | None = None,
    features: dict[int, bytes] | None = None,
) -> bytes:
    """A file with `events` of (attributes, identifiers) and `features` by number."""
    events = events or [(attributes(), (7,))]
    features = features or {}
    at = 104
    lists = b"".join(struct.pack(f"={len(numbers)}Q", *numbers) for _, numbers in events)
    entries, offset = b"", at
    for content, numbers in events:
        entries += content + struct.pack("=QQ", offset, 8 * len(numbers))
        offset += 8 * len(numbers)
    attributes_at = at + len(lists)
    data_at = attributes_at + len(entries)
    header = b"PERFILE2" + struct.pack("=QQ", 104, len(events[0][0]) + 16)
    header += struct.pack("=QQQQQQ", attributes_at, len(entries), data_at, len(records), 0, 0)
    header += sum(1 << number for number in features).to_bytes(32, "little")
    end = data_at + len(records) + 16 * len(features)
    table, contents = b"", b""
    for number in sorted(features):
        table += struct.pack("=QQ", end + len(contents), len(features[number]))
        contents += features[number]
    return header + lists + entries + records + table + contents


def piped(*records: bytes) -> bytes:
    """A file in pipe mode."""
    return b"PERFILE2" + struct.pack("=Q", 16) + b"".join(records)


def header_attr(content: bytes, numbers: Sequence[int] = (7,)) -> bytes:
    """The record of a pipe that describes an event."""
    return record(64, content + struct.pack(f"={len(numbers)}Q", *numbers))


def header_feature(number: int, content: bytes) -> bytes:
    """The record of a pipe that holds a feature."""
    return record(80, struct.pack("=Q", number) + content)
