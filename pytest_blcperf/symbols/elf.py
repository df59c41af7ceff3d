"""A bounded reader of ELF files: headers, segments, sections, build-id, and the bytes of sections.

Every offset and size in a file is a claim, held against the file's true size before anything is read or allocated.
The layout of headers comes from pyelftools; sections are read as plain bytes, for numpy. pyelftools' own section
objects are not used: they follow links between sections without end in a hostile file.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import sys
import weakref
import zlib
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from elftools.construct import ConstructError
from elftools.elf.structs import ELFStructs

from pytest_blcperf.errors import BlcperfError

MAX_SECTIONS = 8192
MAX_SEGMENTS = 1024
MAX_SECTION_BYTES = 512 << 20
"""Bytes of one section, decompressed. The largest symbol tables of browsers and compilers take about half of that."""
MAX_COMPRESSION = 128
"""Decompressed to compressed bytes; debug information shrinks by 3 to 12."""

_MACHINES = {
    "EM_X86_64": "x86_64",
    "EM_AARCH64": "aarch64",
    "EM_386": "i386",
    "EM_ARM": "arm",
    "EM_RISCV": "riscv",
    "EM_S390": "s390x",
    "EM_PPC64": "ppc64",
}
_NOBITS = "SHT_NOBITS"
_COMPRESSED = 1 << 11
_EXECUTABLE = 1
_WRITABLE = 2
_NOTE_BYTES = 64 << 10
_NAME_BYTES = 256
_GNU_BUILD_ID = 3
_ZLIB = 1
_ZSTD = 2


class ElfError(BlcperfError):
    """A file is no ELF file, or one that contradicts itself. `message` says which claim is false."""


@dataclass(frozen=True)
class Section:
    """A section header. `type` is a name of the ELF standard (`SHT_PROGBITS`); `size` bytes from `offset` of the file,
    none of them there when the type is SHT_NOBITS (as in debug files); `address` is where they are in memory.
    """

    index: int
    name: str
    type: str
    flags: int
    address: int
    offset: int
    size: int
    link: int
    entry_size: int


@dataclass(frozen=True)
class Segment:
    """A program header: `file_size` bytes from `offset` are in memory from `address` on (`PT_LOAD`, `PT_NOTE`, …)."""

    type: str
    executable: bool
    writable: bool
    offset: int
    address: int
    file_size: int
    memory_size: int


class ElfFile:
    """The headers of an ELF file, and its bytes on request. Nothing but headers is kept in memory.

    `file` is read with `seek` and `read`, so that a file which is truncated meanwhile gives an error where a memory
    map would kill the process. Raises ElfError.

    Attributes: `bits` (32, 64), `byte_order` (`<`, `>`), `machine` (as `uname -m`), `kind` (`ET_DYN`, `ET_EXEC`, …),
    `sections`, `segments`.
    """

    def __init__(self, file: io.FileIO | io.BytesIO) -> None:
        self._file = file
        self._path: str | Path | None = None
        self._identity: tuple[int, ...] = ()
        self.size = file.seek(0, io.SEEK_END)
        identity = self.read(0, 20)
        if identity[:4] != b"\x7fELF" or identity[4] not in (1, 2) or identity[5] not in (1, 2):
            raise ElfError("not an ELF file")
        self.bits = 32 * identity[4]
        self.byte_order = "<" if identity[5] == 1 else ">"
        (machine,) = struct.unpack_from(self.byte_order + "H", identity, 18)
        structs = _structs(self.bits, self.byte_order, machine == _MIPS)
        header = self._parse(structs.Elf_Ehdr, 0)
        self.kind = str(header.e_type)
        self.machine = _MACHINES.get(str(header.e_machine), f"machine {machine}")
        self.segments = self._read_segments(structs, header)
        self.sections = self._read_sections(structs, header)
        self._by_name: dict[str, Section] = {}
        for section in self.sections:
            self._by_name.setdefault(section.name, section)

    @classmethod
    def open(cls, path: str | Path) -> ElfFile:
        """The ELF file at `path`. Raises ElfError, and OSError."""
        file = _opened(path)
        try:
            found = cls(file)
        except BaseException:
            file.close()
            raise
        found._path = path
        found._identity = _identity(os.fstat(file.fileno()))
        found._close_in_the_end()
        return found

    @classmethod
    def of(cls, data: bytes) -> ElfFile:
        """The ELF file with these bytes."""
        return cls(io.BytesIO(data))

    def _close_in_the_end(self) -> None:
        # Whoever keeps an ELF file for a session need not say when that ends.
        weakref.finalize(self, self._file.close)

    def release(self) -> None:
        """Give the descriptor back. The headers stay; `read` opens the file again, if it is still the same one."""
        if self._path is not None:
            self._file.close()

    @property
    def identity(self) -> tuple[int, ...]:
        """(device, inode, size, time of change in ns) of the file when it was opened; () for bytes in memory."""
        return self._identity

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes of the file from `offset` on. Raises ElfError when they are not all there."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise ElfError(f"{size} bytes at {offset:#x} lie outside the file of {self.size} bytes")
        try:
            if self._file.closed:
                self._open_again()
            self._file.seek(offset)
            data = self._file.read(size)
        except (OSError, ValueError) as error:
            raise ElfError(f"the file cannot be read: {error}") from None
        if len(data) != size:
            raise ElfError(f"the file was truncated to less than {offset + size} bytes while it was read")
        return data

    def section(self, name: str) -> Section | None:
        """The first section of that name."""
        return self._by_name.get(name)

    def data(self, section: Section) -> bytes:
        """The section's bytes, decompressed; none for one that has no bytes in the file. Raises ElfError."""
        if section.type == _NOBITS:
            return b""
        if section.size > MAX_SECTION_BYTES:
            raise ElfError(f"section {section.name} has {section.size} bytes, more than {MAX_SECTION_BYTES}")
        data = self.read(section.offset, section.size)
        return self._decompressed(section, data) if section.flags & _COMPRESSED else data

    def data_of(self, name: str) -> bytes:
        """The bytes of the section of that name, none when there is no such section. Raises ElfError."""
        section = self.section(name)
        return self.data(section) if section else b""

    @property
    def build_id(self) -> str:
        """The GNU build-id, hexadecimal; "" when the file has none."""
        places = [(segment.offset, segment.file_size) for segment in self.segments if segment.type == "PT_NOTE"]
        places += [(one.offset, one.size) for one in self.sections if one.type == "SHT_NOTE"]
        for offset, size in places:
            try:
                found = _build_id(self.read(offset, min(size, _NOTE_BYTES)), self.byte_order)
            except ElfError:
                # A debug file keeps the segments of its program without their bytes.
                continue
            if found:
                return found
        return ""

    def bias(self, start: int, offset: int) -> int:
        """What to take off an address for the file's own one, where the file is mapped at `start` from `offset` on.

        The mapping's pages belong to a loadable segment, whose offset need not be a page's. Raises ElfError when no
        segment of the file is mapped from there.
        """
        loaded = [segment for segment in self.segments if segment.type == "PT_LOAD" and segment.file_size]
        for segment in sorted(loaded, key=lambda one: not one.executable):
            if segment.offset & ~0xFFFF <= offset < segment.offset + segment.file_size:
                return start - offset - (segment.address - segment.offset)
        raise ElfError(f"no segment of the file lies at offset {offset:#x}")

    def _open_again(self) -> None:
        assert self._path is not None
        self._file = _opened(self._path)
        self._close_in_the_end()
        if _identity(os.fstat(self._file.fileno())) != self._identity:
            self._file.close()
            raise ElfError(f"the file was replaced while it was read: {self._path}")

    def _parse(self, layout: Any, offset: int) -> Any:
        size = int(layout.sizeof())
        try:
            return layout.parse(self.read(offset, size))
        except ConstructError as error:
            raise ElfError(f"the header at {offset:#x} cannot be read: {error}") from None

    def _table(self, layout: Any, offset: int, number: int, entry_size: int, limit: int) -> list[Any]:
        size = int(layout.sizeof())
        if number > limit:
            raise ElfError(f"{number} headers at {offset:#x}, more than {limit}")
        if number and entry_size < size:
            raise ElfError(f"headers of {entry_size} bytes at {offset:#x}, where {size} are needed")
        data = self.read(offset, number * entry_size)
        return [layout.parse(data[start : start + size]) for start in range(0, number * entry_size, entry_size or 1)]

    def _read_segments(self, structs: Any, header: Any) -> tuple[Segment, ...]:
        table = self._table(structs.Elf_Phdr, header.e_phoff, header.e_phnum, header.e_phentsize, MAX_SEGMENTS)
        return tuple(
            Segment(
                type=str(one.p_type),
                executable=bool(one.p_flags & _EXECUTABLE),
                writable=bool(one.p_flags & _WRITABLE),
                offset=one.p_offset,
                address=one.p_vaddr,
                file_size=one.p_filesz,
                memory_size=one.p_memsz,
            )
            for one in table
        )

    def _read_sections(self, structs: Any, header: Any) -> tuple[Section, ...]:
        if not header.e_shoff or not header.e_shentsize:
            return ()
        number, names = header.e_shnum, header.e_shstrndx
        if not number or names == _INDEX_IN_FIRST:
            first = self._parse(structs.Elf_Shdr, header.e_shoff)
            number = number or first.sh_size
            names = first.sh_link if names == _INDEX_IN_FIRST else names
        table = self._table(structs.Elf_Shdr, header.e_shoff, number, header.e_shentsize, MAX_SECTIONS)
        strings = self._section_names(table, names)
        return tuple(
            Section(
                index=index,
                name=string_at(strings, one.sh_name, _NAME_BYTES),
                type=str(one.sh_type),
                flags=one.sh_flags,
                address=one.sh_addr,
                offset=one.sh_offset,
                size=one.sh_size,
                link=one.sh_link,
                entry_size=one.sh_entsize,
            )
            for index, one in enumerate(table)
        )

    def _section_names(self, table: list[Any], index: int) -> bytes:
        if index >= len(table) or table[index].sh_type == _NOBITS:
            return b""
        return self.read(table[index].sh_offset, min(table[index].sh_size, MAX_SECTIONS * _NAME_BYTES))

    def _decompressed(self, section: Section, data: bytes) -> bytes:
        layout = self.byte_order + ("IIQQ" if self.bits == 64 else "III")
        start = struct.calcsize(layout)
        if len(data) < start:
            raise ElfError(f"section {section.name} is compressed and has {len(data)} bytes")
        fields = struct.unpack_from(layout, data)
        method, size = fields[0], fields[-2]
        if size > min(MAX_SECTION_BYTES, MAX_COMPRESSION * len(data)):
            raise ElfError(f"section {section.name} claims to grow from {len(data)} to {size} bytes")
        if method == _ZLIB:
            found = _inflated(data[start:], size)
        elif method == _ZSTD:
            found = _unpacked_zstandard(data[start:], size)
        else:
            raise ElfError(f"section {section.name} is compressed by method {method}")
        if found is None or len(found) != size:
            raise ElfError(f"section {section.name} does not decompress to its {size} bytes")
        return found


_MIPS = 8
_INDEX_IN_FIRST = 0xFFFF


def _opened(path: str | Path) -> io.FileIO:
    # Not blocking: the path comes from another process and may have become a pipe.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ElfError("not a regular file")
    # Without a buffer, which would give bytes that are no longer there.
    return os.fdopen(descriptor, "rb", buffering=0)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=8)
def _structs(bits: int, byte_order: str, mips: bool) -> Any:
    structs = ELFStructs(little_endian=byte_order == "<", elfclass=bits)
    structs.create_basic_structs()
    structs.create_advanced_structs(e_machine="EM_MIPS" if mips else "EM_X86_64")
    return structs


def string_at(strings: bytes, start: int, limit: int = 1 << 16) -> str:
    """The string in a string table from `start` to its zero byte, at most `limit` bytes; "" outside the table."""
    if not 0 <= start < len(strings):
        return ""
    end = strings.find(b"\0", start, start + limit)
    return strings[start : end if end >= 0 else start + limit].decode("utf-8", "backslashreplace")


def _build_id(notes: bytes, byte_order: str) -> str:
    """Of a sequence of notes: name size, description size, type, then both padded to 4 bytes."""
    header = struct.Struct(byte_order + "III")
    start = 0
    while start + header.size <= len(notes):
        name_size, size, kind = header.unpack_from(notes, start)
        name = start + header.size
        description = name + (name_size + 3 & ~3)
        found = notes[description : description + size]
        if kind == _GNU_BUILD_ID and notes[name : name + name_size] == b"GNU\0" and 2 <= len(found) == size <= 64:
            return found.hex()
        start = description + (size + 3 & ~3)
    return ""


def _inflated(data: bytes, size: int) -> bytes | None:
    try:
        return zlib.decompressobj().decompress(data, size + 1)
    except zlib.error:
        return None


def _unpacked_zstandard(data: bytes, size: int) -> bytes | None:
    try:
        zstd = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    except ImportError:
        raise ElfError(
            "a section is compressed with Zstandard, which Python reads from 3.14 on",
            "python -m pip install 'pytest-blcperf[perfdata]'",
        ) from None
    try:
        return bytes(zstd.ZstdDecompressor().decompress(data, size + 1))
    except zstd.ZstdError:
        return None
