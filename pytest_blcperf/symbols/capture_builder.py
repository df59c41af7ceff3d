"""Recording + stacks + names → capture. Columns all the way: nothing is done for one sample in Python."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from pytest_blcperf.model.capture import Capture, CaptureHealth, Thread
from pytest_blcperf.model.recording import Recording, SampleBatch, ThreadName
from pytest_blcperf.model.warning import Warning
from pytest_blcperf.symbols.resolve import FrameNames
from pytest_blcperf.symbols.unwind import AS_RECORDED, COMPLETE, NO_USER_STACK, Chains

Ints = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int32]
Words = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.integer[Any]]

_WHOLE = (COMPLETE, NO_USER_STACK, AS_RECORDED)
Number = TypeVar("Number", bound=np.generic)

_MIX = np.uint64(0xFF51AFD7ED558CCD)


class _Interned(NamedTuple):
    """Distinct stacks (`frame[offsets[s]:offsets[s + 1]]`, of frames or of functions), and the stack of each row."""

    offsets: Ints
    frame: Numbers
    stack: Ints


@dataclass(frozen=True, eq=False)
class _Part:
    """The samples of one batch, with its distinct stacks of frame numbers."""

    time: Ints
    process: Indices
    thread: Indices
    cpu: Indices
    period: Ints
    event: Indices
    mode: npt.NDArray[np.uint8]
    truncated: Mask
    stacks: _Interned


class CaptureBuilder:
    """Gathers batches with their stacks, then makes a capture of each event.

        builder = CaptureBuilder()
        builder.add(batch, chains)      # for every batch
        builder.build(recording, names, event=0)

    A million samples take about 40 bytes each, and what their distinct stacks take.
    """

    def __init__(self) -> None:
        self._parts: list[_Part] = []

    def __len__(self) -> int:
        return sum(len(part.time) for part in self._parts)

    def add(self, batch: SampleBatch, chains: Chains) -> None:
        """The samples of a batch with their stacks."""
        self._parts.append(
            _Part(
                time=batch.time.copy(),
                process=batch.process.astype(np.int32),
                thread=batch.thread.astype(np.int32),
                cpu=batch.cpu.astype(np.int32),
                period=batch.period.copy(),
                event=batch.event.astype(np.int32),
                mode=batch.mode.copy(),
                truncated=~np.isin(chains.end, _WHOLE),
                stacks=interned(chains.offsets, chains.frame),
            )
        )

    def build(
        self,
        recording: Recording,
        names: FrameNames,
        *,
        event: int = 0,
        backend: str = "perf",
        started: str = "",
        target: str = "",
        warnings: Sequence[Warning] = (),
    ) -> Capture:
        """The capture of one event of `recording` within its window. `started` is its start in UTC, ISO 8601; the
        default is right for a recording made since this machine was started.
        """
        samples = _within(self._parts, recording, event)
        stacks, unknown, frames = _stacks(self._parts, names, samples)
        order = np.argsort(samples.time, kind="stable")
        threads, thread = _threads(samples, recording.names)
        place, place_object, place_address = _places(samples.leaf, names)
        what = recording.events[event]
        return Capture(
            functions=names.functions,
            objects=names.objects,
            threads=threads,
            stack_offsets=stacks.offsets,
            stack_functions=stacks.frame.astype(np.int64),
            time=samples.time[order] - recording.start_ns,
            thread=thread[order],
            cpu=samples.cpu[order].astype(np.int64),
            mode=samples.mode[order].astype(np.int64),
            stack=stacks.stack[order],
            weight=samples.period[order],
            place=place[order],
            place_object=place_object,
            place_address=place_address,
            event=what.name,
            unit=what.unit,
            backend=backend,
            started=started or utc_of(recording.start_ns),
            duration_ns=recording.end_ns - recording.start_ns,
            target=target,
            health=CaptureHealth(recording.health, int(samples.truncated.sum()), unknown, frames),
            warnings=(
                *(Warning(code, text) for code, text in recording.warnings),
                *names.warnings,
                *warnings,
            ),
        )


def utc_of(monotonic_ns: int) -> str:
    """When CLOCK_MONOTONIC was at `monotonic_ns`, since this machine was started; UTC, ISO 8601, in seconds."""
    passed_s = (time.monotonic_ns() - monotonic_ns) / 1e9
    return datetime.fromtimestamp(time.time() - passed_s, timezone.utc).isoformat(timespec="seconds")


def interned(offsets: Ints, frame: Numbers) -> _Interned:
    """Rows that are equal get one number. Rows are compared by two hashes of 64 bits with random multipliers."""
    number = len(offsets) - 1
    first_hash, second_hash = _hashes(offsets, frame)
    order = np.lexsort((second_hash, first_hash))
    changed = (first_hash[order][1:] != first_hash[order][:-1]) | (second_hash[order][1:] != second_hash[order][:-1])
    begins = np.flatnonzero(np.append(True, changed)) if number else np.zeros(0, np.int64)
    stack = np.empty(number, np.int64)
    stack[order] = np.repeat(np.arange(len(begins)), np.diff(np.append(begins, number)))
    lengths, places = _gathered(offsets, order[begins])
    return _Interned(np.concatenate([[0], np.cumsum(lengths)]), frame[places], stack)


_AT_ONCE = 1 << 20
_MULTIPLIERS = np.random.default_rng().integers(1, 2**63, 2, np.uint64) * np.uint64(2) + np.uint64(1)


def _hashes(offsets: Ints, frame: Numbers) -> tuple[Words, Words]:
    """Of each row, the polynomials of its mixed elements at two odd multipliers, modulo 2**64."""
    lengths = np.diff(offsets)
    found = [np.zeros(len(lengths), np.uint64), np.zeros(len(lengths), np.uint64)]
    longest = int(lengths.max(initial=0)) + 1
    first = 0
    while first < len(lengths):
        # Some rows at a time: what is computed for an element takes several times its own bytes.
        last = max(first + 1, int(np.searchsorted(offsets, offsets[first] + _AT_ONCE, "right")) - 1)
        places = offsets[first : last + 1] - offsets[first]
        within = np.arange(int(places[-1])) - np.repeat(places[:-1], lengths[first:last])
        mixed = (frame[offsets[first] : offsets[last]].astype(np.uint64) + np.uint64(1)) * _MIX
        mixed ^= mixed >> np.uint64(29)
        for hashes, multiplier in zip(found, _MULTIPLIERS, strict=True):
            powers = np.cumprod(np.full(longest, multiplier, np.uint64))
            total = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed * powers[within])])
            hashes[first:last] = (total[places[1:]] - total[places[:-1]]) ^ (
                lengths[first:last].astype(np.uint64) * _MIX
            )
        first = last
    return found[0], found[1]


def _gathered(offsets: Ints, rows: Ints) -> tuple[Ints, Ints]:
    """(lengths of these rows, the places of their elements)."""
    lengths = np.diff(offsets)[rows]
    before = np.cumsum(lengths) - lengths
    places = np.arange(int(lengths.sum())) + np.repeat(offsets[rows] - before, lengths)
    return lengths, places


@dataclass(frozen=True, eq=False)
class _Samples:
    """The samples of one event in the window. `part` and `stack` are those of the batch they came in; `leaf` is the
    frame that was executed, -1 of an empty stack.
    """

    time: Ints
    process: Indices
    thread: Indices
    cpu: Indices
    period: Ints
    mode: npt.NDArray[np.uint8]
    truncated: Mask
    part: Indices
    stack: Ints
    leaf: Ints


def _within(parts: Sequence[_Part], recording: Recording, event: int) -> _Samples:
    chosen = [
        np.flatnonzero((one.event == event) & (one.time >= recording.start_ns) & (one.time < recording.end_ns))
        for one in parts
    ]

    def column(of: Callable[[_Part], npt.NDArray[Number]], kind: type[Number]) -> npt.NDArray[Number]:
        return np.concatenate([np.zeros(0, kind), *(of(one)[rows] for one, rows in zip(parts, chosen, strict=True))])

    return _Samples(
        time=column(lambda one: one.time, np.int64),
        process=column(lambda one: one.process, np.int32),
        thread=column(lambda one: one.thread, np.int32),
        cpu=column(lambda one: one.cpu, np.int32),
        period=column(lambda one: one.period, np.int64),
        mode=column(lambda one: one.mode, np.uint8),
        truncated=column(lambda one: one.truncated, np.bool_),
        part=np.repeat(np.arange(len(parts), dtype=np.int32), np.array([len(rows) for rows in chosen], np.int64)),
        stack=column(lambda one: one.stacks.stack, np.int64),
        leaf=column(lambda one: _leaf(one.stacks)[one.stacks.stack], np.int64),
    )


def _leaf(stacks: _Interned) -> Ints:
    found = np.full(len(stacks.offsets) - 1, -1, np.int64)
    filled = np.diff(stacks.offsets) > 0
    found[filled] = stacks.frame[stacks.offsets[:-1][filled]]
    return found


def _stacks(parts: Sequence[_Part], names: FrameNames, samples: _Samples) -> tuple[_Interned, int, int]:
    """(the distinct stacks of functions with each sample's, unknown frames, all frames); frames counted by sample."""
    offsets, functions = [np.zeros(1, np.int64)], [np.zeros(0, np.int32)]
    row = np.zeros(len(samples.time), np.int64)
    rows_before, places_before, unknown, frames = 0, 0, 0, 0
    for number, part in enumerate(parts):
        here = np.flatnonzero(samples.part == number)
        seen, lost = _frames_seen(part.stacks, samples.stack[here], names)
        frames, unknown = frames + seen, unknown + lost
        found = _functions(part.stacks, samples.stack[here], samples.time[here], names)
        offsets.append(found.offsets[1:] + places_before)
        functions.append(found.frame.astype(np.int32))
        row[here] = found.stack + rows_before
        rows_before += len(found.offsets) - 1
        places_before += len(found.frame)
    distinct = interned(np.concatenate(offsets), np.concatenate(functions))
    return _used(distinct, distinct.stack[row]), unknown, frames


def _frames_seen(stacks: _Interned, stack: Ints, names: FrameNames) -> tuple[int, int]:
    """(frames of all these samples, unknown ones)."""
    samples = np.bincount(stack, minlength=len(stacks.offsets) - 1)
    unknown = np.concatenate([[0], np.cumsum(names.unknown[stacks.frame])])
    lost = unknown[stacks.offsets[1:]] - unknown[stacks.offsets[:-1]]
    return int((samples * np.diff(stacks.offsets)).sum()), int((samples * lost).sum())


def _functions(stacks: _Interned, stack: Ints, time_ns: Ints, names: FrameNames) -> _Interned:
    """The stacks as functions, and the row of each sample. Samples in code that was replaced get rows of their own."""
    function = names.function[stacks.frame]
    changing = np.concatenate([[0], np.cumsum(names.replaced[stacks.frame])])
    changes = changing[stacks.offsets[1:]] > changing[stacks.offsets[:-1]]
    apart = np.flatnonzero(changes[stack])
    if not len(apart):
        return _Interned(stacks.offsets, function, stack)
    lengths, places = _gathered(stacks.offsets, stack[apart])
    frame, when = stacks.frame[places].astype(np.int64), np.repeat(time_ns[apart], lengths)
    own = names.function[frame]
    replaced = names.replaced[frame]
    own[replaced] = names.functions_at(frame[replaced], when[replaced])
    row = stack.copy()
    row[apart] = len(stacks.offsets) - 1 + np.arange(len(apart))
    offsets = np.append(stacks.offsets, stacks.offsets[-1] + np.cumsum(lengths))
    return _Interned(offsets, np.append(function, own), row)


def _used(stacks: _Interned, stack: Ints) -> _Interned:
    """Without the stacks that no sample has."""
    used, number = np.unique(stack, return_inverse=True)
    lengths, places = _gathered(stacks.offsets, used)
    return _Interned(np.concatenate([[0], np.cumsum(lengths)]), stacks.frame[places], number)


def _threads(samples: _Samples, names: Sequence[ThreadName]) -> tuple[tuple[Thread, ...], Ints]:
    """(the threads that were sampled, each sample's), with the last names they and their processes had."""
    last = {(one.process, one.thread): one.name for one in names}
    key = samples.process.astype(np.int64) << 32 | samples.thread.astype(np.int64)
    distinct, thread = np.unique(key, return_inverse=True)
    found = []
    for one in distinct.tolist():
        process, number = one >> 32, one & 0xFFFFFFFF
        process_name = last.get((process, process), "")
        found.append(Thread(process, number, last.get((process, number), process_name), process_name))
    return tuple(found), thread


def _places(leaf: Ints, names: FrameNames) -> tuple[Ints, Ints, Ints]:
    """(each sample's place, the objects of places, their addresses)."""
    distinct, which = np.unique(leaf, return_inverse=True)
    known = (distinct >= 0) & (names.place_object[distinct] >= 0 if len(names.place_object) else False)
    number = np.where(known, np.cumsum(known) - 1, -1)
    return number[which], names.place_object[distinct[known]], names.place_address[distinct[known]]
