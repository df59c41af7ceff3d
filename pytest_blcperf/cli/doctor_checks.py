"""What the doctor tries besides the capabilities of `target`: the interpreter, git, CPUs, the clock, packages."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from pytest_blcperf.errors import BlcperfError
from pytest_blcperf.target.capabilities import LIMITED, MISSING, OK, Capability
from pytest_blcperf.target.capabilities_remedies import HERE, Remedy

_GIT_TIMEOUT = 30.0


def check(name: str, state: str, detail: str, needed_for: str, mend: str = "") -> Capability:
    """A capability with at most one remedy: a command, "" when nothing needs mending or nothing can."""
    return Capability(name, state, detail, needed_for, (Remedy(HERE, mend),) if mend else ())


def python() -> Capability:
    """The interpreter and the system."""
    detail = (
        f"{platform.python_implementation()} {platform.python_version()} on {platform.system()} {platform.release()}"
    )
    reason = "profiles, pinning and process targets are Linux's"
    if not sys.platform.startswith("linux"):
        return check("python", LIMITED, detail, reason + "; times and call counts work everywhere")
    return check("python", OK, f"{detail} ({platform.machine()})", reason)


def profiling() -> Capability:
    """Which backend can sample this very process."""
    from pytest_blcperf.bench.choose_backend import Interpreter, choose_backend
    from pytest_blcperf.capture.backends import BYTECODE, PERF_SIGNAL, TIMER, TRAMPOLINE

    reason = "profiles: which function got dearer"
    try:
        choice = choose_backend("auto", 1000, [Interpreter((sys.executable,), tuple(sys.path))])
    except BlcperfError as error:
        return check("profiling", MISSING, error.message, reason, error.hint)
    if choice.backend in (BYTECODE, TRAMPOLINE, PERF_SIGNAL):
        return check("profiling", OK, f"{choice.backend}: {choice.reason}", reason)
    what = "only the timer, which knows total time but no self time"
    detail = f"{what if choice.backend == TIMER else choice.backend}: {choice.reason}"
    return check("profiling", LIMITED, detail, reason, _perf_mend())


def _perf_mend() -> str:
    """How perf_event_open is got to work, as the kernel's refusal has it."""
    from pytest_blcperf.capture.probe import perf_refusal

    refusal = perf_refusal(1000)
    return refusal.hint if refusal else ""


def perf_paranoid() -> Capability:
    """The system's setting for performance events: what others than root may do."""
    reason = "perf_event_open without root; up to 2 a process may sample itself"
    try:
        value = Path("/proc/sys/kernel/perf_event_paranoid").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return check(
            "perf_event_paranoid", LIMITED, "not there: no performance events in this kernel or container", reason
        )
    if value.lstrip("-").isdigit() and int(value) <= 2:
        return check("perf_event_paranoid", OK, value, reason)
    return check("perf_event_paranoid", LIMITED, value, reason, "sudo sysctl kernel.perf_event_paranoid=2")


def git() -> Capability:
    """Git, by making a repository and a second work tree of it."""
    reason = "measuring the base commit live (lockstep), the gate's most exact mode"
    try:
        with tempfile.TemporaryDirectory(prefix="blcperf-doctor-") as folder:
            version = _git(folder, "--version").strip()
            _git(folder, "init", "--quiet", "one")
            identity = ("-c", "user.name=blcperf", "-c", "user.email=blcperf@localhost", "-c", "commit.gpgSign=false")
            _git(f"{folder}/one", *identity, "commit", "--quiet", "--allow-empty", "--no-verify", "--message=probe")
            _git(f"{folder}/one", "worktree", "add", "--quiet", "--detach", "../two")
    except (OSError, subprocess.SubprocessError) as error:
        detail = f"no usable git: {_said(error)}"
        return check("git", MISSING, detail, reason, "install git ≥ 2.5, or compare with stored baselines")
    return check("git", OK, f"{version}, work trees work", reason)


def repository() -> Capability:
    """Whether the base commit can be found from here."""
    reason = "finding the merge base with the head"
    try:
        shallow = _git(".", "rev-parse", "--is-shallow-repository").strip()
    except (OSError, subprocess.SubprocessError) as error:
        return check(
            "repository", LIMITED, f"no usable repository here: {_said(error)}", reason, "run it in the project"
        )
    if shallow == "true":
        mend = "git fetch --unshallow (GitHub: actions/checkout with fetch-depth: 0)"
        return check("repository", LIMITED, "a shallow clone: the base commit may be missing", reason, mend)
    return check("repository", OK, "the whole history is here", reason)


def _git(folder: str, *arguments: str) -> str:
    """What git prints. Raises OSError or SubprocessError."""
    # A hook sets GIT_DIR and the like; they would send the probe to the user's repository.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=environ | {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_GIT_TIMEOUT,
        check=True,
    )
    return done.stdout


def _said(error: Exception) -> str:
    """Git's own words, such as those about an owner it does not trust, or the system's."""
    return " ".join(str(getattr(error, "stderr", None) or error).split())


def cpus() -> Capability:
    """CPUs this process may use, and pinning by doing it."""
    reason = "both sides of a lockstep measurement share one CPU, the controller takes another"
    if not hasattr(os, "sched_setaffinity"):
        return check("cpus", LIMITED, f"{os.cpu_count()} CPUs, processes cannot be pinned", reason)
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
    except OSError as error:
        detail = f"{len(allowed)} CPUs, pinning is refused: {error.strerror}"
        return check("cpus", LIMITED, detail, reason, "allow sched_setaffinity in the container")
    finally:
        os.sched_setaffinity(0, allowed)
    detail = f"{len(allowed)} of {os.cpu_count()} CPUs, pinning works"
    if len(allowed) < 2:
        return check("cpus", LIMITED, detail, reason, "give the machine or container a second CPU")
    return check("cpus", OK, detail, reason)


def timer() -> Capability:
    """The step of the CPU clock, seen by reading it."""
    reason = "timing rounds of 5-10 ms to a part in a thousand"
    steps = []
    for _ in range(50):
        start = now = time.process_time_ns()
        while now == start:
            now = time.process_time_ns()
        steps.append(now - start)
    step = sorted(steps)[len(steps) // 2]
    detail = f"process_time steps by {step:,} ns"
    return check("timer", OK if step <= 10_000 else LIMITED, detail, reason)


def noise() -> Capability:
    """How busy the machine is."""
    reason = "quiet measurements: neighbours cost launches, not correctness"
    if not hasattr(os, "getloadavg"):
        return check("noise", LIMITED, "the load is unknown", reason)
    load, count = os.getloadavg()[0], os.cpu_count() or 1
    detail = f"load {load:.1f} on {count} CPUs"
    if load > max(0.5 * count, 1):
        return check(
            "noise", LIMITED, detail + ": busy, expect more inconclusive verdicts", reason, "stop other work: top"
        )
    return check("noise", OK, detail, reason)


def _package(name: str, reason: str) -> Callable[[], Capability]:
    def probe() -> Capability:
        try:
            return check(name, OK, metadata.version(name), reason)
        except metadata.PackageNotFoundError:
            mend = f"{sys.executable} -m pip install {name}"
            return check(name, MISSING, "not installed", reason, mend)

    return probe


CHECKS: tuple[Callable[[], Capability], ...] = (
    python,
    profiling,
    perf_paranoid,
    git,
    repository,
    cpus,
    timer,
    noise,
    _package("pytest", "running the benchmarks"),
    _package("numpy", "profiles and statistics"),
)
