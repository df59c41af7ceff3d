"""Collapsed stacks, the input of flamegraph.pl, inferno and most viewers: `root;caller;leaf 42`, one line a stack."""

from __future__ import annotations

import re

from pytest_blcperf.model.function import Function
from pytest_blcperf.model.tracks import Tracks

_MARKS = {"kernel": "_[k]", "jit": "_[j]"}
"""What stackcollapse-perf.pl appends and flamegraph.pl colours by."""
_BREAKING = re.compile(r"[;\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def encode(tracks: Tracks) -> bytes:
    """The text as UTF-8: below the track's name its stacks, each with its samples, in the order of the text.

    A Python function is `name (file:line)`. What would end a frame or a line becomes `:`; two functions that then look
    alike are summed.
    """
    frames = [frame(function) for function in tracks.functions]
    lines: dict[str, int] = {}
    for track in tracks.tracks:
        root = _plain(track.name)
        for stack, samples in zip(track.stack.tolist(), track.samples.tolist(), strict=True):
            text = ";".join([root, *(frames[index] for index in reversed(tracks.stack_of(stack)))])
            lines[text] = lines.get(text, 0) + samples
    return "".join(f"{text} {samples}\n" for text, samples in sorted(lines.items())).encode("utf-8", "backslashreplace")


def frame(function: Function) -> str:
    """A function as one frame."""
    if function.kind == "python":
        return _plain(f"{function.name} ({function.location})")
    return _plain(function.name) + _MARKS.get(function.kind, "")


def _plain(text: str) -> str:
    return _BREAKING.sub(":", text)
