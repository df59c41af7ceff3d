"""Names of the kernel's functions and those of its modules, from `/proc/kallsyms`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pytest_blcperf.symbols.symbol_table import MAX_NAME, Ints, RawSymbols, SymbolTable, Words

KERNEL = "[kernel]"
HIDDEN = "the kernel hides its addresses: sudo sysctl kernel.kptr_restrict=0, or run as root"

MAX_BYTES = 128 << 20
MAX_LINES = 2_000_000

_RANK = {b"T": 3, b"t": 2, b"W": 1, b"w": 0}
"""Of the letters that stand for code: global, local, weak."""
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


def parsed(kallsyms: bytes, problem: str = "") -> KernelSymbols:
    r"""Of the text of `/proc/kallsyms`: lines `ADDRESS TYPE name` with `\\t[module]` after those of modules."""
    addresses, names, owners, ranks = [], [], [], []
    objects = {KERNEL: 0}
    for line in kallsyms.split(b"\n", MAX_LINES)[:MAX_LINES]:
        fields = line.split(None, 3)
        if len(fields) < 3 or fields[1] not in _RANK:
            continue
        try:
            address = int(fields[0], 16)
        except ValueError:
            continue
        if not 0 <= address < 2**64:
            continue
        addresses.append(address)
        names.append(fields[2][:MAX_NAME].decode("utf-8", "backslashreplace"))
        ranks.append(_RANK[fields[1]])
        module = fields[3].decode("utf-8", "backslashreplace") if len(fields) == 4 else KERNEL
        owners.append(objects.setdefault(module, len(objects)))
    start = np.array(addresses, np.uint64)
    if len(start) and not start.any():
        start, names, owners, ranks, problem = start[:0], [], [], [], HIDDEN
    owner = np.array(owners, np.int64)
    symbols = RawSymbols(start, np.zeros_like(start), _ends(start, owner), np.array(ranks, np.int64), names)
    return _table(symbols, owner, tuple(objects), problem)


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
