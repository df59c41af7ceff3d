"""perf.data files: what is in them is read, and what is wrong with them is told."""

from __future__ import annotations

import importlib
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from perf_files import (
    FIELDS,
    ROUND,
    attributes,
    build_ids,
    event_names,
    header_attr,
    header_feature,
    piped,
    string,
    with_header,
)
from perf_records import Plain, Trailer, encode, name, record, words

from pytest_blcperf.capture import perf_event as abi
from pytest_blcperf.capture import zstd_stream
from pytest_blcperf.capture.perf_data import PerfData
from pytest_blcperf.errors import UsageError
from pytest_blcperf.model.recording import Recording

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="files are written little-endian here")

X86 = {6: string("x86_64")}
MAPPING = record(
    10,
    struct.pack("=iiQQQIIQQII", 5, 5, 0x1000, 0x1000, 0, 8, 1, 9, 0, 5, 2) + name("/lib/x.so") + Trailer().encode(),
    2,
)
Rows = list[tuple[int, int, int]]


def read(folder: Path, content: bytes, **options: int) -> tuple[Recording, Rows]:
    """The recording, and (time, event, period) of the samples as they came."""
    path = folder / "perf.data"
    path.write_bytes(content)
    rows: Rows = []
    with PerfData(path, **options) as file:
        for batch in file.batches():
            rows += zip(batch.time.tolist(), batch.event.tolist(), batch.period.tolist(), strict=True)
        return file.finish(), rows


def sample(time: int, identifier: int = 7, fields: int = FIELDS, **values: object) -> bytes:
    return encode(Plain(time=time, identifier=identifier, **values), fields)  # type: ignore[arg-type]


def times(rows: Rows) -> list[int]:
    return [row[0] for row in rows]


def test_samples_of_several_rings_come_in_the_order_of_time(tmp_path: Path) -> None:
    content = sample(10) + sample(30) + sample(20) + ROUND + MAPPING + sample(40) + sample(25) + ROUND
    recording, rows = read(tmp_path, with_header(content, features=X86 | {2: build_ids(("/lib/x.so", b"\xab" * 20))}))
    assert times(rows) == [10, 20, 25, 30, 40]
    assert (recording.start_ns, recording.end_ns, recording.machine) == (10, 41, "x86_64")
    assert [(one.path, one.time, one.build_id) for one in recording.mappings] == [("/lib/x.so", 1000, "ab" * 20)]
    assert recording.health.samples == 5 and not recording.warnings


def test_events_have_their_names_and_samples_their_events(tmp_path: Path) -> None:
    no_period = FIELDS & ~abi.SAMPLE_PERIOD
    events = [(attributes(), (7, 8)), (attributes(no_period, config=2, period=50), (9,))]
    content = sample(1, 8) + sample(2, 9, no_period) + sample(3, 7)
    names = event_names([("cpu-clock:u", (7, 8)), ("my-event", (9,))])
    recording, rows = read(tmp_path, with_header(content, events, X86 | {12: names}))
    assert [(event.name, event.unit) for event in recording.events] == [("cpu-clock:u", "ns"), ("my-event", "events")]
    assert rows == [(1, 0, 1_000_000), (2, 1, 50), (3, 0, 1_000_000)]
    unnamed, _ = read(tmp_path, with_header(content, events, X86))
    assert [event.name for event in unnamed.events] == ["cpu-clock", "page-faults"]


def test_events_that_cannot_be_told_apart_are_said_to_be_mixed(tmp_path: Path) -> None:
    fields = FIELDS & ~abi.SAMPLE_IDENTIFIER
    events = [(attributes(fields), (7,)), (attributes(fields, config=2), (8,))]
    recording, rows = read(tmp_path, with_header(sample(1, fields=fields), events, X86))
    assert rows[0][1] == 0 and "events-mixed" in dict(recording.warnings)
    events = [(attributes(fields), (7,)), (attributes(fields | abi.SAMPLE_CALLCHAIN), (8,))]
    with pytest.raises(UsageError, match="different fields"):
        read(tmp_path, with_header(sample(1, fields=fields), events, X86))


def test_a_pipe_with_records_that_end_between_words_and_payloads(tmp_path: Path) -> None:
    lying = sample(666) * 3
    content = piped(
        header_attr(attributes()),
        header_feature(6, string("aarch64") + bytes(4)),
        record(66, struct.pack("=I", len(lying))) + lying,
        sample(1),
        header_feature(2, build_ids(("/lib/x.so", b"\x01" * 8))),
        record(71, words(len(lying), 0, 0, 0, 0)) + lying,
        MAPPING,
        record(67, build_ids(("/bin/y", b"\x02" * 20))[8:], 1 << 15),
        sample(2),
    )
    recording, rows = read(tmp_path, content)
    assert times(rows) == [1, 2] and recording.machine == "aarch64"
    assert recording.mappings[0].build_id == "01" * 8
    assert recording.health.broken == 0


def zstd():
    """The module that compresses."""
    return pytest.importorskip("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")


@pytest.mark.parametrize("kind", [81, 83])
def test_compressed_records_are_one_stream_of_flushed_pieces(tmp_path: Path, kind: int) -> None:
    compressor = zstd().ZstdCompressor()
    inner = b"".join(sample(time) for time in range(100)) + MAPPING
    content = b""
    for at in range(0, len(inner), 1000):  # records lie across pieces
        piece = compressor.compress(inner[at : at + 1000], compressor.FLUSH_BLOCK)
        if kind == 83:
            piece = struct.pack("=Q", len(piece)) + piece.ljust(-(-len(piece) // 8) * 8, b"\0")
        content += record(kind, piece) + ROUND
    recording, rows = read(tmp_path, with_header(content + sample(1000), features=X86))
    assert times(rows) == [*range(100), 1000]
    assert len(recording.mappings) == 1 and recording.health.broken == 0
    magic = content.index(b"\x28\xb5\x2f\xfd")
    damaged = content[:magic] + b"\xff" + content[magic + 1 :]
    with pytest.raises(UsageError, match="damaged"):
        read(tmp_path, with_header(damaged, features=X86))


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch) -> None:
    bomb = zstd().compress(record(abi.RECORD_SAMPLE, bytes(56)) * (1 << 15))
    monkeypatch.setattr(zstd_stream, "MOST_FROM_ONE_INPUT", 1 << 20)
    with pytest.raises(UsageError, match="more than 1 MiB"):
        read(tmp_path, with_header(record(81, bomb), features=X86))


def test_without_zstandard_the_command_that_installs_it_is_named(tmp_path: Path, monkeypatch) -> None:
    real = importlib.import_module

    def missing(wanted: str) -> object:
        if "zstd" in wanted:
            raise ImportError(wanted)
        return real(wanted)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UsageError, match="compressed") as caught:
        read(tmp_path, with_header(record(81, bytes(8)), features=X86))
    assert "pip install 'pytest-blcperf[perfdata]'" in caught.value.hint


def test_a_file_larger_than_the_memory_it_may_take(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    content = b""
    for start in range(0, 20_000, 1000):
        content += b"".join(sample(int(start + time)) for time in rng.permutation(1000)) + ROUND
    with_header_content = with_header(content, features=X86)
    path = tmp_path / "perf.data"
    path.write_bytes(with_header_content)
    with PerfData(path, batch_bytes=1 << 20) as file:
        sizes = []
        found: list[int] = []
        for batch in file.batches():
            sizes.append(len(batch))
            found += batch.time.tolist()
        assert not dict(file.finish().warnings)
    assert found == list(range(20_000))
    assert max(sizes) < 8000


def test_what_is_lost_is_counted_once(tmp_path: Path) -> None:
    lost = record(2, words(7, 5) + Trailer().encode()) + record(13, words(5) + Trailer().encode())
    recording, _ = read(tmp_path, with_header(sample(1) + lost, features=X86))
    assert recording.health.lost == 5 and "5 records were lost" in dict(recording.warnings)["lost-samples"]


def test_a_damaged_record_ends_the_reading_and_is_told(tmp_path: Path) -> None:
    recording, rows = read(tmp_path, with_header(sample(1) + struct.pack("=IHH", 9, 0, 4) + sample(2), features=X86))
    assert times(rows) == [1] and "broken-records" in dict(recording.warnings)


def test_a_recording_that_was_killed_has_no_size_and_no_features(tmp_path: Path) -> None:
    content = bytearray(with_header(sample(1) + sample(2)))
    content[48:56] = bytes(8)
    _, rows = read(tmp_path, bytes(content))
    assert times(rows) == [1, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "PERFILE2"),
        (b"\x7fELF" + bytes(100), "PERFILE2"),
        (b"2ELIFREP" + bytes(100), "big-endian"),
        (b"PERFILE2" + struct.pack("=Q", 50) + bytes(100), "claims 50 bytes"),
        (b"PERFILE2" + struct.pack("=Q", 104) + bytes(50), "cut off"),
        (b"PERFILE2" + struct.pack("=QQ", 104, 1 << 40) + bytes(200), "attributes have"),
        (b"PERFILE2" + struct.pack("=QQQQ", 104, 144, 104, 1 << 60) + bytes(200), "cut off"),
        (with_header(sample(1), features={6: string("s390x")}), "s390x"),
        (piped(sample(1)), "no event"),
        (piped(header_attr(attributes()[:4] + struct.pack("=I", 9999) + attributes()[8:])), "claim 9999"),
        (piped(*[header_attr(attributes())] * 5000), "more than 4096 events"),
        (with_header(b""), "no records"),
    ],
)
def test_what_is_no_file_of_perf_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        read(tmp_path, content)
    assert "\n" not in caught.value.message and caught.value.hint


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        PerfData(tmp_path / "nothing")
    with pytest.raises(UsageError, match="is a folder"):
        PerfData(tmp_path)


SEED = with_header(
    sample(1, kernel=(1, 2), fields=FIELDS | abi.SAMPLE_CALLCHAIN) + MAPPING + ROUND,
    [(attributes(FIELDS | abi.SAMPLE_CALLCHAIN), (7,))],
    X86 | {2: build_ids(("/lib/x.so", b"\xab" * 20)), 12: event_names([("cpu-clock", (7,))])},
)
PIPE = piped(header_attr(attributes()), header_feature(6, string("x86_64")), sample(1), MAPPING, ROUND)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([SEED, PIPE]), st.data())
def test_changed_bytes_are_refused_or_read(tmp_path: Path, seed: bytes, data: st.DataObject) -> None:
    content = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    try:
        recording, rows = read(tmp_path, bytes(content))
    except UsageError:
        return
    assert recording.health.samples == len(rows) <= 40
