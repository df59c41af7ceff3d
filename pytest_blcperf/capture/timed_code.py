"""Code objects of Python 3.10 and 3.11 with calls of hooks at every entry and exit. Standard library only.

The function stays itself: frames, names, signature, free variables, line numbers and tracebacks are what they were. The
hooks are constants of the code, called with the original code object:

    entry, resumption      start(code), resume(code): after the function's prologue, after each yield
    return, suspension     leave(code): before each RETURN_VALUE and YIELD_VALUE
    an exception passes    leave(code): a handler around everything that has none, which raises it again
    an exception comes in  resume(code): a handler around each yield, for `throw` and `close`, which raises it again

Formats: `Objects/lnotab_notes.txt` of Python 3.10, `Objects/locations.md` and `Objects/exception_handling_notes.txt` of
Python 3.11.
"""

from __future__ import annotations

import dis
import opcode
import sys
from collections.abc import Iterator, Sequence
from types import CodeType
from typing import Any

from pytest_blcperf.capture.activations import Hooks

_OLD = sys.version_info < (3, 11)
_OP = opcode.opmap
_DEEPER = 12
"""Room for a handler's values and a call on the stack, more than is needed."""
_MOST_BLOCKS = 16
"""Python 3.10 has room for 20 blocks in a frame, and ends the process at the 21st; two are ours."""

Handler = tuple["Instruction", int, bool]
"""Where an exception goes on, how many values stay on the stack, whether the place of the exception is pushed."""


class Instruction:
    """One instruction; a jump knows the instruction it jumps to, whatever comes between."""

    __slots__ = ("argument", "handler", "offset", "operation", "position", "target")

    def __init__(self, operation: int, argument: int = 0, position: Any = None, handler: Handler | None = None) -> None:
        self.operation = operation
        self.argument = argument
        self.position = position
        self.handler = handler
        self.target: Instruction | None = None
        self.offset = 0

    @property
    def size(self) -> int:
        """In code units, with prefixes and inline caches."""
        prefixes = (self.argument > 0xFF) + (self.argument > 0xFFFF) + (self.argument > 0xFFFFFF)
        return prefixes + 1 + _caches(self.operation)

    def encoded(self) -> bytes:
        """Its code units."""
        prefixes = self.size - 1 - _caches(self.operation)
        data = [(_OP["EXTENDED_ARG"], self.argument >> 8 * place & 0xFF) for place in range(prefixes, 0, -1)]
        data += [(self.operation, self.argument & 0xFF)] + [(0, 0)] * _caches(self.operation)
        return bytes(value for unit in data for value in unit)


def _caches(operation: int) -> int:
    return 0 if _OLD else opcode._inline_cache_entries[operation]  # type: ignore[attr-defined]


def timed_code(code: CodeType, hooks: Hooks) -> CodeType | None:
    """The code with calls of the hooks in it; None where that is not possible.

    Not possible: more than `_MOST_BLOCKS` blocks of exception handlers, and on Python 3.10 awaiting or `yield from`,
    whose suspensions happen inside one instruction.
    """
    instructions = _decode(code)
    operations = [instruction.operation for instruction in instructions]
    if _OLD and (
        _OP["YIELD_FROM"] in operations or sum(operation in _BLOCKS for operation in operations) > _MOST_BLOCKS
    ):
        return None
    constants = [*code.co_consts, hooks.start, hooks.resume, hooks.leave, code]
    start, resume, leave, own = range(len(code.co_consts), len(constants))
    rewriter = (_OldRewriter if _OLD else _NewRewriter)(instructions, start, resume, leave, own)
    changes = _encode(rewriter.rewritten(), code)
    return code.replace(co_consts=tuple(constants), co_stacksize=code.co_stacksize + _DEEPER, **changes)


_BLOCKS = {_OP[name] for name in ("SETUP_FINALLY", "SETUP_WITH", "SETUP_ASYNC_WITH") if name in _OP}


class _Rewriter:
    """What both versions share. `own` is the constant with the original code object, as are the hooks'."""

    def __init__(self, instructions: list[Instruction], start: int, resume: int, leave: int, own: int) -> None:
        self._instructions = instructions
        self._start, self._resume, self._leave, self._own = start, resume, leave, own
        self._stubs: list[Instruction] = []
        """Handlers of yields, which stand behind the function's own code."""
        self._again: list[Instruction] = []

    def rewritten(self) -> list[Instruction]:
        passing = [*self._call(self._leave, Instruction(_OP["NOP"])), Instruction(_OP["RERAISE"], 1)]
        body, rest = self._prologue(passing[0])
        # Who jumped to an instruction jumps to what is before it now.
        moved = {}
        for place in range(rest, len(self._instructions)):
            around = self._around(self._instructions[place], self._instructions[place - 1])
            moved[self._instructions[place]] = around[0]
            body += around
        for instruction in [*self._instructions, *self._again]:
            if instruction.target is not None:
                instruction.target = moved.get(instruction.target, instruction.target)
        return [*body, *self._stubs, *passing]

    def _prologue(self, passing: Instruction) -> tuple[list[Instruction], int]:
        """What is executed once, and where the rest begins; an exception out of the rest goes to `passing`."""
        raise NotImplementedError

    def _around(self, instruction: Instruction, previous: Instruction) -> list[Instruction]:
        """What stands in the place of an instruction."""
        raise NotImplementedError

    def _stub(self, handler: Handler | None) -> Instruction:
        """The beginning of a handler that has the function resumed and raises again."""
        like = Instruction(_OP["NOP"], handler=handler)
        stub = [*self._call(self._resume, like), _like(like, "RERAISE", 1)]
        self._stubs += stub
        return stub[0]

    def _call(self, hook: int, like: Instruction) -> list[Instruction]:
        """`hook(code)`, at the place of another instruction in the source and under its handler."""
        if _OLD:
            parts = [("LOAD_CONST", hook), ("LOAD_CONST", self._own), ("CALL_FUNCTION", 1), ("POP_TOP", 0)]
        else:
            parts = [("PUSH_NULL", 0), ("LOAD_CONST", hook), ("LOAD_CONST", self._own), ("PRECALL", 1), ("CALL", 1)]
            parts += [("POP_TOP", 0)]
        return [_like(like, name, argument) for name, argument in parts]


class _OldRewriter(_Rewriter):
    """Python 3.10: handlers are blocks that are entered and left."""

    def _prologue(self, passing: Instruction) -> tuple[list[Instruction], int]:
        first = self._instructions[0]
        rest = int(first.operation == _OP["GEN_START"])
        body = [*self._instructions[:rest], *self._call(self._start, first), _jump(first, "SETUP_FINALLY", passing)]
        return body, rest

    def _around(self, instruction: Instruction, previous: Instruction) -> list[Instruction]:
        del previous
        if instruction.operation == _OP["RETURN_VALUE"]:
            return [_like(instruction, "POP_BLOCK"), *self._call(self._leave, instruction), instruction]
        if instruction.operation == _OP["YIELD_VALUE"]:
            before = [*self._call(self._leave, instruction), _jump(instruction, "SETUP_FINALLY", self._stub(None))]
            return [*before, instruction, _like(instruction, "POP_BLOCK"), *self._call(self._resume, instruction)]
        return [instruction]


class _NewRewriter(_Rewriter):
    """Python 3.11: handlers are ranges in a table."""

    def _prologue(self, passing: Instruction) -> tuple[list[Instruction], int]:
        every = self._instructions
        begin = next(n for n, one in enumerate(every) if one.operation == _OP["RESUME"] and one.argument & 3 == 0)
        for instruction in every[begin + 1 :]:
            instruction.handler = instruction.handler or (passing, 0, True)
        # Nowhere in the source: a tracer would be told of the line of the `def`.
        return [*every[: begin + 1], *self._call(self._start, Instruction(_OP["NOP"]))], begin + 1

    def _around(self, instruction: Instruction, previous: Instruction) -> list[Instruction]:
        if instruction.operation == _OP["RETURN_VALUE"]:
            return [*self._call(self._leave, instruction), instruction]
        if instruction.operation == _OP["YIELD_VALUE"]:
            before = self._call(self._leave, instruction)
            if previous.operation == _OP["SEND"]:
                # The interpreter finds what is awaited by the instruction before the yield, which must be this one. So
                # it stands there once more and is jumped over.
                again = _jump(previous, "SEND", previous.target)
                self._again.append(again)
                before += [_jump(instruction, "JUMP_FORWARD", instruction), again]
            assert instruction.handler is not None
            stub = self._stub(instruction.handler)
            instruction.handler = (stub, instruction.handler[1], True)
            return [*before, instruction]
        if instruction.operation == _OP["RESUME"] and previous.operation == _OP["YIELD_VALUE"]:
            return [instruction, *self._call(self._resume, instruction)]
        return [instruction]


def _like(other: Instruction, name: str, argument: int = 0) -> Instruction:
    return Instruction(_OP[name], argument, other.position, other.handler)


def _jump(other: Instruction, name: str, target: Instruction | None) -> Instruction:
    made = _like(other, name)
    made.target = target
    return made


def _decode(code: CodeType) -> list[Instruction]:
    """Its instructions, jumps and handlers joined to the instructions they mean."""
    positions: list[Any] = _lines(code) if _OLD else list(code.co_positions())  # type: ignore[attr-defined]
    found: list[Instruction] = []
    at: dict[int, Instruction] = {}
    jumps = []
    begin = -1
    for plain in dis.get_instructions(code):
        begin = plain.offset if begin < 0 else begin
        if plain.opcode == _OP["EXTENDED_ARG"]:
            continue
        instruction = Instruction(plain.opcode, plain.arg or 0, positions[plain.offset // 2])
        for offset in range(begin, plain.offset + 2, 2):
            at[offset] = instruction
        if plain.opcode in opcode.hasjrel or plain.opcode in opcode.hasjabs:
            jumps.append((instruction, plain.argval))
        instruction.offset = plain.offset
        found.append(instruction)
        begin = -1
    for instruction, target in jumps:
        instruction.target = at[target]
    if not _OLD:
        for start, end, target, depth, lasti in _exception_entries(code.co_exceptiontable):  # type: ignore[attr-defined]
            for instruction in found:
                if start <= instruction.offset < end:
                    instruction.handler = (at[target], depth, lasti)
    return found


def _exception_entries(table: bytes) -> Iterator[tuple[int, int, int, int, bool]]:
    """Start, end and target of each entry in bytes; how deep the stack stays; whether the place is pushed."""
    values = iter(table)

    def number() -> int:
        byte = next(values)
        value = byte & 63
        while byte & 64:
            byte = next(values)
            value = value << 6 | byte & 63
        return value

    while True:
        try:
            start = number() * 2
        except StopIteration:
            return
        end = start + number() * 2
        target = number() * 2
        flags = number()
        yield start, end, target, flags >> 1, bool(flags & 1)


def _lines(code: CodeType) -> list[int | None]:
    """The line of every code unit."""
    lines: list[int | None] = [None] * (len(code.co_code) // 2)
    for start, end, line in code.co_lines():
        for place in range(start // 2, end // 2):
            lines[place] = line
    return lines


def _encode(instructions: Sequence[Instruction], code: CodeType) -> dict[str, Any]:
    """The fields of a code object made of these instructions."""
    _settle_jumps(instructions)
    data = b"".join(instruction.encoded() for instruction in instructions)
    if _OLD:
        return {"co_code": data, "co_linetable": _line_table(instructions, code.co_firstlineno)}
    return {
        "co_code": data,
        "co_linetable": _location_table(instructions, code.co_firstlineno),
        "co_exceptiontable": _exception_table(instructions),
    }


def _settle_jumps(instructions: Sequence[Instruction]) -> None:
    """Offsets in code units, and the arguments of jumps; prefixes move what follows, so again until nothing moves."""
    moving = True
    while moving:
        offset = 0
        for instruction in instructions:
            instruction.offset = offset
            offset += instruction.size
        moving = False
        for instruction in instructions:
            if instruction.target is None:
                continue
            distance = instruction.target.offset - instruction.offset - instruction.size
            if instruction.operation in opcode.hasjabs:
                argument = instruction.target.offset
            else:
                argument = -distance if "BACKWARD" in opcode.opname[instruction.operation] else distance
            assert argument >= 0
            size = instruction.size
            # Never smaller again, or it might go to and fro.
            instruction.argument = argument
            moving = moving or instruction.size != size


def _runs(instructions: Sequence[Instruction], longest: int) -> Iterator[tuple[Any, int]]:
    """Positions and for how many code units each holds, `longest` at most."""
    position, length = None, 0
    for instruction in instructions:
        for _ in range(instruction.size):
            if length and (instruction.position != position or length == longest):
                yield position, length
                length = 0
            position, length = instruction.position, length + 1
    if length:
        yield position, length


def _line_table(instructions: Sequence[Instruction], first_line: int) -> bytes:
    """Python 3.10: pairs of a length in bytes and the difference to the line before, -128 for no line."""
    table, line = bytearray(), first_line
    for position, length in _runs(instructions, 127):
        if position is None:
            table += bytes((2 * length, 128))
            continue
        difference = position - line
        while abs(difference) > 127:
            step = 127 if difference > 0 else -127
            table += bytes((0, step & 0xFF))
            difference -= step
        table += bytes((2 * length, difference & 0xFF))
        line = position
    return bytes(table)


def _location_table(instructions: Sequence[Instruction], first_line: int) -> bytes:
    """Python 3.11: entries for up to 8 code units, without location, with a line, or with lines and columns."""
    table, line = bytearray(), first_line
    for position, length in _runs(instructions, 8):
        if position is None or position[0] is None:
            table.append(0x80 | 15 << 3 | length - 1)
            continue
        begin, end, column, end_column = position
        whole = None not in (end, column, end_column)
        table.append(0x80 | (14 if whole else 13) << 3 | length - 1)
        difference = begin - line
        table += _number(-difference << 1 | 1 if difference < 0 else difference << 1)
        if whole:
            table += _number(end - begin) + _number(column + 1) + _number(end_column + 1)
        line = begin
    return bytes(table)


def _number(value: int) -> bytes:
    """Six bits a byte, the lowest first, bit 6 where more follow."""
    data = bytearray()
    while value >= 64:
        data.append(64 | value & 63)
        value >>= 6
    data.append(value)
    return bytes(data)


def _exception_table(instructions: Sequence[Instruction]) -> bytes:
    """Python 3.11: ranges of instructions with one handler."""
    table = bytearray()
    place = 0
    while place < len(instructions):
        handler, begin = instructions[place].handler, instructions[place]
        while place < len(instructions) and instructions[place].handler == handler:
            end = instructions[place].offset + instructions[place].size
            place += 1
        if handler is not None:
            target, depth, lasti = handler
            for value, first in ((begin.offset, 128), (end - begin.offset, 0), (target.offset, 0)):
                table += _big_number(value, first)
            table += _big_number(depth << 1 | lasti, 0)
    return bytes(table)


def _big_number(value: int, first: int) -> bytes:
    """Six bits a byte, the highest first, bit 6 where more follow; bit 7 begins an entry."""
    digits = [value & 63]
    while value >= 64:
        value >>= 6
        digits.append(value & 63 | 64)
    digits.reverse()
    digits[0] |= first
    return bytes(digits)
