"""The right file for a mapping of a process: the one that is mapped, not whatever has its name by now.

A path in `/proc/PID/maps` is a name in the mount namespace of that process, at the time it was mapped. So what is at
the path is held against the mapping's device, inode and build-id before it is believed.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_blcperf.model.capture import ObjectFile
from pytest_blcperf.model.recording import Mapping
from pytest_blcperf.symbols.elf import ElfError, ElfFile

VDSO = "[vdso]"
DELETED = " (deleted)"

FILE_KIND, VDSO_KIND, KERNEL_KIND, ANONYMOUS_KIND = "file", "vdso", "kernel", "anonymous"

MAX_OPEN = 256
"""Files that are held open. Of others the headers are kept, and they are opened again where they were found: only of a
deleted file may that be too late. Processes may open 1024 as a rule."""
_REPLACED = "the file was replaced: "
_MAX_VDSO_BYTES = 1 << 20
_MAX_MAPS_BYTES = 64 << 20


@dataclass(frozen=True, eq=False)
class CodeObject:
    """What lies behind a mapping: its ELF file, or why there is none.

    `file` is its name and build-id for reports; `kind` one of FILE_KIND, VDSO_KIND, KERNEL_KIND and ANONYMOUS_KIND
    (code that a JIT made, `[vsyscall]`); `problem` says why `elf` is None, in a sentence without an end, "" when
    nothing is wrong. Mappings of one file share one CodeObject, so its identity is a key.
    """

    kind: str
    file: ObjectFile
    elf: ElfFile | None = None
    problem: str = ""
    root: str = ""
    """Below which folder its path holds: `/proc/PID/root` for a file of another mount namespace."""


class Objects:
    """The code objects of processes, opened once each.

    Call `of` for every mapping while its process lives: deleted files, other mount namespaces and the vDSO can only be
    read through it. `proc` is where procfs is mounted. With `live` False (a recording of another time or machine)
    process ids mean nothing, and files are found by path and verified by build-id.
    """

    def __init__(self, live: bool = True, proc: Path = Path("/proc")) -> None:
        self._live = live
        self._proc = proc
        self._by_mapping: dict[tuple[object, ...], CodeObject] = {}
        self._by_file: dict[tuple[object, ...], CodeObject] = {}
        self._files: deque[ElfFile] = deque()

    def of(self, mapping: Mapping) -> CodeObject:
        """The object behind a mapping. Never raises for what a file, a process or a path may do."""
        key = self._key(mapping)
        found = self._by_mapping.get(key)
        if found is None:
            found = self._by_mapping[key] = self._find(mapping)
        return found

    def remember(self, mappings: Iterable[Mapping]) -> None:
        """Open the objects of these mappings now, for later."""
        for mapping in mappings:
            self.of(mapping)

    def close(self) -> None:
        """Close every file."""
        while self._files:
            self._files.popleft().release()

    def __enter__(self) -> Objects:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _key(self, mapping: Mapping) -> tuple[object, ...]:
        if mapping.inode or mapping.build_id:
            return (mapping.path, mapping.device, mapping.inode, mapping.generation, mapping.build_id)
        # Without an identity of its own, the same path may be another file in another process.
        return (mapping.path, mapping.process, mapping.start)

    def _find(self, mapping: Mapping) -> CodeObject:
        kind = kind_of(mapping.path)
        name = ObjectFile(mapping.path.removesuffix(DELETED), mapping.build_id)
        if kind == VDSO_KIND:
            return self._vdso(mapping)
        if kind != FILE_KIND:
            return CodeObject(kind, name)
        problems = []
        for path, trusted in self._candidates(mapping):
            try:
                elf = ElfFile.open(path)
            except (OSError, ValueError, ElfError) as error:
                problems.append(_reason(path, error))
                continue
            problem = self._mismatch(mapping, elf, trusted)
            if not problem:
                return self._kept(mapping, elf, path)
            problems.append(problem)
            elf.release()
        return CodeObject(kind, name, problem=_best(problems))

    def _kept(self, mapping: Mapping, elf: ElfFile, place: Path) -> CodeObject:
        """The object of this open file: the one there is already, when it was opened under another name."""
        found = self._by_file.get(elf.identity)
        if found is not None:
            elf.release()
            return found
        name = ObjectFile(mapping.path.removesuffix(DELETED), elf.build_id or mapping.build_id)
        root = f"{self._proc}/{mapping.process}/root"
        below = root if str(place).startswith(f"{root}/") else ""
        found = self._by_file[elf.identity] = CodeObject(FILE_KIND, name, elf, root=below)
        self._files.append(elf)
        if len(self._files) > MAX_OPEN:
            self._files.popleft().release()
        return found

    def _candidates(self, mapping: Mapping) -> Iterator[tuple[Path, bool]]:
        """Where the file may be, best first, and whether that place is the mapped file beyond doubt."""
        path = mapping.path.removesuffix(DELETED)
        deleted = mapping.path.endswith(DELETED)
        if self._live:
            process = self._proc / str(mapping.process)
            if not deleted:
                yield Path(f"{process}/root{path}"), False
                yield Path(path), False
            yield process / "map_files" / f"{mapping.start:x}-{mapping.end:x}", True
        elif not deleted:
            yield Path(path), False
        if mapping.build_id:
            yield from ((copy, False) for copy in cached_by_build_id(mapping.build_id))

    def _mismatch(self, mapping: Mapping, elf: ElfFile, trusted: bool) -> str:
        """Why the opened file is not the mapped one; "" when it is."""
        if mapping.build_id:
            return "" if elf.build_id == mapping.build_id else _REPLACED + "its build-id is another"
        # The device is not compared: of btrfs and overlay file systems stat and maps tell different ones for one file.
        if not self._live or mapping.inode in (0, elf.identity[1]):
            return ""
        if trusted:
            # The kernel opens what is mapped there now, and that may not be what was mapped at the mapping's time.
            return "" if self._inode_in_maps(mapping) == mapping.inode else "another file is mapped there now"
        return "" if self._still_linked(mapping) else _REPLACED + "its inode is another"

    def _still_linked(self, mapping: Mapping) -> bool:
        """Whether the kernel says that what is mapped there is still what that path names.

        Overlay file systems may tell stat another inode than maps. The link can be read where opening it is refused.
        """
        link = self._proc / str(mapping.process) / "map_files" / f"{mapping.start:x}-{mapping.end:x}"
        try:
            return str(link.readlink()) == mapping.path and self._inode_in_maps(mapping) == mapping.inode
        except OSError:
            return False

    def _inode_in_maps(self, mapping: Mapping) -> int:
        place = f"{mapping.start:08x}-{mapping.end:08x}".encode()
        try:
            with (self._proc / str(mapping.process) / "maps").open("rb") as maps:
                lines = maps.read(_MAX_MAPS_BYTES).splitlines()
        except OSError:
            return 0
        return next((int(line.split()[4]) for line in lines if line.startswith(place)), 0)

    def _vdso(self, mapping: Mapping) -> CodeObject:
        """The page the kernel maps into every process. The process's own when it can be read, else ours: one kernel
        has one for all processes of a word size.
        """
        name = ObjectFile(VDSO, mapping.build_id)
        if not self._live:
            return CodeObject(VDSO_KIND, name, problem="it was in the memory of the recorded process only")
        problem = "its memory cannot be read"
        own = _own_vdso()
        for process, start, end in ((str(mapping.process), mapping.start, mapping.end), ("self", *own)):
            try:
                elf = ElfFile.of(self._memory(process, start, end))
            except (OSError, ElfError, ValueError) as error:
                problem = _reason(VDSO, error)
                continue
            if mapping.build_id in ("", elf.build_id):
                key = (VDSO, elf.build_id or mapping.process)
                return self._by_file.setdefault(key, CodeObject(VDSO_KIND, ObjectFile(VDSO, elf.build_id), elf))
            problem = "its build-id is another"
        return CodeObject(VDSO_KIND, name, problem=problem)

    def _memory(self, process: str, start: int, end: int) -> bytes:
        if not 0 < end - start <= _MAX_VDSO_BYTES:
            raise ElfError(f"a mapping of {end - start} bytes is no vDSO")
        with (self._proc / process / "mem").open("rb", buffering=0) as memory:
            memory.seek(start)
            return memory.read(end - start)


def kind_of(path: str) -> str:
    """The kind of object that a path in maps, or in an mmap record of the kernel, stands for."""
    if path == VDSO:
        return VDSO_KIND
    if path.startswith("[kernel") or path.startswith("[guest.kernel"):
        return KERNEL_KIND
    if path.startswith("/") and not path.startswith(("//", "/dev/zero", "/anon_hugepage", "/SYSV")):
        return FILE_KIND
    return ANONYMOUS_KIND


def cached_by_build_id(build_id: str) -> Iterator[Path]:
    """Where `perf` keeps copies of the files that it recorded."""
    if len(build_id) > 2:
        yield Path("~/.debug/.build-id").expanduser() / build_id[:2] / build_id[2:] / "elf"


def _own_vdso() -> tuple[int, int]:
    try:
        with Path("/proc/self/maps").open(encoding="utf-8", errors="replace") as maps:
            line = next(line for line in maps if line.rstrip().endswith(VDSO))
    except (OSError, StopIteration):
        return (0, 0)
    start, _, end = line.split(maxsplit=1)[0].partition("-")
    return int(start, 16), int(end, 16)


def _reason(path: object, error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{os.strerror(error.errno) if error.errno else error}: {path}"
    return f"{getattr(error, 'message', error)}: {path}"


def _best(problems: list[str]) -> str:
    """The problem that tells most: that a file is another before that it cannot be opened."""
    return next((one for one in problems if one.startswith(_REPLACED)), problems[0] if problems else "it has no path")
