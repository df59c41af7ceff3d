"""Unwind tables of code that has none of its own: stubs of linkers, signal trampolines, stubs that a JIT makes.

They are derived from the code itself, which is of few known shapes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

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
MAX_TEMPLATE_BYTES = 256

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


class Instruction(NamedTuple):
    """Bytes of an instruction that stubs consist of, and what it does to the stack: `grows` by bytes, `call`, `ret`;
    `frame`: 1 where the frame pointer was just pushed, -1 where it is popped.
    """

    code: bytes
    grows: int = 0
    frame: int = 0
    returns: bool = False


_INSTRUCTIONS = (
    Instruction(b"\xf3\x0f\x1e\xfa"),  # endbr64
    Instruction(b"\x55", 8, 1),  # push %rbp
    Instruction(b"\x5d", -8, -1),  # pop %rbp
    Instruction(b"\x48\x89\xe5"),  # mov %rsp, %rbp
    Instruction(b"\x48\x8b\xec"),  # the same, encoded the other way
    Instruction(b"\x90"),  # nop
    Instruction(b"\xc3", returns=True),  # ret
    *(Instruction(b"\xff" + bytes([0xD0 + register])) for register in range(8)),  # call *%rax … call *%rdi
    *(Instruction(b"\x41\xff" + bytes([0xD0 + register])) for register in range(8)),  # call *%r8 … call *%r15
    *(Instruction(b"\x48\x83\xec" + bytes([size]), size) for size in range(0, 128, 8)),  # sub $size, %rsp
    *(Instruction(b"\x48\x83\xc4" + bytes([size]), -size) for size in range(0, 128, 8)),  # add $size, %rsp
)


class StubRow(NamedTuple):
    """From `offset` of a stub on, the CFA is the stack pointer + `cfa`; `fp` is where the frame pointer is kept,
    counted from the CFA, 0 where it is unchanged.
    """

    offset: int
    cfa: int
    fp: int


def template_rows(code: bytes) -> list[StubRow] | None:
    """How to unwind a stub with this x86-64 code, which only calls and returns; None when it does anything else.

    CPython's perf trampoline is one: what its stubs are copies of lies between the symbols `_Py_trampoline_func_start`
    and `_Py_trampoline_func_end`, and differs between versions and builds.
    """
    rows = [StubRow(0, 8, 0)]
    place = 0
    while place < min(len(code), MAX_TEMPLATE_BYTES):
        found = next((one for one in _INSTRUCTIONS if code.startswith(one.code, place)), None)
        if found is None:
            return None
        place += len(found.code)
        if found.returns:
            return rows if rows[-1].cfa == 8 else None
        if found.grows:
            cfa = rows[-1].cfa + found.grows
            fp = -cfa if found.frame > 0 else 0 if found.frame < 0 else rows[-1].fp
            rows.append(StubRow(place, cfa, fp))
    return None


def stub_table(ranges: Iterable[tuple[int, int]], rows: list[StubRow]) -> UnwindTable:
    """The table of copies of a stub at address ranges [start, end), to be given to `TableSource` as an extra one."""
    frames = [_x86_frame(row.cfa, row.fp) for row in rows]
    placed = []
    for start, end in sorted(ranges):
        placed += [(start + row.offset, number) for number, row in enumerate(rows) if start + row.offset < end]
        placed.append((end, NOT_COVERED))
    # A copy that begins where another one ends is not to be hidden by that end.
    placed.sort(key=lambda row: row[1] != NOT_COVERED)
    return table_of(X86_64.name, placed, rules_of(frames, (), X86_64.registers))


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


def _x86_frame(cfa: int, fp: int = 0) -> Frame:
    kept = {X86_64.return_address: (OFFSET, -8)} | ({X86_64.frame_pointer: (OFFSET, fp)} if fp else {})
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
