"""Names for the stubs of the procedure linkage table, which no symbol table has.

A stub jumps through a slot of the global offset table, and a relocation says whose address goes into that slot. So a
stub is named after what its jump reads, wherever a linker put it (`.plt`, `.plt.sec`, `.plt.got`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pytest_blcperf.symbols.elf import ElfError, ElfFile, Section, string_at
from pytest_blcperf.symbols.symbol_table import MAX_NAME, Ints, RawSymbols, SymbolTable, Words

ENDING = "@plt"

_STUBS = (".plt", ".plt.sec", ".plt.bnd", ".plt.got")
_RELOCATIONS = (".rela.plt", ".rela.dyn")
_INDIRECT = {"x86_64": 37, "aarch64": 1032}
"""By machine, the relocation of an indirect function: its resolver's address is the addend (R_…_IRELATIVE)."""
_MAX_RELOCATIONS = 4_000_000
_STUB_BYTES = 16

_RELOCATION = np.dtype([("offset", "u8"), ("kind", "u4"), ("symbol", "u4"), ("addend", "i8")])


@dataclass(frozen=True, eq=False)
class _StubNames:
    names: Sequence[str]

    def __getitem__(self, index: int) -> str:
        return self.names[index]


def plt_symbols(elf: ElfFile, functions: SymbolTable) -> RawSymbols:
    """The stubs of `elf`, named `function@plt`; `functions` name what a stub of an indirect function calls.

    Of 64-bit x86 and ARM; none elsewhere. Raises ElfError.
    """
    stubs, slots = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)]
    for name in _STUBS if elf.machine in _INDIRECT and elf.bits == 64 and elf.byte_order == "<" else ():
        section = elf.section(name)
        if section is not None and section.type == "SHT_PROGBITS":
            read = _x86_slots if elf.machine == "x86_64" else _arm_slots
            stub, slot = read(section.address, elf.data(section), _stub_bytes(section))
            stubs.append(stub)
            slots.append(slot)
    stub, slot = np.concatenate(stubs), np.concatenate(slots)
    names = _slot_names(elf, slot, functions)
    named = np.array([bool(name) for name in names], np.bool_)
    start = stub[named]
    return RawSymbols(
        start=start,
        size=np.full(len(start), _STUB_BYTES, np.uint64),
        limit=start,
        rank=np.zeros(len(start), np.int64),
        names=_StubNames([name for name in names if name]),
    )


def _stub_bytes(section: Section) -> int:
    # Stubs of `.plt.got` are 8 bytes, or 16 with a landing pad; the section says so.
    return section.entry_size if section.entry_size in (8, 16) else _STUB_BYTES


def _x86_slots(address: int, code: bytes, size: int) -> tuple[Words, Words]:
    """(stub, slot) of every `jmp *displacement(%rip)`: ff 25 and 4 bytes, relative to what follows them."""
    data = np.frombuffer(code, np.uint8)
    if len(data) < 6:
        return np.zeros(0, np.uint64), np.zeros(0, np.uint64)
    at = np.flatnonzero((data[:-5] == 0xFF) & (data[1:-4] == 0x25)).astype(np.int64)
    displacement = np.zeros(len(at), np.int64)
    for byte in range(4):
        displacement |= data[at + 2 + byte].astype(np.int64) << 8 * byte
    displacement = (displacement ^ 1 << 31) - (1 << 31)
    stub = np.uint64(address) + (at // size * size).astype(np.uint64)
    return stub, np.uint64(address) + (at + 6 + displacement).astype(np.uint64)


def _arm_slots(address: int, code: bytes, _size: int) -> tuple[Words, Words]:
    """(stub, slot) of every `adrp x16, page` with an `ldr x17, [x16, offset]` after it."""
    words = np.frombuffer(code[: len(code) // 4 * 4], "<u4")
    if len(words) < 2:
        return np.zeros(0, np.uint64), np.zeros(0, np.uint64)
    at = np.flatnonzero(((words[:-1] & 0x9F00001F) == 0x90000010) & ((words[1:] & 0xFFC003FF) == 0xF9400211))
    word = words[at].astype(np.int64)
    pages = (word >> 29 & 3) | (word >> 5 & 0x7FFFF) << 2
    pages = (pages ^ 1 << 20) - (1 << 20)
    stub = np.uint64(address) + (4 * at).astype(np.uint64)
    page = (stub & ~np.uint64(0xFFF)) + (pages << 12).astype(np.uint64)
    return stub, page + ((words[at + 1] >> 10 & 0xFFF).astype(np.uint64) << np.uint64(3))


def _slot_names(elf: ElfFile, slots: Words, functions: SymbolTable) -> list[str]:
    """By slot, `function@plt`; "" where no relocation fills it, as in the first stub of a table."""
    if not len(slots):
        return []
    relocations = _relocations(elf)
    if not len(relocations):
        return [""] * len(slots)
    order = np.argsort(relocations["offset"], kind="stable")
    relocations = relocations[order]
    found = np.searchsorted(relocations["offset"], slots).clip(max=len(relocations) - 1)
    matches = relocations["offset"][found] == slots
    symbols, strings = _dynamic_names(elf)
    names = []
    for match, one in zip(matches.tolist(), relocations[found], strict=True):
        name = ""
        if match and one["kind"] == _INDIRECT[elf.machine]:
            index = int(functions.find(np.array([one["addend"]]).astype(np.uint64))[0])
            name = functions.name(index) if index >= 0 else f"{int(one['addend']):+#x}"
        elif match and one["symbol"] < len(symbols):
            name = string_at(strings, int(symbols[one["symbol"]]), MAX_NAME)
        names.append(name + ENDING if name else "")
    return names


def _relocations(elf: ElfFile) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    found = [np.zeros(0, _RELOCATION)]
    for name in _RELOCATIONS:
        data = elf.data_of(name)
        if len(data) // _RELOCATION.itemsize > _MAX_RELOCATIONS:
            raise ElfError(f"{name} has {len(data) // _RELOCATION.itemsize} relocations, more than {_MAX_RELOCATIONS}")
        found.append(np.frombuffer(data, _RELOCATION, len(data) // _RELOCATION.itemsize))
    return np.concatenate(found)


def _dynamic_names(elf: ElfFile) -> tuple[Ints, bytes]:
    """The places of the dynamic symbols' names in their string table, and that table."""
    section = elf.section(".dynsym")
    if section is None or section.link >= len(elf.sections):
        return np.zeros(0, np.int64), b""
    data = elf.data(section)
    symbols = np.frombuffer(data[: len(data) // 24 * 24], "<u4").reshape(-1, 6)
    return symbols[:, 0].astype(np.int64), elf.data(elf.sections[section.link])
