"""The stubs of CPython's perf trampoline: how to unwind through them, and which Python function each stands for.

A stub saves what it must, calls the interpreter's evaluation loop and returns (Python/asm_trampoline.S). Its layout
differs between versions, compilers and hardening options, so it is disassembled, never assumed: the few instructions
that occur are known here, and anything else is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_blcperf.errors import UsageError
from pytest_blcperf.symbols.unwind_machine import Machine
from pytest_blcperf.symbols.unwind_table import NOT_COVERED, OFFSET, SAME, UnwindRules, UnwindTable

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

STUB_BYTES = 32
"""How much of a stub to look at; the longest known one has 20."""

_X86_CALL_REGISTER = range(0xD0, 0xD8)
_ARM = {
    0xD503233F: "hint",  # paciasp
    0xD50323BF: "hint",  # autiasp
    0xD503245F: "hint",  # bti c
    0xD503201F: "hint",  # nop
    0xA9BF7BFD: "push",  # stp x29, x30, [sp, #-16]!
    0x910003FD: "frame",  # mov x29, sp
    0xA8C17BFD: "pop",  # ldp x29, x30, [sp], #16
    0xD65F03C0: "return",
}
_ARM_CALL_MASK, _ARM_CALL = 0xFFFFFC1F, 0xD63F0000  # blr xN


@dataclass(frozen=True)
class StubRow:
    """From `offset` (bytes from the stub's start) on, the caller's stack pointer is sp + `cfa_offset`, the return
    address lies at `return_at` from there, and the caller's frame pointer at `frame_at`; None: still in its register.
    """

    offset: int
    cfa_offset: int
    return_at: int | None
    frame_at: int | None


@dataclass(frozen=True)
class StubLayout:
    """A stub: its rows, where its call returns to, and its length, in bytes."""

    rows: tuple[StubRow, ...]
    return_offset: int
    size: int


def stub_layout(code: bytes, machine: str) -> StubLayout:
    """The layout of a stub from its machine code. Raises UsageError for instructions that are not known."""
    rows: list[StubRow] = []
    returns = size = 0
    # At entry the return address is on the stack on x86-64, in the link register on ARM.
    in_memory = machine == "x86_64"
    start: tuple[int, int | None, int | None] = (8, -8, None) if in_memory else (0, None, None)
    depth, return_at, frame_at = start
    for offset, length, name, value in _decoded(code, machine):
        if not rows or (rows[-1].cfa_offset, rows[-1].return_at, rows[-1].frame_at) != (depth, return_at, frame_at):
            rows.append(StubRow(offset, depth, return_at, frame_at))
        size = offset + length
        if name == "push":
            depth += value
            frame_at = -depth
            return_at = return_at if in_memory else 8 - depth
        elif name == "grow":
            depth += value
        elif name == "call":
            returns = size
        elif name == "return":
            break
        elif name in ("pop", "shrink"):
            depth, return_at, frame_at = start
    else:
        raise _unknown(code)
    if not returns:
        raise _unknown(code)
    return StubLayout(tuple(rows), returns, size)


def _decoded(code: bytes, machine: str) -> Iterator[tuple[int, int, str, int]]:
    """(offset, length, what, by how many bytes) of the instructions of a stub."""
    offset = 0
    while offset < len(code):
        length, name, value = _x86(code[offset:]) if machine == "x86_64" else _arm(code[offset:])
        if not length:
            raise _unknown(code)
        yield offset, length, name, value
        offset += length


def _x86(code: bytes) -> tuple[int, str, int]:
    if code[:4] == b"\xf3\x0f\x1e\xfa":
        return 4, "hint", 0  # endbr64
    if code[:3] in (b"\x48\x83\xec", b"\x48\x83\xc4") and len(code) > 3:
        return 4, "grow" if code[2] == 0xEC else "shrink", code[3]  # sub, add rsp
    if code[:3] in (b"\x48\x89\xe5", b"\x48\x8b\xec"):
        return 3, "frame", 0  # mov rbp, rsp
    if code[:1] == b"\xff" and len(code) > 1 and code[1] in _X86_CALL_REGISTER:
        return 2, "call", 0
    if code[:2] == b"\x41\xff" and len(code) > 2 and code[2] in _X86_CALL_REGISTER:
        return 3, "call", 0
    one = {0x55: "push", 0x5D: "pop", 0xC9: "pop", 0xC3: "return", 0x90: "hint"}.get(code[0])
    return (1, one, 8) if one else (0, "", 0)


def _arm(code: bytes) -> tuple[int, str, int]:
    word = int.from_bytes(code[:4], "little")
    if len(code) >= 4 and word & _ARM_CALL_MASK == _ARM_CALL:
        return 4, "call", 0
    return (4, _ARM[word], 16) if len(code) >= 4 and word in _ARM else (0, "", 0)


def _unknown(code: bytes) -> UsageError:
    return UsageError(
        f"the perf trampoline of this Python is not known here: {code[:32].hex()}", "choose another --blcperf-backend"
    )


class Stubs:
    """The stubs of one process: `function[i]` is what the stub at `start[i]` stands for, any number."""

    def __init__(self, start: Sequence[int], function: Sequence[int], layout: StubLayout) -> None:
        order = np.argsort(np.array(start, np.uint64), kind="stable")
        self.layout = layout
        self.start: Words = np.array(start, np.uint64)[order]
        self._function: Ints = np.array(function, np.int64)[order]

    def unwind_table(self, machine: Machine) -> UnwindTable:
        """How to unwind through them: addresses are those of the process."""
        rows = self.layout.rows
        rules = UnwindRules(
            cfa_register=np.full(len(rows), machine.stack_pointer, np.int16),
            cfa_offset=np.array([row.cfa_offset for row in rows], np.int32),
            how=np.full((len(rows), machine.registers), SAME, np.uint8),
            value=np.zeros((len(rows), machine.registers), np.int32),
            signal=np.zeros(len(rows), np.bool_),
        )
        for number, row in enumerate(rows):
            for register, place in ((machine.return_address, row.return_at), (machine.frame_pointer, row.frame_at)):
                if place is not None:
                    rules.how[number, register], rules.value[number, register] = OFFSET, place
        offsets = np.array([*(row.offset for row in rows), self.layout.size], np.uint64)
        rule = np.tile(np.array([*range(len(rows)), NOT_COVERED], np.int32), len(self.start))
        return UnwindTable(machine.name, (self.start[:, None] + offsets[None, :]).reshape(-1), rule, rules)

    def called(self, address: Words) -> Ints:
        """For each address of a frame above the leaf, the function whose stub it returns to; -1 for other addresses.

        Exactly the return address of the call counts: other words in a stub's range are left over from earlier calls.
        """
        at = address - np.uint64(self.layout.return_offset)
        return self._found(at, at)

    def inside(self, address: Words) -> Ints:
        """For each address of a leaf, the function in whose stub it lies; -1 for other addresses."""
        row = np.searchsorted(self.start, address, "right") - 1
        begin = self.start[np.maximum(row, 0)] if len(self.start) else np.zeros(len(address), np.uint64)
        within = (row >= 0) & (address - begin < np.uint64(self.layout.size))
        return np.where(within, self._found(begin, begin), -1)

    def _found(self, at: Words, wanted: Words) -> Ints:
        if not len(self.start):
            return np.full(len(at), -1, np.int64)
        row = np.minimum(np.searchsorted(self.start, at), len(self.start) - 1)
        return np.where(self.start[row] == wanted, self._function[row], -1)
