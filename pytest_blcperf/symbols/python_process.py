"""Python functions of processes that know nothing of us, from the stubs and the perf map of CPython's trampoline.

    pythons = PythonProcesses(machine)
    pythons.look(mappings, code)                             whenever something was mapped
    TableSource(..., extra=pythons.tables)                   unwinding goes through the stubs
    builder.add(batch, pythons.folded(chains, frames))
    pythons.named(names, frames)                             in the end

The trampoline is on in programs that were started with `python -X perf` or PYTHONPERFSUPPORT=1 (from 3.12 on). Of
others there are native frames only, and a hint.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pytest_blcperf.errors import UsageError
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.recording import Mapping
from pytest_blcperf.symbols.address_space import MappedCode
from pytest_blcperf.symbols.elf import ElfError, ElfFile
from pytest_blcperf.symbols.elf_symbols import elf_symbols
from pytest_blcperf.symbols.objects import ANONYMOUS_KIND, kind_of
from pytest_blcperf.symbols.perf_map import perf_map
from pytest_blcperf.symbols.python_frames import INTERPRETER, frame_sorts, sort_of_object, visible
from pytest_blcperf.symbols.python_source import first_lines
from pytest_blcperf.symbols.python_stubs import STUB_BYTES, StubLayout, Stubs, stub_layout
from pytest_blcperf.symbols.resolve import FrameColumns, FrameNames
from pytest_blcperf.symbols.symbol_table import SymbolTable
from pytest_blcperf.symbols.unwind import Chains
from pytest_blcperf.symbols.unwind_machine import MACHINES
from pytest_blcperf.symbols.unwind_table import UnwindTable

Ints = npt.NDArray[np.int64]

PREFIX = "py::"
TEMPLATE = "_Py_trampoline_func_start"
"""The symbol of the code that stubs are copies of."""

MAX_PLACES = 1_000_000
_ALIGNMENT = 16

_VERSION = re.compile(r"python(\d)\.(\d+)(t?)")
_PACKAGES = re.compile(r".*/(?:site|dist)-packages/")
_LIBRARY = re.compile(r".*/lib(?:64)?/python\d\.\d+t?/")


@dataclass(frozen=True, eq=False)
class PythonProcess:
    """A process that runs CPython. `stubs` are all places where its stubs are or will be made, numbered; `functions`
    those of the stubs that have been made, by number. Without stubs `hint` says what would show its Python functions.
    `version` is (0, 0) where it cannot be told.
    """

    process: int
    interpreter: str
    version: tuple[int, int] = (0, 0)
    free_threaded: bool = False
    stubs: Stubs | None = None
    functions: dict[int, Function] = field(default_factory=dict)
    hint: str = ""


def python_process(
    process: int, mappings: Sequence[Mapping], machine: str, proc: Path = Path("/proc")
) -> PythonProcess | None:
    """What is known of a process's Python functions now; None when it runs no CPython. `mappings` may be those of
    several processes.
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
    starts = table.start[indices].tolist()
    places = stub_places(starts, layout, [(one.start, one.end) for one in own if kind_of(one.path) == ANONYMOUS_KIND])
    number = {place: index for index, place in enumerate(places)}
    functions = _functions([table.name(index) for index in indices], Path(f"{proc}/{process}/root"))
    return replace(
        found,
        stubs=Stubs(places, range(len(places)), layout),
        functions={number[start]: function for start, function in zip(starts, functions, strict=True)},
    )


def stub_places(starts: Sequence[int], layout: StubLayout, regions: Sequence[tuple[int, int]]) -> list[int]:
    """Where stubs are, and where others will be made: they stand at equal distances in their regions, [start, end),
    which the interpreter fills from the beginning. At most MAX_PLACES.
    """
    distance = -(-layout.size // _ALIGNMENT) * _ALIGNMENT
    places = set(starts)
    for begin, end in regions:
        inside = [start for start in starts if begin <= start < end]
        if inside and len(places) + (end - begin) // distance < MAX_PLACES:
            places.update(range(min(inside), end - layout.size + 1, distance))
    return sorted(places)


def _python_entries(table: SymbolTable | None) -> list[int]:
    return [index for index in range(len(table)) if table.name(index).startswith(PREFIX)] if table is not None else []


def _hint(found: PythonProcess) -> str:
    name = f"Python {found.version[0]}.{found.version[1]}" if found.version[0] else "Python"
    if found.version >= (3, 12) or not found.version[0]:
        how = "start it with python -X perf, or PYTHONPERFSUPPORT=1 in its environment"
    else:
        how = "Python 3.12 can (python -X perf), or py-spy (--backend py-spy)"
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
    """The processes of a recording that run Python, on a machine of that name."""

    def __init__(self, machine: str, proc: Path = Path("/proc")) -> None:
        self._machine = MACHINES[machine]
        self._proc = proc
        self._found: dict[int, PythonProcess] = {}
        self._mapped: dict[int, int] = {}
        self._owner: dict[int, int] = {}
        self._code: MappedCode | None = None

    def look(self, mappings: Sequence[Mapping], code: MappedCode) -> None:
        """Take in what is mapped by now; `code` was made of it, and keeps its numbers from one call to the next."""
        self._code = code
        self._owner = {item: one.process for item, one in zip(code.object_of.tolist(), mappings, strict=True)}
        number = Counter(one.process for one in mappings)
        for process in [process for process in number if number[process] != self._mapped.get(process)]:
            self._look_at(process, mappings)
        self._mapped = dict(number)

    def _look_at(self, process: int, mappings: Sequence[Mapping]) -> None:
        found = python_process(process, mappings, self._machine.name, self._proc)
        # A process that has ended tells nothing more, but what it has told holds.
        if found is not None and (found.stubs is not None or process not in self._found):
            self._found[process] = found

    @property
    def hints(self) -> tuple[str, ...]:
        """Why some show no Python functions, a sentence each."""
        return tuple(one.hint for one in self._found.values() if one.hint)

    def tables(self, item: int) -> list[UnwindTable]:
        """As `extra` of `unwind_sources.TableSource`: how to unwind through the stubs in that memory."""
        stubs = self._stubs_of(item)
        return [stubs.unwind_table(self._machine)] if stubs is not None else []

    def folded(self, chains: Chains, frames: FrameColumns) -> Chains:
        """The stacks without the frames in which interpreters work for a Python function."""
        if self._code is None or not any(one.stubs for one in self._found.values()):
            return chains
        return folded(chains, frame_sorts(frames, self._code, self._stubs_of)[0])

    def named(self, names: FrameNames, frames: FrameColumns, mappings: Sequence[Mapping]) -> FrameNames:
        """The names, with those of the Python functions that have been called by now."""
        if self._code is None or not any(one.stubs for one in self._found.values()):
            return names
        for process in list(self._found):
            self._look_at(process, mappings)
        _, stub = frame_sorts(frames, self._code, self._stubs_of)
        numbers: dict[Function, int] = {}
        function, python = names.function.copy(), np.zeros(len(stub), np.bool_)
        for row in np.flatnonzero(stub >= 0).tolist():
            called = self._found[self._owner[int(frames.object[row])]].functions.get(int(stub[row]))
            if called is not None:
                # Functions of one name may have several stubs.
                function[row] = len(names.functions) + numbers.setdefault(called, len(numbers))
                python[row] = True
        return replace(
            names,
            functions=(*names.functions, *numbers),
            function=function,
            unknown=names.unknown & ~python,
            replaced=names.replaced & ~python,
        )

    def _stubs_of(self, item: int) -> Stubs | None:
        one = self._found.get(self._owner.get(item, -1))
        return one.stubs if one is not None else None


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
