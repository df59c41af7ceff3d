"""What of this machine can be used for profiling, and what mends what cannot: pure decisions on what was tried.

`capabilities_probe` tries; nothing is inferred from a setting that could be tried. Rights are explained in
capabilities(7), ptrace(2), perf_event_open(2) and user_namespaces(7).
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from pytest_blcperf.target.capabilities_facts import (
    DOCKER,
    OTHER,
    PERFMON,
    PODMAN,
    SYS_ADMIN,
    SYS_PTRACE,
    Attempt,
    Facts,
)
from pytest_blcperf.target.capabilities_remedies import HERE, HOST, Remedy, perf_remedies, ptrace_remedies, sysctl
from pytest_blcperf.target.distribution import Distribution

OK, LIMITED, MISSING = "ok", "limited", "missing"
_NAMES = {SYS_PTRACE: "CAP_SYS_PTRACE", SYS_ADMIN: "CAP_SYS_ADMIN", PERFMON: "CAP_PERFMON"}
_SEEN = "perf_event_open"
_RING_KB = 512


@dataclass(frozen=True)
class Capability:
    """Something that profiling needs: whether it is there (OK, LIMITED, MISSING), how that shows, and what mends it."""

    name: str
    state: str
    detail: str
    needed_for: str
    remedies: tuple[Remedy, ...] = ()


def judge(facts: Facts, here: Distribution) -> tuple[Capability, ...]:
    """Every capability of this machine, those that most depends on first."""
    return (
        _events(facts, here),
        _child(facts, here),
        _kernel(facts, here),
        _kernel_names(facts, here),
        _tracepoints(facts, here),
        _counters(facts, here),
        _rings(facts, here),
        _memory(facts, here),
        _attach(facts, here),
        _yama(facts, here),
        _rights(facts),
        _filter(facts),
        _namespaces(facts),
        _container(facts),
        _symbolizer(facts, here),
        _valgrind(facts, here),
    )


def _tried(
    name: str, attempt: Attempt, *, worked: str, tried: str, needed_for: str, remedies: tuple[Remedy, ...], worst: str
) -> Capability:
    if attempt.worked:
        return Capability(name, OK, worked, needed_for)
    return Capability(name, worst, f"{tried}: {attempt.said}", needed_for, remedies)


def _events(facts: Facts, here: Distribution) -> Capability:
    return _tried(
        "perf events",
        facts.own_event,
        worked="opened on this process, ring mapped",
        tried=f"{_SEEN} on this process",
        needed_for="profiles with self time, in this process",
        remedies=perf_remedies(facts, here, 2),
        worst=MISSING,
    )


def _child(facts: Facts, here: Distribution) -> Capability:
    return _tried(
        "perf events of a child",
        facts.child_event,
        worked="opened on a child, with registers and stack",
        tried=f"{_SEEN} on a child",
        needed_for="profiles of other processes, with their stacks",
        remedies=perf_remedies(facts, here, 2),
        worst=MISSING,
    )


def _kernel(facts: Facts, here: Distribution) -> Capability:
    return _tried(
        "kernel samples",
        facts.kernel_event,
        worked="allowed",
        tried=f"{_SEEN} with the kernel",
        needed_for="time spent in the kernel: system calls, page faults",
        remedies=perf_remedies(facts, here, 1),
        worst=LIMITED,
    )


def _kernel_names(facts: Facts, here: Distribution) -> Capability:
    name, needed_for = "kernel symbols", "names of kernel functions"
    if facts.kernel_names:
        return Capability(name, OK, "/proc/kallsyms has addresses", needed_for)
    remedy = sysctl(facts, here, "kernel.kptr_restrict=0")
    return Capability(name, LIMITED, "/proc/kallsyms hides addresses", needed_for, (remedy,))


def _tracepoints(facts: Facts, here: Distribution) -> Capability:
    name, needed_for = "tracepoints", "waiting and switching (sched:sched_switch), system calls by name"
    if facts.tracepoint.worked:
        if facts.tracepoint_data.worked:
            return Capability(
                name, OK, f"sched:sched_switch opened with its data; tracefs on {facts.tracefs}", needed_for
            )
        detail = f"sched:sched_switch opened, but not with its data: {facts.tracepoint_data.said}"
        return Capability(name, LIMITED, detail, needed_for, perf_remedies(facts, here, -1))
    if not facts.tracefs_readable:
        options = f"-o remount,mode=755 {facts.tracefs}" if facts.tracefs else "-t tracefs tracefs /sys/kernel/tracing"
        detail = f"tracefs on {facts.tracefs} cannot be read" if facts.tracefs else "tracefs is not mounted"
        at_home = not facts.contained or facts.has(SYS_ADMIN)
        command = here.as_root(f"mount {options}", facts.root) if at_home else f"sudo mount {options}"
        return Capability(name, LIMITED, detail, needed_for, (Remedy(HERE if at_home else HOST, command),))
    detail = f"{_SEEN} of sched:sched_switch: {facts.tracepoint.said}"
    return Capability(name, LIMITED, detail, needed_for, perf_remedies(facts, here, -1))


def _counters(facts: Facts, here: Distribution) -> Capability:
    name, needed_for = "hardware counters", "cycles and instructions instead of the clock"
    if facts.cycles.worked and facts.instructions.worked:
        return Capability(name, OK, "cycles and instructions count", needed_for)
    failed = facts.instructions if facts.cycles.worked else facts.cycles
    if failed.error in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV):
        detail = f"none here: {failed.said}; usual on virtual machines"
        remedy = Remedy(
            "host", "pass the PMU on (KVM: -cpu host,pmu=on), or count instructions by --blcperf-backend=callgrind"
        )
        return Capability(name, LIMITED, detail, needed_for, (remedy,))
    return Capability(name, LIMITED, f"cycles: {failed.said}", needed_for, perf_remedies(facts, here, 2))


def _rings(facts: Facts, here: Distribution) -> Capability:
    name, needed_for = "ring memory", "sampling many CPUs at a high rate without losing samples"
    budget = f"kernel.perf_event_mlock_kb is {facts.mlock_kb or 'unreadable'}"
    detail = f"{facts.ring_kb} KiB on each of {facts.cpus} CPUs; {budget}"
    if facts.ring_kb >= _RING_KB:
        return Capability(name, OK, detail, needed_for)
    remedies = [sysctl(facts, here, "kernel.perf_event_mlock_kb=2048")]
    if facts.container in (DOCKER, PODMAN, OTHER):
        remedies.append(Remedy(facts.container, "--ulimit memlock=-1"))
    if not facts.own_event.worked:
        return Capability(name, LIMITED, f"not tried without perf events; {budget}", needed_for)
    return Capability(name, LIMITED, detail, needed_for, tuple(remedies))


def _memory(facts: Facts, here: Distribution) -> Capability:
    name, needed_for = "memory of other processes", "Python frames of a running process; the names of deleted files"
    if facts.read_child.worked and facts.read_other.worked:
        return Capability(name, OK, "process_vm_readv of a child and of another process", needed_for)
    if facts.read_child.worked:
        detail = f"a child's can be read, another process's of this user not: {facts.read_other.said}"
        return Capability(name, LIMITED, detail, needed_for, ptrace_remedies(facts, here))
    detail = f"process_vm_readv of a child: {facts.read_child.said}"
    return Capability(name, LIMITED, detail, needed_for, ptrace_remedies(facts, here))


def _attach(facts: Facts, here: Distribution) -> Capability:
    return _tried(
        "ptrace",
        facts.attach_child,
        worked="attached to a child",
        tried="PTRACE_SEIZE of a child",
        needed_for="debuggers and samplers that stop the process (gdb, py-spy)",
        remedies=ptrace_remedies(facts, here),
        worst=LIMITED,
    )


def _yama(facts: Facts, here: Distribution) -> Capability:
    name, needed_for = "Yama", "reading processes that are not children of the profiler"
    if facts.yama in ("", "0"):
        detail = "kernel.yama.ptrace_scope is 0" if facts.yama else "this kernel has no Yama"
        return Capability(name, OK, detail, needed_for)
    if facts.has(SYS_PTRACE) and facts.yama in ("1", "2"):
        return Capability(name, OK, f"ptrace_scope is {facts.yama}, which CAP_SYS_PTRACE overrides", needed_for)
    words = {"1": "children only", "2": "administrators only", "3": "nobody, until the next boot"}
    detail = f"kernel.yama.ptrace_scope is {facts.yama}: {words.get(facts.yama, 'unknown')}"
    remedies = () if facts.yama == "3" else ptrace_remedies(facts, here)
    return Capability(name, LIMITED, detail, needed_for, remedies)


def _rights(facts: Facts) -> Capability:
    name, needed_for = "rights", "processes of other users, the kernel, tracepoints"
    held = [title for number, title in sorted(_NAMES.items()) if facts.capabilities >> number & 1]
    detail = ", ".join(held) or "none of CAP_PERFMON, CAP_SYS_PTRACE, CAP_SYS_ADMIN"
    if facts.in_user_namespace and held:
        return Capability(name, LIMITED, f"{detail}, but only inside a user namespace", needed_for)
    # Not having them is as it should be: what is missing for it stands at what was tried.
    return Capability(name, OK, detail, needed_for)


def _filter(facts: Facts) -> Capability:
    name, needed_for = "seccomp", "every system call that the profiler makes"
    words = {"0": "no filter", "1": "strict", "2": "a filter is in force"}
    detail = words.get(facts.seccomp, "not known to this kernel")
    tried = {_SEEN: facts.own_event, "process_vm_readv": facts.read_child, "ptrace": facts.attach_child}
    refused = [call for call, attempt in tried.items() if attempt.error in (errno.EPERM, errno.ENOSYS)]
    if facts.seccomp == "2" and refused:
        return Capability(name, LIMITED, f"{detail}, and refused: {', '.join(refused)}", needed_for)
    return Capability(name, OK, detail + (", which allows them" if facts.seccomp == "2" else ""), needed_for)


def _namespaces(facts: Facts) -> Capability:
    name, needed_for = "user namespaces", "rootless containers and sandboxes as targets"
    made = "new ones can be made" if facts.new_namespace.worked else f"new ones are refused: {facts.new_namespace.said}"
    if facts.in_user_namespace:
        return Capability(name, LIMITED, f"inside one: capabilities here do not count for perf; {made}", needed_for)
    return Capability(name, OK, f"not inside one; {made}", needed_for)


def _container(facts: Facts) -> Capability:
    kind = facts.container or "none"
    runner = f", run by {facts.runner}" if facts.runner else ""
    needed_for = "knowing where a setting has to be made: here, on the host, or where the container is started"
    return Capability("container", OK, kind + runner, needed_for)


def _symbolizer(facts: Facts, here: Distribution) -> Capability:
    name, needed_for = "symbolizer", "files and lines of native functions"
    urls = f"DEBUGINFOD_URLS={facts.debuginfod_urls}" if facts.debuginfod_urls else "DEBUGINFOD_URLS is not set"
    if facts.symbolizer:
        return Capability(name, OK, f"{facts.symbolizer}; {urls}", needed_for)
    remedy = Remedy(HERE, here.install("addr2line", facts.root))
    return Capability(name, LIMITED, f"neither llvm-symbolizer nor addr2line; {urls}", needed_for, (remedy,))


def _valgrind(facts: Facts, here: Distribution) -> Capability:
    name, needed_for = "valgrind", "instruction counts (--blcperf-backend=callgrind)"
    if facts.valgrind:
        return Capability(name, OK, facts.valgrind, needed_for)
    return Capability(
        name, LIMITED, "it does not run here", needed_for, (Remedy(HERE, here.install("valgrind", facts.root)),)
    )
