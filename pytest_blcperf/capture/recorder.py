"""Records samples of a target: events on it, rings, a thread that drains them, batches for whoever unwinds.

    with Recorder(target, RecordingPlan()) as recorder:
        recorder.enable()
        for batch in recorder.batches(seconds=2):
            ...
        recording = recorder.finish()

What drives the target itself calls `enable`, does its work, then `stop`, and takes the batches meanwhile with `take` or
afterwards with `batches`. Everything is as good as the rings are large: the recording says what was lost.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType

import numpy as np

from pytest_blcperf.capture import perf_event as abi
from pytest_blcperf.capture import perf_names, proc_maps
from pytest_blcperf.capture.drain import Block, Drain, drain_interval_ns
from pytest_blcperf.capture.perf_attach import (
    Events,
    Identity,
    Target,
    allowed_plan,
    attach,
    attributes_for,
    inherited_threads,
    many_descriptors,
)
from pytest_blcperf.capture.perf_attributes import REGISTER_MASKS, features, interval, sample_type
from pytest_blcperf.capture.perf_rings import Rings, online_cpus
from pytest_blcperf.capture.recording_plan import RecordingPlan
from pytest_blcperf.capture.records import SampleLayout, SampleTable, batch, decode, index_records
from pytest_blcperf.capture.refusal import refused
from pytest_blcperf.capture.side_band import KINDS, SideBand, trailer_time
from pytest_blcperf.errors import UsageError
from pytest_blcperf.model.recording import (
    Booleans,
    Event,
    Fork,
    Ints,
    Mapping,
    Recording,
    RecordingHealth,
    SampleBatch,
    ThreadName,
    Words,
)
from pytest_blcperf.target import cgroup
from pytest_blcperf.target import process as processes
from pytest_blcperf.target.process import Processes

_HEADER_BYTES = 400
"""What a sample takes besides its stack: fields, registers, a short kernel chain."""
_PATIENCE_SECONDS = 1.0
_POLL_SECONDS = 0.05
_FOREVER = (1 << 63) - 1
_NOBODY = Identity(0, -1)


class Recorder:
    """See the module. `warnings` are (code, text) pairs.

    Opening raises TargetError when the target is gone, PermissionDenied when the kernel refuses, UsageError for events
    that do not exist here.
    """

    def __init__(self, target: Target, plan: RecordingPlan | None = None) -> None:
        self.plan = plan or RecordingPlan()
        self.warnings: list[tuple[str, str]] = []
        self._target = target
        self._machine = os.uname().machine
        self._named = [perf_names.find(name) for name in self.plan.events]
        self._limits = ExitStack()
        self._rings: Rings | None = None
        self._events: Events | None = None
        self._watch: processes.Watch | None = None
        self._drain: Drain | None = None
        self._side_band = SideBand()
        self._held: list[SampleTable] = []
        self._known: set[int] = set()
        self._start_ns = self._end_ns = 0
        self._until_ns = _FOREVER
        self._samples = self._outside = self._lost_before = 0
        self._lost: int | None = None

    def __enter__(self) -> Recorder:
        try:
            self._open()
        except OSError as error:
            self.close()
            raise refused(error) from error
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> None:
        if self._machine not in REGISTER_MASKS:
            raise UsageError(f"recording is not supported on {self._machine}", "profile on x86-64 or 64-bit ARM")
        known = features()
        for event in self._named:
            self.plan, warnings = allowed_plan(self.plan, event, known)
            self.warnings += warnings
        cpus = online_cpus()
        self._limits.enter_context(many_descriptors())
        self._rings = Rings(cpus, self.plan.ring_bytes)
        attributes = attributes_for(self._target, self.plan, self._named, known)
        self._events = Events(self._named, attributes, self._rings, cpus)
        if isinstance(self._target, Processes):
            self._watch = processes.Watch(self._target.processes)
            self._attach(self._target)
        else:
            self._attach_to_cpus()
        self._layout = SampleLayout(
            self._machine,
            sample_type(self.plan),
            registers_mask=REGISTER_MASKS[self._machine] if self.plan.stack_bytes else 0,
        )

    def _attach(self, target: Processes) -> None:
        assert self._events is not None and self._rings is not None
        if not attach(self._events, target, inherited_threads(self._rings)):
            self.warnings.append(
                ("threads-missed", "threads began faster than they could be attached to: some are not recorded")
            )
        self._events.disable()

    def _attach_to_cpus(self) -> None:
        assert self._events is not None
        if not isinstance(self._target, cgroup.Cgroup):
            self._events.open_on_cpus()
            return
        folder = os.open(self._target.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._events.open_on_cpus(folder)
        finally:
            os.close(folder)

    def enable(self) -> int:
        """Begin: the start of the window, in ns of CLOCK_MONOTONIC (`time.perf_counter_ns`)."""
        if self._events is None or self._rings is None or self._drain is not None:
            raise UsageError("a recording begins once, inside its with block", "make a new Recorder")
        for ring in self._rings.rings:
            ring.drain()
        plan = self.plan
        self._drain = Drain(
            self._rings,
            drain_interval_ns(self._rings.size, _HEADER_BYTES + plan.stack_bytes, plan.rate * len(plan.events)),
            plan.batch_bytes,
            plan.queue_bytes // plan.batch_bytes,
        )
        self._lost_before = self._events.lost() or 0
        self._drain.start()
        self._events.enable()
        self._start_ns = time.monotonic_ns()
        self._note_what_is_there()
        return self._start_ns

    def _note_what_is_there(self) -> None:
        """Mappings and names that the kernel does not report, as they were before."""
        for pid in self._present():
            self._known.add(pid)
            self._note_process(pid)

    def _note_process(self, pid: int) -> None:
        self._side_band.mappings += proc_maps.executable_mappings(pid)
        self._side_band.names += [
            ThreadName(process, thread, 0, name) for process, thread, name in processes.names([pid])
        ]

    def _present(self) -> list[int]:
        if isinstance(self._target, Processes):
            roots = [one.pid for one in self._target.processes]
            return processes.with_descendants(roots) if self._target.children else roots
        if isinstance(self._target, cgroup.Cgroup):
            return cgroup.processes(self._target)
        return processes.every_process()

    @property
    def target_alive(self) -> bool:
        """Whether one of the processes still runs; True for a cgroup and the whole system."""
        return self._watch is None or self._watch.any_running()

    @property
    def so_far(self) -> tuple[list[Mapping], list[ThreadName], list[Fork]]:
        """What is known of the processes by now, in the order it became known: these lists only grow."""
        return self._side_band.mappings, self._side_band.names, self._side_band.forks

    def stop(self) -> int:
        """End: the end of the window (ns). Batches may still be waiting. Again: nothing."""
        if self._drain is None or self._events is None:
            raise UsageError("a recording that was not begun cannot be stopped", "call enable() first")
        if not self._end_ns:
            self._end_ns = time.monotonic_ns()
            self._events.disable()
            self._drain.stop()
            lost = self._events.lost()
            self._lost = None if lost is None else lost - self._lost_before
        return self._end_ns

    def take(self) -> Iterator[SampleBatch]:
        """The batches that are there by now. Never waits."""
        drain = self._begun()
        while (block := drain.take()) is not None:
            yield from self._batches_of(block, drain)

    def batches(self, seconds: float | None = None) -> Iterator[SampleBatch]:
        """Batches as they come, at least one a second, until `seconds` after the start, `stop` (by another thread), or
        the end of the target; stops the recording then, and ends with the last batch.
        """
        drain = self._begun()
        if seconds is not None:
            self._until_ns = self._start_ns + round(seconds * 1e9)
        patience = time.monotonic() + _PATIENCE_SECONDS
        while not self._end_ns:
            left = (self._until_ns - time.monotonic_ns()) / 1e9
            if left <= 0 or not self.target_alive:
                if left > 0:
                    self.warnings.append(
                        ("target-ended", f"the target ended {left:.1f} s before the end of the window")
                    )
                self._end_ns = min(self.stop(), self._until_ns)
                break
            late = time.monotonic() >= patience
            block = drain.take(min(_POLL_SECONDS, left), full=not late)
            if block is not None:
                yield from self._batches_of(block, drain)
            if block is not None or late:
                patience = time.monotonic() + _PATIENCE_SECONDS
        yield from self.take()

    def _begun(self) -> Drain:
        if self._drain is None:
            raise UsageError("a recording that was not begun has no samples", "call enable() first")
        return self._drain

    def _batches_of(self, block: Block, drain: Drain) -> Iterator[SampleBatch]:
        """What is settled by this block as a batch; the rest is held. The block is given back before its batch is
        handed on, so that a slow reader does not keep it.
        """
        try:
            found = self._decode(block)
        finally:
            drain.recycle(block)
        if found is not None:
            yield found

    def _decode(self, block: Block) -> SampleBatch | None:
        words: Words = block.data[: block.used].view(np.uint64)
        tables = [*self._held, self._read(words, [(begin >> 3, end >> 3) for begin, end in block.segments])]
        held = []
        chosen = []
        for table in tables:
            settled = table.time < block.settled_ns
            if not settled.all():
                held.append(table.copy(np.flatnonzero(~settled)))
            chosen.append(np.flatnonzero(settled & self._is_inside(table)))
            self._outside += int(settled.sum()) - len(chosen[-1])
        self._held = held
        if not sum(len(rows) for rows in chosen):
            return None
        events = [self._events_of(table)[rows] for table, rows in zip(tables, chosen, strict=True)]
        found = batch(tables, chosen, events)
        self._samples += len(found)
        self._note_strangers(found)
        return found

    def _read(self, words: Words, segments: list[tuple[int, int]]) -> SampleTable:
        index = index_records(words, segments)
        is_sample = index.type == abi.RECORD_SAMPLE
        others = np.flatnonzero(np.isin(index.type, KINDS))
        room = self._side_band.room()
        self._side_band.broken += max(len(others) - room, 0)
        others = others[:room]
        for kind, misc, position, size in zip(
            *(column[others].tolist() for column in (index.type, index.misc, index.position, index.size)), strict=True
        ):
            self._note(kind, misc, words[position + 1 : position + size].tobytes())
        rows = np.flatnonzero(is_sample)
        table = decode(words, index.position[rows], index.misc[rows], index.size[rows], self._layout)
        self._side_band.broken += index.broken + table.broken
        return self._without_doubles(table)

    def _note(self, kind: int, misc: int, body: bytes) -> None:
        time_ns = trailer_time(body, self._layout)
        self._side_band.add(kind, misc, body, self._layout.trailer_words, time_ns)

    def _is_inside(self, table: SampleTable) -> Booleans:
        end = min(self._end_ns or _FOREVER, self._until_ns)
        return (table.time >= self._start_ns) & (table.time < end)

    def _without_doubles(self, table: SampleTable) -> SampleTable:
        """Without samples that came twice, of a thread that was opened although it had inherited; and without those of
        child processes, which kernels before 5.13 cannot keep from inheriting.
        """
        assert self._events is not None
        keep = np.ones(len(table), np.bool_)
        for thread in self._events.late:
            rows = np.flatnonzero(table.thread == thread)
            owners = np.array([self._identity(number).thread for number in table.identifier[rows].tolist()])
            if (owners == thread).any():
                keep[rows[owners != thread]] = False
        if isinstance(self._target, Processes) and not self._target.children:
            keep &= np.isin(table.process, [one.pid for one in self._target.processes])
        return table if keep.all() else table.copy(np.flatnonzero(keep))

    def _identity(self, number: int) -> Identity:
        assert self._events is not None
        return self._events.identities.get(number, _NOBODY)

    def _events_of(self, table: SampleTable) -> Ints:
        numbers, inverse = np.unique(table.identifier, return_inverse=True)
        return np.array([self._identity(number).event for number in numbers.tolist()], np.int64)[inverse]

    def _note_strangers(self, found: SampleBatch) -> None:
        """Mappings of processes that came from elsewhere: into the cgroup, or before anybody looked."""
        strangers = set(np.unique(found.process).tolist()) - self._known
        self._known |= strangers
        for pid in strangers - {fork.process for fork in self._side_band.forks}:
            if pid > 0:
                self._note_process(pid)

    def finish(self, window: tuple[int, int] | None = None) -> Recording:
        """Stop, and everything but the samples. Batches nobody took count as lost. `window` (ns) stands in the
        recording instead of the time from `enable` to `stop`, for those who cut rounds out of it.
        """
        self.stop()
        drain, side_band = self._begun(), self._side_band
        untaken = sum(len(left) for left in self.take())
        for record in abi.walk(drain.take_kept()):
            self._note(record.type, record.misc, record.body)
        in_rings = (side_band.lost if self._lost is None else self._lost) + side_band.lost_samples
        start, end = window or (self._start_ns, self._end_ns)
        return Recording(
            machine=self._machine,
            events=tuple(self._event(named) for named in self._named),
            start_ns=start,
            end_ns=end,
            mappings=tuple(sorted(side_band.mappings, key=lambda one: one.time)),
            names=tuple(sorted(side_band.names, key=lambda one: one.time)),
            forks=tuple(sorted(side_band.forks, key=lambda one: one.time)),
            health=RecordingHealth(
                samples=self._samples - untaken,
                lost=in_rings + drain.dropped + untaken,
                throttled=side_band.throttled,
                broken=side_band.broken,
                outside=self._outside,
            ),
            warnings=(*self.warnings, *self._losses(in_rings, drain.dropped, untaken, side_band.throttled)),
        )

    def _event(self, named: perf_names.NamedEvent) -> Event:
        period, by_rate = interval(named, self.plan)
        if by_rate or (named.name in perf_names.CLOCKS and not self.plan.period):
            return Event(named.name, named.unit, rate=self.plan.rate)
        return Event(named.name, named.unit, period=period)

    def _losses(self, in_rings: int, dropped: int, untaken: int, throttled: int) -> Iterator[tuple[str, str]]:
        assert self._rings is not None
        if in_rings:
            size = self._rings.size >> 10
            yield "lost-samples", f"{in_rings} records were lost: the rings of {size} KiB were full; lower the rate"
        if dropped:
            yield "lost-samples", f"{dropped} samples were dropped: whoever reads them was too slow; lower the rate"
        if untaken:
            yield "lost-samples", f"{untaken} samples were never taken"
        if throttled:
            yield "throttled", f"the kernel paused sampling {throttled} times; lower the rate"

    def close(self) -> None:
        """Give everything back. Again: nothing."""
        if self._events is not None and self._drain is not None and not self._end_ns:
            self._events.disable()
            self._drain.stop()
        for held in (self._watch, self._events, self._rings):
            if held is not None:
                held.close()
        self._limits.close()
