"""What a compiled file has to offer a profiler: symbols, debug information, unwind tables, frame pointers."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_blcperf.symbols.elf import ElfError, ElfFile

FULL, EXPORTED, NONE = "full", "exported only", "none"

DEBUG_FOLDER = Path("usr/lib/debug")
_TABLE_BYTES = 4 << 20
_FUNCTIONS = 300
_FUNCTION_BYTES = 64
_PROLOGUE_BYTES = 24
_MOSTLY = 0.6
_FUNCTION = 2
_SYMBOL = {"<": struct.Struct("<IBBHQQ"), ">": struct.Struct(">IBBHQQ")}
_PUSH = re.compile(rb"(?:\xf3\x0f\x1e\xfa)?.{0,8}?\x55.{0,12}?\x48\x89\xe5", re.DOTALL)
"""x86-64: push %rbp, then mov %rsp,%rbp, with what the compiler has put between; endbr64 may stand before."""


@dataclass(frozen=True)
class ObjectFacts:
    """A file with code that a process has mapped. `problem` says why it could not be read, then the rest is unknown."""

    path: str
    build_id: str = ""
    symbols: str = NONE
    """FULL, EXPORTED or NONE."""
    debug_file: str = ""
    """Where its debug information is: in the file itself, or a file beside; "" when there is none on this machine."""
    mini_symbols: bool = False
    """Symbols in `.gnu_debugdata`, as Fedora and its kin ship them."""
    unwind_tables: bool = False
    frame_pointers: bool | None = None
    problem: str = ""

    @property
    def stripped(self) -> bool:
        """Whether its functions have no names here but those that it exports."""
        return self.symbols != FULL and not self.mini_symbols and not self.debug_file


def inspect(path: str, candidates: Sequence[Path], roots: Sequence[Path]) -> ObjectFacts:
    """The facts of the file called `path`, found at the first of `candidates` that can be read; debug files are looked
    for below the usual folders of `roots`. Never raises for what is in the file.
    """
    problem = "no such file"
    for candidate in candidates:
        try:
            return _facts(path, ElfFile.open(candidate), roots)
        except OSError as error:
            problem = os.strerror(error.errno) if error.errno else str(error)
        except (ElfError, ValueError) as error:
            problem = getattr(error, "message", str(error))
    return ObjectFacts(path, problem=problem)


def _facts(path: str, elf: ElfFile, roots: Sequence[Path]) -> ObjectFacts:
    try:
        sizes = {section.name: section.size for section in elf.sections if section.type != "SHT_NOBITS"}
        inside = any(sizes.get(name) for name in (".debug_info", ".zdebug_info"))
        return ObjectFacts(
            path=path,
            build_id=elf.build_id,
            symbols=FULL if sizes.get(".symtab") else EXPORTED if sizes.get(".dynsym") else NONE,
            debug_file=path if inside else _debug_file(path, elf, roots),
            mini_symbols=bool(sizes.get(".gnu_debugdata")),
            unwind_tables=bool(sizes.get(".eh_frame") or sizes.get(".debug_frame")),
            frame_pointers=frame_pointers(elf),
        )
    finally:
        elf.release()


def _debug_file(path: str, elf: ElfFile, roots: Sequence[Path]) -> str:
    """A debug file by build-id, or by the name in `.gnu_debuglink`, where gdb looks for it as well."""
    for root in roots:
        for name in _debug_names(path, elf):
            if (root / name).is_file():
                return f"/{name}"
    return ""


def _debug_names(path: str, elf: ElfFile) -> Iterator[Path]:
    identifier = elf.build_id
    if len(identifier) > 2:
        yield DEBUG_FOLDER / ".build-id" / identifier[:2] / f"{identifier[2:]}.debug"
    section = elf.section(".gnu_debuglink")
    link = elf.data(section).partition(b"\0")[0].decode("utf-8", "replace") if section and section.size < 4096 else ""
    if link and "/" not in link and link not in (".", ".."):
        folder = Path(path.lstrip("/")).parent
        yield folder / ".debug" / link
        yield DEBUG_FOLDER / folder / link


def frame_pointers(elf: ElfFile) -> bool | None:
    """Whether most functions keep one, by how they begin; None when there are too few to tell, or for other machines.

    Looked at are functions of at least 64 bytes: without the option compilers give frame pointers to a few (those with
    alloca), with it to all but some small ones.
    """
    if elf.machine not in ("x86_64", "aarch64") or elf.bits != 64:
        return None
    seen = kept = 0
    for prologue in _prologues(elf):
        seen += 1
        kept += _keeps_x86(prologue) if elf.machine == "x86_64" else _keeps_arm(prologue)
    return kept >= _MOSTLY * seen if seen >= 5 else None


def _prologues(elf: ElfFile) -> Iterator[bytes]:
    section = elf.section(".symtab") or elf.section(".dynsym")
    if section is None or section.type == "SHT_NOBITS":
        return
    layout = _SYMBOL[elf.byte_order]
    table = elf.read(section.offset, min(section.size, _TABLE_BYTES))
    whole = len(table) - len(table) % layout.size
    starts = sorted(
        {
            value
            for _, info, _, place, value, size in layout.iter_unpack(table[:whole])
            if info & 0xF == _FUNCTION and place and size >= _FUNCTION_BYTES
        }
    )
    loaded = [segment for segment in elf.segments if segment.type == "PT_LOAD" and segment.executable]
    for start in starts[:: max(1, len(starts) // _FUNCTIONS)][:_FUNCTIONS]:
        for segment in loaded:
            if segment.address <= start < segment.address + segment.file_size - _PROLOGUE_BYTES:
                yield elf.read(start - segment.address + segment.offset, _PROLOGUE_BYTES)


def _keeps_x86(prologue: bytes) -> bool:
    return _PUSH.match(prologue) is not None


def _keeps_arm(prologue: bytes) -> bool:
    """`stp x29, x30, [sp, …]!` among the first instructions."""
    words = struct.unpack_from("<4I", prologue)
    return any(word & 0xFFC07FFF == 0xA9807BFD for word in words)
