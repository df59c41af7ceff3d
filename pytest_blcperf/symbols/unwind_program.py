"""Call frame instructions (DWARF 5, section 6.4.2), decoded and run for thousands of functions at once.

They are decoded in numpy. Most functions then do the same few things in the same few states, so each distinct
instruction is applied to each distinct state once, and looked up from then on. (To move all functions on together, one
instruction a step, was tried in numpy: not faster, and twice the code.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pytest_blcperf.symbols.unwind_machine import Machine
from pytest_blcperf.symbols.unwind_table import (
    BY_EXPRESSION,
    EXPRESSION,
    OFFSET,
    REGISTER,
    SAME,
    UNDEFINED,
    VALUE_EXPRESSION,
    VALUE_OFFSET,
    Frame,
    Rule,
)

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

MAX_PROGRAM_BYTES = 64 << 10
"""Of one function. The longest looked at, in GCC's cc1plus, has 20 KB."""
MAX_REMEMBERED = 32
"""States that a program may remember within each other. Compilers need one or two."""
MAX_STATES = 100_000
"""Distinct states of one object. cc1plus has 4,500, libc 1,800."""
MAX_TRANSITIONS = 300_000
"""Distinct instructions in distinct states of one object, each applied once: a second. cc1plus has 6,500."""
MAX_EXPRESSIONS = 4096
MAX_EXPRESSION_BYTES = 512

_ADVANCE, _SAVED, _RESTORE = 0x40, 0x80, 0xC0
_REMEMBER, _RECALL = 0x0A, 0x0B
_CFA_CODES = (0x0C, 0x0D, 0x0E, 0x0F, 0x12, 0x13)
_IMPOSSIBLE = 0xFF
_FIXED, _ONE_LEB, _TWO_LEBS, _BLOCK, _LEB_AND_BLOCK, _UNKNOWN = range(6)
_OPERANDS_OF: dict[int, tuple[int, int]] = {
    # instruction: kind of its operands, bytes of the fixed ones
    0x00: (_FIXED, 0),  # nop
    0x02: (_FIXED, 1),  # advance_loc1
    0x03: (_FIXED, 2),  # advance_loc2
    0x04: (_FIXED, 4),  # advance_loc4
    0x05: (_TWO_LEBS, 0),  # offset_extended
    0x06: (_ONE_LEB, 0),  # restore_extended
    0x07: (_ONE_LEB, 0),  # undefined
    0x08: (_ONE_LEB, 0),  # same_value
    0x09: (_TWO_LEBS, 0),  # register
    0x0A: (_FIXED, 0),  # remember_state
    0x0B: (_FIXED, 0),  # restore_state
    0x0C: (_TWO_LEBS, 0),  # def_cfa
    0x0D: (_ONE_LEB, 0),  # def_cfa_register
    0x0E: (_ONE_LEB, 0),  # def_cfa_offset
    0x0F: (_BLOCK, 0),  # def_cfa_expression
    0x10: (_LEB_AND_BLOCK, 0),  # expression
    0x11: (_TWO_LEBS, 0),  # offset_extended_sf
    0x12: (_TWO_LEBS, 0),  # def_cfa_sf
    0x13: (_ONE_LEB, 0),  # def_cfa_offset_sf
    0x14: (_TWO_LEBS, 0),  # val_offset
    0x15: (_TWO_LEBS, 0),  # val_offset_sf
    0x16: (_LEB_AND_BLOCK, 0),  # val_expression
    0x2D: (_FIXED, 0),  # AARCH64_negate_ra_state: signatures are cut off return addresses anyway
    0x2E: (_ONE_LEB, 0),  # GNU_args_size
    0x2F: (_TWO_LEBS, 0),  # GNU_negative_offset_extended
}
"""`set_loc` (0x01) is left out: no compiler for these machines writes it, and its size depends on the CIE."""
_KIND = np.full(256, _UNKNOWN, np.uint8)
_SIZE = np.zeros(256, np.int64)
for _code, (_kind, _size) in _OPERANDS_OF.items():
    _KIND[_code], _SIZE[_code] = _kind, _size
_KIND[_ADVANCE:_SAVED], _KIND[_SAVED:_RESTORE], _KIND[_RESTORE:] = _FIXED, _ONE_LEB, _FIXED
_SIGNED = (0x11, 0x12, 0x13, 0x15)
_FACTORED = (_SAVED, 0x05, 0x11, 0x12, 0x13, 0x14, 0x15, 0x2F)
_VALUE_ONLY = (0x0E, 0x13)
_NOTHING = (0x00, 0x2D, 0x2E)
_PADDING = 32
_FAR = np.int64(1) << 40
Action = tuple[int, int, int]
"""The code of an instruction, its register, and its value (an offset, a register, the number of an expression)."""


class State(NamedTuple):
    """A frame, those remembered, and what `restore` goes back to."""

    frame: Frame
    remembered: tuple[Frame, ...]
    initial: Frame


class Instructions(NamedTuple):
    """Decoded instructions of many programs, in order. `program` is the index of each one's program.

    `advance` is what the next row's start moves by, -1 for instructions that change the state instead; `action` what
    they do, as (code, register, value) in one number: see `_packed` and `_unpacked`.
    """

    program: Ints
    advance: Ints
    action: Ints


class Programs(NamedTuple):
    """Where programs begin and end in the data; the factors of their CIE, and the number of the state they start in.

    Ranges rise and do not overlap.
    """

    start: Ints
    end: Ints
    code_factor: Ints
    data_factor: Ints
    state: Ints


class Rows(NamedTuple):
    """Rows of all programs in order: the row of `program` that begins `offset` from its start has the state `state`.

    A program that cannot be run to its end has the state -1 from there on.
    """

    program: Ints
    offset: Ints
    state: Ints


class StateMachine:
    """The states of one object and what instructions make of them. Numbers of states are indices into `states`."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.states: list[State] = []
        self.expressions: dict[bytes, int] = {}
        self._number: dict[State, int] = {}
        self._made: dict[tuple[int, int], int] = {}

    def start(self, initial: Frame) -> int:
        """The state that a function of a CIE begins in."""
        return self._numbered(State(initial, (), initial))

    def after(self, state: int, packed: int) -> int:
        """The state after an instruction (see `_packed`), -1 when there is none."""
        found = self._made.get((state, packed))
        if found is None:
            if state < 0 or len(self._made) >= MAX_TRANSITIONS:
                return -1
            made = applied(self.states[state], _unpacked(packed), self.machine.registers)
            found = self._made[state, packed] = -1 if made is None else self._numbered(made)
        return found

    def expression(self, block: Bytes) -> int:
        """The number of an expression, -1 when there are too many or it is too long."""
        if len(block) > MAX_EXPRESSION_BYTES:
            return -1
        text = block.tobytes()
        if len(self.expressions) >= MAX_EXPRESSIONS and text not in self.expressions:
            return -1
        return self.expressions.setdefault(text, len(self.expressions))

    def _numbered(self, state: State) -> int:
        if len(self._number) >= MAX_STATES and state not in self._number:
            return -1
        number = self._number.setdefault(state, len(self._number))
        if number == len(self.states):
            self.states.append(state)
        return number


def applied(state: State, action: Action, registers: int) -> State | None:
    """The state after an instruction; None when it makes no sense there."""
    code, register, value = action
    frame = state.frame
    if code in _CFA_CODES:
        cfa = _cfa(code, register, value, frame.cfa, registers)
        return state._replace(frame=frame._replace(cfa=cfa)) if cfa else None
    if code == _REMEMBER:
        return state._replace(remembered=(*state.remembered, frame)) if len(state.remembered) < MAX_REMEMBERED else None
    if code == _RECALL:
        return State(state.remembered[-1], state.remembered[:-1], state.initial) if state.remembered else None
    rule = _register_rule(code, register, value, state.initial) if register < registers else None
    if rule is None:
        return state if register >= registers and code != _IMPOSSIBLE else None
    found = (*frame.registers[:register], rule, *frame.registers[register + 1 :])
    return state._replace(frame=frame._replace(registers=found))


def _cfa(code: int, register: int, value: int, before: Rule, registers: int) -> Rule | None:
    if code == 0x0F:
        return (BY_EXPRESSION, value) if value >= 0 else None
    if code in (0x0C, 0x12):
        return (register, value) if register < registers else None
    if before[0] == BY_EXPRESSION:
        return None
    if code == 0x0D:
        return (register, before[1]) if register < registers else None
    return (before[0], value)


_HOW = {
    _SAVED: OFFSET, 0x05: OFFSET, 0x11: OFFSET, 0x2F: OFFSET,
    0x14: VALUE_OFFSET, 0x15: VALUE_OFFSET,
    0x10: EXPRESSION, 0x16: VALUE_EXPRESSION,
    0x09: REGISTER,
    0x07: UNDEFINED, 0x08: SAME,
}  # fmt: skip


def _register_rule(code: int, register: int, value: int, initial: Frame) -> Rule | None:
    if code in (_RESTORE, 0x06):
        return initial.registers[register]
    how = _HOW.get(code)
    if how is None:
        return None
    if how in (SAME, UNDEFINED):
        return (how, 0)
    if (how in (EXPRESSION, VALUE_EXPRESSION) and value < 0) or (how == REGISTER and value >= len(initial.registers)):
        return None
    return (how, value)


def run(data: Bytes, programs: Programs, machine: StateMachine) -> Rows:
    """The rows of programs that lie in `data`. Time and memory are bounded and linear in their length."""
    instructions, complete = decoded(data, programs, machine)
    acting = np.flatnonzero(instructions.advance < 0)
    after = _states(instructions.program[acting], instructions.action[acting], programs.state, machine)
    return _rows(instructions, acting, after, programs.state, complete)


def decoded(data: Bytes, programs: Programs, machine: StateMachine) -> tuple[Instructions, npt.NDArray[np.bool_]]:
    """The instructions of programs, without those that do nothing, and which programs were decoded to their end."""
    base = int(programs.start[0]) if len(programs.start) else 0
    end = int(programs.end[-1]) if len(programs.end) else 0
    bytes_ = np.concatenate([data[base:end], np.zeros(_PADDING, np.uint8)])
    place, complete = _walk(bytes_, programs.start - base, programs.end - base)
    program = np.searchsorted(programs.start - base, place, "right") - 1
    return _operands(bytes_, place, program, programs, machine), complete


def _walk(bytes_: Bytes, start: Ints, end: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Where the instructions of all programs begin, in order."""
    following = _following(bytes_)
    begins = np.zeros(len(bytes_), np.bool_)
    complete = end - start <= MAX_PROGRAM_BYTES
    program = np.flatnonzero((start < end) & complete)
    place = start[program]
    while len(program):
        then = following[place]
        fits = then <= end[program]
        begins[place[fits]] = True
        complete[program[~fits]] = False
        more = then < end[program]
        program, place = program[more], then[more]
    return np.flatnonzero(begins), complete


def _following(bytes_: Bytes) -> Ints:
    """For each byte: where the next instruction begins if one begins there; far away when it is unknown."""
    length = len(bytes_)
    place = np.arange(length)
    last = np.where(bytes_ < 0x80, place, _FAR)
    after_leb = np.minimum.accumulate(last[::-1])[::-1] + 1
    after_leb = np.concatenate([after_leb, np.full(_PADDING, _FAR)])
    kind = _KIND[bytes_]
    following = place + 1 + _SIZE[bytes_]
    one = np.flatnonzero((kind != _FIXED) & (kind != _UNKNOWN))
    following[one] = after_leb[one + 1]
    two = np.flatnonzero((kind == _TWO_LEBS) | (kind == _LEB_AND_BLOCK))
    following[two] = after_leb[np.minimum(following[two], length)]
    # Of a block, what was skipped is the LEB of its length.
    block = np.flatnonzero(kind == _BLOCK)
    following[block] += _short_leb(bytes_, block + 1)
    block = np.flatnonzero(kind == _LEB_AND_BLOCK)
    following[block] += _short_leb(bytes_, after_leb[block + 1])
    following[kind == _UNKNOWN] = _FAR
    return following


def _short_leb(bytes_: Bytes, place: Ints) -> Ints:
    """LEBs of two bytes at most, far away for longer ones: no expression is that long."""
    place = np.minimum(place, len(bytes_) - 2)
    first, second = bytes_[place].astype(np.int64), bytes_[place + 1].astype(np.int64)
    long = np.where(second < 0x80, (first & 0x7F) | second << 7, _FAR)
    return np.where(first < 0x80, first, long)


def leb(bytes_: Bytes, place: Ints, signed: npt.NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """The LEB128 number at each place, and where it ends. Beyond 63 bits the value is wrong, the end is not."""
    value = np.zeros(len(place), np.int64)
    end = place.copy()
    active = np.arange(len(place))
    shift = 0
    while len(active):
        end[active] = np.minimum(end[active], len(bytes_) - 1)
        byte = bytes_[end[active]].astype(np.int64)
        end[active] += 1
        if shift < 63:
            value[active] |= (byte & 0x7F) << shift
        shift += 7
        done = byte < 0x80
        if shift < 63:
            negative = active[done & (byte >= 0x40) & signed[active]]
            value[negative] -= 1 << shift
        active = active[~done & (end[active] < len(bytes_))]
    return value, end


def _operands(bytes_: Bytes, place: Ints, program: Ints, programs: Programs, machine: StateMachine) -> Instructions:
    raw = bytes_[place].astype(np.int64)
    packed = raw & 0xC0
    code = np.where(packed > 0, packed, raw)
    keep = ~np.isin(code, _NOTHING)
    raw, packed, code, place, program = (column[keep] for column in (raw, packed, code, place, program))
    advance = _advances(bytes_, place, raw, code)
    advance = np.where(advance >= 0, advance * programs.code_factor[program], -1)
    kind = _KIND[raw]
    register = np.where(packed > 0, raw & 0x3F, 0)
    value = np.zeros(len(place), np.int64)
    after = place + 1
    leading = np.flatnonzero(((kind == _ONE_LEB) & (packed == 0)) | (kind == _TWO_LEBS) | (kind == _LEB_AND_BLOCK))
    register[leading], after[leading] = leb(bytes_, after[leading], code[leading] == 0x13)
    trailing = np.flatnonzero((packed == _SAVED) | np.isin(kind, (_TWO_LEBS, _BLOCK, _LEB_AND_BLOCK)))
    value[trailing], after[trailing] = leb(bytes_, after[trailing], np.isin(code[trailing], _SIGNED))
    alone = np.isin(code, _VALUE_ONLY)
    register, value = np.where(alone, 0, register), np.where(alone, register, value)
    value = np.where(np.isin(code, _FACTORED), value * programs.data_factor[program], value)
    value = np.where(code == 0x2F, -value, value)
    for index in np.flatnonzero((kind == _BLOCK) | (kind == _LEB_AND_BLOCK)).tolist():
        begin = int(after[index])
        value[index] = machine.expression(bytes_[begin : begin + int(value[index])])
    return Instructions(program, advance, _packed(code, register, value))


def _advances(bytes_: Bytes, place: Ints, raw: Ints, code: Ints) -> Ints:
    """By how many code units each instruction moves on, -1 for those that do not."""
    advance = np.where(code == _ADVANCE, raw & 0x3F, -1)
    for number, size in ((0x02, 1), (0x03, 2), (0x04, 4)):
        rows = np.flatnonzero(code == number)
        advance[rows] = sum(bytes_[place[rows] + 1 + byte].astype(np.int64) << 8 * byte for byte in range(size))
    return advance


def _packed(code: Ints, register: Ints, value: Ints) -> Ints:
    """(code, register, value) as one number. What does not fit becomes an instruction that makes no sense anywhere."""
    register = np.where(register < 0, 0xFFFF, np.minimum(register, 0xFFFF))
    code = np.where(np.abs(value) < 1 << 31, code, _IMPOSSIBLE)
    return code << 48 | register << 32 | value & 0xFFFFFFFF


def _unpacked(action: int) -> Action:
    value = action & 0xFFFFFFFF
    return action >> 48, action >> 32 & 0xFFFF, value - ((value & 1 << 31) << 1)


def _states(program: Ints, action: Ints, start: Ints, machine: StateMachine) -> Ints:
    """The state after each acting instruction."""
    after = []
    state, current, starts = -1, -1, start.tolist()
    for one, packed in zip(program.tolist(), action.tolist(), strict=True):
        if one != current:
            current, state = one, starts[one]
        state = machine.after(state, packed)
        after.append(state)
    return np.array(after, np.int64)


def _rows(instructions: Instructions, acting: Ints, after: Ints, start: Ints, complete: npt.NDArray[np.bool_]) -> Rows:
    """A row ends where an instruction advances, and where the program ends."""
    every = np.arange(len(start))
    first = np.searchsorted(instructions.program, every)
    first_acting = np.searchsorted(instructions.program[acting], every)
    moved = np.concatenate([[0], np.cumsum(np.maximum(instructions.advance, 0))])
    ends = np.flatnonzero(instructions.advance > 0)
    # The rows of one program: those that advance ends, then the last one.
    boundary = np.concatenate([ends, np.searchsorted(instructions.program, every, "right")])
    program = np.concatenate([instructions.program[ends], every])
    order = np.argsort(program, kind="stable")
    boundary, program = boundary[order], program[order]
    last = np.searchsorted(acting, boundary) - 1
    state = start[program].copy()
    changed = np.flatnonzero(last >= first_acting[program])
    state[changed] = after[last[changed]]
    state[np.searchsorted(program, every, "right")[~complete] - 1] = -1
    return Rows(program, moved[boundary] - moved[first[program]], state)
