"""Run files: `NAME.blcperf`, a zip of `run.json` and one profile a benchmark (docs/formats.md).

A run file may come from a pull request of a stranger: reading never trusts it, and a file that could not be read again
is never written.
"""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pytest_blcperf import __version__
from pytest_blcperf.errors import BaselineError
from pytest_blcperf.model.environment import Environment
from pytest_blcperf.model.metric import Metric
from pytest_blcperf.model.profile import Profile
from pytest_blcperf.model.run import CONFIRM, LOOK, Benchmark, Instructions, Launch, Run
from pytest_blcperf.model.warning import Warning
from pytest_blcperf.store import archive, pprof
from pytest_blcperf.store.atomic import replacing
from pytest_blcperf.store.checked import DEPTH_LIMIT, Fields, MalformedError, bounded, loads, show, unique
from pytest_blcperf.store.columns import (
    LAUNCH_LIMIT,
    LINE_LIMIT,
    counts_from_columns,
    counts_to_columns,
    function_times_from_columns,
    function_times_to_columns,
    instructions_from_columns,
    instructions_to_columns,
    profile_from_columns,
    profile_to_columns,
    rounds_from_columns,
    rounds_to_columns,
)

VERSION = 1
SCHEMA = f"blcperf.run/{VERSION}"
SUFFIX = ".blcperf"

_RUN = "run.json"
CREATED = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|\+00:00)?"
"""A point in time: UTC, ISO 8601."""
_COMMIT = r"[0-9a-f]{0,64}"
_PROFILE = r"profiles/[0-9]{4,6}\.json"
_COUNTED = r"instructions/[0-9]{4,6}\.json"
_PACKAGE_LIMIT = 10_000
_REPR_LIMIT = 200
TIME_LIMIT = 1e15
VALUE_LEAST, VALUE_MOST = 1e-100, 1e100
"""Metrics are positive: they are compared as ratios."""


def write(run: Run, path: Path) -> None:
    """Writes the run, whole or not at all; the same run always gives the same bytes.

    What JSON cannot hold in `settings`, `params` and `extra_info` becomes its `repr`, at most 200 characters of it.
    Raises BaselineError when the run breaks the format's limits or the file cannot be written.
    """
    try:
        documents = _encode(run)
        _decode(documents.__getitem__)
        members = {name: _dump(document) for name, document in documents.items()}
        with_profiles = [benchmark.profile for benchmark in run.benchmarks if benchmark.profile is not None]
        for number, profile in enumerate(with_profiles, 1):
            members[f"profiles/{number:04}.pb.gz"] = pprof.encode(profile)
        with replacing(path) as file:
            archive.write(file, members)
    except MalformedError as error:
        raise BaselineError(f"{path}: the run cannot be saved: {error}", "docs/formats.md has the limits") from error
    except OSError as error:
        raise BaselineError(
            f"{path}: cannot be written: {error.strerror}", "check its folder and the free space"
        ) from error


def read(path: Path, profiles: bool = True) -> Run:
    """The run in a file; without `profiles` the benchmarks come without theirs, which is faster.

    Raises BaselineError when the file is missing, damaged, not a run file, or of a version this release does not know.
    """
    try:
        with archive.reading(path) as members:
            return _decode(lambda name: loads(members.read(name)), profiles)
    except MalformedError as error:
        raise BaselineError(f"{path}: not a readable run file: {error}", "measure again with --blcperf-save") from error
    except BaselineError as error:
        raise BaselineError(f"{path}: {error.message}", error.hint) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise BaselineError(f"{path}: cannot be read: {reason}", "see `blcperf baseline list`") from error


def _dump(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode("ascii")


def _encode(run: Run) -> dict[str, Any]:
    """The JSON documents of a run by member name."""
    documents: dict[str, Any] = {}
    benchmarks: list[dict[str, Any]] = []
    for benchmark in run.benchmarks:
        member = None
        if benchmark.profile is not None:
            member = f"profiles/{sum(name.startswith('profiles/') for name in documents) + 1:04}.json"
            documents[member] = profile_to_columns(benchmark.profile)
        counted = None
        if benchmark.instructions is not None:
            counted = f"instructions/{len(benchmarks) + 1:04}.json"
            documents[counted] = profile_to_columns(benchmark.instructions.profile)
        benchmarks.append(_benchmark_data(benchmark, member, counted))
    head = {
        "schema": SCHEMA,
        "writer": f"pytest-blcperf {__version__}",
        "name": bounded(run.name),
        "created": run.created,
        "commit": run.commit,
        "dirty": bool(run.dirty),
        "pair": bounded(run.pair),
        "environment": environment_data(run.environment),
        "settings": plain_table(run.settings),
        "warnings": warnings_data(run.warnings),
        "benchmarks": benchmarks,
    }
    return {_RUN: head, **documents}


def _benchmark_data(benchmark: Benchmark, profile: str | None, counted: str | None) -> dict[str, Any]:
    data = {
        "id": bounded(benchmark.id),
        "name": bounded(benchmark.name),
        "file": bounded(benchmark.file),
        "line": int(benchmark.line),
        "group": None if benchmark.group is None else bounded(benchmark.group),
        "params": plain_table(benchmark.params),
        "extra_info": plain_table(benchmark.extra_info),
        "code": bounded(benchmark.code),
        "warnings": warnings_data(benchmark.warnings),
        "launches": [_launch_data(launch) for launch in benchmark.launches],
        "counts": None if benchmark.counts is None else counts_to_columns(benchmark.counts),
        "profile": profile,
        "overhead_ns": float(benchmark.overhead_ns),
        "resolution_ns": float(benchmark.resolution_ns),
        "metric": None if benchmark.metric is None else _metric_data(benchmark.metric),
    }
    if benchmark.function_times:
        data["function_times"] = function_times_to_columns(benchmark.function_times)
    if benchmark.instructions is not None:
        data["instructions"] = {**instructions_to_columns(benchmark.instructions.counts), "profile": counted}
    return data


def _metric_data(metric: Metric) -> dict[str, str]:
    return {"name": bounded(metric.name), "unit": bounded(metric.unit), "better": metric.better}


def _launch_data(launch: Launch) -> dict[str, Any]:
    return {
        "index": int(launch.index),
        "phase": launch.phase,
        "hash_seed": int(launch.hash_seed),
        "cpu": None if launch.cpu is None else int(launch.cpu),
        "rounds": rounds_to_columns(launch.rounds),
        "value": None if launch.value is None else float(launch.value),
    }


def environment_data(environment: Environment) -> dict[str, Any]:
    """An environment as JSON data; `backend` only where profiles were taken."""
    data = {
        "machine": bounded(environment.machine),
        "cpu_model": bounded(environment.cpu_model),
        "cpu_count": int(environment.cpu_count),
        "memory_bytes": int(environment.memory_bytes),
        "system": bounded(environment.system),
        "kernel": bounded(environment.kernel),
        "python": bounded(environment.python),
        "python_build": bounded(environment.python_build),
        "packages": {bounded(name): bounded(version) for name, version in sorted(environment.packages.items())},
    }
    return {**data, "backend": bounded(environment.backend)} if environment.backend else data


def warnings_data(warnings: tuple[Warning, ...]) -> list[dict[str, str]]:
    """Warnings as JSON data."""
    return [{"code": bounded(warning.code), "text": bounded(warning.text)} for warning in warnings]


def plain_table(table: Mapping[Any, Any]) -> dict[str, Any]:
    """A table of any values as JSON has it; what it cannot hold becomes its repr."""
    plain = _plain(table, DEPTH_LIMIT - 1)
    return plain if isinstance(plain, dict) else {}


def _plain(value: Any, depth: int) -> Any:
    """The value as JSON has it; anything else as its repr. `depth` levels at most, so cycles end."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return bounded(str.__str__(value))
    if isinstance(value, numbers.Real):  # also those of numpy
        return _plain_number(value)
    if depth > 0 and isinstance(value, Mapping):
        return {_key(key): _plain(item, depth - 1) for key, item in value.items()}
    if depth > 0 and isinstance(value, (list, tuple)):
        return [_plain(item, depth - 1) for item in value]
    return _representation(value)


def _plain_number(value: Any) -> Any:
    if isinstance(value, numbers.Integral) and abs(int(value)) < 10**30:
        return int(value)
    exact = isinstance(value, numbers.Rational)
    return float(value) if not exact and math.isfinite(value) else _representation(value)


def _key(key: Any) -> str:
    return bounded(key) if isinstance(key, str) else _representation(key)


def _representation(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _REPR_LIMIT else text[: _REPR_LIMIT - 1] + "…"


def _decode(get: Callable[[str], Any], profiles: bool = True) -> Run:
    """A run from its documents by name. Raises MalformedError, or BaselineError for a newer version."""
    head = Fields(get(_RUN), "")
    _check_version(head.get("schema"))
    items = head.objects("benchmarks")
    members = [item.text("profile", _PROFILE) for item in items if item.get("profile") is not None]
    members += [item.fields("instructions").text("profile", _COUNTED) for item in items if item.has("instructions")]
    unique(members, "profiles")
    run = Run(
        name=head.text("name"),
        created=head.text("created", CREATED),
        commit=head.text("commit", _COMMIT),
        dirty=head.flag("dirty"),
        environment=environment_from(head.fields("environment")),
        benchmarks=tuple(_benchmark(item, get if profiles else None) for item in items),
        settings=head.free("settings"),
        pair=head.text("pair"),
        warnings=warnings_from(head),
    )
    unique((benchmark.id for benchmark in run.benchmarks), "benchmarks")
    return run


def _check_version(schema: object) -> None:
    family, _, version = schema.partition("/") if isinstance(schema, str) else ("", "", "")
    if family != "blcperf.run" or not (version.isascii() and version.isdigit()) or len(version) > 9:
        raise MalformedError(f"schema: expected {SCHEMA}, not {show(schema)}")
    if int(version) != VERSION:
        raise BaselineError(
            f"written by a newer pytest-blcperf (schema blcperf.run/{int(version)}); this one reads {SCHEMA}",
            "upgrade: python -m pip install --upgrade pytest-blcperf",
        )


def environment_from(fields: Fields) -> Environment:
    """The environment again. Raises MalformedError."""
    return Environment(
        machine=fields.text("machine"),
        cpu_model=fields.text("cpu_model"),
        cpu_count=fields.integer("cpu_count", 0, 1_000_000),
        memory_bytes=fields.integer("memory_bytes", 0, 1 << 60),
        system=fields.text("system"),
        kernel=fields.text("kernel"),
        python=fields.text("python"),
        python_build=fields.text("python_build"),
        packages=fields.text_table("packages", _PACKAGE_LIMIT),
        backend=fields.text("backend") if fields.has("backend") else "",
    )


def _benchmark(fields: Fields, get: Callable[[str], Any] | None) -> Benchmark:
    launches = tuple(_launch(item) for item in fields.objects("launches"))
    unique(((launch.phase, launch.index) for launch in launches), fields.place("launches"))
    counts = fields.optional_fields("counts")
    return Benchmark(
        id=fields.text("id"),
        name=fields.text("name"),
        file=fields.text("file"),
        line=fields.integer("line", 0, LINE_LIMIT),
        launches=launches,
        profile=_profile(fields.get("profile"), len(launches), get),
        counts=None if counts is None else counts_from_columns(counts),
        group=fields.optional_text("group"),
        params=fields.free("params"),
        extra_info=fields.free("extra_info"),
        code=fields.text("code"),
        warnings=warnings_from(fields),
        overhead_ns=fields.added_number("overhead_ns", 0, TIME_LIMIT) or 0.0,
        resolution_ns=fields.added_number("resolution_ns", 0, TIME_LIMIT) or 0.0,
        metric=_metric(fields),
        function_times=(
            function_times_from_columns(fields.fields("function_times")) if fields.has("function_times") else ()
        ),
        instructions=_instructions(fields.fields("instructions"), get) if fields.has("instructions") and get else None,
    )


def _metric(fields: Fields) -> Metric | None:
    if not fields.given("metric"):
        return None
    metric = fields.fields("metric")
    return Metric(metric.text("name"), metric.text("unit"), metric.text("better", "higher|lower"))


def _instructions(fields: Fields, get: Callable[[str], Any]) -> Instructions:
    member = fields.text("profile", _COUNTED)
    counts = instructions_from_columns(fields)
    return Instructions(counts, profile_from_columns(Fields(get(member), member), len(counts)))


def _profile(member: str | None, launches: int, get: Callable[[str], Any] | None) -> Profile | None:
    return None if member is None or get is None else profile_from_columns(Fields(get(member), member), launches)


def _launch(fields: Fields) -> Launch:
    return Launch(
        index=fields.integer("index", 0, LAUNCH_LIMIT),
        phase=fields.text("phase", f"{LOOK}|{CONFIRM}"),
        hash_seed=fields.integer("hash_seed", 0, 2**32 - 1),
        cpu=fields.optional_integer("cpu", 0, 1_000_000),
        rounds=rounds_from_columns(fields.fields("rounds")),
        value=fields.added_number("value", VALUE_LEAST, VALUE_MOST),
    )


def warnings_from(fields: Fields) -> tuple[Warning, ...]:
    """The member `warnings` again. Raises MalformedError."""
    return tuple(Warning(item.text("code"), item.text("text")) for item in fields.objects("warnings"))
