"""Finds out what this machine allows by doing it: opens events, reads a child, and undoes everything again."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_blcperf.capture import perf_event
from pytest_blcperf.target.capabilities_facts import (
    DOCKER,
    GITHUB,
    GITLAB,
    KUBERNETES,
    LXC,
    NSPAWN,
    OTHER,
    PODMAN,
    WORKED,
    WSL,
    Attempt,
    Facts,
)

PERIOD_NS = 1_000_000
_PROC = Path("/proc")
_TIMEOUT = 20.0

_TYPE_HARDWARE, _TYPE_TRACEPOINT = 0, 2
_CYCLES, _INSTRUCTIONS = 0, 1
_SAMPLE_RAW, _SAMPLE_REGISTERS, _SAMPLE_STACK = 1 << 10, 1 << 12, 1 << 13
_STACK_BYTES = 8192
_REGISTERS = {"x86_64": 0xFF0FFF, "aarch64": (1 << 33) - 1}
"""The user registers of linux/arch/…/uapi/asm/perf_regs.h: on x86-64 all but the segments ds to gs."""

_PTRACE_SEIZE = 0x4206
_WAIT = "import sys; sys.stdin.read()"
_ORPHAN = "import os, sys\nif os.fork(): os._exit(0)\nprint(os.getpid(), flush=True); sys.stdin.read()"
_UNSHARE = """
import ctypes, sys
sys.exit(ctypes.CDLL(None, use_errno=True).unshare(0x10000000) and ctypes.get_errno())
"""


def probe() -> Facts:
    """Everything that can be found out. Takes about a tenth of a second, four short-lived processes, and no rights."""
    status = status_fields(_PROC / "self/status")
    tracefs = _tracefs()
    ring_kb, cpus = _rings()
    with _child() as child, _orphan() as orphan:
        return Facts(
            own_event=_own_event(),
            child_event=open_on(child),
            kernel_event=_attempt(lambda: _opened(_clock(kernel=True), 0)),
            tracepoint=_tracepoint(tracefs, 0),
            tracepoint_data=_tracepoint(tracefs, _SAMPLE_RAW),
            cycles=_counter(_CYCLES),
            instructions=_counter(_INSTRUCTIONS),
            read_child=read_memory(child),
            read_other=read_memory(orphan) if orphan else Attempt(text="no process could be made to try it on"),
            # Last: what is attached to can be read.
            attach_child=_attach(child),
            new_namespace=_new_namespace(),
            ring_kb=ring_kb,
            cpus=cpus,
            root=os.geteuid() == 0,
            capabilities=int(status.get("CapEff", "0"), 16),
            in_user_namespace=_in_user_namespace(),
            seccomp=status.get("Seccomp", ""),
            paranoid=_setting("kernel/perf_event_paranoid"),
            mlock_kb=_setting("kernel/perf_event_mlock_kb"),
            yama=_setting("kernel/yama/ptrace_scope"),
            tracefs=str(tracefs or ""),
            tracefs_readable=tracefs is not None and os.access(tracefs / "events", os.R_OK | os.X_OK),
            kernel_names=_kernel_names(),
            container=container_kind(_container_evidence(), os.environ),
            runner=GITLAB if "GITLAB_CI" in os.environ else GITHUB if "GITHUB_ACTIONS" in os.environ else "",
            setcap=_found("setcap") != "",
            symbolizer=_found("llvm-symbolizer") or _found("addr2line"),
            debuginfod_urls=os.environ.get("DEBUGINFOD_URLS", "").strip()[:200],
            valgrind=_valgrind(),
            python=os.path.realpath(sys.executable),
        )


# ---- attempts that the probe of a target makes too


def open_on(pid: int) -> Attempt:
    """An event with user registers and stack, as the unwinder needs, on a process's main thread."""
    mask = _REGISTERS.get(os.uname().machine, 0)
    attributes = _clock()
    if mask:
        attributes.sample_type |= _SAMPLE_REGISTERS | _SAMPLE_STACK
        attributes.sample_regs_user = mask
        attributes.sample_stack_user = _STACK_BYTES
    return _attempt(lambda: _opened(attributes, pid))


def read_memory(pid: int) -> Attempt:
    """Some bytes of a process by process_vm_readv, from the start of its first mapping."""

    def read() -> None:
        with (_PROC / str(pid) / "maps").open("rb") as maps:
            start = int(maps.readline().partition(b"-")[0] or b"0", 16)
        if not start:
            raise OSError(errno.ESRCH, "it has no memory: a kernel thread, or gone")
        buffer = ctypes.create_string_buffer(16)
        local = _Piece(ctypes.addressof(buffer), len(buffer))
        remote = _Piece(start, len(buffer))
        call = ctypes.CDLL(None, use_errno=True).process_vm_readv
        call.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong)
        call.restype = ctypes.c_ssize_t
        if call(pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    return _attempt(read)


def status_fields(path: Path) -> dict[str, str]:
    """The fields of a /proc/PID/status; {} when it cannot be read."""
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return {}
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


# ---- events


def _clock(kernel: bool = False) -> perf_event.Attributes:
    attributes = perf_event.cpu_clock(PERIOD_NS)
    if kernel:
        attributes.flags &= ~perf_event.FLAG_EXCLUDE_KERNEL
    return attributes


def _opened(attributes: perf_event.Attributes, thread: int, cpu: int = -1) -> None:
    os.close(perf_event.open_event(attributes, thread, cpu))


def _own_event() -> Attempt:
    def opened() -> None:
        descriptor = perf_event.open_event(_clock(), 0)
        try:
            perf_event.largest_ring(descriptor).close()
        finally:
            os.close(descriptor)

    return _attempt(opened)


def _counter(config: int) -> Attempt:
    """A hardware counter that has counted something, not only been opened."""

    def counted() -> None:
        attributes = _clock()
        attributes.type, attributes.config, attributes.sample_period, attributes.sample_type = (
            _TYPE_HARDWARE,
            config,
            0,
            0,
        )
        descriptor = perf_event.open_event(attributes, 0)
        try:
            perf_event.enable(descriptor)
            sum(range(1000))
            if not int.from_bytes(os.read(descriptor, 8), sys.byteorder):
                raise OSError(errno.ENODEV, "it opens and counts nothing")
        finally:
            os.close(descriptor)

    return _attempt(counted)


def _tracepoint(tracefs: Path | None, extra: int) -> Attempt:
    """sched:sched_switch of this thread; `extra` is added to its sample type."""
    if tracefs is None:
        return Attempt(text="tracefs is not mounted")

    def opened() -> None:
        number = int((tracefs / "events/sched/sched_switch/id").read_text("ascii"))
        attributes = _clock(kernel=True)
        attributes.type, attributes.config, attributes.sample_period = _TYPE_TRACEPOINT, number, 1
        attributes.sample_type |= extra
        _opened(attributes, 0)

    return _attempt(opened)


def _rings() -> tuple[int, int]:
    """KiB of ring that each CPU can have at once, 0 when there are no events; and the number of CPUs."""
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    with contextlib.ExitStack() as stack:
        descriptors = []
        try:
            for cpu in cpus:
                descriptors.append(perf_event.open_event(_clock(), 0, cpu))
                stack.callback(os.close, descriptors[-1])
        except OSError:
            return 0, len(cpus)
        for size in perf_event.RING_BYTES:
            with contextlib.ExitStack() as rings, contextlib.suppress(OSError):
                for descriptor in descriptors:
                    rings.callback(perf_event.Ring(descriptor, size).close)
                return size >> 10, len(cpus)
    return 0, len(cpus)


# ---- other processes


class _Piece(ctypes.Structure):
    """`struct iovec`."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def _python(code: str, stdout: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-I", "-S", "-c", code]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stdout, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def _child() -> Iterator[int]:
    """A child that waits."""
    with _python(_WAIT) as process:
        try:
            yield process.pid
        finally:
            process.kill()


@contextlib.contextmanager
def _orphan() -> Iterator[int]:
    """A process of this user that waits and is no descendant any more: 0 when there is none. It goes with its input."""
    with _python(_ORPHAN, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.wait(_TIMEOUT)
        yield int(line) if line.strip().isdigit() else 0


def _attach(pid: int) -> Attempt:
    def attached() -> None:
        call = ctypes.CDLL(None, use_errno=True).ptrace
        call.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
        call.restype = ctypes.c_long
        if call(_PTRACE_SEIZE, pid, None, None) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    return _attempt(attached)


def _new_namespace() -> Attempt:
    with _python(_UNSHARE) as process:
        assert process.stdin is not None
        process.stdin.close()
        code = process.wait(_TIMEOUT)
    if code < 0:
        return Attempt(text=f"killed by signal {-code}")
    return Attempt(code, os.strerror(code) if code else "")


def _attempt(action: Callable[[], None]) -> Attempt:
    try:
        action()
    except OSError as error:
        return Attempt(error.errno or errno.EIO, error.strerror or str(error))
    except (ValueError, AttributeError) as error:
        return Attempt(text=str(error))
    return WORKED


# ---- the machine


def _setting(name: str) -> str:
    try:
        return (_PROC / "sys" / name).read_text("ascii", "replace").strip()
    except OSError:
        return ""


def _tracefs() -> Path | None:
    try:
        mounts = (_PROC / "self/mounts").read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    found = [fields[1] for fields in (line.split() for line in mounts) if len(fields) > 2 and fields[2] == "tracefs"]
    return Path(found[0]) if found else None


def _in_user_namespace() -> bool:
    """Whether user ids are mapped; in the first namespace all of them stand for themselves."""
    try:
        lines = (_PROC / "self/uid_map").read_text("ascii").split()
    except OSError:
        return False
    return lines != ["0", "0", "4294967295"]


def _kernel_names() -> bool:
    try:
        with (_PROC / "kallsyms").open("rb") as names:
            return any(line.split()[0].strip(b"0") for line in names.readlines(4096) if line.strip())
    except OSError:
        return False


def _found(tool: str) -> str:
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    return shutil.which(tool, path=path) or ""


def _valgrind() -> str:
    try:
        done = subprocess.run(
            ["valgrind", "--version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace").strip()[:80]


@dataclass(frozen=True)
class ContainerEvidence:
    """What containers leave lying about; texts are "" where there is none."""

    dockerenv: bool = False
    containerenv: bool = False
    systemd: str = ""
    """/run/systemd/container."""
    cgroup: str = ""
    """/proc/1/cgroup."""
    version: str = ""
    """/proc/version."""


def container_kind(evidence: ContainerEvidence, environ: Mapping[str, str]) -> str:
    """Which kind of container this is, "" for none: a pod first, whatever engine runs it."""
    named = (environ.get("container", "") or evidence.systemd).lower()
    signs = {
        KUBERNETES: "KUBERNETES_SERVICE_HOST" in environ or "kubepods" in evidence.cgroup,
        PODMAN: named == "podman" or evidence.containerenv or "libpod" in evidence.cgroup,
        LXC: named in ("lxc", "lxc-libvirt") or "/lxc" in evidence.cgroup,
        NSPAWN: named == "systemd-nspawn",
        DOCKER: named == "docker" or evidence.dockerenv or "/docker" in evidence.cgroup,
        WSL: named == "wsl" or "microsoft" in evidence.version.lower(),
        OTHER: bool(named),
    }
    return next((kind for kind, seen in signs.items() if seen), "")


def _container_evidence() -> ContainerEvidence:
    def text(path: str) -> str:
        try:
            return Path(path).read_text("utf-8", "replace")[:10_000].strip()
        except OSError:
            return ""

    return ContainerEvidence(
        dockerenv=Path("/.dockerenv").exists(),
        containerenv=Path("/run/.containerenv").exists(),
        systemd=text("/run/systemd/container"),
        cgroup=text("/proc/1/cgroup"),
        version=text("/proc/version"),
    )
