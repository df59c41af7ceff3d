"""Launches on disk: `CELL.jsonl.gz`, a line of JSON a launch, each line a gzip member of its own: appending is safe."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_blcperf.model.environment import Environment
from pytest_blcperf.model.run import Benchmark, Run
from pytest_blcperf.store import run_file

NOWHERE = Environment("", "", 0, 0, "", "", "", "")
SUFFIX = ".jsonl.gz"


def append(file: Path, record: Mapping[str, Any]) -> None:
    """Add a record at the end."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as target:
        target.write(_packed(record))


def records(file: Path) -> list[dict[str, Any]]:
    """All records, oldest first; one that was cut off at the end is left out."""
    found = []
    for line in _text(file).splitlines(keepends=True):
        if line.endswith("\n"):
            found.append(json.loads(line))
    return found


def mend(file: Path) -> None:
    """Take off a record that was cut off, so that others can follow."""
    kept = b"".join(_packed(record) for record in records(file))
    if file.exists() and _ends_badly(file):
        file.write_bytes(kept)


def benchmark_data(benchmark: Benchmark) -> dict[str, Any]:
    """A benchmark as the documents of a run file that holds it alone."""
    return run_file._encode(Run("", "2000-01-01T00:00:00Z", "", False, NOWHERE, (benchmark,)))


def benchmark_from(documents: Mapping[str, Any]) -> Benchmark:
    """The benchmark again."""
    return run_file._decode(documents.__getitem__).benchmarks[0]


def _packed(record: Mapping[str, Any]) -> bytes:
    return gzip.compress(json.dumps(record, separators=(",", ":")).encode() + b"\n", 9)


def _members(file: Path) -> tuple[list[bytes], bool]:
    """What the gzip members hold, and whether the last one is whole."""
    left = file.read_bytes() if file.exists() else b""
    found = []
    while left:
        one = zlib.decompressobj(31)
        try:
            found.append(one.decompress(left))
        except zlib.error:
            return found, False
        if not one.eof:
            return found[:-1], False
        left = one.unused_data
    return found, True


def _text(file: Path) -> str:
    return b"".join(_members(file)[0]).decode()


def _ends_badly(file: Path) -> bool:
    return not _members(file)[1]
