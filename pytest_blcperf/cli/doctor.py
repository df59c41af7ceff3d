"""Tries everything blcperf needs on this machine, and says what each is for and the command that mends it.

The exit code is 0 when something can be profiled, if only by the timer, and 4 when nothing can.

For example:
  blcperf doctor
  blcperf doctor --quiet          only what is missing or limited
  blcperf doctor --json | jq '.probes[] | select(.state != "ok")'
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from pytest_blcperf import __version__
from pytest_blcperf.cli import common
from pytest_blcperf.errors import BlcperfError, ExitCode

NAME = "doctor"
SUMMARY = "what works on this machine, and how to mend what does not"

OK, LIMITED, MISSING = "ok", "limited", "missing"
_MARKS = {OK: ("✓", "ok", "32"), LIMITED: ("~", "~", "33"), MISSING: ("✗", "NO", "31")}
_GIT_TIMEOUT = 30.0


@dataclass(frozen=True)
class Probe:
    """What was tried and how it went. `mend` is a command, "" when nothing needs mending or nothing can."""

    name: str
    state: str
    detail: str
    needed_for: str
    mend: str = ""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's arguments."""
    parser.add_argument("--json", action="store_true", help="print JSON (schema blcperf.doctor/1)")
    parser.add_argument("--quiet", action="store_true", help="only what is missing or limited")


def run(arguments: argparse.Namespace) -> int:
    """Prints the probes; returns 0, or 4 when nothing can be profiled."""
    probes = [probe() for probe in PROBES]
    if arguments.json:
        data = [asdict(probe) for probe in probes]
        common.print_json({"schema": "blcperf.doctor/1", "version": __version__, "probes": data})
    else:
        _print([probe for probe in probes if not arguments.quiet or probe.state != OK])
    profiling = next(probe for probe in probes if probe.name == "profiling")
    return ExitCode.NOT_PERMITTED if profiling.state == MISSING else ExitCode.OK


def _print(probes: list[Probe]) -> None:
    from pytest_blcperf.report.text import clean

    terminal = common.terminal()
    for probe in probes:
        fancy, plain, color = _MARKS[probe.state]
        mark = terminal.paint(fancy if terminal.unicode else plain.ljust(2), color)
        print(terminal.show(f"{mark} {probe.name}: {clean(probe.detail, 300)}"))
        if probe.state != OK:
            print(terminal.show(f"    needed for: {probe.needed_for}"))
            if probe.mend:
                print(terminal.show(f"    mend: {clean(probe.mend, 300)}"))


def python() -> Probe:
    """The interpreter and the system."""
    detail = (
        f"{platform.python_implementation()} {platform.python_version()} on {platform.system()} {platform.release()}"
    )
    reason = "profiles, pinning and process targets are Linux's"
    if not sys.platform.startswith("linux"):
        return Probe("python", LIMITED, detail, reason + "; times and call counts work everywhere")
    return Probe("python", OK, f"{detail} ({platform.machine()})", reason)


def profiling() -> Probe:
    """Which backend can sample this very process."""
    from pytest_blcperf.capture.backends import TIMER
    from pytest_blcperf.capture.probe import choose

    reason = "profiles: which function got dearer"
    try:
        backend, why = choose("auto", 1000)
    except BlcperfError as error:
        return Probe("profiling", MISSING, error.message, reason, error.hint)
    if backend != TIMER:
        return Probe("profiling", OK, f"{backend}: {why}", reason)
    detail = f"only the timer, which knows total time but no self time: {why}"
    return Probe("profiling", LIMITED, detail, reason, _perf_mend())


def _perf_mend() -> str:
    """How perf_event_open is got to work, as the kernel's refusal has it."""
    from pytest_blcperf.capture.probe import perf_refusal

    refusal = perf_refusal(1000)
    return refusal.hint if refusal else ""


def perf_paranoid() -> Probe:
    """The system's setting for performance events: what others than root may do."""
    reason = "perf_event_open without root; up to 2 a process may sample itself"
    try:
        value = Path("/proc/sys/kernel/perf_event_paranoid").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return Probe(
            "perf_event_paranoid", LIMITED, "not there: no performance events in this kernel or container", reason
        )
    if value.lstrip("-").isdigit() and int(value) <= 2:
        return Probe("perf_event_paranoid", OK, value, reason)
    return Probe("perf_event_paranoid", LIMITED, value, reason, "sudo sysctl kernel.perf_event_paranoid=2")


def git() -> Probe:
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
        return Probe("git", MISSING, detail, reason, "install git ≥ 2.5, or compare with stored baselines")
    return Probe("git", OK, f"{version}, work trees work", reason)


def repository() -> Probe:
    """Whether the base commit can be found from here."""
    reason = "finding the merge base with the head"
    try:
        shallow = _git(".", "rev-parse", "--is-shallow-repository").strip()
    except (OSError, subprocess.SubprocessError) as error:
        return Probe(
            "repository", LIMITED, f"no usable repository here: {_said(error)}", reason, "run it in the project"
        )
    if shallow == "true":
        mend = "git fetch --unshallow (GitHub: actions/checkout with fetch-depth: 0)"
        return Probe("repository", LIMITED, "a shallow clone: the base commit may be missing", reason, mend)
    return Probe("repository", OK, "the whole history is here", reason)


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


def cpus() -> Probe:
    """CPUs this process may use, and pinning by doing it."""
    reason = "both sides of a lockstep measurement share one CPU, the controller takes another"
    if not hasattr(os, "sched_setaffinity"):
        return Probe("cpus", LIMITED, f"{os.cpu_count()} CPUs, processes cannot be pinned", reason)
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
    except OSError as error:
        detail = f"{len(allowed)} CPUs, pinning is refused: {error.strerror}"
        return Probe("cpus", LIMITED, detail, reason, "allow sched_setaffinity in the container")
    finally:
        os.sched_setaffinity(0, allowed)
    detail = f"{len(allowed)} of {os.cpu_count()} CPUs, pinning works"
    if len(allowed) < 2:
        return Probe("cpus", LIMITED, detail, reason, "give the machine or container a second CPU")
    return Probe("cpus", OK, detail, reason)


def timer() -> Probe:
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
    return Probe("timer", OK if step <= 10_000 else LIMITED, detail, reason)


def noise() -> Probe:
    """How busy the machine is."""
    reason = "quiet measurements: neighbours cost launches, not correctness"
    if not hasattr(os, "getloadavg"):
        return Probe("noise", LIMITED, "the load is unknown", reason)
    load, count = os.getloadavg()[0], os.cpu_count() or 1
    detail = f"load {load:.1f} on {count} CPUs"
    if load > max(0.5 * count, 1):
        return Probe(
            "noise", LIMITED, detail + ": busy, expect more inconclusive verdicts", reason, "stop other work: top"
        )
    return Probe("noise", OK, detail, reason)


def _package(name: str, reason: str) -> Callable[[], Probe]:
    def probe() -> Probe:
        try:
            return Probe(name, OK, metadata.version(name), reason)
        except metadata.PackageNotFoundError:
            mend = f"{sys.executable} -m pip install {name}"
            return Probe(name, MISSING, "not installed", reason, mend)

    return probe


PROBES: tuple[Callable[[], Probe], ...] = (
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
