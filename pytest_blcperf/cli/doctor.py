"""Tries everything blcperf needs on this machine, and says what each is for and the command that mends it.

With --pid or --process it looks at that process too: whether it can be sampled and read, whether its functions have
names, and, if it is a Python, whether its frames can be seen.

The exit code is 0 when something can be profiled, if only by the timer; 4 when nothing can, or not the process asked
for; 3 when there is no such process.

For example:
  blcperf doctor
  blcperf doctor --quiet               only what is missing or limited
  blcperf doctor --pid 4711            and that process
  blcperf doctor --process postgres
  blcperf doctor --json | jq '.probes[] | select(.state != "ok")'
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pytest_blcperf import __version__
from pytest_blcperf.cli import common
from pytest_blcperf.errors import ExitCode
from pytest_blcperf.store.checked import sound
from pytest_blcperf.target.capabilities import LIMITED, MISSING, OK, Capability
from pytest_blcperf.target.capabilities_remedies import HERE

if TYPE_CHECKING:
    from pytest_blcperf.target.capabilities_facts import Facts
    from pytest_blcperf.target.capabilities_target import TargetFacts
    from pytest_blcperf.target.distribution import Distribution

NAME = "doctor"
SUMMARY = "what works on this machine, and how to mend what does not"
SCHEMA = "blcperf.doctor/1"

_MARKS = {OK: ("✓", "ok", "32"), LIMITED: ("~", "~", "33"), MISSING: ("✗", "NO", "31")}
_PACKAGE_TIMEOUT = 10.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's arguments."""
    parser.add_argument("--json", action="store_true", help=f"print JSON (schema {SCHEMA})")
    parser.add_argument("--quiet", action="store_true", help="only what is missing or limited")
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--pid", type=int, metavar="PID", help="look at this process too")
    target.add_argument("--process", metavar="NAME", help="look at the process of this name too, if there is one only")


def run(arguments: argparse.Namespace) -> int:
    """Prints the probes; returns 0, or 4 when nothing, or not the target, can be profiled."""
    from pytest_blcperf.cli.doctor_checks import CHECKS, check
    from pytest_blcperf.target import distribution
    from pytest_blcperf.target.capabilities import judge
    from pytest_blcperf.target.capabilities_facts import Facts
    from pytest_blcperf.target.capabilities_probe import probe

    here, linux = distribution.current(), sys.platform.startswith("linux")
    asked = arguments.pid is not None or arguments.process is not None
    target = _target(arguments) if linux and asked else None
    facts = probe() if linux else Facts()
    own = [made() for made in CHECKS]
    probes = [*own[:2], *(judge(facts, here) if linux else ()), *own[2:]]
    about = _about_target(target, facts, here) if target else ()
    if asked and not linux:
        about = (check("sampling", MISSING, "processes are sampled on Linux only", "any profile of this process"),)
    if arguments.json:
        common.print_json(_as_data(probes, about, target, facts, here))
    else:
        _print(probes, about, target, quiet=arguments.quiet)
    states = {one.name: one.state for one in (*probes, *about)}
    refused = MISSING in (states["profiling"], states.get("sampling"))
    return ExitCode.NOT_PERMITTED if refused else ExitCode.OK


def _target(arguments: argparse.Namespace) -> TargetFacts:
    from pytest_blcperf.target.capabilities_target import by_name, examine

    return examine(by_name(arguments.process) if arguments.process is not None else arguments.pid)


def _about_target(target: TargetFacts, facts: Facts, here: Distribution) -> tuple[Capability, ...]:
    from pytest_blcperf.target.capabilities_target import judge_target

    nameless = [one.path for one in target.objects if one.stripped and not one.problem]
    return judge_target(target, facts, here, {path: _package(path, here) for path in nameless})


def _package(path: str, here: Distribution) -> str:
    """The package that a file is from, by the distribution's own database; "" when it does not say."""
    # Debian's database has the names from before /bin and /lib became links to /usr/bin and /usr/lib.
    for name in dict.fromkeys((path, path.removeprefix("/usr"))):
        command = here.owner_query(name)
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PACKAGE_TIMEOUT, check=True
            )
        except (OSError, subprocess.SubprocessError, IndexError, ValueError):
            continue
        found = here.owner(done.stdout.decode("utf-8", "replace"))
        if found:
            return found
    return ""


def _as_data(
    probes: Iterable[Capability],
    about: Iterable[Capability],
    target: TargetFacts | None,
    facts: Facts,
    here: Distribution,
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "version": __version__,
        "distribution": {"id": here.id, "name": here.name, "version": here.version, "family": here.family},
        "container": facts.container,
        "runner": facts.runner,
        "probes": [_probe_data(one) for one in probes],
        "target": None if target is None else _target_data(target, about),
    }


def _target_data(target: TargetFacts, about: Iterable[Capability]) -> dict[str, Any]:
    python = target.python
    return {
        "pid": target.pid,
        "name": sound(target.name),
        "uid": target.uid,
        "threads": target.threads,
        "can_be_profiled": target.can_be_profiled,
        "probes": [_probe_data(one) for one in about],
        "objects": [
            {
                "path": sound(one.path),
                "build_id": one.build_id,
                "symbols": one.symbols,
                "mini_symbols": one.mini_symbols,
                "debug_file": sound(one.debug_file),
                "unwind_tables": one.unwind_tables,
                "frame_pointers": one.frame_pointers,
                "problem": sound(one.problem),
            }
            for one in target.objects
        ],
        "more_objects": target.more_objects,
        "python": None
        if python is None
        else {
            "version": python.version,
            "frame_pointers": python.interpreter.frame_pointers,
            "perf_trampoline": python.trampoline,
        },
    }


def _probe_data(one: Capability) -> dict[str, Any]:
    return {
        "name": sound(one.name),
        "state": one.state,
        "detail": sound(one.detail),
        "needed_for": one.needed_for,
        "mend": sound(one.remedies[0].command) if one.remedies else "",
        "remedies": [{"where": remedy.where, "command": sound(remedy.command)} for remedy in one.remedies],
    }


def _print(probes: list[Capability], about: Iterable[Capability], target: TargetFacts | None, *, quiet: bool) -> None:
    from pytest_blcperf.report.text import clean

    _print_probes([one for one in probes if not quiet or one.state != OK])
    if about:
        name = f"process {target.pid} ({clean(target.name, 40)})" if target else "the process"
        print(common.terminal().show(f"\n{name}"))
        _print_probes([one for one in about if not quiet or one.state != OK])
        if target and target.more_objects:
            print(f"  and {target.more_objects} more object{'s'[: target.more_objects != 1]}")


def _print_probes(probes: Iterable[Capability]) -> None:
    from pytest_blcperf.report.text import clean

    terminal = common.terminal()
    for one in probes:
        fancy, plain, color = _MARKS[one.state]
        mark = terminal.paint(fancy if terminal.unicode else plain.ljust(2), color)
        print(terminal.show(f"{mark} {clean(one.name, 200)}: {clean(one.detail, 300)}"))
        if one.state == OK:
            continue
        print(terminal.show(f"    needed for: {one.needed_for}"))
        for remedy in one.remedies:
            place = "" if remedy.where == HERE else f" ({remedy.where})"
            print(terminal.show(f"    mend{place}: {clean(remedy.command, 400)}"))
