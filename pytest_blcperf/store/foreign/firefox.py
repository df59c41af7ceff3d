"""Profiles of the Firefox profiler, as samply and CPython's profiling.sampling (`--gecko`) write them.

Both the processed format (stringArray, columns) and columns with a `stringTable` a thread; see
github.com/firefox-devtools/profiler, docs-developer/processed-profile-format.md.
"""

from __future__ import annotations

from typing import Any

from pytest_blcperf.model.capture import Capture, Thread
from pytest_blcperf.model.function import KERNEL, NATIVE, PYTHON
from pytest_blcperf.store.checked import Fields, MalformedError, loads
from pytest_blcperf.store.foreign.gathering import DEPTH_LIMIT, Gathering

_MILLISECOND = 1_000_000
_LATEST_MS = 1e9


def read(data: bytes, name: str) -> Capture:
    """The capture; a sample without a weight of its own stands for the profile's interval. Raises MalformedError."""
    document = Fields(loads(data), "")
    meta = document.fields("meta")
    interval = meta.number("interval") if meta.has("interval") else 1.0
    shared = document.fields("shared").texts("stringArray") if document.has("shared") else []
    gathering = Gathering()
    gathering.timed = True
    end = 0
    for index, thread in enumerate(document.objects("threads")):
        end = max(end, _thread(thread, index, shared, interval, gathering))
    return gathering.capture(event="cpu-clock", unit="ns", backend="firefox", started="", duration_ns=end, target=name)


def _thread(thread: Fields, index: int, shared: list[str], interval: float, gathering: Gathering) -> int:
    strings = next((thread.texts(key) for key in ("stringArray", "stringTable") if thread.has(key)), shared)
    if not strings:
        strings = shared
    functions = _functions(thread, strings, gathering)
    stacks = _stacks(thread.fields("stackTable"), thread.fields("frameTable"), functions)
    samples = thread.fields("samples")
    moments = _moments(samples)
    weights = samples.array("weight") if samples.has("weight") and samples.get("weight") is not None else None
    place = Thread(_whole(thread, "pid"), _whole(thread, "tid") or index, thread.text("name") or str(index))
    first = min(moments, default=0.0)
    for number, (stack, moment) in enumerate(zip(samples.array("stack"), moments, strict=False)):
        if stack is None:
            continue
        if type(stack) is not int or not 0 <= stack < len(stacks):
            raise MalformedError(f"{samples.where}: a stack that is not there")
        weight = weights[number] if weights is not None and number < len(weights) else 1
        if type(weight) not in (int, float) or not 0 <= weight <= _LATEST_MS:
            raise MalformedError(f"{samples.where}: a weight that is no number")
        time = round((moment - first) * _MILLISECOND)
        gathering.add(stacks[stack], 1, round(weight * interval * _MILLISECOND), place, time)
    return round((max(moments, default=0.0) - first + interval) * _MILLISECOND)


def _moments(samples: Fields) -> list[float]:
    """ms; either as they are or as differences."""
    if samples.has("time"):
        return samples.numbers("time", -_LATEST_MS, _LATEST_MS)
    moments, now = [], 0.0
    for step in samples.numbers("timeDeltas", -_LATEST_MS, _LATEST_MS):
        now += step
        moments.append(now)
    return moments


def _functions(thread: Fields, strings: list[str], gathering: Gathering) -> list[int]:
    table = thread.fields("funcTable")
    names = table.integers("name", 0, len(strings) - 1)
    files = table.array("fileName") if table.has("fileName") else [None] * len(names)
    found = []
    for name, file in zip(names, files, strict=False):
        path = strings[file] if type(file) is int and 0 <= file < len(strings) else ""
        kind = PYTHON if path.endswith(".py") or path.startswith("<") else NATIVE
        if strings[name].endswith("_[k]"):
            kind = KERNEL
        found.append(gathering.function(path, strings[name], kind=kind))
    return found


def _stacks(stacks: Fields, frames: Fields, functions: list[int]) -> list[list[int]]:
    """Every stack, leaf first; a stack's prefix comes before it."""
    functions_of = frames.integers("func", 0, len(functions) - 1)
    frame_of = stacks.integers("frame", 0, len(functions_of) - 1)
    found: list[list[int]] = []
    for frame, prefix in zip(frame_of, stacks.array("prefix"), strict=False):
        if prefix is not None and (type(prefix) is not int or not 0 <= prefix < len(found)):
            raise MalformedError(f"{stacks.where}: a prefix that does not come before its stack")
        rest = found[prefix] if prefix is not None else []
        if len(rest) >= DEPTH_LIMIT:
            raise MalformedError(f"{stacks.where}: stacks of more than {DEPTH_LIMIT:,} frames")
        found.append([functions[functions_of[frame]], *rest])
    return found


def _whole(thread: Fields, key: str) -> int:
    value: Any = thread.get(key) if thread.has(key) else 0
    text = str(value)
    return int(text) if text.isdigit() and len(text) < 10 else 0
