"""Separate debug files: where distributions put them, and which one belongs to a program."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from pytest_blcperf.symbols import debuginfod
from pytest_blcperf.symbols.elf import ElfError, ElfFile

DEBUG_ROOT = Path("/usr/lib/debug")

_MAX_CHECKED_BYTES = 4 << 30
_CHUNK = 1 << 20


def debug_file(elf: ElfFile, path: str, root: str = "") -> tuple[ElfFile | None, tuple[str, ...]]:
    """(the debug file of a program, what stood in the way), the program being at `path` below `root`.

    By build-id (`/usr/lib/debug/.build-id/ab/cdef.debug`), by `.gnu_debuglink` (a name and a checksum, looked for
    beside the program, in `.debug` there, and below `/usr/lib/debug`), and from debuginfod, when DEBUGINFOD_URLS is
    set. Each is looked for below `root` first (another mount namespace), then here. A file whose build-id or checksum
    is another is passed over and said.
    """
    problems: list[str] = []
    build_id = elf.build_id
    for candidate in _by_build_id(build_id, root):
        found = _opened(candidate, problems)
        if found is None:
            continue
        if found.build_id == build_id:
            return found, tuple(problems)
        problems.append(f"the debug file has another build-id: {candidate}")
    link = debug_link(elf)
    if link:
        name, checksum = link
        for candidate in _by_link(path, name, root):
            found = _opened(candidate, problems)
            if found is None or _same_file(found, elf):
                continue
            if _checksum(found) == checksum:
                return found, tuple(problems)
            problems.append(f"the debug file has another checksum: {candidate}")
    if build_id and debuginfod.urls():
        try:
            return debuginfod.debug_file(build_id), tuple(problems)
        except ElfError as error:
            problems.append(error.message)
    return None, tuple(problems)


def debug_link(elf: ElfFile) -> tuple[str, int] | None:
    """(file name, CRC-32 of the file) in `.gnu_debuglink`: a name, zero bytes up to a multiple of 4, the checksum."""
    try:
        data = elf.data_of(".gnu_debuglink")
    except ElfError:
        return None
    name, zero, _ = data.partition(b"\0")
    start = len(name) + 4 & ~3
    # The name is one inside a folder, whatever it says.
    if not zero or not name or b"/" in name or name in (b".", b"..") or len(data) < start + 4:
        return None
    (checksum,) = struct.unpack_from(elf.byte_order + "I", data, start)
    return name.decode("utf-8", "surrogateescape"), checksum


def _roots(root: str) -> Iterator[str]:
    yield from dict.fromkeys((root, ""))


def _by_build_id(build_id: str, root: str) -> Iterator[Path]:
    if len(build_id) > 2:
        for one in _roots(root):
            yield Path(f"{one}{DEBUG_ROOT}/.build-id/{build_id[:2]}/{build_id[2:]}.debug")


def _by_link(path: str, name: str, root: str) -> Iterator[Path]:
    folder = str(Path(path).parent)
    for one in _roots(root):
        yield Path(f"{one}{folder}/{name}")
        yield Path(f"{one}{folder}/.debug/{name}")
        yield Path(f"{one}{DEBUG_ROOT}{folder}/{name}")


def _opened(path: Path, problems: list[str]) -> ElfFile | None:
    try:
        return ElfFile.open(path)
    except (OSError, ValueError):
        return None
    except ElfError as error:
        problems.append(f"{error.message}: {path}")
        return None


def _same_file(first: ElfFile, second: ElfFile) -> bool:
    return first.identity == second.identity


def _checksum(elf: ElfFile) -> int | None:
    if elf.size > _MAX_CHECKED_BYTES:
        return None
    checksum = 0
    for start in range(0, elf.size, _CHUNK):
        try:
            checksum = zlib.crc32(elf.read(start, min(_CHUNK, elf.size - start)), checksum)
        except ElfError:
            return None
    return checksum
