"""DWARF expressions, evaluated for many frames at once (DWARF 5, section 2.5).

Only what call frame information uses is known: constants, registers, memory, arithmetic, comparison. Branches are not,
as frames would part ways; no compiler writes them there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

MAX_BYTES = 512
MAX_DEPTH = 64
"""Values on the stack."""

_LEB = 0
_CONSTANT = 0x10
_CONSTANTS = {
    0x03: (8, False),
    0x08: (1, False),
    0x09: (1, True),
    0x0A: (2, False),
    0x0B: (2, True),
    0x0C: (4, False),
    0x0D: (4, True),
    0x0E: (8, False),
    0x0F: (8, True),
    0x10: (_LEB, False),
    0x11: (_LEB, True),
}
"""Bytes of the operand, and whether it is signed."""
_DEREF, _DEREF_SIZE = 0x06, 0x94
_DUP, _DROP, _OVER, _PICK, _SWAP, _ROT = range(0x12, 0x18)
_PLUS_CONSTANT = 0x23
_LITERALS, _REGISTERS = range(0x30, 0x50), range(0x70, 0x90)
_REGISTER = 0x92
_NOTHING = 0x96
_OPERANDS = {code: (operand,) for code, operand in _CONSTANTS.items()} | {
    _PICK: ((1, False),),
    _DEREF_SIZE: ((1, False),),
    _PLUS_CONSTANT: ((_LEB, False),),
    _REGISTER: ((_LEB, False), (_LEB, True)),
}


class ExpressionError(Exception):
    """An expression that cannot be evaluated; the text says why."""


class Operation(NamedTuple):
    """A DW_OP code and its operands: a constant; a register and an offset; a size or a place in the stack."""

    code: int
    first: int = 0
    second: int = 0


class Values(NamedTuple):
    """n values, and which of them are `known` (all that was read was there)."""

    value: Words
    known: Mask


@lru_cache(maxsize=4096)
def parsed(expression: bytes) -> tuple[Operation, ...]:
    """The operations of an expression. Raises ExpressionError. Literals and constants come as one code."""
    if len(expression) > MAX_BYTES:
        raise ExpressionError(f"an expression of {len(expression)} bytes")
    operations = []
    place = 0
    while place < len(expression):
        operation, place = _operation(expression, place)
        if operation.code != _NOTHING:
            operations.append(operation)
    return tuple(operations)


def evaluate(
    expression: bytes,
    number: int,
    register: Callable[[int], Values],
    read: Callable[[Words], Values],
    initial: Words | None = None,
) -> Values:
    """The value of an expression for `number` frames.

    `register` gives a register by its DWARF number, `read` the words at addresses, `initial` what is on the stack
    before. Arithmetic is modulo 2**64. Raises ExpressionError.
    """
    machine = _StackMachine(number, register, read)
    if initial is not None:
        machine.push(initial)
    for operation in parsed(expression):
        machine.do(operation)
    return Values(machine.pop(), machine.known)


def _operation(expression: bytes, place: int) -> tuple[Operation, int]:
    """The operation at `place`, and where the next one is. Raises ExpressionError."""
    code = expression[place]
    place += 1
    operands = []
    for size, signed in _operands_of(code):
        value, place = _operand(expression, place, size, signed)
        operands.append(value)
    if code in _LITERALS:
        return Operation(_CONSTANT, code - _LITERALS.start), place
    if code in _CONSTANTS:
        return Operation(_CONSTANT, *operands), place
    if code in _REGISTERS:
        return Operation(_REGISTER, code - _REGISTERS.start, *operands), place
    return Operation(code, *operands), place


def _operands_of(code: int) -> tuple[tuple[int, bool], ...]:
    if code in _LITERALS or code in _BINARY or code in _UNARY or code in _PLAIN:
        return ()
    if code in _REGISTERS:
        return ((_LEB, True),)
    if code in _OPERANDS:
        return _OPERANDS[code]
    raise ExpressionError(f"operation {code:#x}")


def _operand(expression: bytes, place: int, size: int, signed: bool) -> tuple[int, int]:
    if size == _LEB:
        return _leb(expression, place, signed)
    operand = expression[place : place + size]
    if len(operand) < size:
        raise ExpressionError("an expression that ends too early")
    return int.from_bytes(operand, "little", signed=signed), place + size


def _leb(expression: bytes, place: int, signed: bool) -> tuple[int, int]:
    value = shift = 0
    while place < len(expression):
        byte = expression[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return (value - (1 << shift) if signed and byte & 0x40 else value), place
    raise ExpressionError("an expression that ends too early")


class _StackMachine:
    """The stack of values, and the frames for which all were known."""

    def __init__(self, number: int, register: Callable[[int], Values], read: Callable[[Words], Values]) -> None:
        self.known = np.ones(number, np.bool_)
        self._number = number
        self._register = register
        self._read = read
        self._stack: list[Words] = []

    def push(self, value: Words) -> None:
        if len(self._stack) >= MAX_DEPTH:
            raise ExpressionError("an expression with a deep stack")
        self._stack.append(value)

    def pop(self) -> Words:
        if not self._stack:
            raise ExpressionError("an expression that takes more than it has")
        return self._stack.pop()

    def do(self, operation: Operation) -> None:
        code = operation.code
        if code in _BINARY:
            right = self.pop()
            self.push(_BINARY[code](self.pop(), right))
        elif code in _UNARY:
            self.push(_UNARY[code](self.pop()))
        elif code == _CONSTANT:
            self.push(np.full(self._number, operation.first % 2**64, np.uint64))
        elif code == _PLUS_CONSTANT:
            self.push(self.pop() + np.uint64(operation.first % 2**64))
        elif code == _REGISTER:
            value = self._checked(self._register(operation.first))
            self.push(value + np.uint64(operation.second % 2**64))
        elif code in (_DEREF, _DEREF_SIZE):
            self._dereference(operation.first if code == _DEREF_SIZE else 8)
        else:
            self._rearrange(code, operation.first)

    def _checked(self, values: Values) -> Words:
        self.known &= values.known
        return values.value

    def _dereference(self, size: int) -> None:
        if size not in (1, 2, 4, 8):
            raise ExpressionError(f"a read of {size} bytes")
        self.push(self._checked(self._read(self.pop())) & np.uint64(2 ** (8 * size) - 1))

    def _rearrange(self, code: int, place: int) -> None:
        places = {_DUP: 0, _OVER: 1, _PICK: place}
        if code in places:
            if places[code] >= len(self._stack):
                raise ExpressionError("an expression that takes more than it has")
            self.push(self._stack[-1 - places[code]])
        elif code == _DROP:
            self.pop()
        else:
            moved = [self.pop() for _ in range(2 if code == _SWAP else 3)]
            # The top goes below the others.
            self._stack += [moved[0], *reversed(moved[1:])]


def _signed(operation: Callable[..., npt.NDArray[np.generic]]) -> Callable[..., Words]:
    def apply(*values: Words) -> Words:
        return operation(*(value.view(np.int64) for value in values)).astype(np.int64).view(np.uint64)

    return apply


def _shifted(operation: Callable[[Words, Words], Words]) -> Callable[[Words, Words], Words]:
    """Shifts by 64 bits and more, which processors and numpy do in their own ways, leave nothing."""

    def apply(value: Words, by: Words) -> Words:
        return np.where(by < 64, operation(value, by & np.uint64(63)), np.uint64(0))

    return apply


def _arithmetic_shift(value: Words, by: Words) -> Words:
    shifted: Words = (value.view(np.int64) >> np.minimum(by, np.uint64(63)).view(np.int64)).view(np.uint64)
    return shifted


def _divided(value: Words, by: Words) -> Words:
    """Signed, towards zero; 0 by 0, where a processor would trap."""
    top, bottom = value.view(np.int64), by.view(np.int64)
    with np.errstate(all="ignore"):
        quotient = np.where(bottom == 0, 0, top // np.where(bottom == 0, 1, bottom))
        inexact = (quotient * bottom != top) & ((top < 0) != (bottom < 0)) & (bottom != 0)
    whole: npt.NDArray[np.int64] = quotient + inexact.astype(np.int64)
    return whole.view(np.uint64)


def _remainder(value: Words, by: Words) -> Words:
    return np.where(by == 0, np.uint64(0), value % np.where(by == 0, np.uint64(1), by))


_UNARY: dict[int, Callable[[Words], Words]] = {
    0x19: _signed(np.abs),
    0x1F: _signed(np.negative),
    0x20: np.invert,
}
_BINARY: dict[int, Callable[[Words, Words], Words]] = {
    0x1A: np.bitwise_and,
    0x1B: _divided,
    0x1C: np.subtract,
    0x1D: _remainder,
    0x1E: np.multiply,
    0x21: np.bitwise_or,
    0x22: np.add,
    0x24: _shifted(np.left_shift),
    0x25: _shifted(np.right_shift),
    0x26: _arithmetic_shift,
    0x27: np.bitwise_xor,
    # Comparisons are of signed numbers and give 1 or 0.
    0x29: _signed(np.equal),
    0x2A: _signed(np.greater_equal),
    0x2B: _signed(np.greater),
    0x2C: _signed(np.less_equal),
    0x2D: _signed(np.less),
    0x2E: _signed(np.not_equal),
}
_PLAIN = (_DEREF, _DUP, _DROP, _OVER, _SWAP, _ROT, _NOTHING)
