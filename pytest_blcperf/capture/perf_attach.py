"""Events on a target: opened on every thread and CPU, or on every CPU for a cgroup and the whole system."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pytest_blcperf.capture import perf_event as abi
from pytest_blcperf.capture.perf_attributes import Features, Inheritance, sampling
from pytest_blcperf.capture.perf_names import NamedEvent
from pytest_blcperf.capture.perf_rings import Rings
from pytest_blcperf.capture.recording_plan import RecordingPlan
from pytest_blcperf.capture.refusal import refused
from pytest_blcperf.errors import BlcperfError, PermissionDenied, UsageError
from pytest_blcperf.target import process as processes
from pytest_blcperf.target.cgroup import Cgroup
from pytest_blcperf.target.process import Processes, WholeSystem

Target = Processes | Cgroup | WholeSystem


def attributes_for(
    target: Target, plan: RecordingPlan, named: Sequence[NamedEvent], features: Features
) -> list[abi.Attributes]:
    """Attributes of the plan's events, of which the first reports mappings, names and new threads too."""
    inheritance = Inheritance(isinstance(target, Processes), isinstance(target, Processes) and target.children)
    return [sampling(event, plan, inheritance, features, tracking=not index) for index, event in enumerate(named)]


_ROUNDS = 20


@dataclass(frozen=True)
class Identity:
    """Which event of the plan an identifier in a sample stands for, and the thread it was opened on (-1: none)."""

    event: int
    thread: int


class Events:
    """The open events of a recording, which write to `rings`. `identities` by identifier; `late` are the threads that
    were opened after others, and may have inherited from those as well.

    Threads inherit them, and with `Processes.children` child processes too.
    """

    def __init__(
        self, named: Sequence[NamedEvent], attributes: Sequence[abi.Attributes], rings: Rings, cpus: Sequence[int]
    ) -> None:
        self._named = named
        self._attributes = attributes
        self._rings = rings
        self._cpus = cpus
        self._descriptors: list[int] = []
        self.identities: dict[int, Identity] = {}
        self.late: set[int] = set()

    def open_on_thread(self, thread: int) -> bool:
        """Open on a thread and enable, so that from now on its children are reported. False when it is gone."""
        return self._open(thread, 0, thread)

    def open_on_cpus(self, group: int = -1) -> None:
        """Open on each CPU for everything, or for the cgroup whose folder is open as `group`."""
        self._open(group, abi.OPEN_CGROUP if group >= 0 else 0, -1)

    def _open(self, subject: int, flags: int, thread: int) -> bool:
        for cpu in self._cpus:
            for index, attributes in enumerate(self._attributes):
                try:
                    descriptor = abi.open_event(attributes, subject, cpu, flags=flags)
                except OSError as error:
                    if error.errno == errno.ESRCH:
                        return False
                    if error.errno == errno.ENODEV and thread < 0:
                        # The CPU went off since it was listed.
                        break
                    raise explain(error, self._named[index], subject if thread >= 0 else None) from error
                self._descriptors.append(descriptor)
                abi.share_ring(descriptor, self._rings.owner(cpu))
                self.identities[abi.identifier(descriptor)] = Identity(index, thread)
                if thread >= 0:
                    abi.enable(descriptor)
        return True

    def enable(self) -> None:
        """Let everything count, what was inherited too."""
        for descriptor in self._descriptors:
            abi.enable(descriptor)

    def disable(self) -> None:
        """Stop everything, what was inherited too."""
        for descriptor in self._descriptors:
            abi.disable(descriptor)

    def lost(self) -> int | None:
        """Records for which the rings had no room, None when this kernel (before 6.0) does not say.

        The kernel also reports losses in the ring, but only once there is room again.
        """
        if not self._attributes[0].read_format & abi.READ_LOST:
            return None
        return sum(int.from_bytes(os.read(descriptor, 16)[8:16], "little") for descriptor in self._descriptors)

    def close(self) -> None:
        """Give the descriptors back. Again: nothing."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()

    def __len__(self) -> int:
        return len(self._descriptors)


def attach(events: Events, target: Processes, new_threads: Iterator[set[int]]) -> bool:
    """Open the events on every thread of the processes, those that begin meanwhile included; False when threads begin
    faster than they can be opened. `new_threads` gives, each time, the threads known to have inherited.

    Raises TargetError when a process is gone, or was before it was opened and its number belongs to another.
    """
    known: set[int] = set()
    for number in range(_ROUNDS):
        known |= next(new_threads)
        waiting = [thread for thread in _threads(target) if thread not in known]
        if not waiting:
            break
        for thread in waiting:
            events.open_on_thread(thread)
        known.update(waiting)
        events.late.update(waiting if number else ())
    else:
        return False
    if not len(events) or not any(processes.is_running(one) for one in target.processes):
        raise processes.gone(target.processes[0])
    return True


def inherited_threads(rings: Rings) -> Iterator[set[int]]:
    """The threads that have begun, as the rings tell, since this was asked before."""
    while True:
        found = set()
        for ring in rings.rings:
            for record in abi.walk(ring.drain()):
                if record.type == abi.RECORD_FORK and len(record.body) >= 12:
                    found.add(int.from_bytes(record.body[8:12], "little"))
        yield found


def _threads(target: Processes) -> list[int]:
    roots = [one.pid for one in target.processes if processes.is_running(one)]
    pids = processes.with_descendants(roots) if target.children else roots
    return [thread for pid in pids for thread in processes.threads(pid)]


def allowed_plan(
    plan: RecordingPlan, event: NamedEvent, features: Features
) -> tuple[RecordingPlan, list[tuple[str, str]]]:
    """The plan, without kernel mode and with a warning where the kernel refuses that. Found out on this thread.

    Raises PermissionDenied when it refuses the rest too.
    """
    refusal = _refusal(plan, event, features)
    if refusal is None:
        return plan, []
    if refusal.errno in (errno.EACCES, errno.EPERM) and plan.kernel and plan.user:
        lesser = replace(plan, kernel=False)
        refusal = _refusal(lesser, event, features)
        if refusal is None:
            mend = "sudo sysctl kernel.perf_event_paranoid=1, or give CAP_PERFMON"
            return lesser, [("user-only", f"kernel mode is not recorded, as the kernel refuses that: {mend}")]
    raise explain(refusal, event, None) from refusal


def _refusal(plan: RecordingPlan, event: NamedEvent, features: Features) -> OSError | None:
    try:
        os.close(abi.open_event(sampling(event, plan, Inheritance(True, False), features, tracking=True), 0, -1))
    except OSError as error:
        return error
    return None


def explain(error: OSError, event: NamedEvent, thread: int | None) -> BlcperfError:
    """The error for a refused event, on a thread or (None) on this one or the machine."""
    if error.errno in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV):
        return UsageError(
            f"event {event.name!r} does not exist here: {error.strerror}"
            + (" (no hardware counters: a virtual machine?)" if event.type == abi.TYPE_HARDWARE else ""),
            "use cpu-clock",
        )
    if error.errno in (errno.EMFILE, errno.ENFILE):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        return UsageError(
            f"too many threads and CPUs for one event each: at most {limit} open files are allowed",
            "ulimit -Hn 1048576 (as root), or profile the cgroup or the whole system, which take one event a CPU",
        )
    if error.errno in (errno.EACCES, errno.EPERM) and thread is not None:
        return PermissionDenied(
            f"process {processes.thread_group(thread) or thread} may not be profiled: {error.strerror}",
            "profile it as its own user, or give the profiler CAP_PERFMON (sudo)",
        )
    return refused(error)


@contextlib.contextmanager
def many_descriptors() -> Iterator[None]:
    """As many open files as the hard limit allows, to be held as long as the events are open: while those take up the
    numbers below the usual limit, nothing else could be opened.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
