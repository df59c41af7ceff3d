"""One random memory layout a launch, the same for both of its sides.

Where things lie in memory makes equal code faster or slower by percents, in one process and not in the next. With
addresses that the kernel draws for each process (ASLR), the two sides of a launch have two layouts: noise that no
number of rounds averages out. Without, all launches would have the same two, and their difference would be a bias. So
ASLR is off in workers, and each launch shifts the stack and the heap of both its sides by the same amounts, drawn anew.

The two sides still differ where their code makes them differ: one constant more, or a longer path, moves all that comes
after it. Most of what that does to time lies in the objects that come and go in every iteration, since allocators hand
out the same places again and again. So each sweep of rounds moves those too (`ShiftingHeap`), and what was one accident
for a whole launch becomes noise from round to round. Measured in `docs/accuracy.md`.

And the frames of Python functions lie in chunks of 16 KiB (CPython from 3.11 on): a call that needs a new chunk maps
memory and gives it back when it returns. A benchmark during which the end of a chunk is crossed again and again got up
to three times as slow, at some depths of the stack and not at others. So the frames of a round, of the thread that runs
it, lie in one large chunk (`with_room`).
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import random
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import TypeVar

Argument = TypeVar("Argument")
Result = TypeVar("Result")

VARIABLE = "BLCPERF_LAYOUT"
_ADDR_NO_RANDOMIZE = 0x0040000
"""Of personality(2)."""
_ASK = 0xFFFFFFFF
_PAGE = 4096
_SMALL = 480
"""Bytes up to which a `bytes` object is at most the 512 that CPython allocates from its own pools."""
_LARGE = 8192
ROOM = 1 << 17
"""A thousand frames, Python's limit of recursion, of 128 slots of 8 bytes each."""
_GRAIN = 16_384
"""What both sides' environments are padded to a multiple of, before the shift: they differ by the length of paths."""


def pad(environment: MutableMapping[str, str], arguments: int, seed: int) -> None:
    """Give an environment a variable that makes the stack begin where it does on the other side of the launch.

    `arguments` are the bytes of the command line, which lie there too.
    """
    shift = random.Random(seed).randrange(0, _PAGE, 16)
    used = arguments + len(VARIABLE) + 2 + _bytes(environment)
    environment[VARIABLE] = "x" * (-used % _GRAIN + shift)


def shift_heap(seed: int) -> object:
    """What this process must keep: memory that puts all that is allocated from now on elsewhere, by the seed.

    Mappings come one below the other, so some pages move every later one; small blocks fill the pools of small objects
    to another degree.
    """
    draw = random.Random(seed).randrange
    pages = mmap.mmap(-1, draw(1, 512) * _PAGE)
    return pages, [bytes(draw(1, 512)) for _ in range(draw(1, 2000))]


class ShiftingHeap:
    """Memory that is taken and kept between rounds, so that the next rounds' objects come to lie elsewhere.

    Blocks that are given back would be taken again by the next shift, and rounds would go on in the same places.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[bytes, ...]] = []

    def shift(self, seed: int) -> None:
        """Take blocks of all sizes that CPython's own allocator serves, and of some that the C library's does."""
        draw = random.Random(seed)
        small = draw.choices(range(_SMALL), k=draw.randrange(200, 2000))
        large = draw.choices(range(_SMALL, _LARGE), k=draw.randrange(10, 60))
        # Tuples of bytes: the garbage collector, which runs within rounds too, soon looks at them no more.
        self._kept.append((*map(bytes, small), *map(bytes, large)))


def with_room(call: Callable[[Argument], Result], argument: Argument) -> Result:
    """`call(argument)`, in and below which frames of `ROOM` slots in all need no further chunk.

    The frame of this function is so large that it gets a chunk of its own, of a power of two in size: as much as it
    takes itself is left. Nothing of that is touched before it is used.
    """
    return call(argument)


if sys.version_info >= (3, 11):
    with_room.__code__ = with_room.__code__.replace(co_stacksize=ROOM + 1024)


def _bytes(environment: Mapping[str, str]) -> int:
    return sum(len(os.fsencode(name)) + len(os.fsencode(value)) + 2 for name, value in environment.items())


@contextlib.contextmanager
def fixed_addresses() -> Iterator[bool]:
    """Processes that this thread starts inside get the same addresses each time; False where that is not allowed.

    The default seccomp profile of Docker allows it not.
    """
    personality = ctypes.CDLL(None).personality
    personality.argtypes, personality.restype = [ctypes.c_ulong], ctypes.c_int
    before = personality(_ASK)
    allowed = before != -1 and personality(before | _ADDR_NO_RANDOMIZE) != -1
    try:
        yield allowed
    finally:
        if allowed:
            personality(before)
