"""A side's profile taken from outside of its process, by the controller: the other half of `capture/observed.py`.

profile = open_profile(side, backend, rate, tools)     the backend's instrument is set up and running
profile.round(iterations)                              as often as wanted
profile.close()                                        the profile, as workers send those they take themselves
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from pytest_blcperf.bench.native_walk import NativeCode, NativeWalk, Walked
from pytest_blcperf.bench.pointer_place import PointerPlace
from pytest_blcperf.bench.python_samples import (
    BytecodeSamples,
    Key,
    SeenStacks,
    Stack,
    by_bytecode,
    by_names,
    cut_at_root,
    inside,
    summed,
)
from pytest_blcperf.capture.backends import BYTECODE, SELF_TIME, TRAMPOLINE
from pytest_blcperf.capture.recorder import Recorder
from pytest_blcperf.capture.recording_plan import RecordingPlan
from pytest_blcperf.capture.spy import Spy
from pytest_blcperf.capture.thread_event import ThreadEvent
from pytest_blcperf.errors import PermissionDenied, TargetError, UsageError
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.recording import RecordingHealth, SampleBatch
from pytest_blcperf.symbols.python_stubs import Stubs, stub_layout
from pytest_blcperf.target.process import Processes, find

STACK_BYTES = 16 << 10
MAX_WAITING_BYTES = 256 << 20
"""Of stacks that wait until the stubs are known: 16 s at 1 kHz."""
_UNSURE_SHARE = 0.05
_KERNEL_SHARE = 0.25
_WITHOUT_LEAF_SHARE = 0.05
_ENOUGH_SAMPLES = 200

Data = Mapping[str, Any]
Windows = Sequence[tuple[int, int]]


class Requester(Protocol):
    """A process that answers requests: `bench/target.py`, `bench/profiled.py`."""

    def request(self, op: str, **arguments: Any) -> Mapping[str, Any]:
        """One request, one answer. Raises what the process raises."""


@dataclass(frozen=True)
class OutsideTools:
    """What the instruments need to know of a side: the command of its interpreter, where that keeps its pointer."""

    python: tuple[str, ...]
    pointer: PointerPlace | None = None
    code: NativeCode = field(default_factory=NativeCode, compare=False)


class Instrument(Protocol):
    """Looks at a process from when it is made until `stop` or `close`."""

    def stop(self) -> None:
        """See nothing more, and send no more signals."""

    def seen(self, windows: Windows, said: Data) -> SeenStacks:
        """What was seen in the windows, joined with what the process said."""

    def health(self) -> RecordingHealth:
        """What is missing of it."""

    def close(self) -> None:
        """Give everything back. Again: nothing."""


class BytecodeInstrument:
    """Backend `perf-bytecode`. Samples are unwound as they come; what is kept of each is a few words."""

    def __init__(self, facts: Data, rate: int, tools: OutsideTools) -> None:
        if tools.pointer is None:
            raise UsageError("the bytecode pointer was not calibrated", "report this as a bug")
        self._place = tools.pointer
        self._health = RecordingHealth()
        self._time: list[Any] = []
        self._period: list[Any] = []
        self._walked: list[Walked] = []
        self._walk = NativeWalk(facts["process"], tools.code)
        self._event = ThreadEvent(facts["thread"], rate, facts["signal"], self._take)
        self._event.start()

    def _take(self, batch: SampleBatch) -> None:
        self._time.append(batch.time)
        self._period.append(batch.period)
        self._walked.append(self._walk.walk(batch, [self._place]))

    def stop(self) -> None:
        """See `Instrument`."""
        self._health = self._event.stop()

    def seen(self, windows: Windows, said: Data) -> SeenStacks:
        """See `Instrument`."""
        if not self._walked:
            return SeenStacks()
        walked = Walked.joined(self._walked)
        native, native_of = self._walk.above_python(walked)
        samples = BytecodeSamples(
            np.concatenate(self._time), np.concatenate(self._period), walked.held[:, 0], native, native_of
        )
        return by_bytecode(samples, windows, said)

    def health(self) -> RecordingHealth:
        """See `Instrument`."""
        return self._health

    def close(self) -> None:
        """See `Instrument`."""
        self._event.close()


class TrampolineInstrument:
    """Backend `perf-trampoline`. Where the stubs are is known at the end only, so samples wait until then."""

    def __init__(self, facts: Data, rate: int, tools: OutsideTools) -> None:
        self._main = int(facts["thread"])
        self._batches: list[SampleBatch] = []
        self._bytes = self._dropped = 0
        self._health = RecordingHealth()
        plan = RecordingPlan(rate=rate, kernel=False, stack_bytes=STACK_BYTES, batch_bytes=16 << 20)
        self._process = int(facts["process"])
        self._code = tools.code
        self._stack = ExitStack()
        try:
            self._recorder = self._stack.enter_context(Recorder(Processes((find(self._process),)), plan))
            self._recorder.enable()
        except BaseException:
            self._stack.close()
            raise

    def between_rounds(self) -> None:
        """Take what is there by now, so that it need not wait in the recorder's few blocks."""
        for batch in self._recorder.take():
            if self._bytes < MAX_WAITING_BYTES:
                self._bytes += len(batch.stack)
                self._batches.append(batch)
            else:
                self._dropped += len(batch)

    def stop(self) -> None:
        """See `Instrument`."""
        self._recorder.stop()
        self.between_rounds()
        health = self._recorder.finish().health
        self._health = replace(health, lost=health.lost + self._dropped)

    def seen(self, windows: Windows, said: Data) -> SeenStacks:
        """See `Instrument`."""
        layout = stub_layout(bytes.fromhex(said["stub_code"]), os.uname().machine)
        stubs = Stubs(said["stubs"], range(len(said["stubs"])), layout)
        walk = NativeWalk(self._process, self._code, stubs)
        rows: list[tuple[Stack, float, int, bool]] = []
        for batch in self._batches:
            stacks, number = walk.python_stacks(walk.walk(batch))
            chosen = inside(batch.time, windows) >= 0
            keys = np.stack([number, batch.thread == self._main], axis=1)[chosen]
            rows += [
                (stacks[one], weight, count, bool(main))
                for (one, main), weight, count in summed(keys, batch.period[chosen])
            ]
        return cut_at_root(rows, said["root"])

    def health(self) -> RecordingHealth:
        """See `Instrument`."""
        return self._health

    def close(self) -> None:
        """See `Instrument`."""
        self._stack.close()


class SpyInstrument:
    """Backends `py-spy` and `profiling.sampling`: another program, which reads the process's memory."""

    def __init__(self, facts: Data, rate: int, tools: OutsideTools) -> None:
        self._period_ns = 1e9 / rate
        self._spy = Spy(facts["backend"], facts["process"], rate, tools.python)
        self._stacks: Any = None

    def stop(self) -> None:
        """See `Instrument`."""
        self._stacks = self._spy.stop()

    def seen(self, windows: Windows, said: Data) -> SeenStacks:
        """See `Instrument`. The windows are where the root is in the stack."""
        del windows
        seen = by_names(self._stacks, said, self._period_ns)
        seen.outside_ns = 0.0
        return seen

    def health(self) -> RecordingHealth:
        """See `Instrument`."""
        return RecordingHealth(broken=self._stacks.broken if self._stacks else 0)

    def close(self) -> None:
        """See `Instrument`."""
        self._spy.close()


def instrument(facts: Data, rate: int, tools: OutsideTools) -> Instrument:
    """The instrument of a backend, running. Raises PermissionDenied, TargetError, UsageError."""
    if facts["backend"] == BYTECODE:
        return BytecodeInstrument(facts, rate, tools)
    if facts["backend"] == TRAMPOLINE:
        return TrampolineInstrument(facts, rate, tools)
    return SpyInstrument(facts, rate, tools)


@dataclass
class OutsideProfile:
    """A profile of one side, being taken."""

    side: Requester
    backend: str
    rate: int
    tools: OutsideTools
    windows: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Set everything up. Raises PermissionDenied, TargetError, UsageError, and what the side raises."""
        facts = self.side.request("profile-open", backend=self.backend, rate=self.rate)
        if "refused" in facts:
            raise PermissionDenied(str(facts["refused"]), str(facts["hint"]))
        self._instrument = instrument(facts, self.rate, self.tools)

    def round(self, iterations: int) -> Mapping[str, Any]:
        """One profiled round, as the side answers."""
        try:
            answer = self.side.request("profile-round", iterations=iterations)
        except BaseException:
            self._instrument.close()
            raise
        self.windows += [(int(start), int(end)) for start, end in answer["windows"]]
        if isinstance(self._instrument, TrampolineInstrument):
            self._instrument.between_rounds()
        return answer

    def close(self) -> Data:
        """The profile, as `target.profile_data` gives it."""
        try:
            return finished(self._instrument, self.side, self.backend, self.rate, self.windows)
        finally:
            self._instrument.close()


def finished(running: Instrument, side: Requester, backend: str, rate: int, windows: Windows) -> Data:
    """Stop the instrument, ask the process what it knows, join."""
    running.stop()
    said = side.request("profile-close")
    seen = running.seen(windows, said)
    indices = seen.functions()
    described = side.request("profile-describe", indices=indices)["functions"]
    if len(described) != len(indices):
        raise TargetError(f"{len(described)} of {len(indices)} functions were described", "report this as a bug")
    health = running.health()
    return {
        **profile_columns(seen, dict(zip(indices, described, strict=True)), str(said["target"])),
        "backend": backend,
        "self_time": backend in SELF_TIME,
        "lost": health.lost + health.broken,
        "throttled": health.throttled,
        "warnings": [*said["warnings"], *warnings(seen, said, backend, 10**9 // rate)],
    }


def profile_columns(seen: SeenStacks, functions: Mapping[int, Sequence[Any]], target: str) -> dict[str, Any]:
    """`functions`, `stacks`, `weight` and `count` of a profile. A stack without frames is the target itself."""
    own = Function("<benchmark>", target)
    rows: dict[tuple[Any, ...], int] = {}
    weights: dict[tuple[int, ...], tuple[float, int]] = {}
    for stack, weight in seen.weight.items():
        # Several that are gone may have had one name: they are one function then.
        numbers = tuple(rows.setdefault(_row(key, functions), len(rows)) for key in stack or (own,))
        before = weights.get(numbers, (0.0, 0))
        weights[numbers] = before[0] + weight, before[1] + seen.count[stack]
    return {
        "functions": [list(row) for row in rows],
        "stacks": [list(stack) for stack in weights],
        "weight": [weight for weight, _ in weights.values()],
        "count": [count for _, count in weights.values()],
    }


def _row(key: Key, functions: Mapping[int, Sequence[Any]]) -> tuple[Any, ...]:
    if isinstance(key, int):
        return (*functions[key], "python")
    return key.file, key.name, key.line, key.fingerprint, key.kind


def warnings(seen: SeenStacks, said: Data, backend: str, period_ns: int) -> list[tuple[str, str]]:
    """(code, text) pairs on what the profile does not show."""
    found: list[tuple[str, str]] = []
    total = seen.total_ns + seen.outside_ns
    if total < _ENOUGH_SAMPLES * period_ns:
        return found
    unsure = seen.unsure_ns + seen.outside_ns
    if unsure > _UNSURE_SHARE * total:
        share = unsure / total
        found.append(("unattributed", f"{share:.0%} of the sampled CPU time could not be given to any function"))
    if seen.without_leaf_ns > _WITHOUT_LEAF_SHARE * total:
        share = seen.without_leaf_ns / total
        text = f"the bytecode pointer led to no function in {share:.0%} of the samples: callers may be charged instead"
        found.append(("bytecode-pointer", text))
    in_kernel = said["cpu"] - total
    if backend == BYTECODE and in_kernel > _KERNEL_SHARE * said["cpu"]:
        share = in_kernel / said["cpu"]
        found.append(("kernel-time", f"about {share:.0%} of the CPU time was spent in the kernel and is not profiled"))
    return found
