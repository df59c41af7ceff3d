"""The functions that an ELF file names: `.symtab`, `.dynsym`, the mini debug information, and its PLT."""

from __future__ import annotations

import lzma
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from pytest_blcperf.symbols.elf import ElfError, ElfFile, Section
from pytest_blcperf.symbols.function_ranges import function_ranges
from pytest_blcperf.symbols.plt import plt_symbols
from pytest_blcperf.symbols.symbol_table import Names, RawSymbols, SymbolTable, TableNames, Words

MAX_SYMBOLS = 8_000_000
"""In one table. A browser with full debug information has about 3 million."""
MAX_MINI_BYTES = 64 << 20
"""Of the mini debug information, unpacked."""
_UNPACKER_BYTES = 128 << 20

_NOTYPE, _FUNC, _IFUNC = 0, 2, 10
_LOCAL, _GLOBAL, _WEAK, _UNIQUE = 0, 1, 2, 10
_EXECUTABLE_SECTION = 4
_FIRST_RESERVED = 0xFF00
_IN_OTHER_TABLE = 0xFFFF
_MAPPING_SYMBOLS = {"arm", "aarch64", "riscv"}


@dataclass(frozen=True, eq=False)
class _Joined:
    """The names of several tables, one after the other."""

    parts: Sequence[Names]
    bounds: Sequence[int]

    def __getitem__(self, index: int) -> str:
        part = int(np.searchsorted(self.bounds, index, "right"))
        return self.parts[part][index - (self.bounds[part - 1] if part else 0)]


def joined(tables: Sequence[RawSymbols]) -> RawSymbols:
    """Several tables as one."""
    return RawSymbols(
        start=np.concatenate([np.zeros(0, np.uint64), *(one.start for one in tables)]),
        size=np.concatenate([np.zeros(0, np.uint64), *(one.size for one in tables)]),
        limit=np.concatenate([np.zeros(0, np.uint64), *(one.limit for one in tables)]),
        rank=np.concatenate([np.zeros(0, np.int64), *(one.rank for one in tables)]),
        names=_Joined([one.names for one in tables], list(accumulate(len(one) for one in tables))),
    )


@dataclass(frozen=True, eq=False)
class ElfSymbols:
    """The functions of a file, and what of it could not be read, in sentences."""

    table: SymbolTable
    problems: tuple[str, ...] = ()


def elf_symbols(elf: ElfFile, debug: ElfFile | None = None) -> ElfSymbols:
    """The functions of `elf`, with the names of its separate debug file where there is one.

    A full `.symtab` holds everything; without one `.dynsym` and the mini debug information (`.gnu_debugdata`, which
    leaves out what `.dynsym` has) are put together. Stubs of the PLT are named `function@plt`. Never raises for what a
    file holds: a table that cannot be read is a problem, and the others still count.
    """
    problems: list[str] = []
    tables: list[RawSymbols] = []
    for one in (elf, debug):
        if one is not None and not tables:
            tables += _readable(problems, one, ".symtab")
    if not tables:
        tables += _readable(problems, elf, ".dynsym")
        try:
            mini = mini_debug_file(elf)
        except ElfError as error:
            problems.append(error.message)
        else:
            tables += _readable(problems, mini, ".symtab") if mini is not None else []
    try:
        tables.append(plt_symbols(elf, SymbolTable(joined(tables))))
    except ElfError as error:
        problems.append(error.message)
    return ElfSymbols(SymbolTable(_cut_at_functions(joined(tables), elf, problems)), tuple(problems))


def _cut_at_functions(symbols: RawSymbols, elf: ElfFile, problems: list[str]) -> RawSymbols:
    """No symbol without a size reaches into a function that only the unwind information knows.

    In a stripped library the few assembler entries that it exports would else name everything up to the next export.
    """
    try:
        begins, _ = function_ranges(elf)
    except ElfError as error:
        problems.append(error.message)
        return symbols
    following = np.append(begins, np.uint64(2**64 - 1))[np.searchsorted(begins, symbols.start, "right")]
    return replace(symbols, limit=np.minimum(symbols.limit, following))


def mini_debug_file(elf: ElfFile) -> ElfFile | None:
    """The ELF file inside `.gnu_debugdata`, None when there is no such section. Raises ElfError."""
    data = elf.data_of(".gnu_debugdata")
    if not data:
        return None
    try:
        unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_UNPACKER_BYTES)
        unpacked = unpacker.decompress(data, MAX_MINI_BYTES)
    except (lzma.LZMAError, EOFError) as error:
        raise ElfError(f".gnu_debugdata cannot be unpacked: {error}") from None
    if not unpacker.eof:
        raise ElfError(f".gnu_debugdata is incomplete, or unpacks to more than {MAX_MINI_BYTES} bytes")
    return ElfFile.of(unpacked)


def raw_symbols(elf: ElfFile, section: Section) -> RawSymbols:
    """The functions in a symbol table section. Raises ElfError."""
    layout = _layout(elf)
    if section.size // layout.itemsize > MAX_SYMBOLS:
        raise ElfError(f"{section.name} has {section.size // layout.itemsize} symbols, more than {MAX_SYMBOLS}")
    data = elf.data(section)
    symbols = np.frombuffer(data, layout, len(data) // layout.itemsize)
    if section.link >= len(elf.sections) or elf.sections[section.link].type != "SHT_STRTAB":
        raise ElfError(f"{section.name} has no string table")
    names = TableNames(elf.data(elf.sections[section.link]), np.zeros(0, np.int64))
    kept = _functions(elf, symbols)
    symbols = symbols[kept]
    kind, binding = symbols["info"] & 15, symbols["info"] >> 4
    start = symbols["value"].astype(np.uint64)
    if elf.machine == "arm":
        # The lowest bit says that the function is Thumb code.
        start &= ~np.uint64(1)
    rank = 8 * (symbols["size"] > 0) + 4 * (kind != _NOTYPE) + 2 * (binding != _WEAK) + (binding != _LOCAL)
    found = RawSymbols(
        start=start,
        size=symbols["size"].astype(np.uint64),
        limit=_section_ends(elf)[np.minimum(symbols["section"], len(elf.sections))],
        rank=rank.astype(np.int64),
        names=TableNames(names.strings, symbols["name"].astype(np.int64)),
    )
    return _without_labels(found, kind == _NOTYPE, elf.machine)


def _layout(elf: ElfFile) -> np.dtype[np.void]:
    order = elf.byte_order
    if elf.bits == 64:
        fields = [("name", "u4"), ("info", "u1"), ("other", "u1"), ("section", "u2"), ("value", "u8"), ("size", "u8")]
    else:
        fields = [("name", "u4"), ("value", "u4"), ("size", "u4"), ("info", "u1"), ("other", "u1"), ("section", "u2")]
    return np.dtype([(name, order + kind) for name, kind in fields])


def _functions(elf: ElfFile, symbols: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
    """Which symbols are code: functions, and assembler labels in executable sections."""
    kind = symbols["info"] & 15
    executable = np.array([bool(one.flags & _EXECUTABLE_SECTION) for one in elf.sections] + [False])
    section = symbols["section"]
    placed = executable[np.minimum(section, len(elf.sections))] & (section < _FIRST_RESERVED)
    # With more than 65,280 sections the number stands in another table.
    placed |= (section == _IN_OTHER_TABLE) & (kind != _NOTYPE)
    code = (kind == _FUNC) | (kind == _IFUNC) | (kind == _NOTYPE)
    found: npt.NDArray[np.bool_] = code & placed & (symbols["name"] != 0)
    return found


def _section_ends(elf: ElfFile) -> Words:
    ends = [min(one.address + one.size, 2**64 - 1) for one in elf.sections]
    return np.array([*ends, 0], np.uint64)


def _without_labels(symbols: RawSymbols, untyped: npt.NDArray[np.bool_], machine: str) -> RawSymbols:
    """Without the labels of compilers (`.L12`) and the marks of ARM and RISC-V (`$x`: from here on it is code)."""
    assert isinstance(symbols.names, TableNames)
    marks = np.flatnonzero(untyped)
    strings = np.frombuffer(symbols.names.strings, np.uint8)
    offsets = symbols.names.offsets[marks]
    inside = offsets + 1 < len(strings)
    first = np.where(inside, strings[np.where(inside, offsets, 0)] if len(strings) else 0, 0)
    second = np.where(inside, strings[np.where(inside, offsets + 1, 0)] if len(strings) else 0, 0)
    dropped = (first == ord(".")) & (second == ord("L"))
    if machine in _MAPPING_SYMBOLS:
        dropped |= first == ord("$")
    kept = np.ones(len(symbols), np.bool_)
    kept[marks[dropped]] = False
    return RawSymbols(
        start=symbols.start[kept],
        size=symbols.size[kept],
        limit=symbols.limit[kept],
        rank=symbols.rank[kept],
        names=TableNames(symbols.names.strings, symbols.names.offsets[kept]),
    )


def _readable(problems: list[str], elf: ElfFile, name: str) -> list[RawSymbols]:
    section = elf.section(name)
    if section is None or section.type == "SHT_NOBITS":
        return []
    try:
        found = raw_symbols(elf, section)
    except ElfError as error:
        problems.append(error.message)
        return []
    return [found] if len(found) else []
