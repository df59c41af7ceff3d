"""Control groups to profile: where they are mounted, and who is in them. See cgroups(7)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_blcperf.errors import TargetError

PROC = Path("/proc")


@dataclass(frozen=True)
class Cgroup:
    """A target: what runs in a control group or below it. `folder` is where it is mounted."""

    folder: Path


def find(path: str, proc: Path = PROC) -> Cgroup:
    """The group `path`: a mounted folder, or a path inside the hierarchy such as `/system.slice/x.service`.

    Raises TargetError.
    """
    mounts = list(hierarchies(proc))
    if not mounts:
        raise TargetError(
            "no cgroup hierarchy that performance events understand is mounted",
            "sudo mount -t cgroup2 none /sys/fs/cgroup (or -t cgroup -o perf_event)",
        )
    folder = Path(path)
    inside = [mount for mount in mounts if folder.is_relative_to(mount)]
    candidates = [folder] if inside else [mount / path.lstrip("/") for mount in mounts]
    for candidate in candidates:
        if ".." not in candidate.parts and (candidate / "cgroup.procs").is_file():
            return Cgroup(candidate)
    raise TargetError(
        f"there is no cgroup {path!r} in {', '.join(str(mount) for mount in mounts)}",
        "list them with: systemd-cgls, or: cat /proc/PID/cgroup",
    )


def of_process(pid: int, proc: Path = PROC) -> Cgroup:
    """The group that the process is in. Raises TargetError."""
    try:
        lines = (proc / str(pid) / "cgroup").read_text("utf-8", "surrogateescape").splitlines()
    except OSError as error:
        raise TargetError(f"there is no running process {pid}", "list processes with: ps -e") from error
    # ID:CONTROLLERS:PATH; the unified hierarchy has the id 0 and no controllers.
    parts = [line.split(":", 2) for line in lines if line.count(":") >= 2]
    for _, controllers, path in sorted(parts, key=lambda part: "perf_event" not in part[1].split(",")):
        if not controllers or "perf_event" in controllers.split(","):
            return find(path, proc)
    raise TargetError(f"process {pid} is in no cgroup that performance events understand", "profile the process itself")


def hierarchies(proc: Path = PROC) -> Iterator[Path]:
    """Where the hierarchies are mounted that perf_event_open takes groups from: that of the perf_event controller
    (version 1) when it has one of its own, else the unified one.
    """
    found: dict[bool, list[Path]] = {True: [], False: []}
    try:
        lines = (proc / "self" / "mountinfo").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        mount, _, rest = line.partition(" - ")
        kind, _, options = rest.partition(" ")
        own = kind == "cgroup" and "perf_event" in options.split(" ")[-1].split(",")
        if kind == "cgroup2" or own:
            # The kernel writes spaces and other separators in names as octal escapes.
            found[own].append(Path(_unescape(mount.split(" ")[4])))
    yield from found[True] or found[False]


def processes(group: Cgroup) -> list[int]:
    """Numbers of the processes in the group and below it, as far as they can be seen."""
    found: set[int] = set()
    for folder, _, files in os.walk(group.folder):
        if "cgroup.procs" in files:
            try:
                found.update(int(word) for word in (Path(folder) / "cgroup.procs").read_text().split())
            except OSError:
                continue
    # 0 stands for a process of another PID namespace.
    return sorted(found - {0})


def _unescape(text: str) -> str:
    for code, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, plain)
    return text
