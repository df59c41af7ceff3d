"""Python functions of processes that know nothing of us, from the stubs and the perf map of CPython's trampoline.

    pythons = PythonProcesses.of([pid, ...], mappings)
    TableSource(..., extra=pythons.tables(mapped))          unwinding goes through the stubs
    builder.add(batch, pythons.folded(chains, frames, mapped))
    builder.build(recording, pythons.named(names, frames, mapped))

The trampoline is on in programs that were started with `python -X perf` or PYTHONPERFSUPPORT=1 (from 3.12 on). Of
others there are native frames only, and a hint.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pytest_blcperf.errors import UsageError
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.recording import Mapping
from pytest_blcperf.symbols.address_space import MappedCode
from pytest_blcperf.symbols.elf import ElfError, ElfFile
from pytest_blcperf.symbols.elf_symbols import elf_symbols
from pytest_blcperf.symbols.perf_map import perf_map
from pytest_blcperf.symbols.python_frames import INTERPRETER, frame_sorts, sort_of_object, visible
from pytest_blcperf.symbols.python_source import first_lines
from pytest_blcperf.symbols.python_stubs import STUB_BYTES, Stubs, stub_layout
from pytest_blcperf.symbols.resolve import FrameColumns, FrameNames
from pytest_blcperf.symbols.symbol_table import SymbolTable
from pytest_blcperf.symbols.unwind import Chains
from pytest_blcperf.symbols.unwind_machine import Machine
from pytest_blcperf.symbols.unwind_table import UnwindTable

Ints = npt.NDArray[np.int64]

PREFIX = "py::"
TEMPLATE = "_Py_trampoline_func_start"
"""The symbol of the code that stubs are copies of."""

_VERSION = re.compile(r"python(\d)\.(\d+)(t?)")
_PACKAGES = re.compile(r".*/(?:site|dist)-packages/")
_LIBRARY = re.compile(r".*/lib(?:64)?/python\d\.\d+t?/")


@dataclass(frozen=True, eq=False)
class PythonProcess:
    """A process that runs CPython. Stub i of `stubs` stands for `functions[i]`; without stubs `hint` says what would
    show its Python functions. `version` is (0, 0) where it cannot be told.
    """

    process: int
    interpreter: str
    version: tuple[int, int] = (0, 0)
    free_threaded: bool = False
    stubs: Stubs | None = None
    functions: tuple[Function, ...] = ()
    hint: str = ""


def python_process(
    process: int, mappings: Sequence[Mapping], machine: str, proc: Path = Path("/proc")
) -> PythonProcess | None:
    """What is known of a process's Python functions now; None when it runs no CPython. Stubs are made when a function
    is first called, so look at the end of a recording. `mappings` may be those of several processes.
    """
    own = [one for one in mappings if one.process == process]
    interpreter = next((one.path for one in own if sort_of_object(one.path) == INTERPRETER), None)
    if interpreter is None:
        return None
    told = [_VERSION.search(one.path.rsplit("/", 1)[-1]) or _VERSION.search(one.path) for one in own]
    version = next((one for one in told if one is not None), None)
    found = PythonProcess(
        process,
        interpreter,
        (int(version[1]), int(version[2])) if version else (0, 0),
        bool(version and version[3]),
    )
    table, _ = perf_map(process, proc)
    indices = _python_entries(table)
    if table is None or not indices:
        return replace(found, hint=_hint(found))
    code = _memory(process, int(table.start[indices[0]]), proc) or _template(process, interpreter, proc)
    try:
        layout = stub_layout(code, machine)
    except UsageError as error:
        return replace(found, hint=error.message)
    functions = _functions([table.name(index) for index in indices], Path(f"{proc}/{process}/root"))
    stubs = Stubs(table.start[indices].tolist(), range(len(indices)), layout)
    return replace(found, stubs=stubs, functions=functions)


def _python_entries(table: SymbolTable | None) -> list[int]:
    return [index for index in range(len(table)) if table.name(index).startswith(PREFIX)] if table is not None else []


def _hint(found: PythonProcess) -> str:
    name = f"Python {found.version[0]}.{found.version[1]}" if found.version[0] else "Python"
    if found.version >= (3, 12) or not found.version[0]:
        how = "start it with python -X perf, or PYTHONPERFSUPPORT=1 in its environment"
    else:
        how = "Python 3.12 can (python -X perf), or use --blcperf-backend=py-spy"
    return f"process {found.process} ({name}) shows no Python functions: {how}"


def _memory(process: int, address: int, proc: Path) -> bytes:
    """The code of a stub, b"" where the process may not be read."""
    try:
        with (proc / str(process) / "mem").open("rb", buffering=0) as memory:
            memory.seek(address)
            return memory.read(STUB_BYTES)
    except (OSError, ValueError, OverflowError):
        return b""


def _template(process: int, interpreter: str, proc: Path) -> bytes:
    """The code that stubs are copies of, from the interpreter's file; b"" where it is not to be found."""
    for path in (Path(f"{proc}/{process}/root{interpreter}"), Path(interpreter)):
        try:
            elf = ElfFile.open(path)
        except (OSError, ValueError, ElfError):
            continue
        try:
            return _at_symbol(elf, TEMPLATE)
        except ElfError:
            return b""
        finally:
            elf.release()
    return b""


def _at_symbol(elf: ElfFile, name: str) -> bytes:
    table = elf_symbols(elf).table
    start = next((int(table.start[index]) for index in range(len(table)) if table.name(index) == name), None)
    text = elf.section(".text")
    if start is None or text is None or not text.address <= start < text.address + text.size:
        return b""
    return elf.read(text.offset + start - text.address, STUB_BYTES)


def _functions(names: Iterable[str], root: Path) -> tuple[Function, ...]:
    """`py::qualname:file` as functions, with their first lines where the source says so."""
    lines: dict[str, dict[str, int]] = {}
    found = []
    for text in names:
        name, _, file = text.removeprefix(PREFIX).partition(":")
        if file not in lines:
            lines[file] = first_lines(Path(f"{root}{file}")) if file.startswith("/") else {}
        found.append(Function(short_file(file), name, lines[file].get(name, 0)))
    return tuple(found)


def short_file(path: str) -> str:
    """`<site>/x.py`, `<stdlib>/x.py`, or the path: as `capture.functions.normal_file`, for other interpreters."""
    for root, prefix in ((_PACKAGES, "<site>/"), (_LIBRARY, "<stdlib>/")):
        inside = root.match(path)
        if inside:
            return prefix + path[inside.end() :]
    return path


class PythonProcesses:
    """The processes of a recording that run Python."""

    def __init__(self, found: Iterable[PythonProcess], mappings: Sequence[Mapping]) -> None:
        self.found = tuple(found)
        self._mappings = mappings
        self._by_process = {one.process: one for one in self.found}
        before = np.cumsum([0, *(len(one.functions) for one in self.found)]).tolist()
        self._first = {one.process: first for one, first in zip(self.found, before, strict=False)}

    @classmethod
    def of(cls, processes: Iterable[int], mappings: Sequence[Mapping], machine: str) -> PythonProcesses:
        """Those among `processes` that run Python, as they are now."""
        found = [python_process(process, mappings, machine) for process in processes]
        return cls([one for one in found if one is not None], mappings)

    @property
    def hints(self) -> tuple[str, ...]:
        """Why some show no Python functions, a sentence each."""
        return tuple(one.hint for one in self.found if one.hint)

    def tables(self, code: MappedCode, machine: Machine) -> Callable[[int], Sequence[UnwindTable]]:
        """As `extra` of `unwind_sources.TableSource`: how to unwind through the stubs."""
        owner = self._owners(code)

        def of(item: int) -> Sequence[UnwindTable]:
            one = self._by_process.get(owner.get(item, -1))
            return [one.stubs.unwind_table(machine)] if one is not None and one.stubs is not None else []

        return of

    def folded(self, chains: Chains, frames: FrameColumns, code: MappedCode) -> Chains:
        """The stacks without the frames in which interpreters work for a Python function."""
        sort, _ = self._sorts(frames, code)
        return folded(chains, sort)

    def named(self, names: FrameNames, frames: FrameColumns, code: MappedCode) -> FrameNames:
        """The names, with those of the Python functions."""
        _, stub = self._sorts(frames, code)
        python = stub >= 0
        # Functions of one name may have several stubs.
        numbers: dict[Function, int] = {}
        number = [numbers.setdefault(function, len(numbers)) for one in self.found for function in one.functions]
        function = names.function.copy()
        function[python] = len(names.functions) + np.array(number, np.int64)[stub[python]]
        return replace(
            names,
            functions=(*names.functions, *numbers),
            function=function,
            unknown=names.unknown & ~python,
            replaced=names.replaced & ~python,
        )

    def _sorts(self, frames: FrameColumns, code: MappedCode) -> tuple[Ints, Ints]:
        """(what each frame is, its function among those of all processes)."""
        owner = self._owners(code)

        def stubs_of(item: int) -> Stubs | None:
            one = self._by_process.get(owner.get(item, -1))
            return one.stubs if one is not None else None

        sort, function = frame_sorts(frames, code, stubs_of)
        for item in np.unique(frames.object[function >= 0]).tolist():
            function[(frames.object == item) & (function >= 0)] += self._first[owner[item]]
        return sort, function

    def _owners(self, code: MappedCode) -> dict[int, int]:
        """By object, the process that has it mapped: the only one, where it has no file."""
        return {item: mapping.process for item, mapping in zip(code.object_of.tolist(), self._mappings, strict=True)}


_ROWS = 8192


def folded(chains: Chains, sort: Ints) -> Chains:
    """The stacks without the frames that `visible` hides; `sort` is by frame number."""
    keep = np.ones(len(chains.frame), np.bool_)
    for first in range(0, len(chains), _ROWS):
        bounds = chains.offsets[first : first + _ROWS + 1]
        length = np.diff(bounds)
        filled = np.arange(int(length.max(initial=0)))[None, :] < length[:, None]
        matrix = np.zeros(filled.shape, np.int64)
        matrix[filled] = sort[chains.frame[bounds[0] : bounds[-1]]]
        keep[bounds[0] : bounds[-1]] = visible(matrix)[filled]
    kept = np.concatenate([[0], np.cumsum(keep)])
    row = np.repeat(np.arange(len(chains)), np.diff(chains.offsets))
    kernel = np.arange(len(keep)) - chains.offsets[row] < chains.kernel_depth[row]
    kernel_depth = np.bincount(row[kernel & keep], minlength=len(chains)).astype(np.int64)
    return Chains(kept[chains.offsets].astype(np.int64), chains.frame[keep], kernel_depth, chains.end)
