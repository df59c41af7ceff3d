"""Rounds, functions and profiles as JSON columns, and back with every value checked.

Columns, not objects: a list of 3,000 rounds as objects is five times the size and ten times slower to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from pytest_blcperf.model.function import KINDS, PYTHON, Function
from pytest_blcperf.model.profile import Profile
from pytest_blcperf.model.run import Count, Counts, FunctionTimes, InstructionCount, Round
from pytest_blcperf.store.checked import Fields, MalformedError, bounded, same_length, show, unique

PROFILE_SCHEMA = "blcperf.profile/1"

TIME_LIMIT = 10**15
"""ns of one round: 11 days."""
WEIGHT_LIMIT = 1e18
"""ns of one row of a profile: 31 years of CPU time; sums over any file stay finite."""
COUNT_LIMIT = 10**15
"""Iterations of a round, calls of a function in an iteration."""
INSTRUCTION_LIMIT = 10**18
"""Instructions of one repetition: years of a processor's."""
SAMPLE_LIMIT = 10**9
"""Samples of one row: sums over any file fit in 64 bits."""
TIMED_LIMIT = 100
"""Timed functions of a launch; a release times 20 at most."""
LAUNCH_LIMIT = 10_000
"""The largest launch index: small enough to be used as an array's length."""
LINE_LIMIT = 10**9
CELL_LIMIT = 20_000_000
"""Stacks or functions × launches of a profile: comparing makes tables of that shape, 8 bytes a cell."""


def rounds_to_columns(rounds: Sequence[Round]) -> dict[str, Any]:
    """`{"iterations": […], "cpu_ns": […], "wall_ns": […]}`."""
    return {
        "iterations": [int(item.iterations) for item in rounds],
        "cpu_ns": [int(item.cpu_ns) for item in rounds],
        "wall_ns": [int(item.wall_ns) for item in rounds],
    }


def rounds_from_columns(fields: Fields) -> tuple[Round, ...]:
    """The rounds again. Raises MalformedError."""
    columns = (
        fields.integers("iterations", 1, COUNT_LIMIT),
        fields.integers("cpu_ns", 0, TIME_LIMIT),
        fields.integers("wall_ns", 0, TIME_LIMIT),
    )
    same_length(fields.where, *columns)
    return tuple(map(Round, *columns))


def functions_to_columns(functions: Sequence[Function]) -> dict[str, Any]:
    """`{"file": […], "name": […], "line": […], "fingerprint": […]}`, and `"kind"` unless all are Python functions."""
    columns: dict[str, Any] = {
        "file": [bounded(item.file) for item in functions],
        "name": [bounded(item.name) for item in functions],
        "line": [int(item.line) for item in functions],
        "fingerprint": [bounded(item.fingerprint) for item in functions],
    }
    if any(item.kind != PYTHON for item in functions):
        columns["kind"] = [item.kind for item in functions]
    return columns


def functions_from_columns(fields: Fields) -> tuple[Function, ...]:
    """The functions again. Two of one file and name must differ in line or code (lambdas do). Raises MalformedError."""
    columns = (
        fields.texts("file"),
        fields.texts("name"),
        fields.integers("line", 0, LINE_LIMIT),
        fields.texts("fingerprint"),
    )
    same_length(fields.where, *columns)
    unique(zip(*columns, strict=True), fields.where)
    return tuple(map(Function, *columns, _kinds(fields, len(columns[0]))))


def _kinds(fields: Fields, number: int) -> list[str]:
    if not fields.has("kind"):
        return [PYTHON] * number
    kinds = fields.texts("kind")
    same_length(fields.where, range(number), kinds)
    unknown = set(kinds) - set(KINDS)
    if unknown:
        raise MalformedError(f"{fields.place('kind')}: expected one of {', '.join(KINDS)}, not {show(min(unknown))}")
    return kinds


def counts_to_columns(counts: Counts) -> dict[str, Any]:
    """Functions as columns, calls per iteration beside them."""
    return {
        "deterministic": bool(counts.deterministic),
        "functions": functions_to_columns([count.function for count in counts.calls]),
        "calls": [float(count.calls) for count in counts.calls],
    }


def counts_from_columns(fields: Fields) -> Counts:
    """The counts again. Raises MalformedError."""
    functions = functions_from_columns(fields.fields("functions"))
    calls = fields.numbers("calls", 0, COUNT_LIMIT)
    same_length(fields.where, functions, calls)
    return Counts(tuple(map(Count, functions, calls)), fields.flag("deterministic"))


def instructions_to_columns(counts: Sequence[InstructionCount]) -> dict[str, Any]:
    """Repetitions under callgrind as columns."""
    return {
        "index": [int(one.index) for one in counts],
        "hash_seed": [int(one.hash_seed) for one in counts],
        "iterations": [int(one.iterations) for one in counts],
        "instructions": [int(one.instructions) for one in counts],
    }


def instructions_from_columns(fields: Fields) -> tuple[InstructionCount, ...]:
    """The repetitions again, each index once. Raises MalformedError."""
    columns = (
        fields.integers("index", 0, LAUNCH_LIMIT),
        fields.integers("hash_seed", 0, 2**32 - 1),
        fields.integers("iterations", 1, COUNT_LIMIT),
        fields.integers("instructions", 0, INSTRUCTION_LIMIT),
    )
    same_length(fields.where, *columns)
    unique(columns[0], fields.where)
    return tuple(map(InstructionCount, *columns))


def function_times_to_columns(times: Sequence[FunctionTimes]) -> dict[str, Any]:
    """One table of functions, and of each launch its functions and its columns, round after round."""
    place: dict[Function, int] = {}
    launches = [
        {
            "launch": int(one.launch),
            "iterations": int(one.iterations),
            "functions": [place.setdefault(function, len(place)) for function in one.functions],
            "calls": one.calls.ravel().tolist(),
            "total_ns": one.total_ns.ravel().tolist(),
            "self_ns": one.self_ns.ravel().tolist(),
        }
        for one in times
    ]
    return {"functions": functions_to_columns(list(place)), "launches": launches}


def function_times_from_columns(fields: Fields) -> tuple[FunctionTimes, ...]:
    """The times again, each launch once. Raises MalformedError."""
    functions = functions_from_columns(fields.fields("functions"))
    launches = fields.objects("launches")
    times = tuple(_function_times(one, functions) for one in launches)
    unique((one.launch for one in times), fields.where)
    return times


def _function_times(fields: Fields, functions: Sequence[Function]) -> FunctionTimes:
    indices = fields.integers("functions", 0, len(functions) - 1)
    unique(indices, fields.where)
    if len(indices) > TIMED_LIMIT:
        raise MalformedError(f"{fields.place('functions')}: {len(indices)} timed functions, more than {TIMED_LIMIT}")
    columns = (
        fields.integers("calls", 0, COUNT_LIMIT),
        fields.integers("total_ns", 0, TIME_LIMIT),
        fields.integers("self_ns", 0, TIME_LIMIT),
    )
    same_length(fields.where, *columns)
    width = len(indices)
    if not width or len(columns[0]) % width:
        raise MalformedError(f"{fields.place('calls')}: {len(columns[0])} entries are no rounds of {width} functions")
    calls, total, own = (np.array(column, dtype=np.int64).reshape(-1, width) for column in columns)
    iterations = fields.integer("iterations", 1, COUNT_LIMIT)
    return FunctionTimes(
        fields.integer("launch", 0, LAUNCH_LIMIT),
        iterations,
        tuple(functions[index] for index in indices),
        calls,
        total,
        own,
    )


def profile_to_columns(profile: Profile) -> dict[str, Any]:
    """A profile as columns; stack i is `frames[offsets[i]:offsets[i + 1]]`, indices of functions, leaf first."""
    lengths = [len(stack) for stack in profile.stacks]
    return {
        "schema": PROFILE_SCHEMA,
        "backend": bounded(profile.backend),
        "self_time": bool(profile.self_time),
        "functions": functions_to_columns(profile.functions),
        "stacks": {
            "offsets": np.cumsum([0, *lengths]).tolist(),
            "frames": [int(frame) for stack in profile.stacks for frame in stack],
        },
        "rows": {
            "launch": profile.launch.tolist(),
            "stack": profile.stack.tolist(),
            "weight": profile.weight.tolist(),
            "samples": profile.samples.tolist(),
        },
    }


def profile_from_columns(fields: Fields, launches: int = 0) -> Profile:
    """The profile again, of a benchmark with so many launches. Raises MalformedError."""
    fields.text("schema", PROFILE_SCHEMA)
    functions = functions_from_columns(fields.fields("functions"))
    stacks = _stacks(fields.fields("stacks"), len(functions))
    rows = fields.fields("rows")
    launch = rows.integers("launch", 0, LAUNCH_LIMIT)
    stack = rows.integers("stack", 0, len(stacks) - 1)
    weight = rows.numbers("weight", 0, WEIGHT_LIMIT)
    samples = rows.integers("samples", 0, SAMPLE_LIMIT)
    same_length(rows.where, launch, stack, weight, samples)
    unique(zip(launch, stack, strict=True), f"{rows.where} (launch, stack)")
    cells = max(len(stacks), len(functions)) * max(len(set(launch)), launches)
    if cells > CELL_LIMIT:
        raise MalformedError(f"{fields.where}: {cells:,} stacks or functions × launches, more than {CELL_LIMIT:,}")
    return Profile(
        functions=functions,
        stacks=stacks,
        launch=np.array(launch, dtype=np.int64),
        stack=np.array(stack, dtype=np.int64),
        weight=np.array(weight, dtype=np.float64),
        samples=np.array(samples, dtype=np.int64),
        backend=fields.text("backend"),
        self_time=fields.flag("self_time"),
    )


def _stacks(fields: Fields, functions: int) -> tuple[tuple[int, ...], ...]:
    frames = fields.integers("frames", 0, functions - 1)
    offsets = fields.integers("offsets", 0, len(frames))
    rising = all(here <= there for here, there in pairwise(offsets))
    if not offsets or offsets[0] != 0 or offsets[-1] != len(frames) or not rising:
        raise MalformedError(f"{fields.place('offsets')}: must rise from 0 to {len(frames)}, the number of frames")
    return tuple(tuple(frames[here:there]) for here, there in pairwise(offsets))
