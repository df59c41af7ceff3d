"""Names of the kernel's functions and those of its modules, from `/proc/kallsyms`."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pytest_blcperf.symbols.symbol_table import MAX_NAME, Ints, RawSymbols, SymbolTable, Words

KERNEL = "[kernel]"
HIDDEN = "the kernel hides its addresses: sudo sysctl kernel.kptr_restrict=0, or run as root"

MAX_BYTES = 128 << 20
MAX_LINES = 2_000_000
_NOTES_LIMIT = 64 << 10
_BUILD_ID_NOTE = 3
"""NT_GNU_BUILD_ID of elf.h."""

_RANK = {b"T": 3, b"t": 2, b"W": 1, b"w": 0}
"""Of the letters that stand for code: global, local, weak."""
_LINE = re.compile(rb"^([0-9a-f]{1,16}) ([tTwW]) (\S+)(?:\s+(\S+))?$", re.MULTILINE)
_PAGE = 4096


@dataclass(frozen=True, eq=False)
class KernelSymbols:
    """The kernel's functions. `object_of[i]` is the index into `objects` of the i-th range of `table`; `objects` are
    `[kernel]` and modules (`[ext4]`), and `base` where each of them begins, for addresses that survive a restart.
    `problem` says why nothing is known, in a sentence.
    """

    table: SymbolTable
    objects: tuple[str, ...]
    base: Words
    object_of: Ints
    problem: str = ""


def kernel_symbols(proc: Path = Path("/proc")) -> KernelSymbols:
    """The symbols of the running kernel. Never raises: what cannot be read is `problem`."""
    try:
        with (proc / "kallsyms").open("rb") as symbols:
            found = parsed(symbols.read(MAX_BYTES))
    except OSError as error:
        return parsed(b"", f"the kernel's symbols cannot be read: {error}")
    return found


def running_build_id(notes: Path = Path("/sys/kernel/notes")) -> str:
    """The build-id of the kernel that runs, hexadecimal; "" when it does not tell. The note is that of ELF files."""
    try:
        data = notes.read_bytes()[:_NOTES_LIMIT]
    except OSError:
        return ""
    position = 0
    while position + 12 <= len(data):
        name_size, size, kind = struct.unpack_from("=III", data, position)
        content = position + 12 + (name_size + 3 & ~3)
        if kind == _BUILD_ID_NOTE and data[position + 12 : position + 16] == b"GNU\0":
            return data[content : content + size].hex()
        position = content + (size + 3 & ~3)
    return ""


def parsed(kallsyms: bytes, problem: str = "") -> KernelSymbols:
    r"""Of the text of `/proc/kallsyms`: lines `ADDRESS TYPE name` with `\\t[module]` after those of modules."""
    lines = _LINE.findall(kallsyms)[:MAX_LINES]
    start = np.array([int(line[0], 16) for line in lines], np.uint64)
    if len(start) and not start.any():
        lines, start, problem = [], start[:0], HIDDEN
    objects = {b"": 0}
    owner = np.array([objects.setdefault(line[3], len(objects)) for line in lines], np.int64)
    rank = np.array([_RANK[line[1]] for line in lines], np.int64)
    symbols = RawSymbols(start, np.zeros_like(start), _ends(start, owner), rank, _LineNames(lines))
    modules = [name.decode("utf-8", "backslashreplace") for name in objects]
    return _table(symbols, owner, (KERNEL, *modules[1:]), problem)


@dataclass(frozen=True, eq=False)
class _LineNames:
    lines: Sequence[tuple[bytes, bytes, bytes, bytes]]

    def __getitem__(self, index: int) -> str:
        return self.lines[index][2][:MAX_NAME].decode("utf-8", "backslashreplace")


def _table(symbols: RawSymbols, owner: Ints, objects: tuple[str, ...], problem: str) -> KernelSymbols:
    start = symbols.start
    table = SymbolTable(symbols)
    order = np.argsort(start, kind="stable")
    object_of = owner[order][np.searchsorted(start[order], table.start)] if len(start) else owner
    base = np.full(len(objects), 2**64 - 1, np.uint64)
    np.minimum.at(base, owner, start)
    return KernelSymbols(table, objects, base, object_of, problem)


def _ends(start: Words, owner: Ints) -> Words:
    """How far each symbol reaches at most: to the page's end, when the next one belongs to another module."""
    if not len(start):
        return start
    order = np.argsort(start, kind="stable")
    last = np.append(owner[order][1:] != owner[order][:-1], True)
    page = (start[order] | np.uint64(_PAGE - 1)) + np.uint64(1)
    ends = np.empty_like(start)
    ends[order] = np.where(last, np.where(page == 0, start[order], page), np.uint64(2**64 - 1))
    return ends
