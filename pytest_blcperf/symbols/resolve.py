"""Frames → functions: each distinct place in code gets its name once, whatever number of samples saw it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pytest_blcperf.model.capture import ObjectFile
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.recording import Mapping
from pytest_blcperf.model.warning import Warning
from pytest_blcperf.symbols.address_space import AddressSpaces, MappedCode
from pytest_blcperf.symbols.code_identity import CodeIdentities, code_identities
from pytest_blcperf.symbols.debug_files import debug_file
from pytest_blcperf.symbols.demangle import Demangler
from pytest_blcperf.symbols.elf import ElfError, ElfFile
from pytest_blcperf.symbols.elf_symbols import ElfSymbols, elf_symbols
from pytest_blcperf.symbols.jit_names import JIT, JitNames, jit_names
from pytest_blcperf.symbols.kernel import KERNEL, KernelSymbols, kernel_symbols
from pytest_blcperf.symbols.objects import CodeObject

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

UNKNOWN = "[unknown]"

_KERNEL_OBJECT = -2
"""As in `Frames.object`; -1 is an address outside every mapping."""


class FrameColumns(Protocol):
    """What `unwind_frames.Frames` tells of each frame: object, link address, whether that is a return address."""

    @property
    def object(self) -> npt.NDArray[np.int32]: ...
    @property
    def address(self) -> Words: ...
    @property
    def caller(self) -> Mask: ...


@dataclass(frozen=True, eq=False)
class FrameNames:
    """By frame number: its function (an index into `functions`), whether that is `unknown` (an address without a
    function), and its place: an object (an index into `objects`, -1 where there is none) and the address in it.
    """

    functions: tuple[Function, ...]
    objects: tuple[ObjectFile, ...]
    function: Ints
    unknown: Mask
    place_object: Ints
    place_address: Ints
    replaced: Mask
    """Frames in code that a JIT replaced during the recording: their function depends on the time."""
    warnings: tuple[Warning, ...] = ()
    _later: _Replaced | None = field(default=None, repr=False)

    def functions_at(self, frames: Ints, time: Ints) -> Ints:
        """The functions of frames that are `replaced`, each seen at a time."""
        return self.function[frames] if self._later is None else self._later.functions(frames, time, self.function)

    def with_functions(self, more: Sequence[Function]) -> FrameNames:
        """With frames for these functions after the others, such as Python functions that a stack was found to hold."""
        first, number = len(self.functions), len(more)
        return replace(
            self,
            functions=(*self.functions, *more),
            function=np.append(self.function, np.arange(first, first + number)),
            unknown=np.append(self.unknown, np.zeros(number, np.bool_)),
            place_object=np.append(self.place_object, np.full(number, -1)),
            place_address=np.append(self.place_address, np.zeros(number, np.int64)),
            replaced=np.append(self.replaced, np.zeros(number, np.bool_)),
        )


class Resolver:
    """Names frames. Symbol tables are read once, for the objects that frames lie in, and kept: use one for all windows
    of a session.

    With `live` False the recording is of another time or machine: processes are not asked, and the kernel's symbols
    only if `same_kernel` says that it has not been restarted since. `fingerprints` gives one to functions with names
    too; those without always have one where it can be told.
    """

    def __init__(
        self,
        live: bool = True,
        fingerprints: bool = False,
        proc: Path = Path("/proc"),
        *,
        same_kernel: bool = False,
    ) -> None:
        self._live = live
        self._same_kernel = live or same_kernel
        self._fingerprints = fingerprints
        self._proc = proc
        self._demangler = Demangler()
        self._objects: dict[CodeObject, _ObjectNames] = {}
        self._kernel: KernelSymbols | None = None

    def resolve(self, frames: FrameColumns, code: MappedCode, mappings: Sequence[Mapping]) -> FrameNames:
        """The names of all frames; `mappings` are those `code` was made of. Never raises for what files hold."""
        found = _Found(len(frames.address))
        item = frames.object.astype(np.int64)
        inside = frames.address - frames.caller.astype(np.uint64)
        owners = _owners(code, mappings)
        # A runtime has many mappings without a file, and one list of names for all of them.
        by_process: dict[int, JitNames] = {}
        jits: dict[int, tuple[JitNames, list[Ints]]] = {}
        for one, rows in _groups(item):
            if one == _KERNEL_OBJECT:
                self._name_kernel(found, rows, inside[rows])
            elif one < 0:
                found.all_unknown(rows, UNKNOWN)
            elif code.objects[one].elf is not None:
                self._name_file(found, rows, inside[rows], code.objects[one])
            else:
                jit = by_process.get(owners[one])
                if jit is None:
                    jit = by_process[owners[one]] = jit_names(owners[one], mappings, self._live, self._proc)
                _name_memory(found, rows, inside[rows], code.objects[one], jit)
                if jit.replaced:
                    jits.setdefault(owners[one], (jit, []))[1].append(rows)
        return found.finished(self._demangler, jits, inside)

    def _name_kernel(self, found: _Found, rows: Ints, addresses: Words) -> None:
        if self._kernel is None:
            self._kernel = kernel_symbols(self._proc) if self._same_kernel else _NO_KERNEL
        kernel = self._kernel
        index = kernel.table.find(addresses)
        which = np.where(index >= 0, kernel.object_of[index] if len(kernel.object_of) else 0, 0)
        for module, here in _groups(which):
            place = found.object(ObjectFile(kernel.objects[module]))
            # Each start of the kernel puts it elsewhere: places count from its beginning.
            base = kernel.base[module] if len(kernel.table) else np.uint64(0)
            found.places(rows[here], place, addresses[here] - base)
        for one, here in _groups(index):
            if one >= 0:
                name = kernel.objects[kernel.object_of[one]], kernel.table.name(one)
                found.named(rows[here], Function(*name, kind="kernel"))
        lost = rows[index < 0]
        if len(lost):
            found.unknown_function(lost, Function(KERNEL, UNKNOWN, kind="kernel"))
            if kernel.problem:
                found.warn("kernel-names", f"functions of the kernel have no names: {kernel.problem}")

    def _name_file(self, found: _Found, rows: Ints, addresses: Words, code: CodeObject) -> None:
        names = self._objects.get(code)
        if names is None:
            names = self._objects[code] = _ObjectNames(code)
        file = Path(code.file.path).name
        found.places(rows, found.object(code.file), addresses)
        symbols = names.symbols
        for problem in symbols.problems:
            found.warn("symbols", f"{code.file.path}: {problem}")
        index = symbols.table.find(addresses)
        wants_code = self._fingerprints or bool((index < 0).any())
        identities = names.identities if wants_code else _NO_CODE
        for one, here in _groups(index):
            if one >= 0:
                fingerprint = identities.of(int(symbols.table.start[one])) if self._fingerprints else ""
                found.mangled(rows[here], file, symbols.table.name(one), fingerprint)
        self._name_by_code(found, rows[index < 0], addresses[index < 0], code, identities)

    def _name_by_code(
        self, found: _Found, rows: Ints, addresses: Words, code: CodeObject, identities: _Identities
    ) -> None:
        """Functions that only the unwind information knows, named after where they begin."""
        if not len(rows):
            return
        file = Path(code.file.path).name
        index = identities.table.find(addresses)
        for one, here in _groups(index):
            if one >= 0:
                begin = int(identities.table.begin[one])
                function = Function(file, f"+{begin:#x}", fingerprint=identities.table.fingerprints[one], kind="native")
                found.named(rows[here], function)
        lost = np.flatnonzero(index < 0)
        for address, here in _groups(addresses[lost]):
            found.unknown_function(rows[lost[here]], Function(file, f"+{address:#x}", kind="native"))
        found.without_symbols(code)


class _ObjectNames:
    """The names of one file, read when they are asked for."""

    def __init__(self, code: CodeObject) -> None:
        assert code.elf is not None
        self._code = code
        self._elf: ElfFile = code.elf
        self._symbols: ElfSymbols | None = None
        self._identities: _Identities | None = None

    @property
    def symbols(self) -> ElfSymbols:
        if self._symbols is None:
            debug: ElfFile | None = None
            problems: tuple[str, ...] = ()
            if self._elf.section(".symtab") is None:
                debug, problems = debug_file(self._elf, self._code.file.path, self._code.root)
            self._symbols = elf_symbols(self._elf, debug)
            if debug is not None:
                debug.release()
            self._symbols = replace(self._symbols, problems=(*problems, *self._symbols.problems))
        return self._symbols

    @property
    def identities(self) -> _Identities:
        if self._identities is None:
            try:
                self._identities = _Identities(code_identities(self._elf))
            except ElfError:
                # A file that cannot be read so far has been said by `symbols`.
                self._identities = _NO_CODE
        return self._identities


@dataclass(frozen=True, eq=False)
class _Identities:
    table: CodeIdentities

    def of(self, address: int) -> str:
        """The fingerprint of the function that holds a link address."""
        index = int(self.table.find(np.array([address], np.uint64))[0])
        return self.table.fingerprints[index] if index >= 0 else ""


_NO_CODE = _Identities(CodeIdentities(np.zeros(0, np.uint64), np.zeros(0, np.uint64), ()))


def _no_kernel() -> KernelSymbols:
    from pytest_blcperf.symbols import kernel

    return kernel.parsed(b"", "the recording is of another kernel, or of this one before it was restarted")


_NO_KERNEL = _no_kernel()


def _name_memory(found: _Found, rows: Ints, addresses: Words, code: CodeObject, jit: JitNames) -> None:
    """Code without a file: that of a JIT, or of a file that cannot be read."""
    if code.kind == "anonymous" and not code.file.path.startswith("["):
        file, kind = JIT, "jit"
    else:
        file, kind = Path(code.file.path).name, "native"
    index = jit.table.find(addresses)
    if (index >= 0).any():
        file, kind = JIT, "jit"
    found.places(
        rows, found.object(ObjectFile(file if kind == "jit" else code.file.path, code.file.build_id)), addresses
    )
    for one, here in _groups(index):
        if one >= 0:
            found.mangled(rows[here], JIT, jit.table.name(one), "", "jit")
    lost = rows[index < 0]
    if len(lost):
        found.unknown_function(lost, Function(file, UNKNOWN, kind=kind))
        if code.problem:
            found.warn("object", f"functions of {code.file.path} have no names: {code.problem}")
        elif kind == "jit":
            found.warn("jit-names", jit.advice)
    for problem in jit.problems:
        found.warn("jit-names", problem)


def _groups(values: npt.NDArray[Any]) -> Iterator[tuple[int, Ints]]:
    """Each distinct value with the rows that hold it."""
    order = np.argsort(values, kind="stable")
    bounds = np.flatnonzero(np.diff(values[order])) + 1
    for rows in np.split(order, bounds) if len(values) else ():
        yield int(values[rows[0]]), rows


def _owners(code: MappedCode, mappings: Sequence[Mapping]) -> dict[int, int]:
    """By object, a process that has it mapped: the only one, where the object is memory without a file."""
    return {item: mapping.process for item, mapping in zip(code.object_of.tolist(), mappings, strict=True)}


class _Replaced:
    """Frames whose function depends on when they were seen."""

    def __init__(self, jits: Iterable[tuple[JitNames, list[Ints]]], inside: Words, numbers: dict[str, int]) -> None:
        self._spaces: list[tuple[Ints, AddressSpaces, Ints]] = []
        self._inside = inside
        for jit, rows in jits:
            function = np.array([numbers[code.name] for code in jit.codes], np.int64)
            self._spaces.append((np.concatenate(rows), jit.spaces(), function))

    def functions(self, frames: Ints, time: Ints, otherwise: Ints) -> Ints:
        found = otherwise[frames]
        for rows, spaces, function in self._spaces:
            here = np.flatnonzero(np.isin(frames, rows))
            process = np.zeros(len(here), np.int64)
            code = spaces.locate(process, time[here], self._inside[frames[here]])
            found[here] = np.where(code >= 0, function[code] if len(function) else 0, found[here])
        return found


class _Found:
    """What is known by now of n frames. Names that may be mangled wait until all are known."""

    def __init__(self, number: int) -> None:
        self._function = np.full(number, -1, np.int64)
        self._unknown = np.zeros(number, np.bool_)
        self._place_object = np.full(number, -1, np.int64)
        self._place_address = np.zeros(number, np.int64)
        self._pending: list[tuple[Ints, Function]] = []
        self._objects: dict[ObjectFile, int] = {}
        self._warnings: dict[Warning, None] = {}
        self._bare: dict[str, None] = {}

    def object(self, file: ObjectFile) -> int:
        return self._objects.setdefault(file, len(self._objects))

    def places(self, rows: Ints, place: int, addresses: Words) -> None:
        self._place_object[rows] = place
        self._place_address[rows] = addresses.view(np.int64)

    def named(self, rows: Ints, function: Function) -> None:
        self._pending.append((rows, function))

    def mangled(self, rows: Ints, file: str, name: str, fingerprint: str, kind: str = "native") -> None:
        self._pending.append((rows, Function(file, name, fingerprint=fingerprint, kind=kind)))

    def unknown_function(self, rows: Ints, function: Function) -> None:
        self._unknown[rows] = True
        self.named(rows, function)

    def all_unknown(self, rows: Ints, name: str) -> None:
        self.unknown_function(rows, Function(name, name, kind="native"))

    def without_symbols(self, code: CodeObject) -> None:
        self._bare[code.file.path] = None

    def warn(self, code: str, text: str) -> None:
        self._warnings[Warning(code, text)] = None

    def finished(self, demangler: Demangler, jits: dict[int, tuple[JitNames, list[Ints]]], inside: Words) -> FrameNames:
        codes = [code.name for jit, _ in jits.values() for code in jit.codes]
        names = demangler.all([*(function.name for _, function in self._pending), *codes])
        numbers: dict[Function, int] = {}
        fingerprints: dict[int, set[str]] = {}
        for (rows, function), name in zip(self._pending, names, strict=False):
            number = numbers.setdefault(replace(function, name=name), len(numbers))
            self._function[rows] = number
            fingerprints.setdefault(number, set()).add(function.fingerprint)
        by_code = {
            code: numbers.setdefault(Function(JIT, name, kind="jit"), len(numbers))
            for code, name in zip(codes, names[len(self._pending) :], strict=True)
        }
        later = _Replaced(jits.values(), inside, by_code) if jits else None
        replaced = np.zeros(len(self._function), np.bool_)
        for _, several in jits.values():
            replaced[np.concatenate(several)] = True
        return FrameNames(
            # Several functions of a file may have one name; their code is unchanged when that of all is.
            functions=tuple(
                replace(one, fingerprint="+".join(sorted(fingerprints.get(number, set()) - {""})))
                for one, number in numbers.items()
            ),
            objects=tuple(self._objects),
            function=self._function,
            unknown=self._unknown,
            place_object=self._place_object,
            place_address=self._place_address,
            replaced=replaced,
            warnings=(*self._warnings, *self._without_symbols(), *demangler.warnings),
            _later=later,
        )

    def _without_symbols(self) -> Iterable[Warning]:
        if self._bare:
            files = list(self._bare)
            shown = ", ".join(files[:5]) + (f" and {len(files) - 5} more" if len(files) > 5 else "")
            yield Warning(
                "no-symbols",
                f"functions of {shown} are shown as addresses: install their debug symbols (blcperf doctor tells how), "
                "or set DEBUGINFOD_URLS",
            )
