"""Unwind tables of code that may have none of its own: stubs of linkers, and signal trampolines.

They are derived from the code itself, which is of few known shapes. Those of a JIT's stubs come from whoever knows its
stubs, as `extra` of `TableSource`.
"""

from __future__ import annotations

import numpy as np

from pytest_blcperf.symbols.elf import ElfFile, Section
from pytest_blcperf.symbols.unwind_machine import AARCH64, X86_64, Machine
from pytest_blcperf.symbols.unwind_table import (
    BY_EXPRESSION,
    EXPRESSION,
    NOT_COVERED,
    OFFSET,
    SAME,
    Frame,
    UnwindTable,
    rules_of,
    table_of,
)

MAX_CODE_BYTES = 32 << 20
"""Of code in which signal trampolines are looked for."""

_STUB_SECTIONS = (".plt", ".plt.sec", ".plt.bnd", ".plt.got")
_STUB_BYTES = 16
_PUSH_NUMBER = 0x68
_PUSH_NUMBER_AT = (0, 4, 6)
"""Where a stub that is bound lazily pushes its number: by itself, after `endbr64`, after `jmp *slot(%rip)`."""
_PUSH_NUMBER_BYTES = 5
_PUSH_LINK_MAP = b"\xff\x35"
_PUSH_LINK_MAP_BYTES = 6

_SIGRETURN = b"\x48\xc7\xc0\x0f\x00\x00\x00\x0f\x05"
"""`mov $15, %rax; syscall` (rt_sigreturn): the return address of signal handlers in musl and Go, as in glibc."""
_SIGCONTEXT = 40
"""In `struct ucontext`, which the stack pointer points to there. asm/sigcontext.h has the order of registers."""
_SIGCONTEXT_REGISTERS = (8, 9, 10, 11, 12, 13, 14, 15, 5, 4, 6, 3, 1, 0, 2, 7, 16)


def plt_table(elf: ElfFile, machine: Machine) -> UnwindTable:
    """The table of a file's procedure linkage table. GNU ld describes it in `.eh_frame`, other linkers do not.

    Raises ElfError.
    """
    rows: list[tuple[int, int]] = []
    frames = [_x86_frame(cfa) for cfa in (8, 16, 24)]
    if machine is AARCH64:
        # Stubs only jump. The first one, which saves the link register, is not told apart: it is left at once.
        frames = [Frame((machine.stack_pointer, 0), ((SAME, 0),) * machine.registers)]
    for name in _STUB_SECTIONS:
        section = elf.section(name)
        if section is None or section.type != "SHT_PROGBITS" or section.size > MAX_CODE_BYTES:
            continue
        rows += [(section.address, 0)] if machine is AARCH64 else _x86_stubs(section, elf.data(section))
        rows.append((section.address + section.size, NOT_COVERED))
    rows.sort(key=lambda row: (row[0], row[1] != NOT_COVERED))
    return table_of(machine.name, rows, rules_of(frames, (), machine.registers))


def _x86_stubs(section: Section, code: bytes) -> list[tuple[int, int]]:
    """Rules of `plt_table` are by how many words the stack has grown since the call."""
    if section.name != ".plt":
        return [(section.address, 0)]
    first = code.startswith(_PUSH_LINK_MAP)
    entries = np.frombuffer(code, np.uint8, len(code) // _STUB_BYTES * _STUB_BYTES).reshape(-1, _STUB_BYTES)
    pushes = np.full(len(entries), -1)
    for place in reversed(_PUSH_NUMBER_AT):
        pushes[entries[:, place] == _PUSH_NUMBER] = place + _PUSH_NUMBER_BYTES
    rows = [(section.address, 1), (section.address + _PUSH_LINK_MAP_BYTES, 2)] if first else []
    for number, push in enumerate(pushes.tolist()):
        if number or not first:
            start = section.address + number * _STUB_BYTES
            rows += [(start, 0), (start + push, 1)] if push >= 0 else [(start, 0)]
    return rows


def sigreturn_table(elf: ElfFile, machine: Machine) -> UnwindTable:
    """The table of a file's signal trampolines. Raises ElfError."""
    rows: list[tuple[int, int]] = []
    for segment in elf.segments:
        executable = segment.type == "PT_LOAD" and segment.executable
        if machine is not X86_64 or not executable or segment.file_size > MAX_CODE_BYTES:
            continue
        code = elf.read(segment.offset, segment.file_size)
        place = code.find(_SIGRETURN)
        while place >= 0:
            # Looked for is the code before the return address, which is the trampoline's first byte.
            start = segment.address + place - 1
            rows += [(start, 0), (start + 1 + len(_SIGRETURN), NOT_COVERED)]
            place = code.find(_SIGRETURN, place + 1)
    return table_of(machine.name, rows, rules_of([_signal_frame()], _signal_expressions(), X86_64.registers))


def _x86_frame(cfa: int) -> Frame:
    kept = {X86_64.return_address: (OFFSET, -8)}
    return Frame(
        (X86_64.stack_pointer, cfa), tuple(kept.get(register, (SAME, 0)) for register in range(X86_64.registers))
    )


def _signal_frame() -> Frame:
    place = {register: number for number, register in enumerate(_SIGCONTEXT_REGISTERS)}
    registers = tuple((EXPRESSION, place[register]) for register in range(X86_64.registers))
    return Frame((BY_EXPRESSION, len(place)), registers, signal=True)


def _signal_expressions() -> tuple[bytes, ...]:
    """Where each register of `_SIGCONTEXT_REGISTERS` is kept (DW_OP_breg7 offset); the interrupted stack pointer."""
    places = [_SIGCONTEXT + 8 * number for number in range(len(_SIGCONTEXT_REGISTERS))]
    kept = [b"\x77" + (bytes([place]) if place < 64 else bytes([place & 0x7F | 0x80, place >> 7])) for place in places]
    return (*kept, kept[_SIGCONTEXT_REGISTERS.index(X86_64.stack_pointer)] + b"\x06")
