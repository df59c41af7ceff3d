"""Where the objects of a round lie, and that it is the seed's doing."""

from __future__ import annotations

import gc
import resource
import subprocess
import sys
from collections.abc import Callable

import pytest

from pytest_blcperf.bench.memory_layout import ShiftingHeap, fixed_addresses, with_room

PLACES = """
import sys
from pytest_blcperf.bench.memory_layout import ShiftingHeap

heap, places = ShiftingHeap(), []
for seed in sys.argv[1].split(","):
    if seed:
        heap.shift(int(seed))
    places.append([id(bytes(size)) % 4096 for size in (200, 400, 3000)])
print(places)
"""


def places(seeds: str) -> list[list[int]]:
    with fixed_addresses():
        done = subprocess.run([sys.executable, "-c", PLACES, seeds], capture_output=True, text=True, check=True)
    found: list[list[int]] = eval(done.stdout)
    return found


def test_a_shift_moves_what_is_allocated_next() -> None:
    still, moved = places(",,"), places("1,2,3")
    assert still[0] == still[1] == still[2]
    assert len(set(map(tuple, moved))) == 3
    assert len({large for _, _, large in moved}) > 1  # That is one of the C library's.


def test_the_collector_does_not_look_at_the_memory_that_is_kept() -> None:
    heap = ShiftingHeap()
    heap.shift(1)
    gc.collect()
    assert heap._kept
    assert not any(gc.is_tracked(one) for one in heap._kept)


CALLS = 200


def deep(frames: int) -> int:
    return deep(frames - 1) if frames else 0


def faults(_: object) -> int:
    """Pages that were touched for the first time while something deep was called again and again."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(CALLS):
        deep(30)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def at_depth(slots: int, call: Callable[[object], int]) -> int:
    def lower() -> int:
        return call(None)

    lower.__code__ = lower.__code__.replace(co_stacksize=slots)
    return lower()


DEPTHS = range(50, 2100, 100)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="frames lie in chunks from CPython 3.11 on")
def test_at_some_depths_every_call_maps_memory() -> None:
    assert max(at_depth(slots, faults) for slots in DEPTHS) >= CALLS


def test_with_room_none_does() -> None:
    assert max(at_depth(slots, lambda _: with_room(faults, None)) for slots in DEPTHS) < CALLS / 2
