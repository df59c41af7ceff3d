"""The native stacks of one process's samples, with what a Python profile needs of them.

Of every sample: its frames, leaf first; what a register or a word of the stack held where the interpreter evaluates the
innermost Python function; and the logical stack of native frames and Python functions.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_blcperf.bench.pointer_place import PointerPlace
from pytest_blcperf.bench.python_samples import Key, NativeKey, Stack
from pytest_blcperf.capture.proc_maps import executable_mappings
from pytest_blcperf.model.recording import Mapping, SampleBatch
from pytest_blcperf.symbols.address_space import AddressSpaces, MappedCode, mapped_code
from pytest_blcperf.symbols.eh_frame import CfiSection, unwind_table
from pytest_blcperf.symbols.elf_symbols import elf_symbols
from pytest_blcperf.symbols.objects import ANONYMOUS_KIND, CodeObject, Objects
from pytest_blcperf.symbols.python_frames import (
    EVALUATION,
    INTERPRETER,
    NOTHING,
    OTHER,
    PYTHON,
    sort_of_object,
    visible,
)
from pytest_blcperf.symbols.python_stubs import Stubs
from pytest_blcperf.symbols.symbol_table import SymbolTable
from pytest_blcperf.symbols.unwind import Unwinder, Unwound
from pytest_blcperf.symbols.unwind_frames import Frames
from pytest_blcperf.symbols.unwind_history import At
from pytest_blcperf.symbols.unwind_machine import MACHINES
from pytest_blcperf.symbols.unwind_table import UnwindTable

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

_HIDDEN = -1
_FIRST_NATIVE = -2


class NativeCode:
    """The code of processes of one interpreter: files, symbols and unwind tables, read once each."""

    def __init__(self) -> None:
        self.objects = Objects()
        self._symbols: dict[CodeObject, SymbolTable] = {}
        self._tables: dict[CodeObject, list[UnwindTable]] = {}

    def symbols(self, code: CodeObject) -> SymbolTable | None:
        """The functions of a file; None where there is no file."""
        if code.elf is None:
            return None
        if code not in self._symbols:
            self._symbols[code] = elf_symbols(code.elf).table
        return self._symbols[code]

    def tables(self, code: CodeObject) -> list[UnwindTable]:
        """The unwind tables of a file."""
        if code not in self._tables:
            self._tables[code] = _unwind_tables(code)
        return self._tables[code]


def _unwind_tables(code: CodeObject) -> list[UnwindTable]:
    found = []
    section = code.elf.section(".eh_frame") if code.elf is not None else None
    if code.elf is not None and section is not None:
        found.append(unwind_table(CfiSection(code.elf.data(section), section.address), MACHINES[os.uname().machine]))
    return found


@dataclass(frozen=True, eq=False)
class Walked:
    """n samples. `sort` (n × depth, leaf first) says what each frame is, NOTHING, … of `symbols.python_frames`; `key`
    which one: a Python function, or a native one from -2 downwards. `evaluation[i]` is the column of the innermost
    frame that evaluates Python code, -1 without one; `held[i, p]` what place p held there, 0 where that is unknown.
    """

    sort: Ints
    key: Ints
    evaluation: Ints
    held: Words

    @classmethod
    def joined(cls, parts: Sequence[Walked]) -> Walked:
        """Several as one."""
        depth = max(part.sort.shape[1] for part in parts)
        padded = [
            np.concatenate(
                [np.pad(column, ((0, 0), (0, depth - column.shape[1])), constant_values=empty) for column in columns]
            )
            for columns, empty in (([part.sort for part in parts], NOTHING), ([part.key for part in parts], _HIDDEN))
        ]
        return cls(
            padded[0],
            padded[1],
            np.concatenate([part.evaluation for part in parts]),
            np.concatenate([part.held for part in parts]),
        )


class NativeWalk:
    """Walks the samples of `process`, which must be alive meanwhile."""

    def __init__(self, process: int, code: NativeCode) -> None:
        self.machine = os.uname().machine
        self._process = process
        self._code = code
        self._keys: dict[NativeKey, int] = {}
        self._mappings: list[Mapping] = []
        self._unwinder: Unwinder | None = None
        self._resolved: _Resolved | None = None

    def walk(self, batch: SampleBatch, places: Sequence[PointerPlace] = (), stubs: Stubs | None = None) -> Walked:
        """Unwind; through the stubs of a trampoline, if there are any."""
        unwinder, resolved = self._prepared(stubs)
        evaluation = np.full(len(batch), -1, np.int64)
        held = np.zeros((len(batch), len(places)), np.uint64)

        def inspect(unwound: Unwound) -> None:
            resolved.update()
            column = _first_evaluation(unwound, resolved.evaluates)
            evaluation[unwound.sample] = column
            for depth in np.unique(column[column >= 0]).tolist():
                row = np.flatnonzero(column == depth)
                for number, place in enumerate(places):
                    held[unwound.sample[row], number] = place.read(unwound.history, At(row, depth))

        chains = unwinder.unwind(batch, inspect)
        resolved.update()
        length = np.diff(chains.offsets)
        number = np.full((len(batch), int(length.max(initial=1))), -1, np.int64)
        number[np.arange(number.shape[1])[None, :] < length[:, None]] = chains.frame
        sort = np.append(resolved.sort, NOTHING)[number]
        return Walked(
            sort, np.append(resolved.key, _HIDDEN)[number], evaluation + chains.kernel_depth * (evaluation >= 0), held
        )

    def above_python(self, walked: Walked) -> tuple[list[Stack], Ints]:
        """(stacks, number of each sample's): the native frames that stay above the innermost Python function."""
        column = np.arange(walked.sort.shape[1])[None, :]
        end = np.where(walked.evaluation >= 0, walked.evaluation, walked.sort.shape[1])[:, None]
        # The function itself, so that the interpreter's work for it has something to hide behind.
        sort = np.where(column < end, walked.sort, np.where(column == end, PYTHON, NOTHING))
        keep = visible(sort) & (sort != PYTHON)
        return self._stacks(np.where(keep, walked.key, _HIDDEN))

    def python_stacks(self, walked: Walked) -> tuple[list[Stack], Ints]:
        """(stacks, number of each sample's): native frames, and Python functions that were called through a stub."""
        return self._stacks(np.where(visible(walked.sort), walked.key, _HIDDEN))

    def _stacks(self, frames: Ints) -> tuple[list[Stack], Ints]:
        # Hidden ones to the end, the others in their order.
        order = np.argsort(frames == _HIDDEN, axis=1, kind="stable")
        rows, inverse = np.unique(np.take_along_axis(frames, order, axis=1), axis=0, return_inverse=True)
        names = list(self._keys)
        stacks: list[Stack] = []
        for row in rows.tolist():
            keys: list[Key] = [one if one >= 0 else names[_FIRST_NATIVE - one] for one in row if one != _HIDDEN]
            stacks.append(tuple(keys))
        return stacks, inverse.reshape(-1).astype(np.int64)

    def _prepared(self, stubs: Stubs | None) -> tuple[Unwinder, _Resolved]:
        """An unwinder for what is mapped now."""
        mappings = executable_mappings(self._process)
        if self._unwinder is None or self._resolved is None or mappings != self._mappings or stubs is not None:
            self._mappings = mappings
            mapped = mapped_code(mappings, self._code.objects)
            tables = _Tables(self._code, mapped, stubs, self.machine)
            self._unwinder = Unwinder(self.machine, AddressSpaces(mappings), mapped, tables)
            self._resolved = _Resolved(self._unwinder.frames, mapped, self._code, self._keys, stubs)
        return self._unwinder, self._resolved


class _Tables:
    """The unwind tables of mapped objects; those of the stubs for memory without a file."""

    def __init__(self, code: NativeCode, mapped: MappedCode, stubs: Stubs | None, machine: str) -> None:
        self._code = code
        self._mapped = mapped
        self._stubs = stubs.unwind_table(MACHINES[machine]) if stubs is not None else None

    def __call__(self, index: int) -> list[UnwindTable]:
        code = self._mapped.objects[index]
        if code.kind == ANONYMOUS_KIND:
            return [self._stubs] if self._stubs is not None else []
        return self._code.tables(code)


class _Resolved:
    """What the frames found so far are: `sort` and `key` as in `Walked`, `evaluates`, by number."""

    def __init__(
        self, frames: Frames, mapped: MappedCode, code: NativeCode, keys: dict[NativeKey, int], stubs: Stubs | None
    ) -> None:
        self._frames = frames
        self._mapped = mapped
        self._code = code
        self._keys = keys
        self._stubs = stubs
        self.sort = np.zeros(0, np.int64)
        self.key = np.zeros(0, np.int64)
        self.evaluates = np.zeros(0, np.bool_)

    def update(self) -> None:
        """Take in the frames that were found since."""
        frames, known = self._frames, len(self.sort)
        number = len(frames) - known
        if not number:
            return
        item, address, caller = frames.object[known:], frames.address[known:], frames.caller[known:]
        sort, key = np.full(number, OTHER, np.int64), np.zeros(number, np.int64)
        evaluates = np.zeros(number, np.bool_)
        for one in np.unique(item).tolist():
            rows = np.flatnonzero(item == one)
            code = self._mapped.objects[one] if one >= 0 else None
            path = code.file.path if code is not None else "[unknown]"
            sort[rows] = sort_of_object(path)
            table = self._code.symbols(code) if code is not None else None
            inside = address[rows] - caller[rows].astype(np.uint64)
            names = _names(table, inside)
            evaluates[rows] = [sort[rows[0]] == INTERPRETER and name.startswith(EVALUATION) for name in names]
            file = path.rsplit("/", 1)[-1]
            key[rows] = [
                _FIRST_NATIVE - self._keys.setdefault((file, name, "native"), len(self._keys)) for name in names
            ]
        if self._stubs is not None:
            function = np.where(caller, self._stubs.called(address), self._stubs.inside(address))
            sort, key = np.where(function >= 0, PYTHON, sort), np.where(function >= 0, function, key)
        self.sort, self.key = np.append(self.sort, sort), np.append(self.key, key)
        self.evaluates = np.append(self.evaluates, evaluates)


def _names(table: SymbolTable | None, address: Words) -> list[str]:
    found = table.find(address).tolist() if table is not None else [-1] * len(address)
    return [
        table.name(index) if table is not None and index >= 0 else f"+{one:#x}"
        for index, one in zip(found, address.tolist(), strict=True)
    ]


def _first_evaluation(unwound: Unwound, evaluates: npt.NDArray[np.bool_]) -> Ints:
    """For each sample the depth of its first frame that evaluates Python code, -1 without one."""
    found = np.full(len(unwound.sample), -1, np.int64)
    for depth, step in enumerate(unwound.history.steps):
        here = evaluates[step.frame] & (found[step.row] < 0) & (unwound.depth[step.row] > depth)
        found[step.row[here]] = depth
    return found
