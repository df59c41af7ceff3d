"""Which function is which in another build of a program, when neither has symbols: hashes of normalised code.

Code is compared without what moving it changes: displacements that lead out of the function (calls, jumps, data
relative to the instruction pointer) and, in programs that are not position-independent, absolute addresses. Jumps
within a function stay. No disassembler: one would be another compiled dependency, and a displacement can be told by
the bytes before it together with where it leads (docs/symbols.md has the measurement).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_blcperf.symbols.elf import ElfError, ElfFile, Segment
from pytest_blcperf.symbols.function_ranges import function_ranges
from pytest_blcperf.symbols.plt import plt_symbols
from pytest_blcperf.symbols.symbol_table import Ints, RawSymbols, SymbolTable, Words

Bytes = npt.NDArray[np.uint8]

_DIGEST_BYTES = 8
_ROUNDS = 2
_CHUNK = 4 << 20
_MAX_FUNCTION = 16 << 20
_STRING_BYTES = 32
_AHEAD = 4
"""Instructions after an ARM `adrp` in which the lower half of the address is looked for."""


@dataclass(frozen=True, eq=False)
class CodeIdentities:
    """Functions of a file by where they begin (rising) and end, each with a fingerprint of its code.

    A fingerprint that several functions of the file share does not tell which: to theirs `@` and a hash of this build
    and their address is added, so that they are found again in the same build and never taken for one of another.
    """

    begin: Words
    end: Words
    fingerprints: tuple[str, ...]

    def find(self, addresses: Words) -> Ints:
        """By link address, the index of the function that holds it; -1 where there is none."""
        found = np.searchsorted(self.begin, addresses, "right").astype(np.int64) - 1
        if len(self.begin):
            found[(found >= 0) & (addresses >= self.end[found])] = -1
        return found


def code_identities(elf: ElfFile) -> CodeIdentities:
    """The functions that a file has unwind information for. None for other machines than 64-bit x86 and ARM.

    Equal fingerprints mean the same code, the same imported functions called in the same order; other functions that
    it calls, and data, are only looked at to tell apart functions whose code is the same. Raises ElfError.
    """
    begin, end = _apart(*function_ranges(elf))
    keys: list[bytes] = [b""] * len(begin)
    references = _References.none()
    if elf.machine in ("x86_64", "aarch64") and elf.bits == 64 and elf.byte_order == "<":
        for first, last, code in _chunks(elf, begin, end):
            chunk = slice(first, last)
            found = _normalise(elf, code, begin[chunk], end[chunk])
            references = references.and_(_References(found.function + first, found.target))
            for index in range(first, last):
                start, stop = int(begin[index] - begin[first]), int(end[index] - begin[first])
                keys[index] = _digest([code[start:stop].tobytes()])
    keys = _told_apart(elf, _with_imports(elf, keys, references), references, begin)
    shared = Counter(keys)
    known = [bool(key) for key in keys]
    build = _digest([begin.tobytes(), *keys])
    return CodeIdentities(
        begin[known],
        end[known],
        tuple(
            key.hex() if shared[key] == 1 else f"{key.hex()}@{_digest([build, start.to_bytes(8, 'little')]).hex()}"
            for key, start in zip(keys, begin.tolist(), strict=True)
            if key
        ),
    )


@dataclass(frozen=True, eq=False)
class _References:
    """Where code leads to, in order of address: the number of the function, the target."""

    function: Ints
    target: Words

    @classmethod
    def none(cls) -> _References:
        return cls(np.zeros(0, np.int64), np.zeros(0, np.uint64))

    def and_(self, other: _References) -> _References:
        return _References(np.concatenate([self.function, other.function]), np.concatenate([self.target, other.target]))

    def of(self, functions: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
        """(function, its targets) of each of these functions, which rise."""
        first = np.searchsorted(self.function, functions, "left").tolist()
        last = np.searchsorted(self.function, functions, "right").tolist()
        for function, start, stop in zip(functions, first, last, strict=True):
            yield function, self.target[start:stop].tolist()


def _digest(parts: Iterable[bytes]) -> bytes:
    found = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        found.update(part)
    return found.digest()


def _apart(begin: Words, end: Words) -> tuple[Words, Words]:
    """Without functions that begin inside an earlier one, and those too large to be one."""
    kept = end - begin <= _MAX_FUNCTION
    begin, end = begin[kept], end[kept]
    if len(begin):
        kept = np.append(True, begin[1:] >= np.maximum.accumulate(end)[:-1])
    return (begin[kept], end[kept]) if len(begin) else (begin, end)


def _chunks(elf: ElfFile, begin: Words, end: Words) -> Iterator[tuple[int, int, Bytes]]:
    """(first function, the one after the last, the bytes from the first one's beginning to the last one's end)."""
    for segment in elf.segments:
        if segment.type != "PT_LOAD" or not segment.executable:
            continue
        first = int(np.searchsorted(begin, np.uint64(segment.address)))
        stop = int(np.searchsorted(end, np.uint64(min(segment.address + segment.file_size, 2**64 - 1)), "right"))
        while first < stop:
            last = int(np.searchsorted(end[:stop], begin[first] + np.uint64(_CHUNK), "right"))
            last = max(last, first + 1)
            place = int(begin[first]) - segment.address + segment.offset
            data = elf.read(place, int(end[last - 1] - begin[first]))
            yield first, last, np.frombuffer(data, np.uint8).copy()
            first = last


def _normalise(elf: ElfFile, code: Bytes, begin: Words, end: Words) -> _References:
    """Zero in `code`, which holds these functions, what moving them changes, and tell where it led."""
    base = int(begin[0])
    low, high = _image(elf.segments)
    find = _x86_references if elf.machine == "x86_64" else _arm_references
    at, target, mask = find(code, base, low, high, elf.kind == "ET_EXEC")
    place = np.uint64(base) + at.astype(np.uint64)
    function = np.searchsorted(begin, place, "right").astype(np.int64) - 1
    within = (place + np.uint64(4) <= end[function]) & ((target < begin[function]) | (target >= end[function]))
    at, target, mask, function = at[within], target[within], mask[within], function[within]
    for byte in range(4):
        # One after the other: fields may overlap, where one of them is none.
        np.bitwise_and.at(code, at + byte, (mask >> np.uint32(8 * byte)).astype(np.uint8))
    return _References(function, target)


def _image(segments: Iterable[Segment]) -> tuple[int, int]:
    loaded = [one for one in segments if one.type == "PT_LOAD"]
    low = min((one.address for one in loaded), default=0)
    return low, min(max((one.address + one.memory_size for one in loaded), default=0), 2**63)


def _words(code: Bytes, at: Ints) -> npt.NDArray[np.uint32]:
    found = np.zeros(len(at), np.uint32)
    for byte in range(4):
        found |= code[at + byte].astype(np.uint32) << np.uint32(8 * byte)
    return found


def _x86_references(
    code: Bytes, base: int, low: int, high: int, absolute: bool
) -> tuple[Ints, Words, npt.NDArray[np.uint32]]:
    """(place, target, bits that are kept) of displacements: after call and jump opcodes (e8, e9, 0f 8x), and after a
    ModRM byte that says `disp(%rip)` (mod 0, r/m 5); with `absolute`, also whatever is an address of the image.
    """
    if len(code) < 6:
        return np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros(0, np.uint32)
    before, earlier = code[1:-4], code[:-5]
    marked = (before == 0xE8) | (before == 0xE9) | ((before & 0xC7) == 0x05)
    marked |= (earlier == 0x0F) & ((before & 0xF0) == 0x80)
    at = np.flatnonzero(marked).astype(np.int64) + 2
    target = base + at + 4 + _words(code, at).view(np.int32)
    good = (target >= low) & (target < high)
    at, target = at[good], target[good]
    if absolute:
        every = np.arange(len(code) - 3, dtype=np.int64)
        words = _words(code, every).astype(np.int64)
        also = every[(words >= low) & (words < high)]
        at, target = np.append(at, also), np.append(target, words[also])
        order = np.argsort(at, kind="stable")
        at, target = at[order], target[order]
    return at, target.astype(np.uint64), np.zeros(len(at), np.uint32)


def _arm_references(
    code: Bytes, base: int, low: int, high: int, _absolute: bool
) -> tuple[Ints, Words, npt.NDArray[np.uint32]]:
    """(place, target, bits that are kept) of `b`, `bl`, `adrp`, and of the `add` or load that completes its address."""
    size = len(code) // 4 * 4
    words = code[:size].view("<u4")
    number = np.arange(len(words), dtype=np.int64)
    branch = np.flatnonzero((words & 0x7C000000) == 0x14000000)
    distance = ((words[branch].astype(np.int64) & 0x3FFFFFF) ^ 1 << 25) - (1 << 25)
    page = np.flatnonzero((words & 0x9F000000) == 0x90000000)
    pages = words[page].astype(np.int64)
    pages = (((pages >> 29 & 3) | (pages >> 5 & 0x7FFFF) << 2) ^ 1 << 20) - (1 << 20)
    page_target = (base + 4 * page & ~0xFFF) + (pages << 12)
    at, target = [branch, page], [base + 4 * (branch + distance), page_target]
    mask = [np.full(len(branch), 0xFC000000, np.uint32), np.full(len(page), 0x9F00001F, np.uint32)]
    for ahead in range(1, _AHEAD + 1):
        place = np.minimum(page + ahead, len(words) - 1)
        # add (immediate), and load or store (unsigned offset), from the register that adrp set.
        lower = ((words[place] & 0xFFC00000) == 0x91000000) | ((words[place] & 0x3B000000) == 0x39000000)
        lower &= (words[place] >> 5 & 31) == (words[page] & 31)
        at.append(place[lower])
        target.append(page_target[lower])
        mask.append(np.full(int(lower.sum()), 0xFFC003FF, np.uint32))
    places, targets, masks = np.concatenate(at), np.concatenate(target), np.concatenate(mask)
    order = np.argsort(places, kind="stable")
    order = order[(targets[order] >= low) & (targets[order] < high)]
    return 4 * number[places[order]], targets[order].astype(np.uint64), masks[order]


def _with_imports(elf: ElfFile, keys: list[bytes], references: _References) -> list[bytes]:
    """The keys with the names of the imported functions that are called, which moving does not change."""
    stubs = plt_symbols(elf, _NO_FUNCTIONS)
    names = {start: stubs.names[row].encode() for row, start in enumerate(stubs.start.tolist())}
    calls = np.isin(references.target, stubs.start)
    called = _References(references.function[calls], references.target[calls])
    found = list(keys)
    for function, targets in called.of(np.unique(called.function).tolist()):
        found[function] = _digest([keys[function], *(names[target] + b"\0" for target in targets)])
    return found


def _told_apart(elf: ElfFile, keys: list[bytes], references: _References, begin: Words) -> list[bytes]:
    """Keys that several functions share, with what else tells them apart: the code they call, the strings they use."""
    functions = {start: index for index, start in enumerate(begin.tolist())}
    for _ in range(_ROUNDS):
        shared = Counter(keys)
        alike = [index for index, key in enumerate(keys) if key and shared[key] > 1]
        found = list(keys)
        for function, targets in references.of(alike):
            leads_to = (keys[functions[one]] if one in functions else _string(elf, one) for one in targets)
            found[function] = _digest([keys[function], *leads_to])
        keys = found
    return keys


def _string(elf: ElfFile, address: int) -> bytes:
    """The string at an address of constant data, as far as it is one."""
    for segment in elf.segments:
        if segment.type == "PT_LOAD" and 0 <= address - segment.address < segment.file_size:
            if segment.writable or segment.executable:
                return b""
            size = min(_STRING_BYTES, segment.file_size - (address - segment.address))
            try:
                return elf.read(segment.offset + address - segment.address, size).partition(b"\0")[0]
            except ElfError:
                return b""
    return b""


_NO_FUNCTIONS = SymbolTable(
    RawSymbols(np.zeros(0, np.uint64), np.zeros(0, np.uint64), np.zeros(0, np.uint64), np.zeros(0, np.int64), ())
)
