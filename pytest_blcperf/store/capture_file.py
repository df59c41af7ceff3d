"""Capture files: `NAME.blcperf`, a zip of `captures.json` and the samples of each capture as columns (docs/formats.md).

A capture has up to millions of samples. As JSON they would take 17 bytes each and seconds to read; here a column is one
member of little-endian integers in the smallest type that holds them, rising columns as differences. Read as strictly
as a run file: nothing is trusted, nothing unpacked to disk, no pickle.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_blcperf import __version__
from pytest_blcperf.errors import BaselineError
from pytest_blcperf.model.capture import Capture, CaptureHealth, ObjectFile, Thread
from pytest_blcperf.model.recording import MODE_GUEST_USER, RecordingHealth
from pytest_blcperf.model.syscalls import SyscallCount, Syscalls
from pytest_blcperf.store import archive, run_file
from pytest_blcperf.store.atomic import replacing
from pytest_blcperf.store.checked import Fields, MalformedError, bounded, loads, same_length, show
from pytest_blcperf.store.columns import functions_from_columns, functions_to_columns

VERSION = 1
SCHEMA = f"blcperf.capture/{VERSION}"
SUFFIX = run_file.SUFFIX

HEAD = "captures.json"
CAPTURE_LIMIT = 64
"""Captures in a file: one an event."""
SAMPLE_LIMIT = 10_000_000
"""Entries of a column: 80 MB each in memory."""
_TIME_LIMIT = 10**17
"""ns: three years."""
_COUNT_LIMIT = 10**12
_WEIGHT_LIMIT = 10**17
_SUM_LIMIT = 2.0**62
_SYSCALL_LIMIT = 100_000
_ID_LIMIT = 2**32

Ints = npt.NDArray[np.int64]
_TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "i8")
_SAMPLES = ("time", "thread", "cpu", "mode", "stack", "weight", "place")
_PLACES = ("place_object", "place_address")
_STACKS = ("stack_offsets", "stack_functions")
_COLUMNS = (*_SAMPLES, *_PLACES, *_STACKS)
_RISING = ("time", "stack_offsets")


def write(captures: Sequence[Capture], path: Path) -> None:
    """Writes the captures, whole or not at all; the same captures always give the same bytes.

    Raises BaselineError when they break the format's limits or the file cannot be written.
    """
    try:
        members = encode(captures)
        _decode(members.__getitem__)
        with replacing(path) as file:
            archive.write(file, members)
    except MalformedError as error:
        raise BaselineError(f"{path}: the capture cannot be saved: {error}", "see docs/formats.md") from error
    except OSError as error:
        raise BaselineError(
            f"{path}: cannot be written: {error.strerror}", "check its folder and the free space"
        ) from error


def read(path: Path) -> tuple[Capture, ...]:
    """The captures in a file, at least one.

    Raises BaselineError when the file is missing, damaged, holds no capture, or is of a version not known here.
    """
    try:
        with archive.reading(path) as members:
            return _decode(members.read)
    except MalformedError as error:
        raise BaselineError(f"{path}: not a readable capture: {error}", "record again with `blcperf record`") from error
    except BaselineError as error:
        raise BaselineError(f"{path}: {error.message}", error.hint) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise BaselineError(f"{path}: cannot be read: {reason}", "check the path") from error


def holds_captures(path: Path) -> bool:
    """Whether the file is a sound archive with captures in it; only its directory is read."""
    try:
        with archive.reading(path) as members:
            return HEAD in members.names
    except (MalformedError, OSError, ValueError):
        return False


def encode(captures: Sequence[Capture]) -> dict[str, bytes]:
    """The members of a capture file by name."""
    members: dict[str, bytes] = {}
    heads = []
    for number, capture in enumerate(captures, 1):
        shapes = {}
        for name in _COLUMNS:
            shapes[name], members[_member(number, name)] = _pack(getattr(capture, name), name in _RISING)
        heads.append(_head(capture, shapes))
    head = {"schema": SCHEMA, "writer": f"pytest-blcperf {__version__}", "captures": heads}
    text = json.dumps(head, separators=(",", ":"), allow_nan=False)
    return {HEAD: text.encode("ascii"), **members}


def _member(number: int, column: str) -> str:
    return f"captures/{number:04}/{column}.bin"


def _pack(column: Ints, rising: bool) -> tuple[dict[str, Any], bytes]:
    """A column as its description and its bytes."""
    values = np.diff(column, prepend=0) if rising and len(column) else column
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    kind = next(one for one in _TYPES if np.iinfo(one).min <= low and high <= np.iinfo(one).max)
    description = {"type": kind, "length": len(values), "differences": rising}
    return description, values.astype(f"<{kind}").tobytes()


def _head(capture: Capture, columns: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "event": bounded(capture.event),
        "unit": bounded(capture.unit),
        "backend": bounded(capture.backend),
        "started": capture.started,
        "duration_ns": int(capture.duration_ns),
        "target": bounded(capture.target),
        "self_time": bool(capture.self_time),
        "functions": functions_to_columns(capture.functions),
        "objects": {
            "path": [bounded(one.path) for one in capture.objects],
            "build_id": [bounded(one.build_id) for one in capture.objects],
        },
        "threads": {
            "process": [int(one.process) for one in capture.threads],
            "thread": [int(one.thread) for one in capture.threads],
            "name": [bounded(one.name) for one in capture.threads],
            "process_name": [bounded(one.process_name) for one in capture.threads],
        },
        "columns": dict(columns),
        "environment": run_file.environment_data(capture.environment),
        "settings": run_file.plain_table(capture.settings),
        "counters": {bounded(name): float(value) for name, value in capture.counters.items()},
        "health": {
            "recording": asdict(capture.health.recording),
            "truncated": int(capture.health.truncated),
            "unknown_frames": int(capture.health.unknown_frames),
            "frames": int(capture.health.frames),
        },
        "warnings": run_file.warnings_data(capture.warnings),
        **({} if capture.syscalls is None else {"syscalls": _syscalls_data(capture.syscalls)}),
    }


def _syscalls_data(syscalls: Syscalls) -> dict[str, Any]:
    counts = syscalls.counts[:_SYSCALL_LIMIT]
    return {
        "traced_ns": syscalls.traced_ns,
        "window_ns": syscalls.window_ns,
        "lost": syscalls.lost,
        "process": [one.process for one in counts],
        "number": [one.number for one in counts],
        "name": [bounded(one.name) for one in counts],
        "calls": [one.calls for one in counts],
        "time_ns": [one.time_ns for one in counts],
    }


# ---- reading


def _decode(get: Callable[[str], bytes]) -> tuple[Capture, ...]:
    """Captures from members by name. Raises MalformedError, BaselineError for a newer version."""
    try:
        head = Fields(loads(get(HEAD)), "")
    except KeyError:
        raise MalformedError(f"{HEAD} is missing") from None
    _check_version(head.get("schema"))
    captures = head.objects("captures")
    if not 1 <= len(captures) <= CAPTURE_LIMIT:
        raise MalformedError(f"captures: expected 1 to {CAPTURE_LIMIT}, not {len(captures):,}")
    return tuple(_capture(fields, get, number) for number, fields in enumerate(captures, 1))


def _check_version(schema: object) -> None:
    family, _, version = schema.partition("/") if isinstance(schema, str) else ("", "", "")
    if family != "blcperf.capture" or not (version.isascii() and version.isdigit()) or len(version) > 9:
        raise MalformedError(f"schema: expected {SCHEMA}, not {show(schema)}")
    if int(version) != VERSION:
        raise BaselineError(
            f"written by a newer pytest-blcperf (schema blcperf.capture/{int(version)}); this one reads {SCHEMA}",
            "upgrade: python -m pip install --upgrade pytest-blcperf",
        )


def _capture(fields: Fields, get: Callable[[str], bytes], number: int) -> Capture:
    functions = functions_from_columns(fields.fields("functions"))
    objects, threads = _objects(fields.fields("objects")), _threads(fields.fields("threads"))
    shapes = fields.fields("columns")
    columns = {name: _unpack(shapes.fields(name), get, _member(number, name)) for name in _COLUMNS}
    for group in (_SAMPLES, _PLACES):
        same_length(shapes.where, *[range(len(columns[name])) for name in group])
    duration = fields.integer("duration_ns", 0, _TIME_LIMIT)
    _check_stacks(columns, len(functions))
    _check_samples(columns, len(threads), duration)
    _between(columns["place_object"], -1, len(objects) - 1, "place_object")
    return Capture(
        functions=functions,
        objects=objects,
        threads=threads,
        **columns,
        event=fields.text("event"),
        unit=fields.text("unit"),
        backend=fields.text("backend"),
        started=fields.text("started", rf"({run_file.CREATED})?"),
        duration_ns=duration,
        target=fields.text("target"),
        self_time=fields.flag("self_time"),
        environment=run_file.environment_from(fields.fields("environment")),
        settings=fields.free("settings"),
        counters=fields.number_table("counters", 1_000),
        health=_health(fields.fields("health")),
        warnings=run_file.warnings_from(fields),
        syscalls=_syscalls(fields.fields("syscalls")) if fields.given("syscalls") else None,
    )


def _syscalls(fields: Fields) -> Syscalls:
    columns = (
        fields.integers("process", -1, _ID_LIMIT),
        fields.integers("number", 0, _ID_LIMIT),
        fields.texts("name"),
        fields.integers("calls", 0, _COUNT_LIMIT),
        fields.integers("time_ns", 0, _TIME_LIMIT),
    )
    same_length(fields.where, *columns)
    if len(columns[0]) > _SYSCALL_LIMIT:
        raise MalformedError(f"{fields.where}: more than {_SYSCALL_LIMIT:,} rows")
    window = fields.integer("window_ns", 0, _TIME_LIMIT)
    return Syscalls(
        tuple(map(SyscallCount, *columns)),
        traced_ns=fields.integer("traced_ns", 0, window),
        window_ns=window,
        lost=fields.integer("lost", 0, _COUNT_LIMIT),
    )


def _unpack(shape: Fields, get: Callable[[str], bytes], name: str) -> Ints:
    """A column again, as 64-bit integers; its bytes must be exactly as many as it says."""
    kind = shape.text("type", "|".join(_TYPES))
    length = shape.integer("length", 0, SAMPLE_LIMIT)
    try:
        data = get(name)
    except KeyError:
        raise MalformedError(f"{name} is missing") from None
    if len(data) != length * np.dtype(kind).itemsize:
        raise MalformedError(f"{shape.where}: {len(data):,} bytes are not {length:,} numbers of type {kind}")
    column = np.frombuffer(data, f"<{kind}").astype(np.int64)
    if not shape.flag("differences"):
        return column
    # Sums of what may be anything: in floating point first, which cannot wrap round.
    if len(column) and float(np.abs(column.astype(np.float64)).sum()) > _SUM_LIMIT:
        raise MalformedError(f"{shape.where}: numbers out of range")
    return np.cumsum(column)


def _between(column: Ints, low: int, high: int, name: str) -> None:
    if len(column) and not low <= int(column.min()) <= int(column.max()) <= high:
        raise MalformedError(f"column {name}: {int(column.min())} to {int(column.max())} is not within {low} to {high}")


def _check_stacks(columns: Mapping[str, Ints], functions: int) -> None:
    offsets, frames = columns["stack_offsets"], columns["stack_functions"]
    rising = len(offsets) > 0 and offsets[0] == 0 and offsets[-1] == len(frames) and bool((np.diff(offsets) >= 0).all())
    if not rising:
        raise MalformedError(f"column stack_offsets: must rise from 0 to {len(frames)}, the number of frames")
    _between(frames, 0, functions - 1, "stack_functions")


def _check_samples(columns: Mapping[str, Ints], threads: int, duration: int) -> None:
    time, weight = columns["time"], columns["weight"]
    _between(time, 0, max(duration, 0), "time")
    if not bool((np.diff(time) >= 0).all()):
        raise MalformedError("column time: must rise")
    limits = {
        "thread": (0, threads - 1),
        "cpu": (-1, 1_000_000),
        "mode": (0, MODE_GUEST_USER),
        "stack": (0, len(columns["stack_offsets"]) - 2),
        "weight": (0, _WEIGHT_LIMIT),
        "place": (-1, len(columns["place_object"]) - 1),
    }
    for name, (low, high) in limits.items():
        _between(columns[name], low, high, name)
    if float(weight.sum(dtype=np.float64)) > _SUM_LIMIT:
        raise MalformedError("column weight: the sum does not fit in 64 bits")


def _objects(fields: Fields) -> tuple[ObjectFile, ...]:
    columns = fields.texts("path"), fields.texts("build_id")
    same_length(fields.where, *columns)
    return tuple(map(ObjectFile, *columns))


def _threads(fields: Fields) -> tuple[Thread, ...]:
    columns = (
        fields.integers("process", -1, _ID_LIMIT),
        fields.integers("thread", -1, _ID_LIMIT),
        fields.texts("name"),
        fields.texts("process_name"),
    )
    same_length(fields.where, *columns)
    return tuple(map(Thread, *columns))


def _health(fields: Fields) -> CaptureHealth:
    recording = fields.fields("recording")
    names = ("samples", "lost", "throttled", "broken", "outside")
    counts = {name: recording.integer(name, 0, _COUNT_LIMIT) for name in names}
    rest = {name: fields.integer(name, 0, _COUNT_LIMIT) for name in ("truncated", "unknown_frames", "frames")}
    return CaptureHealth(RecordingHealth(**counts), **rest)
