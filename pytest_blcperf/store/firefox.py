"""Profiles for the Firefox Profiler (profiler.firefox.com), in its processed format, version 48.

The format is github.com/firefox-devtools/profiler, docs-developer/processed-profile-format.md and
CHANGELOG-formats.md; newer releases upgrade older versions when they load them.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import numpy as np

from pytest_blcperf import __version__
from pytest_blcperf.model.function import KINDS, Function
from pytest_blcperf.model.stack_tree import stack_tree
from pytest_blcperf.model.tracks import Track, Tracks
from pytest_blcperf.store.checked import sound

_CATEGORIES = (("Python", "yellow"), ("Native", "blue"), ("Kernel", "orange"), ("JIT", "purple"), ("Other", "grey"))
_OTHER = len(_CATEGORIES) - 1
_MILLISECOND = 1e6


def encode(tracks: Tracks) -> bytes:
    """The JSON document: a thread a track. Without times the samples of a thread stand one after the other."""
    threads = [_thread(tracks, track, number) for number, track in enumerate(tracks.tracks)]
    document = {"meta": _meta(tracks), "libs": [], "pages": [], "threads": threads}
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def _meta(tracks: Tracks) -> dict[str, Any]:
    return {
        "interval": _interval(tracks) / _MILLISECOND,
        "startTime": _milliseconds(tracks.started),
        "processType": 0,
        "product": f"{sound(tracks.title)} (pytest-blcperf {__version__}, {tracks.backend})",
        "stackwalk": 1,
        "version": 30,
        "preprocessedProfileVersion": 48,
        "categories": [{"name": name, "color": color, "subcategories": ["Other"]} for name, color in _CATEGORIES],
        "markerSchema": [],
        "symbolicated": True,
        "sourceCodeIsNotOnSearchfox": True,
        "usesOnlyOneStackType": True,
        "doesNotUseFrameImplementation": True,
        "debug": False,
    }


def _interval(tracks: Tracks) -> float:
    """What a sample stands for, ns: the median."""
    per_sample = [track.weight / np.maximum(track.samples, 1) for track in tracks.tracks if len(track.weight)]
    found = float(np.median(np.concatenate(per_sample))) if per_sample and tracks.unit == "ns" else 0.0
    return found or _MILLISECOND


def _milliseconds(started: str) -> float:
    try:
        moment = datetime.fromisoformat(started.replace("Z", "+00:00"))
    except ValueError:
        return 0.0
    return moment.timestamp() * 1000


def _thread(tracks: Tracks, track: Track, number: int) -> dict[str, Any]:
    strings: dict[str, int] = {}
    order, tree = _tree(tracks, track)
    functions = [tracks.functions[index] for index in order]
    count = len(functions)
    categories = [_category(functions[index]) for index in tree.function.tolist()]
    nodes = len(tree)
    return {
        "name": sound(track.name),
        "processName": sound(track.process_name) or "benchmarks",
        "processType": "default",
        "isMainThread": track.process == track.thread,
        "pid": str(track.process),
        "tid": track.thread or number,
        "processStartupTime": 0,
        "processShutdownTime": None,
        "registerTime": 0,
        "unregisterTime": None,
        "pausedRanges": [],
        "samples": _samples(track, tree.leaf, tracks.unit),
        "stackTable": {
            "frame": tree.function.tolist(),
            "prefix": [None if parent < 0 else parent for parent in tree.parent.tolist()],
            "category": categories,
            "subcategory": [0] * nodes,
            "length": nodes,
        },
        "frameTable": _frames(functions),
        "funcTable": {
            "name": [strings.setdefault(sound(one.name), len(strings)) for one in functions],
            "isJS": [False] * count,
            "relevantForJS": [False] * count,
            "resource": [-1] * count,
            "fileName": [strings.setdefault(sound(one.file), len(strings)) if one.file else None for one in functions],
            "lineNumber": [one.line or None for one in functions],
            "columnNumber": [None] * count,
            "length": count,
        },
        "resourceTable": {"lib": [], "name": [], "host": [], "type": [], "length": 0},
        "nativeSymbols": {"libIndex": [], "address": [], "name": [], "functionSize": [], "length": 0},
        "markers": {
            **{name: [] for name in ("data", "name", "startTime", "endTime", "phase", "category")},
            "length": 0,
        },
        "stringArray": list(strings),
    }


def _tree(tracks: Tracks, track: Track) -> tuple[list[int], Any]:
    """The functions of a track and the tree of its stacks; `leaf` of the tree is that of each sample."""
    used, place = np.unique(track.stack, return_inverse=True)
    parts = [tracks.stack_of(stack) for stack in used.tolist()]
    order = sorted({index for part in parts for index in part})
    at = {index: number for number, index in enumerate(order)}
    offsets = np.cumsum([0, *map(len, parts)])
    frames = np.array([at[index] for part in parts for index in part], np.int64)
    tree = stack_tree(offsets, frames)
    return order, type(tree)(tree.parent, tree.function, tree.leaf[place.reshape(-1)])


def _category(function: Function) -> int:
    return KINDS.index(function.kind) if function.kind in KINDS else _OTHER


def _frames(functions: list[Function]) -> dict[str, Any]:
    count = len(functions)
    return {
        "address": [-1] * count,
        "inlineDepth": [0] * count,
        "category": [_category(one) for one in functions],
        "subcategory": [0] * count,
        "func": list(range(count)),
        "nativeSymbol": [None] * count,
        "innerWindowID": [None] * count,
        "implementation": [None] * count,
        "line": [one.line or None for one in functions],
        "column": [None] * count,
        "length": count,
    }


def _samples(track: Track, leaf: Any, unit: str) -> dict[str, Any]:
    """With times every sample at its time, else each stack's samples one after the other."""
    if track.time is None:
        time = np.concatenate([[0.0], np.cumsum(track.weight)[:-1]]) if len(track.weight) else np.zeros(0)
    else:
        time = track.time.astype(np.float64)
    milliseconds = unit == "ns"
    weight = track.weight / _MILLISECOND if milliseconds else track.weight
    return {
        "stack": [None if node < 0 else node for node in leaf.tolist()],
        "time": [round(float(one) / _MILLISECOND, 6) for one in time],
        "weight": [round(float(one), 6) for one in weight],
        "weightType": "tracing-ms" if milliseconds else "samples",
        "length": len(track.stack),
    }
