"""The records of a perf.data file as they stand in it: runs of the kernel's records, and perf's own between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pytest_blcperf.capture.records import walk
from pytest_blcperf.model.recording import Ints, Words

HEADER_ATTR, TRACING_DATA, HEADER_BUILD_ID, FINISHED_ROUND = 64, 66, 67, 68
AUXTRACE, HEADER_FEATURE, COMPRESSED, COMPRESSED2 = 71, 80, 81, 83
_HEADER_BYTES = 8
_KERNEL_TYPES = 64


@dataclass(frozen=True, eq=False)
class KernelRecords:
    """Records of the kernel's, at `position` (words) of `words`."""

    words: Words
    position: Ints


@dataclass(frozen=True)
class PerfRecord:
    """A record of perf's own."""

    type: int
    misc: int
    body: bytes


class RecordStream:
    """Cuts bytes, which come in any portions, into records. `broken` when the rest cannot be walked."""

    def __init__(self) -> None:
        self._rest = b""
        self._skip = 0
        self.broken = False

    def feed(self, data: bytes) -> Iterator[KernelRecords | PerfRecord]:
        """The records that are whole by now. Runs of the kernel's mostly share one array of words."""
        at = 0
        # Only the record that was cut is put together: copying all of the data took a third of the time.
        while self._rest and at < len(data) and not self.broken:
            missing = self._missing()
            begun, self._rest = self._rest + data[at : at + missing], b""
            at += missing
            yield from self._cut(begun, 0)
        yield from self._cut(data, min(at, len(data)))

    def _missing(self) -> int:
        """Bytes until the record that has begun is whole, or until its size is known."""
        if len(self._rest) < _HEADER_BYTES:
            return _HEADER_BYTES - len(self._rest)
        return max(int.from_bytes(self._rest[6:8], "little") - len(self._rest), 1)

    def _cut(self, data: bytes, at: int) -> Iterator[KernelRecords | PerfRecord]:
        whole = np.frombuffer(data, np.uint64, len(data) // 8)
        while not self.broken:
            skipped = min(self._skip, len(data) - at)
            self._skip -= skipped
            at += skipped
            words, start = whole, at // 8
            if at % 8:
                # perf's own records may end between words.
                words, start = np.frombuffer(data, np.uint64, (len(data) - at) // 8, at).copy(), 0
            position, stop = walk(words, start, len(words))
            if len(position):
                yield KernelRecords(words, position)
            at += 8 * (stop - start)
            found = self._own_record(data, at)
            if found is None:
                break
            yield found
            at += _HEADER_BYTES + len(found.body)
            self._skip = payload_bytes(found)
        self._rest = b"" if self.broken else self._rest + data[at:]

    def _own_record(self, data: bytes, at: int) -> PerfRecord | None:
        """The record of perf's own there, None when it is not whole yet, or broken."""
        if at + _HEADER_BYTES > len(data):
            return None
        kind, misc = int.from_bytes(data[at : at + 4], "little"), int.from_bytes(data[at + 4 : at + 6], "little")
        size = int.from_bytes(data[at + 6 : at + 8], "little")
        if size < _HEADER_BYTES or (kind < _KERNEL_TYPES and size % 8):
            self.broken = True
            return None
        if kind < _KERNEL_TYPES or at + size > len(data):
            return None
        return PerfRecord(kind, misc, data[at + _HEADER_BYTES : at + size])

    def finish(self) -> None:
        """No more data comes: what is left is no whole record."""
        self.broken |= bool(self._rest)


def payload_bytes(record: PerfRecord) -> int:
    """Bytes behind the record that are not records."""
    if record.type == TRACING_DATA:
        return int.from_bytes(record.body[:4], "little")
    if record.type == AUXTRACE:
        return int.from_bytes(record.body[:8], "little")
    return 0


def compressed_payload(record: PerfRecord) -> bytes:
    """The compressed bytes of a COMPRESSED or COMPRESSED2 record, b"" for others."""
    if record.type == COMPRESSED:
        return record.body
    if record.type == COMPRESSED2:
        size = int.from_bytes(record.body[:8], "little")
        return record.body[8 : 8 + min(size, len(record.body))]
    return b""
