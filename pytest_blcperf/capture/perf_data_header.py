"""What stands around the records of a perf.data file: attributes of events, names, build-ids, the machine.

Format: tools/perf/Documentation/perf.data-file-format.txt and tools/perf/util/header.c of the kernel sources.
Everything in it may be wrong on purpose: sizes are bounded before anything is allocated for them.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from pytest_blcperf.capture import perf_event as abi
from pytest_blcperf.capture.perf_names import CLOCKS, name_of
from pytest_blcperf.capture.records import SampleLayout
from pytest_blcperf.capture.side_band import text
from pytest_blcperf.errors import UsageError
from pytest_blcperf.model.recording import REGISTERS, Event

MAGIC = b"PERFILE2"
_MAGIC_SWAPPED = b"2ELIFREP"
_FEATURE_BUILD_ID, _FEATURE_ARCH, _FEATURE_EVENT_DESC = 2, 6, 12
_FEATURES = 256
_MOST_EVENTS = 4096
_MOST_IDENTIFIERS = 1 << 20
_MOST_FEATURE_BYTES = 64 << 20
_LONGEST_STRING = 1 << 16
_BUILD_ID_SIZE_KNOWN = 1 << 15
_ATTRIBUTES = struct.Struct("=IIQQQQQIIQQQQIiQIHHIIQ")
_SECTION = struct.Struct("=QQ")


@dataclass(frozen=True)
class RecordedEvent:
    """An event of the file: its attributes as far as they matter here, and the identifiers its samples may carry."""

    type: int
    config: int
    period: int
    flags: int
    sample_type: int
    read_format: int
    branch_type: int
    registers_mask: int
    identifiers: tuple[int, ...]
    name: str = ""

    @property
    def sample_id_all(self) -> bool:
        """Whether other records end with a sample_id."""
        return bool(self.flags & abi.FLAG_SAMPLE_ID_ALL)

    def layout(self, machine: str) -> SampleLayout:
        """How its samples are laid out."""
        return SampleLayout(machine, self.sample_type, self.read_format, self.branch_type, self.registers_mask)

    def as_event(self) -> Event:
        """Name, unit, and rate or period. perf adds modifiers to names (`cycles:u`) and frequencies to clocks."""
        name = self.name or name_of(self.type, self.config)
        plain = name.partition(":")[0] if self.type != abi.TYPE_TRACEPOINT else name
        unit = "ns" if plain in CLOCKS else plain if plain in ("cycles", "instructions") else "events"
        if self.flags & abi.FLAG_FREQUENCY:
            return Event(name, unit, rate=self.period)
        return Event(name, unit, period=self.period)


@dataclass
class Header:
    """What is known of a file besides its records; in a pipe it comes bit by bit."""

    machine: str = ""
    events: list[RecordedEvent] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    """Name by identifier."""
    build_ids: dict[str, str] = field(default_factory=dict)
    """Build-id by path."""

    def add_event(self, attributes: bytes, identifiers: tuple[int, ...]) -> None:
        """An event from its `struct perf_event_attr`. Raises UsageError when there are too many."""
        if len(self.events) >= _MOST_EVENTS:
            raise malformed(f"more than {_MOST_EVENTS} events")
        values = _ATTRIBUTES.unpack(attributes[: _ATTRIBUTES.size].ljust(_ATTRIBUTES.size, b"\0"))
        kind, _, config, period, sample_type, read_format, flags, *rest = values
        self.events.append(
            RecordedEvent(
                type=kind,
                config=config,
                period=min(period, (1 << 63) - 1),
                flags=flags,
                sample_type=sample_type,
                read_format=read_format,
                branch_type=rest[4],
                registers_mask=rest[5],
                identifiers=identifiers,
            )
        )

    def add_feature(self, number: int, content: bytes) -> None:
        """A feature section. Those that do not matter here, and what is cut off, are passed over."""
        if number == _FEATURE_ARCH:
            self.machine = _string(content, 0)[0]
        elif number == _FEATURE_BUILD_ID:
            self.build_ids |= dict(_build_ids(content))
        elif number == _FEATURE_EVENT_DESC:
            self.names |= dict(_event_names(content))

    def named_events(self) -> list[RecordedEvent]:
        """The events with their names."""
        found = []
        for event in self.events:
            name = next((self.names[number] for number in event.identifiers if number in self.names), "")
            found.append(RecordedEvent(**{**event.__dict__, "name": name}))
        return found

    def known_machine(self, fallback: str) -> str:
        """The machine it was recorded on. Raises UsageError for one whose registers are not known here."""
        machine = {"arm64": "aarch64", "amd64": "x86_64"}.get(self.machine, self.machine) or fallback
        if machine not in REGISTERS:
            raise UsageError(
                f"the file was recorded on {machine[:40]!r}, which is not supported",
                f"supported: {', '.join(REGISTERS)}",
            )
        return machine


def malformed(what: str) -> UsageError:
    """The error for a file that is none, or is damaged."""
    return UsageError(f"not a readable perf.data file: {what}", "record it again: perf record -g -o perf.data COMMAND")


def read_magic(file: BinaryIO) -> bool:
    """Whether the file is in pipe mode; read up to behind the header's size. Raises UsageError for anything else."""
    start = file.read(16)
    if start[:8] == _MAGIC_SWAPPED:
        raise malformed("it was recorded on a big-endian machine")
    if start[:8] != MAGIC or len(start) < 16:
        raise malformed("it does not begin with PERFILE2")
    size = int.from_bytes(start[8:], "little")
    if size not in (16, 104):
        raise malformed(f"its header claims {size} bytes")
    return size == 16


def read_file_header(file: BinaryIO) -> tuple[Header, tuple[int, int]]:
    """Header and the (offset, size) of the records of a seekable file, which stands behind `read_magic`.

    Raises UsageError.
    """
    rest = file.read(88)
    if len(rest) < 88:
        raise malformed("its header is cut off")
    (attribute_size,) = struct.unpack_from("=Q", rest)
    attributes, data = _SECTION.unpack_from(rest, 8), _SECTION.unpack_from(rest, 24)
    bits = int.from_bytes(rest[56:88], "little")
    header = Header()
    if not 64 + 16 <= attribute_size <= 4096:
        raise malformed(f"its attributes have {attribute_size} bytes each")
    for number in range(min(attributes[1] // attribute_size, _MOST_EVENTS + 1)):
        entry = _at(file, attributes[0] + number * attribute_size, attribute_size)
        where = _SECTION.unpack_from(entry, attribute_size - 16)
        header.add_event(entry[: attribute_size - 16], identifiers(_at(file, *where)))
    for number, section in _features(file, bits, data[0] + data[1]):
        header.add_feature(number, section)
    return header, data


def identifiers(content: bytes) -> tuple[int, ...]:
    """64-bit numbers, as many as are whole. Raises UsageError when there are too many."""
    number = len(content) // 8
    if number > _MOST_IDENTIFIERS:
        raise malformed(f"an event has {number} identifiers")
    return struct.unpack_from(f"={number}Q", content)


def _features(file: BinaryIO, bits: int, table: int) -> Iterator[tuple[int, bytes]]:
    """(number, content) of the features that matter; a table that is cut off (an interrupted recording) ends them."""
    present = [number for number in range(_FEATURES) if bits >> number & 1]
    for place, number in enumerate(present):
        if number not in (_FEATURE_BUILD_ID, _FEATURE_ARCH, _FEATURE_EVENT_DESC):
            continue
        try:
            where = _SECTION.unpack(_at(file, table + place * _SECTION.size, _SECTION.size))
            yield number, _at(file, *where)
        except UsageError:
            continue


def _at(file: BinaryIO, offset: int, size: int) -> bytes:
    if size > _MOST_FEATURE_BYTES:
        raise malformed(f"a part of it claims {size} bytes")
    if offset + size > os.fstat(file.fileno()).st_size:
        raise malformed("it is cut off")
    file.seek(offset)
    return file.read(size)


def _string(content: bytes, at: int) -> tuple[str, int]:
    """A string with its length before it, and where it ends. The length includes padding."""
    if at + 4 > len(content):
        return "", len(content)
    size = int.from_bytes(content[at : at + 4], "little")
    return text(content[at + 4 : at + 4 + min(size, _LONGEST_STRING)], "backslashreplace"), at + 4 + size


def _build_ids(content: bytes) -> Iterator[tuple[str, str]]:
    """(path, build-id): records of a header, a process, 24 bytes of build-id and a name."""
    at = 0
    while at + 36 <= len(content):
        _, misc, size = struct.unpack_from("=IHH", content, at)
        if size < 36:
            return
        length = content[at + 32] if misc & _BUILD_ID_SIZE_KNOWN else 20
        if 0 < length <= 20:
            yield text(content[at + 36 : at + size]), content[at + 12 : at + 12 + length].hex()
        at += size


def _event_names(content: bytes) -> Iterator[tuple[int, str]]:
    """(identifier, name) of the events."""
    if len(content) < 8:
        return
    number, attribute_size = struct.unpack_from("=II", content)
    at = 8
    for _ in range(min(number, _MOST_EVENTS)):
        at += attribute_size
        if at + 4 > len(content):
            return
        count = int.from_bytes(content[at : at + 4], "little")
        name, at = _string(content, at + 4)
        if count > _MOST_IDENTIFIERS or at + 8 * count > len(content):
            return
        for identifier in struct.unpack_from(f"={count}Q", content, at):
            yield identifier, name
        at += 8 * count


def build_id_record(body: bytes, misc: int) -> Iterator[tuple[str, str]]:
    """(path, build-id) of a PERF_RECORD_HEADER_BUILD_ID of a pipe, without its header."""
    return _build_ids(struct.pack("=IHH", 0, misc, min(len(body) + 8, 65535)) + body)
