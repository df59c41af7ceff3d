"""perf.data files as recordings: those of `perf record`, compressed ones and pipes included.

    with PerfData(path) as file:
        for batch in file.batches():
            ...
        recording = file.finish()

Times are those of the file: the kernel's own clock, unless it was recorded with `-k CLOCK_MONOTONIC`. The window is
from the first sample to the last. A sample that reads a group (`{cycles,instructions}:S`) stands for its leader alone.
Memory is bounded by `batch_bytes`, however large or wrong the file is.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np

from pytest_blcperf.capture import perf_data_stream as stream
from pytest_blcperf.capture import perf_event as abi
from pytest_blcperf.capture.perf_data_header import (
    Header,
    RecordedEvent,
    build_id_record,
    identifiers,
    malformed,
    read_file_header,
    read_magic,
)
from pytest_blcperf.capture.perf_data_stream import KernelRecords, PerfRecord, RecordStream
from pytest_blcperf.capture.records import RecordIndex, SampleLayout, SampleTable, batch, decode, index_at
from pytest_blcperf.capture.side_band import KINDS, SideBand, trailer_time
from pytest_blcperf.capture.zstd_stream import Decompressor
from pytest_blcperf.errors import UsageError
from pytest_blcperf.model.recording import (
    REGISTERS,
    Fork,
    Ints,
    Mapping,
    Recording,
    RecordingHealth,
    SampleBatch,
    ThreadName,
    Words,
)

_PORTION = 8 << 20
_LATEST = (1 << 63) - 1
_ROW_BYTES = 300
"""What a sample takes in columns, at least."""


class PerfData:
    """See the module. Raises UsageError when the file is missing, none of perf's, or too damaged to begin with."""

    def __init__(self, path: Path, batch_bytes: int = 64 << 20) -> None:
        self._batch_bytes = batch_bytes
        self._side_band = SideBand()
        self._records = RecordStream()
        self._unpacked = RecordStream()
        self._decompressor: Decompressor | None = None
        self._layouts: _Layouts | None = None
        self._waiting: list[SampleTable] = []
        self._waiting_bytes = 0
        self._pending: list[KernelRecords] = []
        self._rounds = 0
        self._before: deque[tuple[int, int]] = deque()
        self._newest = self._settled = -1
        self._first, self._last = _LATEST, -1
        self._samples = self._late = 0
        self._file = _open(path)
        try:
            self._begin(path)
        except BaseException:
            self._file.close()
            raise

    def _begin(self, path: Path) -> None:
        self._piped = read_magic(self._file)
        self._header = Header()
        self._left: int | None = None
        if self._piped:
            return
        self._header, (offset, size) = read_file_header(self._file)
        # perf writes the size of the records last: 0 when it was killed.
        self._left = size or None
        if offset >= path.stat().st_size:
            raise malformed("it has no records")
        self._file.seek(offset)

    def __enter__(self) -> PerfData:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Again: nothing."""
        self._file.close()

    def batches(self) -> Iterator[SampleBatch]:
        """The samples in the order of time. Raises UsageError when the file cannot be read on."""
        for portion in self._portions():
            for found in self._records.feed(portion):
                yield from self._take(found)
            yield from self._read_pending()
        self._records.finish()
        self._unpacked.finish()
        self._side_band.broken += self._records.broken + self._unpacked.broken + bool(self._left)
        yield from self._flush(_LATEST)

    def _portions(self) -> Iterator[bytes]:
        try:
            size = max(min(_PORTION, self._batch_bytes // 4), 1 << 16)
            while portion := self._file.read(size if self._left is None else min(size, self._left)):
                self._left = None if self._left is None else self._left - len(portion)
                yield portion
        except OSError as error:
            raise malformed(f"reading it failed: {error.strerror}") from error

    def _take(self, found: KernelRecords | PerfRecord) -> Iterator[SampleBatch]:
        if isinstance(found, KernelRecords):
            if self._pending and self._pending[-1].words is not found.words:
                yield from self._read_pending()
            self._pending.append(found)
        elif found.type in (stream.COMPRESSED, stream.COMPRESSED2):
            for piece in self._decompress(stream.compressed_payload(found)):
                for inner in self._unpacked.feed(piece):
                    if isinstance(inner, KernelRecords) or inner.type == stream.FINISHED_ROUND:
                        yield from self._take(inner)
        elif found.type == stream.FINISHED_ROUND:
            self._rounds += 1
        elif self._piped:
            self._note_header(found)

    def _read_pending(self) -> Iterator[SampleBatch]:
        """Read the records that wait, many rounds at once: a round may hold few samples."""
        if not self._pending:
            return
        words, position = self._pending[0].words, np.concatenate([one.position for one in self._pending])
        self._pending.clear()
        self._before.append((self._rounds, self._newest))
        self._read(KernelRecords(words, position))
        # perf drains every ring in a round: once a round has ended after the one that went on when a sample was read,
        # nothing older comes.
        while self._before and self._before[0][0] + 2 <= self._rounds:
            self._settled = self._before.popleft()[1]
        if self._waiting_bytes >= self._batch_bytes:
            yield from self._flush(self._settled)
        if self._waiting_bytes >= self._batch_bytes:
            # A round larger than memory allows, or a file without rounds: the older half must do.
            yield from self._flush(int(np.median(np.concatenate([table.time for table in self._waiting]))))

    def _note_header(self, found: PerfRecord) -> None:
        if found.type == stream.HEADER_ATTR and len(found.body) >= 64:
            size = int.from_bytes(found.body[4:8], "little")
            if not 64 <= size <= len(found.body):
                raise malformed(f"an event's attributes claim {size} bytes")
            self._header.add_event(found.body[:size], identifiers(found.body[size:]))
        elif found.type == stream.HEADER_FEATURE and len(found.body) >= 8:
            self._header.add_feature(int.from_bytes(found.body[:8], "little"), found.body[8:])
        elif found.type == stream.HEADER_BUILD_ID:
            self._header.build_ids |= dict(build_id_record(found.body, found.misc))

    def _decompress(self, payload: bytes) -> Iterator[bytes]:
        if self._decompressor is None:
            self._decompressor = Decompressor()
        return self._decompressor.feed(payload)

    def _read(self, found: KernelRecords) -> None:
        if self._layouts is None:
            self._layouts = _Layouts(self._header)
        index = index_at(found.words, found.position)
        is_sample = index.type == abi.RECORD_SAMPLE
        others = np.flatnonzero(np.isin(index.type, KINDS))
        room = self._side_band.room()
        self._side_band.broken += max(len(others) - room, 0)
        for row in others[:room].tolist():
            position, size = int(index.position[row]), int(index.size[row])
            body = found.words[position + 1 : position + size].tobytes()
            layout, trailer_words = self._layouts.of_other(body)
            self._side_band.add(
                int(index.type[row]),
                int(index.misc[row]),
                body,
                trailer_words,
                trailer_time(body, layout) if trailer_words else 0,
            )
        for layout, rows in self._layouts.of_samples(found.words, index, np.flatnonzero(is_sample)):
            table = decode(found.words, index.position[rows], index.misc[rows], index.size[rows], layout)
            self._side_band.broken += table.broken
            if len(table):
                self._waiting.append(self._layouts.with_periods(table, layout))
                self._newest = max(self._newest, int(table.time.max()))
        self._waiting_bytes += int(np.maximum(8 * index.size, _ROW_BYTES)[is_sample].sum())

    def _flush(self, until: int) -> Iterator[SampleBatch]:
        """What was sampled until then, as a batch; the rest waits."""
        tables, self._waiting, self._waiting_bytes = self._waiting, [], 0
        chosen = []
        for table in tables:
            old = table.time <= until
            chosen.append(np.flatnonzero(old))
            if not old.all():
                rest = table.copy(np.flatnonzero(~old))
                self._waiting.append(rest)
                self._waiting_bytes += _ROW_BYTES * len(rest) + len(rest.source)
        if not sum(len(rows) for rows in chosen) or self._layouts is None:
            return
        found = batch(
            tables, chosen, [self._layouts.events_of(table)[rows] for table, rows in zip(tables, chosen, strict=True)]
        )
        self._samples += len(found)
        self._late += int((found.time < self._last).sum())
        self._first, self._last = min(self._first, int(found.time[0])), max(self._last, int(found.time[-1]))
        yield found

    @property
    def kernel_build_id(self) -> str:
        """The build-id of the kernel it was recorded on, "" where the file does not tell (or not yet, in a pipe)."""
        return self._header.build_ids.get("[kernel.kallsyms]", "")

    @property
    def so_far(self) -> tuple[list[Mapping], list[ThreadName], list[Fork]]:
        """What is known of the processes by now, in the order it became known: these lists only grow."""
        return self._side_band.mappings, self._side_band.names, self._side_band.forks

    def finish(self) -> Recording:
        """Everything but the samples, after `batches` has ended."""
        layouts = self._layouts or _Layouts(self._header)
        side_band, build_ids = self._side_band, self._header.build_ids
        mappings = [
            one if one.build_id else replace(one, build_id=build_ids.get(one.path, "")) for one in side_band.mappings
        ]
        return Recording(
            machine=layouts.machine,
            events=tuple(event.as_event() for event in self._header.named_events()),
            start_ns=self._first if self._samples else 0,
            end_ns=self._last + 1,
            mappings=tuple(sorted(mappings, key=lambda one: one.time)),
            names=tuple(sorted(side_band.names, key=lambda one: one.time)),
            forks=tuple(sorted(side_band.forks, key=lambda one: one.time)),
            # perf counts losses when it ends, and the kernel did so in the rings.
            health=RecordingHealth(
                samples=self._samples,
                lost=max(side_band.lost, side_band.lost_samples),
                throttled=side_band.throttled,
                broken=side_band.broken,
            ),
            warnings=tuple(self._warnings(layouts)),
        )

    def _warnings(self, layouts: _Layouts) -> Iterator[tuple[str, str]]:
        lost = max(self._side_band.lost, self._side_band.lost_samples)
        if lost:
            yield "lost-samples", f"{lost} records were lost while it was recorded: perf record -m 8M, or a lower rate"
        if self._side_band.broken:
            yield (
                "broken-records",
                f"{self._side_band.broken} records of the file could not be read: it is damaged or cut off",
            )
        if self._late:
            yield "disordered", f"{self._late} samples stand in the file long after later ones"
        if not layouts.tells_events_apart:
            yield "events-mixed", "its samples do not say of which event they are: all are taken as the first"


class _Layouts:
    """Which layout a record of the file has, and which event a sample is of.

    Raises UsageError when the file has no event, or its samples cannot be told apart though they differ.
    """

    def __init__(self, header: Header) -> None:
        host = os.uname().machine
        self.machine = header.known_machine(host if host in REGISTERS else "x86_64")
        self._events = header.events
        if not self._events:
            raise malformed("it has no event")
        self._by_layout: dict[SampleLayout, list[RecordedEvent]] = {}
        for event in self._events:
            self._by_layout.setdefault(event.layout(self.machine), []).append(event)
        self._identified = all(layout.sample_type & abi.SAMPLE_IDENTIFIER for layout in self._by_layout)
        if len(self._by_layout) > 1 and not self._identified:
            raise malformed("its events have different fields and no PERF_SAMPLE_IDENTIFIER")
        self.tells_events_apart = len(self._events) == 1 or all(layout.identified for layout in self._by_layout)
        numbers = [(number, place) for place, event in enumerate(self._events) for number in event.identifiers]
        numbers.sort()
        self._numbers = np.array([number for number, _ in numbers], np.uint64)
        self._places = np.array([place for _, place in numbers], np.int64)

    def of_other(self, body: bytes) -> tuple[SampleLayout, int]:
        """The layout of a record that is no sample, and the words of its sample_id."""
        event = self._events[0]
        if len(self._by_layout) > 1 and len(body) >= 8:
            event = self._events[int(self._place(np.frombuffer(body[-8:], np.uint64))[0])]
        layout = event.layout(self.machine)
        return layout, layout.trailer_words if event.sample_id_all else 0

    def of_samples(self, words: Words, index: RecordIndex, rows: Ints) -> Iterator[tuple[SampleLayout, Ints]]:
        """Rows of samples by layout."""
        if len(self._by_layout) == 1:
            yield next(iter(self._by_layout)), rows
            return
        # The identifier is the first word; a sample without any word is broken whatever its layout.
        at = np.minimum(index.position[rows] + 1, len(words) - 1)
        place = self._place(words[at])
        for layout, events in self._by_layout.items():
            wanted = [number for number, event in enumerate(self._events) if event in events]
            yield layout, rows[np.isin(place, wanted)]

    def events_of(self, table: SampleTable) -> Ints:
        """The event of each sample, 0 where that is not known."""
        return self._place(table.identifier)

    def with_periods(self, table: SampleTable, layout: SampleLayout) -> SampleTable:
        """Fixed periods stand in the attributes, not in each sample."""
        if layout.sample_type & abi.SAMPLE_PERIOD:
            return table
        fixed = np.array([0 if event.flags & abi.FLAG_FREQUENCY else event.period for event in self._events], np.int64)
        return replace(table, period=fixed[self.events_of(table)])

    def _place(self, numbers: Words) -> Ints:
        if len(self._events) == 1 or not len(self._numbers):
            return np.zeros(len(numbers), np.int64)
        found = np.minimum(np.searchsorted(self._numbers, numbers), len(self._numbers) - 1)
        return np.where(self._numbers[found] == numbers, self._places[found], 0)


def _open(path: Path) -> BinaryIO:
    if path.is_dir():
        raise UsageError(
            f"{path} is a folder: perf record --threads writes several files", "record it without --threads"
        )
    try:
        return path.open("rb")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", "check the path; perf writes as its own user"
        ) from error
