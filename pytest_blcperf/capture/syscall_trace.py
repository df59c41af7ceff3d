"""Counts and times a target's system calls by the raw tracepoints, in bounded memory and at a bounded cost.

Two records a call cost the target some microseconds, so by default the tracepoints are on in stretches, as many as
`BUDGET` calls a second allow: a program that calls seldom is traced all the time, one that storms for a hundredth.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np

from pytest_blcperf.capture import perf_event as abi
from pytest_blcperf.capture import perf_names, syscall_names
from pytest_blcperf.capture.perf_attach import Events, Target, attach, explain, inherited_threads, many_descriptors
from pytest_blcperf.capture.perf_attributes import Features, Inheritance, features, inheritance_flags
from pytest_blcperf.capture.perf_rings import Rings, online_cpus
from pytest_blcperf.capture.refusal import refused
from pytest_blcperf.capture.syscall_records import SAMPLE_TYPE, Crossings, SyscallSums, decode, joined
from pytest_blcperf.errors import BlcperfError, PermissionDenied
from pytest_blcperf.model.syscalls import SyscallCount, Syscalls
from pytest_blcperf.target.cgroup import Cgroup
from pytest_blcperf.target.process import Processes

TRACEPOINTS = ("raw_syscalls:sys_enter", "raw_syscalls:sys_exit")
BUDGET = 4_000
"""Calls a second that may be traced, on all CPUs together: one or two hundredths of one CPU."""
_RING_BYTES = 4 << 20
_TICK_SECONDS = 0.02
_LONGEST_PAUSE_NS = 5 * 10**9


@dataclass(frozen=True)
class Allowance:
    """How many calls may be traced: at first `burst`, and `rate` more every second (0: all). `spent` were, since
    `begin_ns`.
    """

    rate: int
    begin_ns: int
    spent: int = 0
    burst: int = BUDGET

    def after(self, calls: int) -> Allowance:
        """What is left when so many more calls were traced."""
        return replace(self, spent=self.spent + calls)

    def pause_until(self, now_ns: int) -> int:
        """When tracing may go on: now, or the time by which what was overdrawn has been earned again, five seconds away
        at most, so that a storm that is over is not the end.
        """
        if not self.rate:
            return now_ns
        earned_ns = self.begin_ns + self.spent * 10**9 // self.rate
        overdrawn = self.spent > self.burst + self.rate * (now_ns - self.begin_ns) // 10**9
        return min(earned_ns, now_ns + _LONGEST_PAUSE_NS) if overdrawn else now_ns


class SyscallTrace:
    """Opens both tracepoints on a target, disabled, as `Recorder` does. `budget` is in calls a second, 0: all.

    Raises BlcperfError where that is not permitted, saying what would permit it.
    """

    def __init__(self, target: Target, budget: int = BUDGET) -> None:
        self._machine = os.uname().machine
        self._rate = budget
        self._named = [perf_names.find(name) for name in TRACEPOINTS]
        self._thread: threading.Thread | None = None
        self._open(target, _features(self._named[0]))
        self._buffer = np.empty(self._rings.size, np.uint8)
        self._sums = SyscallSums(self._machine)
        self._held: Crossings = joined([])
        self._stretch_ns = self._traced_ns = self._begin_ns = self._end_ns = 0
        self._paused = False
        self._failure: BaseException | None = None
        self._stopping = threading.Event()

    def _open(self, target: Target, known: Features) -> None:
        cpus = online_cpus()
        with ExitStack() as opened:
            opened.enter_context(many_descriptors())
            try:
                self._rings = Rings(cpus, _RING_BYTES)
                opened.callback(self._rings.close)
                attributes = [_attributes(event, target, known, not index) for index, event in enumerate(self._named)]
                self._events = Events(self._named, attributes, self._rings, cpus)
                opened.callback(self._events.close)
                self._attach(target)
            except OSError as error:
                raise refused(error) from error
            self._opened = opened.pop_all()

    def _attach(self, target: Target) -> None:
        if isinstance(target, Processes):
            attach(self._events, target, inherited_threads(self._rings))
            self._events.disable()
        elif isinstance(target, Cgroup):
            folder = os.open(target.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                self._events.open_on_cpus(folder)
            finally:
                os.close(folder)
        else:
            self._events.open_on_cpus()

    def start(self) -> None:
        """Begin."""
        for ring in self._rings.rings:
            ring.drain()
        self._lost_before = self._events.lost() or 0
        self._begin_ns = time.monotonic_ns()
        self._thread = threading.Thread(target=self._run, name="blcperf-syscalls", daemon=True)
        self._thread.start()

    def stop(self) -> Syscalls:
        """End: what there was. Raises what the thread died of."""
        self._end()
        if self._failure is not None:
            raise self._failure
        rows = sorted(self._sums.sums.items(), key=lambda row: (-row[1][1], row[0]))
        window = self._end_ns - self._begin_ns
        return Syscalls(
            tuple(
                SyscallCount(process, number, syscall_names.name_of(number, self._machine), calls, ns)
                for (process, number), (calls, ns) in rows
            ),
            traced_ns=min(self._traced_ns, window) if self._paused else window,
            window_ns=window,
            lost=max((self._events.lost() or 0) - self._lost_before, 0),
        )

    def close(self) -> None:
        """Give everything back. Again: nothing."""
        self._end()
        self._opened.close()

    def _end(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            self._trace()
        except BaseException as error:
            self._failure = error

    def _trace(self) -> None:
        allowance = Allowance(self._rate, time.monotonic_ns())
        self._switch_on()
        while not self._stopping.wait(_TICK_SECONDS):
            allowance = allowance.after(self._tick())
            now = time.monotonic_ns()
            until = allowance.pause_until(now)
            if until > now:
                self._paused = True
                self._switch_off()
                self._stopping.wait((until - now) / 1e9)
                allowance = replace(allowance, spent=min(allowance.spent, self._earned(allowance)))
                if self._stopping.is_set():
                    break
                self._switch_on()
        if self._stretch_ns:
            self._switch_off()
        self._end_ns = time.monotonic_ns()

    def _earned(self, allowance: Allowance) -> int:
        return allowance.rate * (time.monotonic_ns() - allowance.begin_ns) // 10**9

    def _switch_on(self) -> None:
        self._events.enable()
        self._round_ns = self._stretch_ns = time.monotonic_ns()

    def _switch_off(self) -> None:
        end = time.monotonic_ns()
        self._events.disable()
        self._tick(everything=True)
        self._sums.end_stretch(end)
        self._traced_ns += end - self._stretch_ns
        self._stretch_ns = 0

    def _tick(self, everything: bool = False) -> int:
        """Take what the rings hold; how many calls that were. What is newer than the round before may still have older
        neighbours in another CPU's ring, and is held.
        """
        previous, self._round_ns = self._round_ns, time.monotonic_ns()
        if not len(self._held) and not any(ring.used for ring in self._rings.rings):
            return 0
        enter, leave = (event.config for event in self._named)
        found = []
        for ring in self._rings.rings:
            length = ring.drain_into(self._buffer.data)
            found.append(decode(self._buffer[:length].view(np.uint64), enter, leave))
        calls = sum(int(part.entering.sum()) for part in found)
        both = joined([self._held, *found])
        settled = both.time < (self._round_ns if everything else previous)
        self._held = joined([]) if everything else both.rows(~settled)
        self._sums.add(both.rows(settled), self._stretch_ns)
        return calls


def _attributes(event: perf_names.NamedEvent, target: Target, known: Features, tracking: bool) -> abi.Attributes:
    """A disabled tracepoint event, every occurrence with its payload; with `tracking` it reports new threads too."""
    inheritance = Inheritance(isinstance(target, Processes), isinstance(target, Processes) and target.children)
    return abi.Attributes(
        type=event.type,
        size=ctypes.sizeof(abi.Attributes),
        config=event.config,
        sample_period=1,
        sample_type=SAMPLE_TYPE,
        read_format=abi.READ_LOST if known.read_lost else 0,
        flags=abi.FLAG_DISABLED
        | abi.FLAG_SAMPLE_ID_ALL
        | abi.FLAG_USE_CLOCKID
        | abi.FLAG_WATERMARK
        | (abi.FLAG_TASK if tracking else 0)
        | inheritance_flags(inheritance, known),
        wakeup_events=(1 << 32) - 1,
        clockid=time.CLOCK_MONOTONIC,
    )


def _features(event: perf_names.NamedEvent) -> Features:
    """What this kernel knows. Raises BlcperfError when it refuses tracepoints with their payloads."""
    try:
        known = features()
        os.close(abi.open_event(_attributes(event, Processes(()), known, True), 0))
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            raise PermissionDenied(
                "raw tracepoints are refused by the kernel",
                "sudo sysctl kernel.perf_event_paranoid=-1, or give CAP_PERFMON",
            ) from error
        raise explain(error, event, None) from error
    return known


def open_where_permitted(target: Target, budget: int = BUDGET) -> SyscallTrace | str:
    """A trace; where it is not permitted, why and what permits it, in a sentence."""
    try:
        return SyscallTrace(target, budget)
    except BlcperfError as error:
        return f"{error.message}; {error.hint}" if error.hint else error.message
