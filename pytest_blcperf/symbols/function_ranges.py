"""Where functions begin and end in a file without symbols: the ranges of its unwind information.

`.eh_frame_hdr` is a sorted table of (where a function begins, where its frame description is), and survives stripping;
the description says how long the function is. Formats: Linux Standard Base, Core, "Exception Frames".
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pytest_blcperf.symbols.elf import MAX_SECTION_BYTES, ElfError, ElfFile
from pytest_blcperf.symbols.symbol_table import Ints, Words

MAX_FUNCTIONS = 4_000_000

_MAX_CIES = 4096
_CIE_BYTES = 256
_CIE_WINDOW = 1 << 20
_DATA_RELATIVE_4 = 0x3B
_UNSIGNED_4 = 0x03
_SIZES = {0x0: 8, 0x3: 4, 0x4: 8, 0xB: 4, 0xC: 8}
"""Bytes of a pointer, by the lower half of its encoding (DW_EH_PE_…): absolute, udata4, udata8, sdata4, sdata8."""


def function_ranges(elf: ElfFile) -> tuple[Words, Words]:
    """(begins, ends) of the functions with unwind information, sorted; empty without `.eh_frame_hdr`.

    A compiler may split a function in two ranges (its cold part). Of 64-bit and 32-bit little-endian files; empty for
    others, and for encodings of pointers that no linker writes. Raises ElfError.
    """
    nothing = np.zeros(0, np.uint64), np.zeros(0, np.uint64)
    header = _header(elf)
    if header is None or elf.byte_order != "<":
        return nothing
    address, data = header
    if len(data) < 12 or data[0] != 1 or data[2] != _UNSIGNED_4 or data[3] != _DATA_RELATIVE_4:
        return nothing
    size = _SIZES.get(data[1] & 0xF)
    if size != 4:
        return nothing
    number = int.from_bytes(data[8:12], "little")
    if number > MAX_FUNCTIONS or 12 + 8 * number > len(data):
        raise ElfError(f".eh_frame_hdr claims {number} functions in {len(data)} bytes")
    table = np.frombuffer(data, "<i4", 2 * number, 12).reshape(-1, 2).astype(np.int64)
    begins = np.uint64(address) + table[:, 0].astype(np.uint64)
    lengths = _lengths(elf, np.uint64(address) + table[:, 1].astype(np.uint64))
    ends = begins + lengths
    good = (lengths > 0) & (ends > begins)
    order = np.argsort(begins[good], kind="stable")
    return begins[good][order], ends[good][order]


def _header(elf: ElfFile) -> tuple[int, bytes] | None:
    """(address, bytes) of `.eh_frame_hdr`, by its segment: a file without section headers still has that."""
    segment = next((one for one in elf.segments if one.type == "PT_GNU_EH_FRAME"), None)
    if segment is None or segment.file_size > MAX_SECTION_BYTES:
        return None
    try:
        return segment.address, elf.read(segment.offset, segment.file_size)
    except ElfError:
        # A debug file has the segment's header without its bytes.
        return None


def _lengths(elf: ElfFile, descriptions: Words) -> Words:
    """By frame description (its address): the length of its function, 0 where it cannot be read."""
    found = np.zeros(len(descriptions), np.uint64)
    for segment in elf.segments:
        if segment.type != "PT_LOAD" or not 0 < segment.file_size <= MAX_SECTION_BYTES:
            continue
        offsets = descriptions - np.uint64(segment.address)
        inside = np.flatnonzero(offsets < segment.file_size)
        if len(inside):
            first, last = int(offsets[inside].min()), min(int(offsets[inside].max()) + 24, segment.file_size)
            # Before the first description stands what they all share.
            first = max(0, first - _CIE_WINDOW)
            data = np.frombuffer(elf.read(segment.offset + first, last - first), np.uint8)
            found[inside] = _lengths_in(data, offsets[inside].astype(np.int64) - first, elf.bits)
    return found


def _lengths_in(data: npt.NDArray[np.uint8], at: Ints, bits: int) -> Words:
    """`at` are places of descriptions in `data`: length, distance to the shared part, begin, length of the function."""
    found = np.zeros(len(at), np.uint64)
    readable = at + 16 <= len(data)
    shared = at + 4 - _integers(data, np.where(readable, at + 4, 0), 4)
    readable &= (shared >= 0) & (shared < at)
    places, which = np.unique(shared[readable], return_inverse=True)
    if len(places) > _MAX_CIES:
        raise ElfError(f".eh_frame has more than {_MAX_CIES} common parts")
    encodings = [_encoding(data[place : place + _CIE_BYTES].tobytes()) for place in places.tolist()]
    sizes = [bits // 8 if not code & 0xF else _SIZES.get(code & 0xF, 0) for code in encodings]
    size = np.zeros(len(at), np.int64)
    size[readable] = np.array(sizes, np.int64)[which] if sizes else 0
    for width in (4, 8):
        rows = np.flatnonzero((size == width) & (at + 8 + 2 * width <= len(data)))
        found[rows] = _integers(data, at[rows] + 8 + width, width).astype(np.uint64)
    return np.where(found < np.uint64(1 << 40), found, np.uint64(0))


def _integers(data: npt.NDArray[np.uint8], at: Ints, width: int) -> Ints:
    """Unsigned little-endian integers of that many bytes."""
    found = np.zeros(len(at), np.uint64)
    for byte in range(width):
        found |= data[np.minimum(at + byte, len(data) - 1)].astype(np.uint64) << np.uint64(8 * byte)
    return found.astype(np.int64)


def _encoding(common: bytes) -> int:
    """How descriptions that share this part (a CIE) encode pointers: the byte that belongs to `R`, else 0: absolute."""
    text, zero, rest = common[9:].partition(b"\0")
    if not zero or not text.startswith(b"z"):
        return 0
    for _ in range(4):
        # Code alignment, data alignment, the return address's register, the length of what follows.
        while rest and rest[0] & 0x80:
            rest = rest[1:]
        rest = rest[1:]
    for letter in text[1:]:
        if letter == ord("R"):
            return rest[0] if rest else 0
        if letter == ord("P"):
            rest = rest[1 + _SIZES.get(rest[0] & 0xF, 4) :] if rest else rest
        elif letter == ord("L"):
            rest = rest[1:]
    return 0
