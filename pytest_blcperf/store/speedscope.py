"""Profiles for speedscope (www.speedscope.app), in its own format: one sampled profile a track.

The schema is github.com/jlfwong/speedscope, `file-format-schema.json`. Samples of one stack in a row become one.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from pytest_blcperf import __version__
from pytest_blcperf.model.tracks import Track, Tracks
from pytest_blcperf.store.checked import sound


def encode(tracks: Tracks) -> bytes:
    """The JSON document. Weights are ns, or plain numbers of the event; with times, samples come in their order."""
    document = {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "exporter": f"pytest-blcperf {__version__}",
        "name": sound(tracks.title),
        "activeProfileIndex": 0,
        "shared": {
            "frames": [
                {"name": sound(one.name), "file": sound(one.file), **({"line": one.line} if one.line else {})}
                for one in tracks.functions
            ]
        },
        "profiles": [_profile(tracks, track) for track in tracks.tracks],
    }
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def _profile(tracks: Tracks, track: Track) -> dict[str, Any]:
    stack, weight = _in_a_row(track)
    return {
        "type": "sampled",
        "name": sound(track.name),
        "unit": "nanoseconds" if tracks.unit == "ns" else "none",
        "startValue": 0,
        "endValue": sum(weight),
        "samples": [list(reversed(tracks.stack_of(one))) for one in stack],
        "weights": weight,
    }


def _in_a_row(track: Track) -> tuple[list[int], list[int]]:
    """Stacks and weights, equal neighbours as one."""
    if not len(track.stack):
        return [], []
    starts = np.flatnonzero(np.concatenate([[True], np.diff(track.stack) != 0]))
    weight = np.add.reduceat(np.rint(track.weight).astype(np.int64), starts)
    return track.stack[starts].tolist(), weight.tolist()
