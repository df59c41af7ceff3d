"""`.blcperf/calibration.json`: what `blcperf calibrate` measured here (docs/calibration.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pytest_blcperf.errors import BaselineError
from pytest_blcperf.model.calibration import BenchmarkNoise, CalibrationRecord, Noise
from pytest_blcperf.store import folder
from pytest_blcperf.store.atomic import replacing
from pytest_blcperf.store.checked import Fields, MalformedError, bounded, loads, show, unique
from pytest_blcperf.store.run_file import CREATED, environment_data, environment_from

SCHEMA = "blcperf.calibration/1"
NAME = "calibration.json"
_SIZE_LIMIT = 16 << 20
_MANY = 1_000_000


def path_in(root: Path) -> Path:
    """Where the calibration of a repository is kept."""
    return root / folder.NAME / NAME


def write(record: CalibrationRecord, root: Path) -> Path:
    """Writes the record in place of an older one; returns the file. Raises BaselineError when it cannot be written."""
    path = folder.ensure(root) / NAME
    text = json.dumps(as_data(record), indent=2, allow_nan=False) + "\n"
    try:
        with replacing(path) as file:
            file.write(text.encode("ascii"))
    except OSError as error:
        raise BaselineError(f"{path}: cannot be written: {error.strerror}", "check the folder's permissions") from error
    return path


def read(root: Path) -> CalibrationRecord | None:
    """The calibration of a repository, None where there is none. Raises BaselineError for a damaged file."""
    path = path_in(root)
    try:
        with path.open("rb") as file:
            data = file.read(_SIZE_LIMIT + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BaselineError(f"{path}: cannot be read: {error.strerror}", "check the file's permissions") from error
    try:
        if len(data) > _SIZE_LIMIT:
            raise MalformedError(f"more than {_SIZE_LIMIT:,} bytes")
        return from_data(loads(data))
    except MalformedError as error:
        raise BaselineError(f"{path}: {error}", "measure again with `blcperf calibrate`, or remove the file") from None


def as_data(record: CalibrationRecord) -> dict[str, Any]:
    """The record as JSON data: SDs of log ratios, seconds."""
    return {
        "schema": SCHEMA,
        "created": record.created,
        "environment": environment_data(record.environment),
        "backend": bounded(record.backend),
        "rate": record.rate,
        "profile_window": record.profile_window,
        "rounds": record.rounds,
        "pooled": {"between_launches": record.pooled.between_launches, "dispersion": record.pooled.dispersion},
        "benchmarks": [
            {
                "id": bounded(one.id),
                "launches": one.launches,
                "seconds": one.seconds,
                "spread": one.spread,
                "between_launches": one.between_launches,
                "freedom": one.freedom,
                "dispersion": one.dispersion,
            }
            for one in record.benchmarks
        ],
    }


def from_data(data: Any) -> CalibrationRecord:
    """The record again. Raises MalformedError, naming the place and the value seen."""
    fields = Fields(data, "")
    if fields.get("schema") != SCHEMA:
        raise MalformedError(f"schema {show(fields.get('schema'))}, and this release reads {SCHEMA}")
    benchmarks = tuple(_benchmark(one) for one in fields.objects("benchmarks"))
    unique((one.id for one in benchmarks), "benchmarks")
    pooled = fields.fields("pooled")
    return CalibrationRecord(
        created=fields.text("created", CREATED),
        environment=environment_from(fields.fields("environment")),
        backend=fields.text("backend"),
        rate=fields.integer("rate", 0, _MANY),
        profile_window=fields.number("profile_window", 0, _MANY),
        rounds=fields.integer("rounds", 0, _MANY),
        pooled=Noise(pooled.number("between_launches", 0, 10), _dispersion(pooled)),
        benchmarks=benchmarks,
    )


def _benchmark(fields: Fields) -> BenchmarkNoise:
    return BenchmarkNoise(
        id=fields.text("id"),
        launches=fields.integer("launches", 0, _MANY),
        seconds=fields.number("seconds", 0, 1e9),
        spread=fields.number("spread", 0, 10),
        between_launches=fields.number("between_launches", 0, 10),
        freedom=fields.integer("freedom", 0, _MANY),
        dispersion=_dispersion(fields),
    )


def _dispersion(fields: Fields) -> float | None:
    return fields.added_number("dispersion", 0, _MANY)
