"""Launches on disk: `CELL.jsonl.gz`, a line of JSON a launch, each line a gzip member of its own: appending is safe."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_blcperf.model.environment import Environment
from pytest_blcperf.model.run import Benchmark, Run
from pytest_blcperf.store import run_file

NOWHERE = Environment("", "", 0, 0, "", "", "", "")
SUFFIX = ".jsonl.gz"


def append(file: Path, record: Mapping[str, Any]) -> None:
    """Add a record at the end."""
    data = gzip.compress(json.dumps(record, separators=(",", ":")).encode(), 9)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as target:
        target.write(data)


def records(file: Path) -> Iterator[dict[str, Any]]:
    """All records, oldest first; the end of a file that was cut off is left out."""
    if not file.exists():
        return
    try:
        with gzip.open(file, "rt") as lines:
            for line in lines:
                yield json.loads(line)
    except (EOFError, gzip.BadGzipFile):
        return


def benchmark_data(benchmark: Benchmark) -> dict[str, Any]:
    """A benchmark as the documents of a run file that holds it alone."""
    run = Run("", "2000-01-01T00:00:00Z", "", False, NOWHERE, (benchmark,))
    return run_file._encode(run)


def benchmark_from(documents: Mapping[str, Any]) -> Benchmark:
    """The benchmark again."""
    return run_file._decode(documents.__getitem__).benchmarks[0]
