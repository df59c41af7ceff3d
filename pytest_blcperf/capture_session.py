"""Captures of any process: wait, record, unwind, name. Joins target, window, capture and symbols; owns the clock."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil

from pytest_blcperf import spied_capture
from pytest_blcperf.capture.perf_attach import Target
from pytest_blcperf.capture.perf_data import PerfData
from pytest_blcperf.capture.recorder import Recorder
from pytest_blcperf.capture.recording_plan import RecordingPlan
from pytest_blcperf.capture.syscall_trace import SyscallTrace, open_where_permitted
from pytest_blcperf.errors import TargetError, UsageError
from pytest_blcperf.model.capture import Capture
from pytest_blcperf.model.syscalls import Syscalls
from pytest_blcperf.store import environment
from pytest_blcperf.symbols.kernel import running_build_id
from pytest_blcperf.symbols.live_stacks import LiveStacks
from pytest_blcperf.symbols.objects import Objects
from pytest_blcperf.symbols.resolve import Resolver
from pytest_blcperf.target import cgroup, process
from pytest_blcperf.target.activity import Activity, activity
from pytest_blcperf.target.process import Processes
from pytest_blcperf.window.control import DISABLE, ENABLE, STOP, Control
from pytest_blcperf.window.schedule import Plan, Schedule, State
from pytest_blcperf.window.watch import Watch

BACKEND = "perf"
POLL_SECONDS = 0.05
"""Between looks at clocks, signals and commands."""
TRIGGER_SECONDS = 0.25
"""Between readings of a trigger's sources: CPU use over less is mostly the clock's tick."""
BATCH_SECONDS = 0.5
"""Between unwindings: often enough for small batches, seldom enough that their fixed cost does not matter."""

Tell = Callable[[str, bool], None]
"""A line of progress, and whether it is to last."""


@dataclass(frozen=True)
class Order:
    """What to record and when. `trigger` and `control` exclude each other: `window.trigger`, `window.control`."""

    target: Target
    description: str
    plan: RecordingPlan = field(default_factory=RecordingPlan)
    windows: Plan = field(default_factory=Plan)
    trigger: str | None = None
    token: str = ""
    control: str | None = None
    preset: str = ""
    syscalls: str = "auto"
    """How system calls are counted: `auto` (in stretches, where that is permitted), `trace` (all, or an error),
    `symbols` (not: time by the kernel's functions).
    """
    backend: str = BACKEND
    """`perf`, or `py-spy` for one Python process."""


@dataclass(frozen=True)
class Captured:
    """One window. `ended` says why: `time`, `target` (it ended), `stopped`, or `control`."""

    capture: Capture
    ended: str


def record(
    order: Order,
    *,
    tell: Tell = lambda _line, _lasting: None,
    stopped: Callable[[], bool] = lambda: False,
    ready: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Captured]:
    """The windows of an order, each as soon as it is over. `ready` is called once everything is set up that must not
    miss the target's beginning.

    Raises TargetError when the target is gone before a window opened, PermissionDenied, UsageError.
    """
    with ExitStack() as resources:
        session = _Session(order, resources, tell=tell, stopped=stopped, ready=ready, clock=clock, sleep=sleep)
        yield from session.windows()


def read_perf_data(path: Path) -> tuple[Capture, ...]:
    """The captures of a perf.data file, one an event that has samples. Raises UsageError when it cannot be read.

    Programs are looked for where they were, and verified by build-id where the file has it; the kernel's functions have
    names when it is the kernel that runs here now.
    """
    with ExitStack() as resources:
        objects = resources.enter_context(Objects(live=False))
        file = resources.enter_context(PerfData(path))
        stacks: LiveStacks | None = None
        for batch in file.batches():
            resolver = Resolver(live=False, same_kernel=_is_of_this_start(file, path))
            stacks = stacks or LiveStacks(batch.machine, objects, resolver, live=False)
            stacks.add(batch, *file.so_far)
        recording = file.finish()
        if stacks is None:
            raise UsageError(f"{path}: no samples in it", "record again: perf record -g -p PID")
        built = (
            stacks.build(recording, event=number, backend="perf record", target=path.name, started=_modified(path))
            for number in range(len(recording.events))
        )
        return tuple(replace(one, settings={"timed": True}) for one in built if len(one))


def _is_of_this_start(file: PerfData, path: Path) -> bool:
    """Whether the kernel was the one that runs now, and has not been restarted, and moved in memory, since."""
    since = time.time() - time.monotonic()
    return bool(file.kernel_build_id) and file.kernel_build_id == running_build_id() and path.stat().st_mtime > since


def _modified(path: Path) -> str:
    """When the file was written, for want of a better time; UTC, ISO 8601."""
    return datetime.fromtimestamp(path.stat().st_mtime, timezone.utc).isoformat(timespec="seconds")


class _Session:
    def __init__(
        self,
        order: Order,
        resources: ExitStack,
        *,
        tell: Tell,
        stopped: Callable[[], bool],
        ready: Callable[[], None],
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._order = order
        self._tell, self._stopped, self._ready = tell, stopped, ready
        self._clock, self._sleep = clock, sleep
        self._objects = resources.enter_context(Objects())
        self._resolver = Resolver()
        self._alive = _life(order.target, resources)
        self._control = Control(order.control) if order.control else None
        if self._control is not None:
            resources.callback(self._control.close)
        self._watch: Watch | None = None
        if order.trigger:
            self._watch = resources.enter_context(Watch(order.trigger, self._watched, clock, order.token))
            for endpoint in self._watch.endpoints:
                tell(f"POST {endpoint.address} with Authorization: Bearer {endpoint.token} opens the window", True)
        self._schedule = Schedule(order.windows, clock())
        self._enabled = False
        self._fired = ""
        self._look_at = clock()

    def windows(self) -> Iterator[Captured]:
        """See `record`."""
        number = 0
        first = self._schedule.observe(self._clock())
        if first is not State.OPEN:
            self._get_ready()
        while not self._schedule.done:
            if self._stopped() or not self._alive():
                self._schedule.stop()
            elif self._schedule.observe(self._clock(), self._is_time()) is State.OPEN:
                number += 1
                yield self._window() if self._order.backend == BACKEND else self._spied_window()
                self._begin_anew()
            elif not self._schedule.done:
                self._wait()
        if not number and not self._stopped() and not self._schedule.gave_up and not self._alive():
            raise TargetError(f"{self._order.description} ended before a window opened", "start it again")

    def _get_ready(self) -> None:
        ready, self._ready = self._ready, lambda: None
        ready()

    def _watched(self) -> list[psutil.Process]:
        found = []
        for pid in _pids(self._order.target):
            try:
                found.append(psutil.Process(pid))
            except psutil.Error:
                continue
        return found

    def _is_time(self) -> bool:
        if self._control is not None:
            self._obey(self._control)
            return self._enabled
        if self._watch is None or self._schedule.state is not State.WAITING or self._clock() < self._look_at:
            return False
        self._look_at = self._clock() + TRIGGER_SECONDS
        fired = self._watch.fired()
        self._fired = fired or ""
        return fired is not None

    def _obey(self, control: Control) -> None:
        for command in control.commands():
            if command in (ENABLE, DISABLE):
                self._enabled = command == ENABLE
            elif command == STOP:
                self._schedule.stop()
            if command != ENABLE:  # acknowledged once the window is open
                control.acknowledge()
        if control.closed and not self._enabled:
            self._schedule.stop()

    def _begin_anew(self) -> None:
        if self._watch is not None:
            self._watch.forget()
        self._fired = ""

    def _wait(self) -> None:
        left = self._schedule.until
        state = self._schedule.state.value
        self._tell(f"{state}: {left - self._clock():.1f} s left" if left is not None else state, False)
        self._sleep(POLL_SECONDS if left is None else max(0.0, min(POLL_SECONDS, left - self._clock())))

    def _window(self) -> Captured:
        order = self._order
        with Recorder(order.target, order.plan) as recorder, ExitStack() as traced:
            trace = self._trace(traced)
            before = activity(_pids(order.target))
            stacks = LiveStacks(os.uname().machine, self._objects, self._resolver)
            start = recorder.enable()
            if isinstance(trace, SyscallTrace):
                trace.start()
            self._begin_window()
            ended = self._drain(
                lambda: recorder.target_alive,
                take=lambda: self._take(recorder, stacks),
                progress=lambda: f"{len(stacks):,} samples",
            )
            after = activity(_pids(order.target))
            syscalls, trace = self._counted(trace)
            end = recorder.stop()
            self._take(recorder, stacks)
            # To the nanosecond what was asked for: the loop sees the end a little late.
            length = order.windows.duration
            if length is not None and ended == "time":
                end = min(end, start + round(length * 1e9))
            recording = recorder.finish((start, end))
            capture = stacks.build(recording, backend=BACKEND, target=order.description)
            capture = replace(capture, syscalls=syscalls)
            return Captured(self._described(capture, recorder.plan, after - before, trace), ended)

    def _spied_window(self) -> Captured:
        """A window in which py-spy looks at the process."""
        order = self._order
        spy = spied_capture.begin(order.target, order.plan.rate)
        try:
            before, start = activity(_pids(order.target)), time.monotonic_ns()
            self._begin_window()
            ended = self._drain(self._alive, take=lambda: None, progress=lambda: "by py-spy")
            counted, end = activity(_pids(order.target)) - before, time.monotonic_ns()
            stacks = spy.stop()
        finally:
            spy.close()
        capture = spied_capture.captured(stacks, order.target, order.description, order.plan.rate, (start, end))
        settings = {**capture.settings, "rate": order.plan.rate, "preset": order.preset, **self._condition()}
        counters = counted.as_counters()
        return Captured(
            replace(capture, settings=settings, counters=counters, environment=environment.current()), ended
        )

    def _begin_window(self) -> None:
        """What is recorded counts from now on: the schedule's clock starts, and whoever asked for it is told."""
        self._schedule.reopen(self._clock())
        if self._control is not None:
            self._control.acknowledge()
        self._get_ready()

    def _counted(self, trace: SyscallTrace | str) -> tuple[Syscalls | None, SyscallTrace | str]:
        """What a trace counted. One that was not asked for and failed costs its table, not the capture."""
        if not isinstance(trace, SyscallTrace):
            return None, trace
        try:
            return trace.stop(), trace
        except Exception as error:
            if self._order.syscalls == "trace":
                raise
            return None, f"counting failed ({error})"

    def _trace(self, resources: ExitStack) -> SyscallTrace | str:
        """A trace of system calls, else why there is none."""
        order = self._order
        if order.syscalls == "symbols":
            return "not asked for"
        trace = SyscallTrace(order.target, 0) if order.syscalls == "trace" else open_where_permitted(order.target)
        if isinstance(trace, SyscallTrace):
            resources.callback(trace.close)
        return trace

    def _drain(self, alive: Callable[[], bool], *, take: Callable[[], None], progress: Callable[[], str]) -> str:
        """Until the window is over; why it is."""
        unwind_at = self._clock() + BATCH_SECONDS
        while True:
            if self._stopped():
                self._schedule.stop()
                return "stopped"
            if not alive():
                self._schedule.stop()
                return "target"
            if self._control is not None:
                self._obey(self._control)
                if not self._enabled or self._schedule.done:
                    self._schedule.close()
                    return "control"
            if self._schedule.observe(self._clock()) is not State.OPEN:
                return "time"
            if self._clock() >= unwind_at:
                take()
                unwind_at = self._clock() + BATCH_SECONDS
                self._tell(self._progress(progress()), False)
            left = self._schedule.until
            self._sleep(POLL_SECONDS if left is None else max(0.0, min(POLL_SECONDS, left - self._clock())))

    def _progress(self, seen: str) -> str:
        opened, until = self._schedule.opened[-1], self._schedule.until
        passed = self._clock() - opened
        length = f" of {until - opened:.0f} s" if until is not None else " s"
        return f"recording {self._order.description}: {passed:.0f}{length}, {seen}"

    def _take(self, recorder: Recorder, stacks: LiveStacks) -> None:
        for batch in recorder.take():
            stacks.add(batch, *recorder.so_far)

    def _condition(self) -> dict[str, Any]:
        condition = self._order.trigger
        return {"trigger": self._fired, "condition": condition} if condition else {}

    def _described(
        self, capture: Capture, plan: RecordingPlan, counted: Activity, trace: SyscallTrace | str
    ) -> Capture:
        order = self._order
        settings: dict[str, Any] = {
            "timed": True,
            "kernel": plan.kernel,
            "user": plan.user,
            "rate": plan.rate,
            "stack_bytes": plan.stack_bytes,
            "preset": order.preset,
            "syscalls": "raw tracepoints" if isinstance(trace, SyscallTrace) else f"kernel entry symbols: {trace}",
        }
        settings |= self._condition()
        counters: Mapping[str, float] = counted.as_counters()
        return replace(capture, settings=settings, counters=counters, environment=environment.current())


def _life(target: Target, resources: ExitStack) -> Callable[[], bool]:
    """Tells whether the target still runs; True for cgroups and the whole system."""
    if not isinstance(target, Processes):
        return lambda: True
    watch = process.Watch(target.processes)
    resources.callback(watch.close)
    return watch.any_running


def _pids(target: Target) -> list[int]:
    if isinstance(target, Processes):
        roots = [one.pid for one in target.processes]
        return process.with_descendants(roots) if target.children else roots
    if isinstance(target, cgroup.Cgroup):
        return cgroup.processes(target)
    return process.every_process()
