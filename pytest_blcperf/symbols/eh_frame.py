"""Unwind tables from `.eh_frame` and `.debug_frame` sections (LSB 5.0 core, section 10.6; DWARF 5, section 6.4).

pyelftools reads them too: five to ten times slower, and it crashed on libc and MariaDB.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pytest_blcperf.errors import BlcperfError
from pytest_blcperf.symbols.unwind_machine import Machine
from pytest_blcperf.symbols.unwind_program import (
    Bytes,
    Ints,
    Programs,
    Rows,
    StateMachine,
    leb,
    run,
)
from pytest_blcperf.symbols.unwind_table import NOT_COVERED, SAME, Frame, UnwindTable, Words, rules_of

MAX_SECTION_BYTES = 128 << 20
"""Those of the largest libraries looked at (compilers, interpreters, a database) have 1 to 6 MB."""
MAX_FUNCTIONS = 4_000_000
"""The largest library looked at, of the Rust compiler, has 0.1 million."""
MAX_CIES = 50_000
MAX_CIE_BYTES = 4096
MAX_ROWS = 20_000_000
CHUNK_BYTES = 4 << 20
"""Of programs run together: some 100 MB of memory."""

_EXTENDED = 0xFFFFFFFF
_SIZES = {0x0: 8, 0x2: 2, 0x3: 4, 0x4: 8, 0xA: 2, 0xB: 4, 0xC: 8}
_PC_RELATIVE = 0x10


class CfiError(BlcperfError):
    """A section of call frame information that cannot be read at all."""


@dataclass(frozen=True)
class CfiSection:
    """The bytes of a section, and the link address of the first; `debug`: `.debug_frame`, else `.eh_frame`."""

    data: bytes
    address: int
    debug: bool = False


class _Cie(NamedTuple):
    """What functions have in common: see `Programs`; `has_length`: augmentation data follow in the function's entry."""

    encoding: int
    has_length: bool
    signal: bool
    code_factor: int
    data_factor: int
    state: int


class _Entries(NamedTuple):
    """Of each function's entry (FDE): where its fields begin, where it ends, and where its CIE is."""

    start: Ints
    end: Ints
    cie: Ints


class _Cies(NamedTuple):
    """The CIEs that can be used, as columns."""

    encoding: Ints
    has_length: npt.NDArray[np.bool_]
    signal: npt.NDArray[np.bool_]
    code_factor: Ints
    data_factor: Ints
    state: Ints


class _Functions(NamedTuple):
    """Functions: link addresses [begin, end), the range of their program, and the index of their CIE."""

    begin: Words
    end: Words
    program: Ints
    program_end: Ints
    cie: Ints

    def take(self, rows: Ints | npt.NDArray[np.bool_]) -> _Functions:
        return _Functions(self.begin[rows], self.end[rows], self.program[rows], self.program_end[rows], self.cie[rows])


class _Placed(NamedTuple):
    """Rows by address: where each begins, its state, and its function; -1 where nothing is known."""

    pc: Words
    state: Ints
    function: Ints


def unwind_table(section: CfiSection, machine: Machine) -> UnwindTable:
    """The table of a section. What cannot be read is left out and counted in `problems`.

    Raises CfiError when the section is too large. Time and memory are bounded by its size.
    """
    if len(section.data) > MAX_SECTION_BYTES:
        raise CfiError(f"unwind information of {len(section.data)} bytes, more than {MAX_SECTION_BYTES}")
    return _Reader(section, machine).table()


class _Reader:
    """Reads one section."""

    def __init__(self, section: CfiSection, machine: Machine) -> None:
        self._section = section
        self._data = np.frombuffer(section.data, np.uint8)
        self._states = StateMachine(machine)
        self._problems: Counter[str] = Counter()

    def table(self) -> UnwindTable:
        entries, common = self._entries()
        cies, cie = self._cies(entries, common)
        functions = self._functions(entries._replace(cie=cie), cies)
        rows = self._rows(functions, cies)
        return self._table(_in_order(rows, functions), cies.signal[functions.cie])

    def _entries(self) -> tuple[_Entries, set[int]]:
        """All entries, and where the CIEs are."""
        section, problems = self._section, self._problems
        data, size = section.data, len(section.data)
        header = struct.Struct("<II")
        starts, ends, cies, common = [], [], [], set()
        place = 0
        while place + 8 <= size:
            length, identity = header.unpack_from(data, place)
            if length == 0:
                # The end, for a reader of one object's section; linkers put sections together.
                place += 4
                continue
            fields, body = place + 8, place + 4
            if length == _EXTENDED:
                if place + 20 > size:
                    break
                length, identity = struct.unpack_from("<QQ" if section.debug else "<QI", data, place + 4)
                fields, body = place + (20 if section.debug else 16), place + 12
            end = body + length
            if end > size or fields > end:
                problems["entry longer than the section"] += 1
                break
            is_cie = identity in ((1 << 32) - 1, (1 << 64) - 1) if section.debug else identity == 0
            if is_cie:
                common.add(place)
            else:
                starts.append(fields)
                ends.append(end)
                cies.append(min(identity, size) if section.debug else body - identity)
                if len(starts) >= MAX_FUNCTIONS:
                    problems["more functions than are read"] += 1
                    break
            place = end
        return _Entries(*(np.array(column, np.int64) for column in (starts, ends, cies))), common

    def _cies(self, entries: _Entries, common: set[int]) -> tuple[_Cies, Ints]:
        """The CIEs that functions refer to, and by function the index of its own, -1 for one that cannot be used."""
        places, number = np.unique(entries.cie, return_inverse=True)
        found: list[_Cie] = []
        index = np.full(len(places), -1, np.int64)
        for position, place in enumerate(places.tolist()):
            if place not in common or len(found) >= MAX_CIES:
                continue
            try:
                found.append(_cie(self._section, place, self._states))
                index[position] = len(found) - 1
            except (CfiError, struct.error, IndexError) as error:
                self._problems[f"CIE: {error.message if isinstance(error, CfiError) else 'ends too early'}"] += 1
        columns = zip(*found, strict=True) if found else ([],) * len(_Cie._fields)
        encoding, has_length, signal, *numbers = (np.array(column, np.int64) for column in columns)
        return _Cies(encoding, has_length > 0, signal > 0, *numbers), index[number] if len(places) else index

    def _functions(self, entries: _Entries, cies: _Cies) -> _Functions:
        """Functions whose addresses can be read, in the order of addresses, none overlapping another."""
        self._problems["function without a usable CIE"] += int((entries.cie < 0).sum())
        usable = np.flatnonzero(entries.cie >= 0)
        encoding = cies.encoding[entries.cie[usable]]
        parts = [
            self._encoded_functions(entries, usable[encoding == one], one, cies) for one in np.unique(encoding).tolist()
        ]
        return _disjoint(
            _Functions(
                np.concatenate([np.zeros(0, np.uint64), *(part.begin for part in parts)]),
                np.concatenate([np.zeros(0, np.uint64), *(part.end for part in parts)]),
                np.concatenate([np.zeros(0, np.int64), *(part.program for part in parts)]),
                np.concatenate([np.zeros(0, np.int64), *(part.program_end for part in parts)]),
                np.concatenate([np.zeros(0, np.int64), *(part.cie for part in parts)]),
            )
        )

    def _encoded_functions(self, entries: _Entries, rows: Ints, encoding: int, cies: _Cies) -> _Functions:
        """The functions of these entries, whose addresses are all encoded in one way (LSB 5.0 core, section 10.5)."""
        size = _SIZES.get(encoding & 0xF, 0)
        if not size or encoding & 0xF0 not in (0, _PC_RELATIVE):
            self._problems[f"addresses encoded as {encoding:#x}"] += len(rows)
            rows = rows[:0]
        fits = entries.start[rows] + 2 * size <= entries.end[rows]
        self._problems["entry too short"] += int((~fits).sum())
        rows = rows[fits]
        place, cie = entries.start[rows], entries.cie[rows]
        begin = _numbers(self._data, place, size, signed=bool(encoding & 8))
        if encoding & 0xF0 == _PC_RELATIVE:
            begin = np.where(begin != 0, begin + place.astype(np.uint64) + np.uint64(self._section.address), begin)
        end = begin + _numbers(self._data, place + size, size, signed=False)
        program = place + 2 * size
        longer = np.flatnonzero(cies.has_length[cie])
        length, after = leb(self._data, program[longer], np.zeros(len(longer), np.bool_))
        program[longer] = after + np.clip(length, 0, len(self._data))
        # Functions that the linker threw away begin at 0.
        good = (program <= entries.end[rows]) & (begin < end) & (begin > 0)
        return _Functions(begin, end, program, entries.end[rows], cie).take(good)

    def _rows(self, functions: _Functions, cies: _Cies) -> Rows:
        """The rows of all functions; `program` is the index of the function."""
        order = np.argsort(functions.program, kind="stable")
        cie = functions.cie[order]
        programs = Programs(
            functions.program[order],
            functions.program_end[order],
            cies.code_factor[cie],
            cies.data_factor[cie],
            cies.state[cie],
        )
        parts = [Rows(*(np.zeros(0, np.int64),) * 3)]
        kept = 0
        for chunk in _chunks(programs):
            part = run(self._data, Programs(*(column[chunk] for column in programs)), self._states)
            kept += len(part.state)
            if kept > MAX_ROWS:
                self._problems["more rows than are kept"] += 1
                break
            parts.append(part._replace(program=order[part.program + chunk.start]))
        rows = Rows(*(np.concatenate(column) for column in zip(*parts, strict=True)))
        self._problems["instructions that make no sense"] += len(np.unique(rows.program[rows.state < 0]))
        return rows

    def _table(self, rows: _Placed, signals: npt.NDArray[np.bool_]) -> UnwindTable:
        """States of the rows to rules: what was remembered does not matter any more."""
        states = self._states
        known = rows.state >= 0
        code = np.where(known, rows.state * 2, -1)
        code[known] += signals[rows.function[known]]
        used, number = np.unique(code, return_inverse=True)
        frames: dict[Frame, int] = {}
        rule_of = [
            frames.setdefault(states.states[one >> 1].frame._replace(signal=bool(one & 1)), len(frames))
            if one >= 0
            else NOT_COVERED
            for one in used.tolist()
        ]
        rule = np.array(rule_of, np.int32)[number]
        kept = np.append(True, rule[1:] != rule[:-1])[: len(rule)]
        rules = rules_of(list(frames), tuple(states.expressions), states.machine.registers)
        problems = {problem: number for problem, number in self._problems.items() if number}
        return UnwindTable(states.machine.name, rows.pc[kept], rule[kept], rules, problems)


def _in_order(rows: Rows, functions: _Functions) -> _Placed:
    """Rows by address, with one that covers nothing behind each function that has no neighbour."""
    within = rows.offset.astype(np.uint64) < (functions.end - functions.begin)[rows.program]
    function, offset, state = (column[within] for column in rows)
    gaps = np.append(functions.end[:-1] < functions.begin[1:], True)[: len(functions.end)]
    ends = functions.end[gaps]
    nothing = np.full(len(ends), -1, np.int64)
    pc = np.concatenate([functions.begin[function] + offset.astype(np.uint64), ends])
    order = np.argsort(pc, kind="stable")
    return _Placed(pc[order], np.concatenate([state, nothing])[order], np.concatenate([function, nothing])[order])


def _cie(section: CfiSection, place: int, states: StateMachine) -> _Cie:
    """Raises CfiError, struct.error or IndexError."""
    reader = _CieReader(section, place)
    version = reader.byte()
    if version not in (1, 3, 4):
        raise CfiError(f"version {version}")
    augmentation = reader.string()
    if version == 4 and (reader.byte(), reader.byte()) != (8, 0):
        raise CfiError("addresses are not 8 bytes")
    code_factor, data_factor = reader.uleb(), reader.sleb()
    return_address = reader.byte() if version == 1 else reader.uleb()
    if not 0 < code_factor <= 16 or not -128 <= data_factor <= 128:
        raise CfiError("factors out of range")
    if return_address != states.machine.return_address:
        raise CfiError(f"return address in register {return_address}")
    encoding, has_length = reader.augmentation(augmentation)
    state = _initial_state(reader.rest(), code_factor, data_factor, states)
    return _Cie(encoding, has_length, "S" in augmentation, code_factor, data_factor, state)


class _CieReader:
    """Reads a CIE's fields in turn."""

    def __init__(self, section: CfiSection, place: int) -> None:
        (length,) = struct.unpack_from("<I", section.data, place)
        identity, body = 4, place + 4
        if length == _EXTENDED:
            (length,) = struct.unpack_from("<Q", section.data, place + 4)
            identity, body = 8 if section.debug else 4, place + 12
        if length > MAX_CIE_BYTES:
            raise CfiError("too long")
        self._data = section.data[body : body + length]
        self._place = identity

    def byte(self) -> int:
        self._place += 1
        return self._data[self._place - 1]

    def uleb(self) -> int:
        return self._leb(signed=False)

    def sleb(self) -> int:
        return self._leb(signed=True)

    def _leb(self, signed: bool) -> int:
        value = shift = 0
        while (byte := self.byte()) >= 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
        value |= byte << shift
        return value - (1 << shift + 7) if signed and byte & 0x40 else value

    def string(self) -> str:
        end = self._data.index(b"\0", self._place) if b"\0" in self._data[self._place :] else len(self._data)
        text = self._data[self._place : end].decode("latin-1")
        self._place = end + 1
        return text

    def augmentation(self, text: str) -> tuple[int, bool]:
        """How function addresses are encoded, and whether functions have augmentation data. Moves behind the data."""
        if not text.startswith("z"):
            if text.strip("S"):
                raise CfiError("augmentation of another compiler")
            return 0, False
        end = self.uleb() + self._place
        encoding = 0
        for letter in text[1:]:
            if letter == "R":
                encoding = self.byte()
            elif letter == "L":
                self.byte()
            elif letter == "P":
                size = _SIZES.get(self.byte() & 0xF, 0)
                self._place += size
            elif letter not in "SB":
                break
        self._place = end
        return encoding, True

    def rest(self) -> bytes:
        return self._data[self._place :]


def _initial_state(program: bytes, code_factor: int, data_factor: int, states: StateMachine) -> int:
    """The state after a CIE's own instructions, which may not advance."""
    nothing = Frame((states.machine.stack_pointer, 0), ((SAME, 0),) * states.machine.registers)
    one = np.ones(1, np.int64)
    state = states.start(nothing)
    columns = (0 * one, len(program) * one, code_factor * one, data_factor * one, state * one)
    rows = run(np.frombuffer(program, np.uint8), Programs(*columns), states)
    if len(rows.state) != 1 or rows.state[0] < 0:
        raise CfiError("its instructions make no sense")
    return states.start(states.states[int(rows.state[0])].frame)


def _numbers(data: Bytes, place: Ints, size: int, signed: bool) -> Words:
    """Little-endian numbers of `size` bytes at any places, sign-extended to 64 bits."""
    number = np.zeros(len(place), np.uint64)
    for byte in range(size):
        number |= data[place + byte].astype(np.uint64) << np.uint64(8 * byte)
    if signed and 0 < size < 8:
        sign = np.uint64(1 << 8 * size - 1)
        number = (number ^ sign) - sign
    return number


def _disjoint(functions: _Functions) -> _Functions:
    """In the order of addresses; of functions that overlap, the earlier one ends where the next begins."""
    functions = functions.take(np.argsort(functions.begin, kind="stable"))
    following = np.append(functions.begin[1:], np.uint64(2**64 - 1))
    end = np.minimum(functions.end, following)
    return functions._replace(end=end).take(functions.begin < end)


def _chunks(programs: Programs) -> list[slice]:
    """Neighbouring programs that lie within CHUNK_BYTES of each other."""
    chunks, first = [], 0
    while first < len(programs.start):
        end = int(np.searchsorted(programs.end, programs.start[first] + CHUNK_BYTES, "right"))
        end = max(end, first + 1)
        chunks.append(slice(first, end))
        first = end
    return chunks
