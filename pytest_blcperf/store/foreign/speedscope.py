"""Files of speedscope (speedscope.app, file-format-schema.json), which py-spy and others write.

Sampled and evented profiles; each is a thread. Weights become ns where the unit is one of time.
"""

from __future__ import annotations

from typing import Any

from pytest_blcperf.model.capture import Capture, Thread
from pytest_blcperf.model.function import NATIVE, PYTHON
from pytest_blcperf.store.checked import Fields, MalformedError, loads
from pytest_blcperf.store.foreign.gathering import DEPTH_LIMIT, WEIGHT_LIMIT, Gathering

_UNITS = {"nanoseconds": 1.0, "microseconds": 1e3, "milliseconds": 1e6, "seconds": 1e9}
_LINE_LIMIT = 10**9


def read(data: bytes, name: str) -> Capture:
    """The capture. Raises MalformedError."""
    document = Fields(loads(data), "")
    gathering = Gathering()
    frames = [_frame(frame, gathering) for frame in document.fields("shared").objects("frames")]
    units, end = set(), 0
    for index, profile in enumerate(document.objects("profiles")):
        units.add(profile.text("unit"))
        scale = _UNITS.get(profile.text("unit"), 1.0)
        thread = Thread(0, index, profile.text("name"))
        read_one = {"sampled": _sampled, "evented": _evented}.get(profile.text("type"))
        if read_one is None:
            raise MalformedError(f"{profile.place('type')}: expected sampled or evented")
        end = max(end, read_one(profile, frames, scale, thread, gathering))
    timed = bool(units) and units <= set(_UNITS)
    gathering.timed = timed
    return gathering.capture(
        event="cpu-clock" if timed else "samples",
        unit="ns" if timed else "samples",
        backend="speedscope",
        started="",
        duration_ns=end if timed else 0,
        target=name,
    )


def _frame(frame: Fields, gathering: Gathering) -> int:
    file = frame.text("file") if frame.has("file") and frame.get("file") is not None else ""
    python = file.endswith(".py") or file.startswith("<")
    return gathering.function(file, frame.text("name"), kind=PYTHON if python else NATIVE)


def _sampled(profile: Fields, frames: list[int], scale: float, thread: Thread, gathering: Gathering) -> int:
    samples, weights = profile.array("samples"), profile.numbers("weights", 0, WEIGHT_LIMIT)
    if len(samples) != len(weights):
        raise MalformedError(f"{profile.where}: {len(samples)} samples with {len(weights)} weights")
    now = 0.0
    for sample, weight in zip(samples, weights, strict=True):
        gathering.add(_stack(sample, frames, profile.where), 1, round(weight * scale), thread, round(now))
        now += weight * scale
    return round(now)


def _evented(profile: Fields, frames: list[int], scale: float, thread: Thread, gathering: Gathering) -> int:
    """Every interval between two events is one sample of the stack that was open."""
    start, now = profile.number("startValue") * scale, None
    open_frames: list[int] = []
    for event in profile.objects("events"):
        at = event.number("at") * scale
        before = start if now is None else now
        if at < before:
            raise MalformedError(f"{event.where}: events are not in the order of time")
        if open_frames and at > before:
            gathering.add(open_frames[::-1], 1, round(at - before), thread, round(before - start))
        now = at
        frame = frames[event.integer("frame", 0, len(frames) - 1)]
        if event.text("type") == "O":
            open_frames.append(frame)
        elif not open_frames or open_frames.pop() != frame:
            raise MalformedError(f"{event.where}: closes a frame that is not the innermost open one")
        if len(open_frames) > DEPTH_LIMIT:
            raise MalformedError(f"{event.where}: more than {DEPTH_LIMIT:,} open frames")
    return round((now or start) - start)


def _stack(sample: Any, frames: list[int], where: str) -> list[int]:
    if type(sample) is not list or not all(type(one) is int and 0 <= one < len(frames) for one in sample):
        raise MalformedError(f"{where}: a sample is not a list of frames")
    return [frames[one] for one in reversed(sample)]
