"""The registers of frames that were unwound: what was where in any of them, by rules of any kind."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pytest_blcperf.symbols.dwarf_expression import ExpressionError, Values, evaluate
from pytest_blcperf.symbols.unwind_machine import Machine
from pytest_blcperf.symbols.unwind_table import (
    BY_EXPRESSION,
    OFFSET,
    REGISTER,
    SAME,
    UNDEFINED,
    VALUE_EXPRESSION,
    VALUE_OFFSET,
    UnwindRules,
)

Ints = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int32]
Words = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]

WORD = 8
MAX_NESTED = 16
"""Expressions that ask for registers of frames which expressions give: one for each signal handler within another."""
MAX_LOOKS = 200_000
"""Frames that are looked at for where registers were kept, for all samples of a history together: seconds. Some
thousands are usual; expressions that ask for registers of frames with expressions could ask without end.
"""


class Memory:
    """The copied stacks of n samples: bytes [`begin[i]`, `end[i]`) of `stack` (contiguous) were at `pointer[i]`.

    `origin[i]` + address is a position in the copy (modulo 2**64), within [`first[i]`, `last[i]`] for whole words.
    """

    def __init__(self, stack: Bytes, begin: Ints, end: Ints, pointer: Words) -> None:
        self.first = begin
        self.last = end - WORD
        self.origin: Words = self.first.astype(np.uint64) - pointer
        whole = len(stack) // WORD * WORD
        self._words: Words = stack[:whole].view("<u8") if whole else np.zeros(1, np.uint64)
        # Words at every byte, for the rare ones that are not aligned.
        self._anywhere: Words = (
            np.ndarray((len(stack) - WORD + 1,), "<u8", stack, strides=(1,)) if whole else self._words
        )

    def read(self, address: Words, rows: Ints) -> Values:
        """The words at addresses in the stacks of samples `rows`."""
        position = (address + self.origin[rows]).view(np.int64)
        inside = (position >= self.first[rows]) & (position <= self.last[rows])
        return Values(self.at(np.where(inside, position, 0)), inside)

    def at(self, position: Ints) -> Words:
        """The words at positions, all of them within the copies."""
        if (position & 7).any():
            return self._anywhere[position]
        return self._words.take(position >> 3)


class Step(NamedTuple):
    """The frames of one depth, of the samples `row` (rising). `cfa` is 0 where the stack ended."""

    row: Ints
    frame: Indices
    rule: Indices
    pc: Words
    sp: Words
    fp: Words
    cfa: Words


class At(NamedTuple):
    """Frames: those of the samples `row` (rising) at one depth. `nested` counts expressions within expressions."""

    row: Ints
    depth: int
    nested: int = 0


class Caller(NamedTuple):
    """What rules make of frames: their CFA, and the registers of their callers."""

    cfa: Values
    pc: Values
    sp: Values
    fp: Values


class History:
    """All frames of some samples, n of them: `steps[d]` are those of depth d, the leaf first.

    `registers` are those of the samples: n rows, columns in the order of `SampleBatch.registers`. `rules` are those
    that the steps' numbers mean.
    """

    def __init__(self, machine: Machine, registers: Words, memory: Memory, rules: UnwindRules) -> None:
        self.machine = machine
        self.memory = memory
        self.rules = rules
        self.steps: list[Step] = []
        self.looks_left = MAX_LOOKS
        self.registers = registers

    def register(self, number: int, at: At) -> Values:
        """DWARF register `number` in frames. All samples named must have a frame of that depth.

        It is what it was in the frame that last said where it was kept, or in the sample.
        """
        machine = self.machine
        if not 0 <= number < machine.registers or at.nested > MAX_NESTED:
            return _unknown(len(at.row))
        step, place = self._step(at)
        if number == machine.stack_pointer:
            return _known(step.sp[place])
        if number == machine.frame_pointer:
            return _known(step.fp[place])
        if number == machine.return_address and machine.stores_return_address:
            return _known(step.pc[place])
        return self._kept_before(number, at)

    def caller(self, rule: int, at: At) -> Caller:
        """The callers of frames that all have one rule, of any kind."""
        machine, rules = self.machine, self.rules
        if rules.cfa_register[rule] == BY_EXPRESSION:
            cfa = self._evaluated(int(rules.cfa_offset[rule]), at)
        else:
            base = self.register(int(rules.cfa_register[rule]), at)
            cfa = Values(base.value + _unsigned(int(rules.cfa_offset[rule])), base.known)
        pc, sp, fp = (
            self._kept(number, rule, cfa.value, at)
            for number in (machine.return_address, machine.stack_pointer, machine.frame_pointer)
        )
        if rules.how[rule, machine.stack_pointer] == SAME:
            sp = cfa
        if rules.how[rule, machine.return_address] == SAME and machine.stores_return_address:
            pc = _unknown(len(at.row))
        return Caller(cfa, pc, sp, fp)

    def _step(self, at: At) -> tuple[Step, Ints]:
        step = self.steps[at.depth]
        return step, np.searchsorted(step.row, at.row)

    def _kept_before(self, number: int, at: At) -> Values:
        value = self.registers[at.row, self.machine.sample_column[number]]
        known = np.ones(len(at.row), np.bool_)
        left = np.arange(len(at.row))
        for depth in range(at.depth - 1, -1, -1):
            self.looks_left -= 1
            if self.looks_left < 0:
                known[left] = False
                break
            step, place = self._step(At(at.row[left], depth))
            said = self.rules.how[step.rule[place], number] != SAME
            here, left = left[said], left[~said]
            value[here], known[here] = self._in_callers(number, At(at.row[here], depth, at.nested + 1))
            if not len(left):
                break
        return Values(value, known)

    def _in_callers(self, number: int, at: At) -> Values:
        """The register in the callers of frames whose rules all say where it is kept."""
        step, place = self._step(at)
        rule, cfa = step.rule[place], step.cfa[place]
        found = _unknown(len(at.row))
        for one in np.unique(rule).tolist():
            same = np.flatnonzero(rule == one)
            found.value[same], found.known[same] = self._kept(number, one, cfa[same], at._replace(row=at.row[same]))
        return found

    def _kept(self, number: int, rule: int, cfa: Words, at: At) -> Values:
        """Where a rule says that a register of the caller is kept."""
        how, value = int(self.rules.how[rule, number]), int(self.rules.value[rule, number])
        if how == SAME:
            return self.register(number, at)
        if how == REGISTER:
            return self.register(value, at)
        if how == UNDEFINED:
            return _unknown(len(at.row))
        by_offset = how in (OFFSET, VALUE_OFFSET)
        place = _known(cfa + _unsigned(value)) if by_offset else self._evaluated(value, at, cfa)
        if how in (VALUE_OFFSET, VALUE_EXPRESSION):
            return place
        found = self.memory.read(place.value, at.row)
        kept = Values(found.value, found.known & place.known)
        popped = (place.value < self.register(self.machine.stack_pointer, at).value) & by_offset
        if not popped.any():
            return kept
        # Compilers do not say that a register was popped where nobody can throw: it is in its place again.
        before = self.register(number, at)
        return Values(np.where(popped, before.value, kept.value), np.where(popped, before.known, kept.known))

    def _evaluated(self, expression: int, at: At, initial: Words | None = None) -> Values:
        try:
            return evaluate(
                self.rules.expressions[expression],
                len(at.row),
                lambda number: self.register(number, at),
                lambda address: self.memory.read(address, at.row),
                initial,
            )
        except ExpressionError:
            return _unknown(len(at.row))


def _unsigned(value: int) -> np.uint64:
    wrapped: np.uint64 = np.uint64(value % 2**64)
    return wrapped


def _known(value: Words) -> Values:
    return Values(value, np.ones(len(value), np.bool_))


def _unknown(number: int) -> Values:
    return Values(np.zeros(number, np.uint64), np.zeros(number, np.bool_))
