"""The native stacks of one process's samples, with what a Python profile needs of them.

Of every sample: its frames, leaf first; what a register or a word of the stack held where the interpreter evaluates the
innermost Python function; and the logical stack of native frames and Python functions.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_blcperf.bench.pointer_place import PointerPlace
from pytest_blcperf.bench.python_samples import Stack
from pytest_blcperf.capture.proc_maps import executable_mappings
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.recording import Mapping, SampleBatch
from pytest_blcperf.symbols.address_space import AddressSpaces, MappedCode, mapped_code
from pytest_blcperf.symbols.objects import Objects
from pytest_blcperf.symbols.python_frames import NOTHING, PYTHON, EvaluationLoop, frame_sorts, visible
from pytest_blcperf.symbols.python_stubs import Stubs
from pytest_blcperf.symbols.resolve import Resolver
from pytest_blcperf.symbols.table_cache import TableCache, user_cache
from pytest_blcperf.symbols.unwind import Unwinder, Unwound
from pytest_blcperf.symbols.unwind_history import At
from pytest_blcperf.symbols.unwind_machine import MACHINES
from pytest_blcperf.symbols.unwind_sources import TableSource
from pytest_blcperf.symbols.unwind_table import UnwindTable

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Words = npt.NDArray[np.uint64]

_PYTHON_KEYS = 1 << 32
"""Keys from here on are Python functions, those below frames."""
_HIDDEN = -1


class NativeCode:
    """The code of processes of one interpreter: files, symbols and unwind tables, read once each.

    Its files are closed when it is forgotten: it lives as long as whatever takes profiles with it.
    """

    def __init__(self, cache: TableCache | None = None) -> None:
        self.objects = Objects()
        weakref.finalize(self, self.objects.close)
        self.resolver = Resolver(fingerprints=True)
        self.loop = EvaluationLoop()
        self._cache = cache or user_cache()
        self._tables: dict[object, list[UnwindTable]] = {}

    def tables(self, mapped: MappedCode, index: int) -> list[UnwindTable]:
        """The unwind tables of an object with a file."""
        code = mapped.objects[index]
        if code not in self._tables:
            source = TableSource(mapped.objects, MACHINES[os.uname().machine], self._cache)
            self._tables[code] = source.tables(index)
        return self._tables[code]


@dataclass(frozen=True, eq=False)
class Walked:
    """n samples. `frame` (n × depth, leaf first, -1 after the last) are numbers of the walk's frames. `evaluation[i]`
    is the column of the innermost frame that evaluates Python code, -1 without one; `held[i, p]` what place p held
    there, 0 where that is unknown.
    """

    frame: Ints
    evaluation: Ints
    held: Words

    @classmethod
    def joined(cls, parts: Sequence[Walked]) -> Walked:
        """Several, of one walk, as one."""
        depth = max(part.frame.shape[1] for part in parts)
        frames = [np.pad(part.frame, ((0, 0), (0, depth - part.frame.shape[1])), constant_values=-1) for part in parts]
        return cls(
            np.concatenate(frames),
            np.concatenate([part.evaluation for part in parts]),
            np.concatenate([part.held for part in parts]),
        )


class NativeWalk:
    """Walks the samples of `process`, which must be alive meanwhile; through `stubs`, if there are any. What the
    process maps after the first batch is unknown.
    """

    def __init__(self, process: int, code: NativeCode, stubs: Stubs | None = None) -> None:
        self._process = process
        self._code = code
        self._stubs = stubs
        self._mappings: list[Mapping] = []
        self._unwinder: Unwinder | None = None

    def walk(self, batch: SampleBatch, places: Sequence[PointerPlace] = ()) -> Walked:
        """Unwind a batch."""
        unwinder = self._prepared(batch.machine)
        evaluation = np.full(len(batch), -1, np.int64)
        held = np.zeros((len(batch), len(places)), np.uint64)

        def inspect(unwound: Unwound) -> None:
            column = _first(unwound, self._code.loop.contains(unwinder.frames, self._mapped))
            evaluation[unwound.sample] = column
            for depth in np.unique(column[column >= 0]).tolist():
                row = np.flatnonzero(column == depth)
                for number, place in enumerate(places):
                    held[unwound.sample[row], number] = place.read(unwound.history, At(row, depth))

        chains = unwinder.unwind(batch, inspect if places else None)
        length = np.diff(chains.offsets)
        frame = np.full((len(batch), int(length.max(initial=1))), -1, np.int64)
        frame[np.arange(frame.shape[1])[None, :] < length[:, None]] = chains.frame
        return Walked(frame, np.where(evaluation >= 0, evaluation + chains.kernel_depth, -1), held)

    def above_python(self, walked: Walked) -> tuple[list[Stack], Ints]:
        """(stacks, number of each sample's): the native frames that stay above the innermost Python function."""
        column = np.arange(walked.frame.shape[1])[None, :]
        end = np.where(walked.evaluation >= 0, walked.evaluation, walked.frame.shape[1])[:, None]
        sort, key = self._sorts(walked)
        # The function itself, so that the interpreter's work for it has something to hide behind.
        sort = np.where(column < end, sort, np.where(column == end, PYTHON, NOTHING))
        return self._stacks(np.where(visible(sort) & (sort != PYTHON), key, _HIDDEN))

    def python_stacks(self, walked: Walked) -> tuple[list[Stack], Ints]:
        """(stacks, number of each sample's): native frames, and Python functions that were called through a stub."""
        sort, key = self._sorts(walked)
        return self._stacks(np.where(visible(sort), key, _HIDDEN))

    def _sorts(self, walked: Walked) -> tuple[Ints, Ints]:
        """(what each frame is, its key)."""
        unwinder = self._prepared()
        sort, function = frame_sorts(unwinder.frames, self._mapped, lambda _: self._stubs)
        key = np.where(function >= 0, function + _PYTHON_KEYS, np.arange(len(function)))
        return np.append(sort, NOTHING)[walked.frame], np.append(key, _HIDDEN)[walked.frame]

    def _stacks(self, keys: Ints) -> tuple[list[Stack], Ints]:
        names = self._code.resolver.resolve(self._prepared().frames, self._mapped, self._mappings)
        functions: tuple[Function, ...] = names.functions
        native = (keys >= 0) & (keys < _PYTHON_KEYS)
        keys = np.where(native, names.function[np.where(native, keys, 0)] if len(names.function) else keys, keys)
        # Hidden ones to the end, the others in their order.
        order = np.argsort(keys == _HIDDEN, axis=1, kind="stable")
        rows, inverse = np.unique(np.take_along_axis(keys, order, axis=1), axis=0, return_inverse=True)
        stacks: list[Stack] = [
            tuple(one - _PYTHON_KEYS if one >= _PYTHON_KEYS else functions[one] for one in row if one != _HIDDEN)
            for row in rows.tolist()
        ]
        return stacks, inverse.reshape(-1).astype(np.int64)

    def _prepared(self, machine: str = "") -> Unwinder:
        """The unwinder of the process, made of what it maps when it is first needed."""
        if self._unwinder is None:
            self._mappings = executable_mappings(self._process)
            self._mapped = mapped_code(self._mappings, self._code.objects)
            stubs = [self._stubs.unwind_table(MACHINES[machine])] if self._stubs is not None else []

            def tables(index: int) -> list[UnwindTable]:
                return self._code.tables(self._mapped, index) if self._mapped.objects[index].elf else stubs

            self._unwinder = Unwinder(machine, AddressSpaces(self._mappings), self._mapped, tables)
        return self._unwinder


def _first(unwound: Unwound, chosen: Flags) -> Ints:
    """For each sample the depth of its first frame that is `chosen`, -1 without one."""
    found = np.full(len(unwound.sample), -1, np.int64)
    for depth, step in enumerate(unwound.history.steps):
        here = chosen[step.frame] & (found[step.row] < 0) & (unwound.depth[step.row] > depth)
        found[step.row[here]] = depth
    return found
