"""Python and native frames as one logical stack: what the interpreter does for a function counts as that function.

A frame above which the stub of a Python function lies is the interpreter evaluating it, and is hidden behind it. So are
its helpers and the C library as far as the interpreter calls it (`list.sort`, `malloc`). Frames of extension modules,
of the libraries they call, of the kernel and of JITs stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from pytest_blcperf.symbols.address_space import MappedCode
from pytest_blcperf.symbols.elf_symbols import elf_symbols
from pytest_blcperf.symbols.objects import ANONYMOUS_KIND, CodeObject
from pytest_blcperf.symbols.python_stubs import Stubs
from pytest_blcperf.symbols.resolve import FrameColumns

Words = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

NOTHING, PYTHON, INTERPRETER, SYSTEM, OTHER = range(5)
"""What a frame is: none (padding), a Python function, the interpreter's own code, the C library or vDSO, other code."""

EVALUATION = "_PyEval_EvalFrameDefault"
"""The function that runs Python code, in every CPython from 3.6 on; exported, so that stripped builds have it too."""

_INTERPRETER = re.compile(r"(lib)?python\d(\.\d+)?[a-z]*(\.so[.\d]*)?(-dbg)?")
_SYSTEM = re.compile(r"(lib(c|m|dl|rt|pthread|util)|ld(-linux[^.]*|-musl[^.]*)?)[-.].*|\[vdso\]|\[vsyscall\]")


def sort_of_object(path: str) -> int:
    """INTERPRETER, SYSTEM or OTHER, from the path of an object file. `python3.12` and `libpython3.12.so.1.0` are the
    interpreter, whatever folder they are in.
    """
    name = path.rsplit("/", 1)[-1]
    if _INTERPRETER.fullmatch(name):
        return INTERPRETER
    return SYSTEM if _SYSTEM.fullmatch(name) else OTHER


def visible(sort: Ints) -> Flags:
    """Which frames of n stacks stay: `sort` is n × depth, leaf first, padded with NOTHING at the end.

    Stacks without a Python frame keep all their frames: there is none to hide them behind.
    """
    keep = np.zeros(sort.shape, np.bool_)
    has_python = (sort == PYTHON).any(axis=1)
    # From the root on: whether the nearest frame that is not the C library is one that stays by itself.
    foreign = ~has_python
    for column in range(sort.shape[1] - 1, -1, -1):
        here = sort[:, column]
        keep[:, column] = (here == PYTHON) | (here == OTHER) | ((here == SYSTEM) & foreign)
        foreign = np.where(here == OTHER, True, np.where((here == PYTHON) | (here == INTERPRETER), False, foreign))
    keep[~has_python] = sort[~has_python] != NOTHING
    return keep


def frame_sorts(frames: FrameColumns, code: MappedCode, stubs_of: Callable[[int], Stubs | None]) -> tuple[Ints, Ints]:
    """By frame number: what the frame is, and the function of its stub, -1 where it is no call through one.

    `stubs_of` gives the stubs that lie in a code object without a file, by its index in `code.objects`.
    """
    sort = np.full(len(frames.object), OTHER, np.int64)
    function = np.full(len(frames.object), -1, np.int64)
    for item in np.unique(frames.object[frames.object >= 0]).tolist():
        rows = np.flatnonzero(frames.object == item)
        sort[rows] = sort_of_object(code.objects[item].file.path)
        stubs = stubs_of(item) if code.objects[item].kind == ANONYMOUS_KIND else None
        if stubs is not None:
            address = frames.address[rows]
            function[rows] = np.where(frames.caller[rows], stubs.called(address), stubs.inside(address))
    return np.where(function >= 0, PYTHON, sort), function


class EvaluationLoop:
    """Where the interpreters' evaluation loops are: looked up once for each file."""

    def __init__(self) -> None:
        self._ranges: dict[CodeObject, list[tuple[int, int]]] = {}

    def contains(self, frames: FrameColumns, code: MappedCode) -> Flags:
        """By frame number, whether the frame is one of an evaluation loop."""
        found = np.zeros(len(frames.object), np.bool_)
        inside = frames.address - frames.caller.astype(np.uint64)
        for item in np.unique(frames.object[frames.object >= 0]).tolist():
            for start, end in self._of(code.objects[item]):
                found |= (frames.object == item) & (inside >= np.uint64(start)) & (inside < np.uint64(end))
        return found

    def _of(self, code: CodeObject) -> list[tuple[int, int]]:
        if code.elf is None or sort_of_object(code.file.path) != INTERPRETER:
            return []
        if code not in self._ranges:
            table = elf_symbols(code.elf).table
            self._ranges[code] = [
                (int(table.start[index]), int(table.end[index]))
                for index in range(len(table))
                # With its cold parts, which compilers split off.
                if table.name(index).partition(".")[0] == EVALUATION
            ]
        return self._ranges[code]
