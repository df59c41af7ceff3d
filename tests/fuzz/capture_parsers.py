"""Changed and random bytes for every parser of the capture engine: the kernel's records, maps files, perf.data.

Run from the repository root; the results stand in docs/performance.md:

    PYTHONPATH=.:tests python tests/fuzz/capture_parsers.py --inputs 100000

A parser may refuse with a BlcperfError or count what is broken. Anything else ends this script with the input. Printed:
inputs, refusals, the slowest input, and the memory of the process at its highest.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from perf_files import FIELDS, ROUND, attributes, build_ids, event_names, header_attr, header_feature, piped, string
from perf_files import with_header as whole_file
from perf_records import ALL_FIELDS, Plain, Trailer, encode, name, record, words

from pytest_blcperf.capture import perf_event as abi
from pytest_blcperf.capture.perf_data import PerfData
from pytest_blcperf.capture.proc_maps import parse
from pytest_blcperf.capture.records import SampleLayout, batch, decode, index_records
from pytest_blcperf.capture.side_band import KINDS, SideBand, trailer_time
from pytest_blcperf.errors import BlcperfError

SAMPLES = (
    Plain(
        kernel=(1, 2, 3), user=(4, 5), registers=tuple(range(20)), stack=bytes(40), stack_room=64, branches=2, read=2
    ),
    Plain(time=5),
    Plain(registers=tuple(range(20)), stack_room=4096, stack=bytes(4096)),
)
OTHERS = b"".join(
    record(kind, body + Trailer().encode(), misc)
    for kind, body, misc in (
        (10, bytes(range(64)) + name("/lib/x.so"), 2),
        (10, bytes(range(64)) + name("/lib/x.so"), abi.MISC_MMAP_BUILD_ID),
        (1, bytes(range(32)) + name("//anon"), 2),
        (3, bytes(8) + name("worker"), abi.MISC_COMM_EXEC),
        (7, bytes(24), 0),
        (4, bytes(24), 0),
        (2, words(1, 2), 0),
        (5, words(1, 2, 3), 0),
        (13, words(3), 0),
    )
)
MAPS = b"55d0-55e0 r-xp 00001000 08:01 42   /usr/bin/a b (deleted)\nff00-ff10 r-xp 0 00:00 0 [vdso]\n"


def kernel_records(data: bytes, rng: random.Random) -> None:
    """The walk, the columns and the side band, with any layout."""
    layout = SampleLayout(
        "x86_64",
        rng.getrandbits(17),
        rng.getrandbits(5),
        rng.getrandbits(20),
        rng.choice([0xFF0FFF, rng.getrandbits(24)]),
    )
    content = np.frombuffer(data[: len(data) // 8 * 8], np.uint64)
    index = index_records(content, [(0, len(content))])
    rows = np.flatnonzero(index.type == abi.RECORD_SAMPLE)
    table = decode(content, index.position[rows], index.misc[rows], index.size[rows], layout)
    found = batch([table], [np.arange(len(table))], [np.zeros(len(table), np.int64)])
    assert len(found.stack) + 8 * len(found.chain) <= len(data)
    side_band = SideBand()
    for row in np.flatnonzero(np.isin(index.type, KINDS)).tolist():
        body = content[index.position[row] + 1 : index.position[row] + index.size[row]].tobytes()
        side_band.add(
            int(index.type[row]), int(index.misc[row]), body, layout.trailer_words, trailer_time(body, layout)
        )


def maps_file(data: bytes, _rng: random.Random) -> None:
    """/proc/PID/maps."""
    assert len(list(parse(data, 1))) <= data.count(b"\n") + data.count(b"\r") + 40


def file_reader(folder: Path) -> Callable[[bytes, random.Random], None]:
    """perf.data, from a file."""
    path = folder / "perf.data"

    def read(data: bytes, rng: random.Random) -> None:
        path.write_bytes(data)
        with PerfData(path, batch_bytes=rng.choice([300, 1 << 16, 64 << 20])) as file:
            number = sum(len(found) for found in file.batches())
            assert file.finish().health.samples == number

    return read


def seeds_of_records() -> list[bytes]:
    return [encode(one, fields) * 3 + OTHERS for one in SAMPLES for fields in (ALL_FIELDS, FIELDS, FIELDS | 1 << 5)]


def seeds_of_files() -> list[bytes]:
    features = {6: string("x86_64"), 2: build_ids(("/lib/x.so", b"\1" * 20)), 12: event_names([("cpu-clock", (7,))])}
    full = FIELDS | abi.SAMPLE_CALLCHAIN | abi.SAMPLE_REGISTERS_USER | abi.SAMPLE_STACK_USER
    plain = encode(SAMPLES[1], FIELDS) * 5 + OTHERS + ROUND + encode(SAMPLES[1], FIELDS) + ROUND
    with_stacks = b"".join(encode(one, full) for one in SAMPLES) + OTHERS + ROUND
    two = [(attributes(), (7,)), (attributes(full, mask=0xFF0FFF), (8,))]
    found = [
        whole_file(plain, features=features),
        whole_file(with_stacks, [(attributes(full, mask=0xFF0FFF), (7,))], features),
        whole_file(plain, two, features),
        piped(
            header_attr(attributes()),
            header_feature(6, string("x86_64")),
            plain,
            record(66, bytes([16, 0, 0, 0])),
            bytes(16),
        ),
    ]
    compressed = _compress(plain * 4)
    if compressed:
        # Half a portion, and the rest: records lie across pieces.
        pieces = [compressed[: len(compressed) // 2], compressed[len(compressed) // 2 :]]
        found.append(whole_file(b"".join(record(81, piece) + ROUND for piece in pieces), features=features))
        found.append(piped(header_attr(attributes()), *[record(83, words(len(piece)) + piece) for piece in pieces]))
    return found


def _compress(data: bytes) -> bytes:
    try:
        from backports import zstd
    except ImportError:
        return b""
    return bytes(zstd.compress(data))


def changed(seed: bytes, rng: random.Random) -> bytes:
    """The seed with some bytes changed, cut out, doubled, cut off, or numbers made extreme."""
    data = bytearray(seed)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        at = rng.randrange(len(data)) if data else 0
        what = rng.randrange(6)
        if what <= 1:
            data[at : at + 1] = bytes([rng.getrandbits(8)])
        elif what == 2:
            wide = rng.choice([2, 4, 8])
            at -= at % wide
            data[at : at + wide] = rng.choice([0, 1, 8, 0x7F << 8 * (wide - 1), (1 << 8 * wide) - 1]).to_bytes(
                wide, "little"
            )
        elif what == 3:
            del data[at : at + 8 * rng.randrange(4)]
        elif what == 4:
            data[at:at] = data[at : at + 8 * rng.randrange(40)]
        else:
            del data[max(at, len(data) // 2) :]
    return bytes(data)


def fuzz(
    title: str, parser: Callable[[bytes, random.Random], None], seeds: list[bytes], inputs: int, seed: int
) -> None:
    """Feed the parser; a failure is raised after its input has been printed."""
    rng = random.Random(seed)
    refused, slowest = 0, 0.0
    began = time.perf_counter()
    for number in range(inputs):
        data = rng.randbytes(rng.randrange(400)) if number % 20 == 0 else changed(rng.choice(seeds), rng)
        start = time.perf_counter()
        try:
            parser(data, rng)
        except BlcperfError:
            refused += 1
        except BaseException:
            print(f"{title}: input {number} of seed {seed}: {data.hex()}", file=sys.stderr)
            raise
        slowest = max(slowest, time.perf_counter() - start)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(
        f"{title}: {inputs} inputs, {refused} refused, slowest {slowest * 1000:.0f} ms, "
        f"{time.perf_counter() - began:.0f} s, at most {memory} MiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        fuzz("kernel records", kernel_records, seeds_of_records(), given.inputs, given.seed)
        fuzz("maps files", maps_file, [MAPS], given.inputs, given.seed)
        fuzz("perf.data", file_reader(Path(folder)), seeds_of_files(), given.inputs, given.seed)


if __name__ == "__main__":
    main()
