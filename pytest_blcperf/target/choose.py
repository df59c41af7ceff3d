"""Which processes a name means: the exact name first, then a part of it; several are refused unless that is wanted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pytest_blcperf.errors import TargetError, UsageError
from pytest_blcperf.target import process as processes
from pytest_blcperf.target.process import Process

_LISTED = 20


@dataclass(frozen=True)
class Candidate:
    """A running process as it is looked for: its name (of the kernel, 15 characters), its program's, its command."""

    process: Process
    name: str
    program: str
    command: str


def by_name(name: str, *, every: bool = False, newest: bool = False) -> tuple[Process, ...]:
    """The processes whose name or program is `name`, else those that contain it, else whose command line does.

    One, unless `every`; with `newest` the one that started last. Raises TargetError when there is none, UsageError when
    there are several, with a list of them.
    """
    if not name:
        raise UsageError("--process needs a name", "--process mariadbd")
    found = matching(name, running())
    if not found:
        raise TargetError(f"no running process is called {name!r}", f"look for it: pgrep -af {name}")
    if newest:
        return (max(found, key=lambda one: (one.process.start_ticks, one.process.pid)).process,)
    if len(found) > 1 and not every:
        listed = "; ".join(f"{one.process.pid} {one.command or one.name}"[:100] for one in found[:_LISTED])
        more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        raise UsageError(
            f"{len(found)} processes match {name!r}: {listed}{more}",
            "--pid N, --newest or --all",
        )
    return tuple(one.process for one in found)


def matching(name: str, candidates: Iterable[Candidate]) -> list[Candidate]:
    """The best matches: by the exact name, by a part of it, by a part of the command line."""
    everyone = list(candidates)
    tests: tuple[Callable[[Candidate], bool], ...] = (
        lambda one: name in (one.name, one.program),
        lambda one: name in one.name or name in one.program,
        lambda one: name in one.command,
    )
    for test in tests:
        found = [one for one in everyone if test(one)]
        if found:
            return found
    return []


def running() -> list[Candidate]:
    """Every process but this one, its parents, and kernel threads."""
    own = _with_parents(os.getpid())
    found = []
    for pid in processes.every_process():
        ticks = processes.start_ticks(pid) if pid not in own else None
        command = _command(pid)
        if ticks is not None and command:
            name = processes.thread_name(pid, pid) or ""
            found.append(Candidate(Process(pid, ticks), name, os.path.basename(command[0]), " ".join(command)))  # noqa: PTH119
    return found


def describe(chosen: Sequence[Process], children: bool = False) -> str:
    """How reports call the target: `process 4711 (mariadbd)`, `3 processes (postgres)`."""
    names = dict.fromkeys(processes.thread_name(one.pid, one.pid) or "gone" for one in chosen)
    shown = ", ".join(names)
    tail = " and its children" if children and len(chosen) == 1 else " and their children" if children else ""
    if len(chosen) == 1:
        return f"process {chosen[0].pid} ({shown}){tail}"
    return f"{len(chosen)} processes ({shown}){tail}"


def _command(pid: int) -> list[str]:
    try:
        raw = (processes.PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return []
    return [part.decode("utf-8", "backslashreplace") for part in raw.split(b"\0") if part]


def _with_parents(pid: int) -> set[int]:
    found: set[int] = set()
    while pid > 0 and pid not in found:
        found.add(pid)
        try:
            pid = int((processes.PROC / str(pid) / "stat").read_bytes().rpartition(b") ")[2].split()[1])
        except (OSError, ValueError, IndexError):
            break
    return found
