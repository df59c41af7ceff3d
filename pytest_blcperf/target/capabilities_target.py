"""Whether one process can be profiled: may it be sampled and read, do its functions have names, is it a Python."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_blcperf.errors import TargetError, UsageError
from pytest_blcperf.target.capabilities import LIMITED, MISSING, OK, Capability
from pytest_blcperf.target.capabilities_facts import SYS_PTRACE, Attempt, Facts
from pytest_blcperf.target.capabilities_objects import ObjectFacts, inspect
from pytest_blcperf.target.capabilities_probe import open_on, read_memory, status_fields
from pytest_blcperf.target.capabilities_remedies import HERE, Remedy, perf_remedies, ptrace_remedies
from pytest_blcperf.target.distribution import Distribution

MAIN_OBJECTS = 6
_PROC = Path("/proc")
_MAP_BYTES = 1 << 20
_MAPS_BYTES = 16 << 20
_DELETED = " (deleted)"
_LIBPYTHON = re.compile(r"(?:lib)?python(3\.\d+)[a-z]*(?:\.so[.\d]*)?$")


@dataclass(frozen=True)
class PythonFacts:
    """An interpreter in the process: its version, `3.12`, and the object that holds it."""

    version: str
    interpreter: ObjectFacts
    trampoline: bool
    """Whether it writes a perf map now (`-X perf`, PYTHONPERFSUPPORT=1, sys.activate_stack_trampoline)."""

    @property
    def minor(self) -> int:
        """12 of 3.12."""
        return int(self.version.partition(".")[2])


@dataclass(frozen=True)
class TargetFacts:
    """A process as it was found."""

    pid: int
    name: str
    uid: int
    own: bool
    """Whether it is this user's."""
    threads: int
    event: Attempt
    memory: Attempt
    objects: tuple[ObjectFacts, ...] = ()
    """The program first, then those with most code."""
    more_objects: int = 0
    problem: str = ""
    """Why its objects are not known."""
    python: PythonFacts | None = None

    @property
    def can_be_profiled(self) -> bool:
        """Whether its processor time can be sampled."""
        return self.event.worked


# ---- which process


def by_name(name: str, proc: Path = _PROC) -> int:
    """The only process whose command or program is called that. Raises TargetError, and UsageError for several."""
    found = sorted(pid for pid in _pids(proc) if name in _names(proc / str(pid)))
    if not found:
        raise TargetError(f"there is no process called {name!r}", "list processes with: ps -e")
    if len(found) > 1:
        shown = ", ".join(map(str, found[:10])) + (" …" if len(found) > 10 else "")
        raise UsageError(f"{len(found)} processes are called {name!r}: {shown}", f"choose one: --pid={found[0]}")
    return found[0]


def _pids(proc: Path) -> Iterator[int]:
    own = os.getpid()
    for entry in os.listdir(proc):  # noqa: PTH208
        if entry.isdigit() and int(entry) != own:
            yield int(entry)


def _names(process: Path) -> set[str]:
    """What a process is called: its command, its program, and the first word of its command line."""
    names = set()
    with contextlib.suppress(OSError):
        names.add((process / "comm").read_text("utf-8", "replace").rstrip("\n"))
    with contextlib.suppress(OSError):
        names.add((process / "exe").readlink().name.removesuffix(_DELETED))
    with contextlib.suppress(OSError):
        names.add(Path((process / "cmdline").read_bytes()[:4096].split(b"\0")[0].decode("utf-8", "replace")).name)
    return names - {""}


# ---- what it is like


def examine(pid: int) -> TargetFacts:
    """The process of that number. Raises TargetError when there is none."""
    status = status_fields(_PROC / str(pid) / "status") if pid > 0 else {}
    if not status or status.get("State", "").startswith(("Z", "X")):
        raise TargetError(f"there is no running process {pid}", "list processes with: ps -e")
    uid = int(status.get("Uid", "-1").split()[0])
    objects, more, problem = _objects(pid)
    return TargetFacts(
        pid=pid,
        name=status.get("Name", ""),
        uid=uid,
        own=uid == os.geteuid(),
        threads=int(status.get("Threads", "1")),
        event=open_on(pid),
        memory=read_memory(pid),
        objects=objects[: MAIN_OBJECTS + 1],
        more_objects=more + max(0, len(objects) - MAIN_OBJECTS - 1),
        problem=problem,
        python=_python(pid, status, objects),
    )


def _objects(pid: int) -> tuple[tuple[ObjectFacts, ...], int, str]:
    """The main objects, the number of others, and why there are none."""
    process = _PROC / str(pid)
    try:
        with (process / "maps").open("rb") as maps:
            sizes = code_sizes(maps.read(_MAPS_BYTES).decode("utf-8", "replace"))
        program = str((process / "exe").readlink())
    except OSError as error:
        return (), 0, f"its mappings cannot be read: {error.strerror}"
    if not sizes:
        return (), 0, "it has no mapped program: a kernel thread"
    interpreter = [path for path in sizes if _LIBPYTHON.search(path)]
    largest = sorted(sizes, key=lambda path: (path != program, path not in interpreter, -sizes[path]))
    roots = [process / "root", Path("/")]
    found = tuple(_object(path, process, roots) for path in largest[: MAIN_OBJECTS + 1])
    return found, len(sizes) - len(found), ""


def code_sizes(maps: str) -> dict[str, int]:
    """Path → bytes of executable mappings, of files in /proc/PID/maps (proc(5))."""
    sizes: dict[str, int] = {}
    for line in maps.splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) < 6 or "x" not in fields[1] or not fields[5].startswith("/"):
            continue
        start, _, end = fields[0].partition("-")
        with contextlib.suppress(ValueError):
            sizes[fields[5]] = sizes.get(fields[5], 0) + int(end, 16) - int(start, 16)
    return sizes


def _object(path: str, process: Path, roots: list[Path]) -> ObjectFacts:
    if path.endswith(_DELETED):
        return ObjectFacts(path.removesuffix(_DELETED), problem="the file was deleted or replaced since the start")
    return inspect(path, [process / "root" / path.lstrip("/"), Path(path)], roots)


def _python(pid: int, status: Mapping[str, str], objects: tuple[ObjectFacts, ...]) -> PythonFacts | None:
    found = [(one, match.group(1)) for one in objects if (match := _LIBPYTHON.search(one.path))]
    if not found:
        return None
    # The library holds the interpreter where there is one; the program is a few lines then.
    interpreter, version = next((pair for pair in found if ".so" in pair[0].path), found[0])
    return PythonFacts(version, interpreter, _writes_perf_map(pid, status))


def _writes_perf_map(pid: int, status: Mapping[str, str]) -> bool:
    """Whether its perf map, named by its number in its own namespace, has Python functions, and is its own."""
    number = status.get("NSpid", str(pid)).split()[-1]
    path = _PROC / str(pid) / "root/tmp" / f"perf-{number}.map"
    try:
        if path.stat().st_mtime < (_PROC / str(pid)).stat().st_mtime - 1:
            return False
        with path.open("rb") as file:
            return b" py::" in file.read(_MAP_BYTES)
    except OSError:
        return False


# ---- what to make of it


def judge_target(
    target: TargetFacts, facts: Facts, here: Distribution, packages: Mapping[str, str]
) -> tuple[Capability, ...]:
    """The process's capabilities; `packages` tells of some paths the package they are from."""
    found = [_event(target, facts, here), _memory(target, facts, here)]
    if target.problem:
        remedy = Remedy(HERE, here.as_root(f"blcperf doctor --pid={target.pid}", facts.root))
        found.append(
            Capability("objects", LIMITED, target.problem, "names of its functions", () if facts.root else (remedy,))
        )
    found += [_names_of(one, facts, here, packages.get(one.path, "")) for one in target.objects]
    if target.python is not None:
        found.append(_python_frames(target, target.python))
    return tuple(found)


def _event(target: TargetFacts, facts: Facts, here: Distribution) -> Capability:
    name, needed_for = "sampling", "any profile of this process"
    if target.event.worked:
        return Capability(name, OK, f"an event opened on it; {target.threads} threads", needed_for)
    remedies = list(perf_remedies(facts, here, 2))
    if not target.own:
        remedies.insert(0, Remedy(HERE, here.as_root(f"blcperf doctor --pid={target.pid}", facts.root)))
    whose = "" if target.own else f" of user {target.uid}"
    return Capability(
        name, MISSING, f"perf_event_open on the process{whose}: {target.event.said}", needed_for, tuple(remedies)
    )


def _memory(target: TargetFacts, facts: Facts, here: Distribution) -> Capability:
    name, needed_for = "memory", "mappings of its code, Python frames read from outside"
    if target.memory.worked:
        return Capability(name, OK, "process_vm_readv works", needed_for)
    remedies = ptrace_remedies(facts, here)
    if not target.own and not facts.has(SYS_PTRACE):
        remedies = (Remedy(HERE, here.as_root(f"blcperf doctor --pid={target.pid}", facts.root)), *remedies)
    return Capability(name, LIMITED, f"process_vm_readv: {target.memory.said}", needed_for, remedies)


def _names_of(one: ObjectFacts, facts: Facts, here: Distribution, package: str) -> Capability:
    name, needed_for = f"object {one.path}", "names, files and lines of its functions"
    if one.problem:
        remedy = (Remedy(HERE, "restart the process"),) if "deleted" in one.problem else ()
        return Capability(name, LIMITED, one.problem, needed_for, remedy)
    parts = [f"symbols: {one.symbols}" + (" and .gnu_debugdata" if one.mini_symbols else "")]
    parts.append(f"debug information: {'inside' if one.debug_file == one.path else one.debug_file or 'none'}")
    parts.append(f"build-id {one.build_id[:12] or 'none'}")
    if not one.unwind_tables:
        parts.append("no unwind tables" + (", but frame pointers" if one.frame_pointers else ""))
    if one.frame_pointers:
        parts.append("frame pointers")
    detail = ", ".join(dict.fromkeys(parts))
    if not one.stripped and (one.unwind_tables or one.frame_pointers):
        return Capability(name, OK, detail, needed_for)
    commands = here.debug_symbols(package, facts.root) if one.stripped else ()
    if not one.build_id or facts.debuginfod_urls:
        # debuginfod asks by build-id; and where servers are set already, they are asked.
        commands = commands[1:]
    return Capability(name, LIMITED, detail, needed_for, tuple(Remedy(HERE, command) for command in commands))


def _python_frames(target: TargetFacts, python: PythonFacts) -> Capability:
    name, needed_for = "Python frames", "names of Python functions in the process's profile"
    pointers = {True: "with frame pointers", False: "without frame pointers", None: "frame pointers unknown"}
    detail = f"CPython {python.version} {pointers[python.interpreter.frame_pointers]}"
    if python.trampoline:
        return Capability(name, OK, f"{detail}, perf trampoline active", needed_for)
    if python.minor >= 12:
        command = f"start it with python{python.version} -X perf, or with PYTHONPERFSUPPORT=1 in its environment"
        return Capability(name, LIMITED, f"{detail}, perf trampoline not active", needed_for, (Remedy(HERE, command),))
    remedies = [Remedy(HERE, "let a test start it: blcperf.start(…) samples it from inside")]
    if target.memory.worked:
        remedies.append(Remedy(HERE, f"py-spy record --pid {target.pid}"))
    return Capability(name, LIMITED, f"{detail}; the perf trampoline came with 3.12", needed_for, tuple(remedies))
