"""Unwind tables: for every address of an object, how to find the caller's frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

SAME, OFFSET, VALUE_OFFSET, EXPRESSION, VALUE_EXPRESSION, REGISTER, UNDEFINED = range(7)
"""How a register of the caller is found: it is unchanged; at CFA + value; it is CFA + value; at the address that
expression number `value` gives; it is what that gives; it is in register `value`; nowhere. DWARF 5, section 6.4.1."""

BY_EXPRESSION = -1
"""As `cfa_register`: the CFA (canonical frame address, the caller's stack pointer) is what expression number
`cfa_offset` gives."""
NOT_COVERED = -1
"""As a rule number: nothing is known of these addresses."""


Rule = tuple[int, int]
"""How and value: a register's; of the CFA its register and offset, or BY_EXPRESSION and the expression's number."""


class Frame(NamedTuple):
    """The rules of a CFA and of every register of the machine. See `UnwindRules`, which are columns of these."""

    cfa: Rule
    registers: tuple[Rule, ...]
    signal: bool = False


@dataclass(frozen=True, eq=False)
class UnwindRules:
    """Distinct rows of unwind tables, r of them. The CFA is `cfa_register[r]` (a DWARF number) + `cfa_offset[r]`; the
    caller's register c is found by `how[r, c]` and `value[r, c]`. `signal[r]`: the frame was interrupted by a signal,
    so that its return address is that of an instruction yet to be executed.
    """

    cfa_register: npt.NDArray[np.int16]
    cfa_offset: npt.NDArray[np.int32]
    how: npt.NDArray[np.uint8]
    value: npt.NDArray[np.int32]
    signal: npt.NDArray[np.bool_]
    expressions: tuple[bytes, ...] = ()

    def __len__(self) -> int:
        return len(self.cfa_register)


@dataclass(frozen=True, eq=False)
class UnwindTable:
    """From link address `pc[i]` (rising) to the next, rule `rule[i]` holds; NOT_COVERED where there is none."""

    machine: str
    pc: Words
    rule: npt.NDArray[np.int32]
    rules: UnwindRules
    problems: dict[str, int] = field(default_factory=dict)
    """What could not be used, by the reason, counted."""

    def __len__(self) -> int:
        return len(self.pc)

    def lookup(self, address: Words) -> Ints:
        """The rule of each link address, NOT_COVERED where there is none."""
        if not len(self.pc):
            return np.full(len(address), NOT_COVERED, np.int64)
        row = np.searchsorted(self.pc, address, "right") - 1
        return np.where(row >= 0, self.rule[row], NOT_COVERED).astype(np.int64)


def rules_of(frames: Sequence[Frame], expressions: tuple[bytes, ...], registers: int) -> UnwindRules:
    """Frames of a machine with so many registers as columns."""
    found = np.array([frame.registers for frame in frames], np.int32).reshape(-1, registers, 2)
    return UnwindRules(
        np.array([frame.cfa[0] for frame in frames], np.int16),
        np.array([frame.cfa[1] for frame in frames], np.int32),
        found[:, :, 0].astype(np.uint8),
        found[:, :, 1].copy(),
        np.array([frame.signal for frame in frames], np.bool_),
        expressions,
    )


def table_of(machine: str, rows: Sequence[tuple[int, int]], rules: UnwindRules) -> UnwindTable:
    """A table of (link address, rule) rows in any order; of rows at one address the last one stands."""
    last = dict(sorted(rows, key=lambda row: row[0]))
    return UnwindTable(machine, np.array(list(last), np.uint64), np.array(list(last.values()), np.int32), rules)
