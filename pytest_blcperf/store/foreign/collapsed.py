"""Collapsed stacks: a line a stack, `main;work;read 17`, root first, as flamegraph.pl and most profilers have them.

Frames are read as stackcollapse-perf.pl writes them (`vfs_read_[k]` is a kernel function, `name_[j]` just-in-time
code), as py-spy does (`work (app.py:12)`), and as CPython's profiling.sampling does (`tid:17;app.py:work:12`).
"""

from __future__ import annotations

import re

from pytest_blcperf.model.capture import Capture, Thread
from pytest_blcperf.model.function import JIT, KERNEL, NATIVE, PYTHON
from pytest_blcperf.store.checked import MalformedError, show
from pytest_blcperf.store.foreign.gathering import Gathering

_PY_SPY = re.compile(r"(?P<name>.+) \((?P<file>[^()]*?)(?::(?P<line>[0-9]+))?\)")
_SAMPLING = re.compile(r"(?P<file>[^:;]+\.py|<[^<>]+>|~):(?P<name>.+):(?P<line>[0-9]+)")
_THREAD = re.compile(r"tid:([0-9]{1,9})|thread \((0x[0-9A-Fa-f]{1,16})\).*|process ([0-9]{1,9}).*")
_SUFFIXES = {"_[k]": KERNEL, "_[j]": JIT, "_[i]": NATIVE}
_LINE_LIMIT = 1 << 20
_FRAME_LIMIT = 4096
"""Characters up to which a frame is looked at for a file: regular expressions take time."""
_DIGITS = 15


def read(text: str, name: str) -> Capture:
    """The capture; counts become samples of weight 1. Raises MalformedError, which names the first wrong line."""
    gathering = Gathering()
    known: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        stack, _, digits = line.rstrip().rpartition(" ")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS) or len(line) > _LINE_LIMIT:
            raise MalformedError(f"line {number} is no collapsed stack: {show(line)}")
        count = int(digits)
        if count == 0:
            continue
        # py-spy writes a line without frames for a thread that had none yet.
        frames = stack.rstrip().split(";") if stack.strip() else []
        thread = Thread(0, 0, "all")
        own = _THREAD.fullmatch(frames[0][:_FRAME_LIMIT]) if frames else None
        if own is not None:
            thread = Thread(0, int(own[1] or 0), frames.pop(0))
        for frame in frames:
            if frame not in known:
                known[frame] = _function(frame, gathering)
        gathering.add([known[frame] for frame in reversed(frames)], count, count, thread)
    return gathering.capture(
        event="samples", unit="samples", backend="collapsed", started="", duration_ns=0, target=name
    )


def _function(frame: str, gathering: Gathering) -> int:
    for suffix, kind in _SUFFIXES.items():
        if frame.endswith(suffix):
            file = {KERNEL: "[kernel]", JIT: "[jit]"}.get(kind, "")
            return gathering.function(file, frame.removesuffix(suffix), kind=kind)
    match = None
    if len(frame) <= _FRAME_LIMIT:
        match = _PY_SPY.fullmatch(frame) or _SAMPLING.fullmatch(frame)
    if match is None:
        return gathering.function("", frame, kind=NATIVE)
    # The line that ran, not the function's first: it would make a function of every line.
    python = match["file"].endswith(".py") or match["file"].startswith("<")
    return gathering.function(match["file"], match["name"], kind=PYTHON if python else NATIVE)
