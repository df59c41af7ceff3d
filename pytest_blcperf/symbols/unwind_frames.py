"""The distinct frames of a recording, and the unwind rule of each.

A frame is a place in the code of an object: found once, it is a small number from then on. Most of the time of
unwinding goes into finding frames by address, so recent ones are kept in a table that numpy searches with one
multiplication.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pytest_blcperf.symbols.address_space import AddressSpaces, MappedCode
from pytest_blcperf.symbols.dwarf_expression import ExpressionError, parsed
from pytest_blcperf.symbols.unwind_machine import Machine
from pytest_blcperf.symbols.unwind_table import (
    BY_EXPRESSION,
    EXPRESSION,
    NOT_COVERED,
    OFFSET,
    SAME,
    VALUE_EXPRESSION,
    Frame,
    UnwindRules,
    UnwindTable,
    rules_of,
)

Ints = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int32]
Words = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]
Tables = Callable[[int], Sequence[UnwindTable]]
"""The unwind tables of the object with that index, those to believe first coming first; none when it has none."""

NOWHERE = -1
"""As a frame: an address outside every mapping, not kept."""
NO_RULE = 0
KERNEL = -2
UNKNOWN = -1
"""As a frame's object: the kernel; nothing known."""

_SLOT_BITS = 16
_ADDRESS_BITS = 47
_TAG_LIMIT = (1 << 16) - 1
_KERNEL_TAG = np.uint64(_TAG_LIMIT << _ADDRESS_BITS + 1)
"""One more than the last tag of a process."""
_LOW = np.uint64((1 << _ADDRESS_BITS) - 1)
_UPPER = np.uint64((1 << 64 - _ADDRESS_BITS) - 1)
_EMPTY = 2**64 - 1
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""2**64 divided by the golden ratio: Knuth's multiplicative hashing."""


class Seen(NamedTuple):
    """Samples: their process and time, and what tells their mappings from those of others, ready to join an address."""

    process: Ints
    time: Ints
    tag: Words


class Frames:
    """Frames by number, and rules by number (of all objects together; NO_RULE is for code of which nothing is known).

    A frame's `address` is the link address in its `object` (an index into `code.objects`), the address itself where
    there is no file. Where `caller` is True it is a return address: the call is before it.
    """

    def __init__(self, spaces: AddressSpaces, code: MappedCode, tables: Tables, machine: Machine) -> None:
        self._spaces = spaces
        self._code = code
        self._tables = tables
        self._loaded: dict[int, list[tuple[UnwindTable, int]]] = {}
        self._known: dict[tuple[int, int, bool], int] = {}
        self._columns = _Columns()
        self._tags: dict[int, int] = {}
        self._slot_key = np.full(1 << _SLOT_BITS, _EMPTY, np.uint64)
        self._slot_frame = np.zeros(1 << _SLOT_BITS, np.int32)
        self.rules = _by_frame_pointer(machine)

    def __len__(self) -> int:
        return self._columns.number

    @property
    def object(self) -> Indices:
        return self._columns.object[: len(self)]

    @property
    def address(self) -> Words:
        return self._columns.address[: len(self)]

    @property
    def caller(self) -> Mask:
        return self._columns.caller[: len(self)]

    @property
    def rule(self) -> Indices:
        return self._columns.rule[: len(self)]

    def renew(self, spaces: AddressSpaces, code: MappedCode) -> None:
        """Take in mappings that have come since. `code.objects` begins with the objects there were."""
        self._spaces, self._code = spaces, code
        self._tags.clear()
        self._slot_key[:] = _EMPTY

    def seen(self, process: Ints, time: Ints) -> Seen:
        """Samples, ready for their addresses to be found."""
        layout = self._spaces.layout(process, time)
        distinct, number = np.unique(layout, return_inverse=True)
        if len(self._tags) + len(distinct) > _TAG_LIMIT:
            self._tags.clear()
            self._slot_key[:] = _EMPTY
        tag = [self._tags.setdefault(one, len(self._tags)) for one in distinct.tolist()]
        return Seen(process, time, np.array(tag, np.uint64)[number] << np.uint64(_ADDRESS_BITS + 1))

    def find(self, seen: Seen, row: Ints, address: Words, caller: Mask | bool) -> Indices:
        """The frames of user addresses, address i seen by sample `row[i]`; NOWHERE for those outside every mapping.

        Where `caller` is True the address is a return address, and the code before it is looked for.
        """
        called = np.uint64(caller) if isinstance(caller, bool) else caller.astype(np.uint64)
        key = seen.tag[row] | called << np.uint64(_ADDRESS_BITS) | address

        def resolve(missed: Ints) -> Indices:
            callers = np.full(len(missed), caller) if isinstance(caller, bool) else caller[missed]
            return self._resolved(seen, row[missed], address[missed], callers)

        return self._remembered(key, address >> np.uint64(_ADDRESS_BITS) > 0, resolve)

    def of_kernel(self, address: Words, caller: Mask) -> Indices:
        """The frames of kernel addresses."""
        key = _KERNEL_TAG | caller.astype(np.uint64) << np.uint64(_ADDRESS_BITS) | address & _LOW
        # A file may hold anything as a kernel address; what is not one, or looks like an empty slot, is not kept.
        odd = (address >> np.uint64(_ADDRESS_BITS) != _UPPER) | (key == np.uint64(_EMPTY))

        def resolve(missed: Ints) -> Indices:
            return self._numbered(np.full(len(missed), KERNEL, np.int64), address[missed], caller[missed])

        return self._remembered(key, odd, resolve)

    def _remembered(self, key: Words, odd: Mask, resolve: Callable[[Ints], Indices]) -> Indices:
        """Frames by key, from the table of recent ones; of those that are not in it, or `odd`, by `resolve`."""
        slot = (key * _MULTIPLIER) >> np.uint64(64 - _SLOT_BITS)
        frame: Indices = self._slot_frame[slot]
        missed = np.flatnonzero((self._slot_key[slot] != key) | odd)
        if len(missed):
            frame[missed] = resolve(missed)
            kept = missed[~odd[missed]]
            self._slot_key[slot[kept]], self._slot_frame[slot[kept]] = key[kept], frame[kept]
        return frame

    def of_unknown(self, address: Words) -> Indices:
        """The frames of sampled addresses outside every mapping."""
        return self._numbered(np.full(len(address), UNKNOWN, np.int64), address, np.zeros(len(address), np.bool_))

    def _resolved(self, seen: Seen, row: Ints, address: Words, caller: Mask) -> Indices:
        inside = address - caller.astype(np.uint64)
        mapping = self._spaces.locate(seen.process[row], seen.time[row], inside)
        found = np.full(len(address), NOWHERE, np.int32)
        mapped = np.flatnonzero(mapping >= 0)
        which = mapping[mapped]
        link = address[mapped] - self._code.bias[which]
        found[mapped] = self._numbered(self._code.object_of[which], link, caller[mapped])
        return found

    def _numbered(self, item: Ints, address: Words, caller: Mask) -> Indices:
        """The number of each frame, new ones added."""
        order = np.lexsort((caller, address, item))
        columns = item[order], address[order], caller[order]
        changed = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
        first = np.flatnonzero(np.append(True, changed)[: len(order)])
        distinct = list(zip(*(column[first].tolist() for column in columns), strict=True))
        fresh = [frame for frame in distinct if frame not in self._known]
        for frame in fresh:
            self._known[frame] = len(self._known)
        if fresh:
            self._add(fresh)
        numbers = np.array([self._known[frame] for frame in distinct], np.int32)
        found = np.empty(len(order), np.int32)
        found[order] = np.repeat(numbers, np.diff(np.append(first, len(order))))
        return found

    def _add(self, frames: list[tuple[int, int, bool]]) -> None:
        item = np.array([frame[0] for frame in frames], np.int64)
        address = np.array([frame[1] for frame in frames], np.uint64)
        caller = np.array([frame[2] for frame in frames], np.bool_)
        inside = address - caller.astype(np.uint64)
        rule = np.zeros(len(frames), np.int64)
        for one in np.unique(item[item >= 0]).tolist():
            rows = np.flatnonzero(item == one)
            for table, first in self._load(one):
                left = rows[rule[rows] == NO_RULE]
                found = table.lookup(inside[left])
                rule[left] = np.where((found == NOT_COVERED) | ~_usable(table.rules)[found], NO_RULE, found + first)
        self._columns.add(item, address, caller, rule)

    def _load(self, item: int) -> list[tuple[UnwindTable, int]]:
        """The tables of an object, each with the number of its first rule."""
        if item not in self._loaded:
            self._loaded[item] = loaded = []
            for table in self._tables(item):
                loaded.append((table, len(self.rules)))
                self.rules = _joined(self.rules, table.rules)
        return self._loaded[item]


class _Columns:
    """Columns of frames that grow."""

    def __init__(self) -> None:
        self.number = 0
        self.object = np.zeros(0, np.int32)
        self.address = np.zeros(0, np.uint64)
        self.caller = np.zeros(0, np.bool_)
        self.rule = np.zeros(0, np.int32)

    def add(self, item: Ints, address: Words, caller: Mask, rule: Ints) -> None:
        end = self.number + len(item)
        if end > len(self.object):
            size = max(1024, 2 * end)
            self.object, self.rule = np.resize(self.object, size), np.resize(self.rule, size)
            self.address, self.caller = np.resize(self.address, size), np.resize(self.caller, size)
        rows = slice(self.number, end)
        self.object[rows], self.address[rows], self.caller[rows], self.rule[rows] = item, address, caller, rule
        self.number = end


def _by_frame_pointer(machine: Machine) -> UnwindRules:
    """Rule 0, for code without unwind information: the caller's frame pointer and the return address are kept where the
    frame pointer points, if the code keeps one.
    """
    kept = {machine.frame_pointer: (OFFSET, -16), machine.return_address: (OFFSET, -8)}
    registers = tuple(kept.get(register, (SAME, 0)) for register in range(machine.registers))
    return rules_of([Frame((machine.frame_pointer, 16), registers)], (), machine.registers)


def _usable(rules: UnwindRules) -> Mask:
    """Which rules are without expressions that cannot be evaluated; and True at the end, for NOT_COVERED."""
    bad = []
    for number, expression in enumerate(rules.expressions):
        try:
            parsed(expression)
        except ExpressionError:
            bad.append(number)
    by_expression = np.isin(rules.how, (EXPRESSION, VALUE_EXPRESSION)) & np.isin(rules.value, bad)
    wrong = by_expression.any(axis=1) | (rules.cfa_register == BY_EXPRESSION) & np.isin(rules.cfa_offset, bad)
    return np.append(~wrong, True)


def _joined(before: UnwindRules, more: UnwindRules) -> UnwindRules:
    """Both, one after the other; the numbers of expressions in the second are moved behind those of the first."""
    first = len(before.expressions)
    by_expression = more.cfa_register == BY_EXPRESSION
    expressions = np.isin(more.how, (EXPRESSION, VALUE_EXPRESSION))
    return UnwindRules(
        np.concatenate([before.cfa_register, more.cfa_register]),
        np.concatenate([before.cfa_offset, np.where(by_expression, more.cfa_offset + first, more.cfa_offset)]),
        np.concatenate([before.how, more.how]),
        np.concatenate([before.value, np.where(expressions, more.value + first, more.value)]),
        np.concatenate([before.signal, more.signal]),
        before.expressions + more.expressions,
    )
