"""A thread of ours that empties the rings into blocks of memory, of which there are only so many."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from pytest_blcperf.capture import perf_event as abi
from pytest_blcperf.capture.perf_rings import Rings
from pytest_blcperf.capture.records import index_records
from pytest_blcperf.model.recording import Bytes

LONGEST_NS = 50_000_000
SHORTEST_NS = 1_000_000
_FILL = 4
_SWITCH_SECONDS = 0.001
_EVERYTHING = (1 << 63) - 1


def drain_interval_ns(ring_bytes: int, record_bytes: int, rate: int) -> int:
    """How long a ring may be left alone: until a quarter of it is full at `rate` records a second."""
    full_ns = ring_bytes * 10**9 // max(record_bytes * rate, 1)
    return max(SHORTEST_NS, min(LONGEST_NS, full_ns // _FILL))


@dataclass(eq=False)
class Block:
    """Drained bytes. `segments` are [from, to) in bytes, each of whole records; what was sampled before `settled_ns` is
    in this block or an earlier one.
    """

    data: Bytes
    used: int = 0
    segments: list[tuple[int, int]] = field(default_factory=list)
    settled_ns: int = 0

    def room(self) -> memoryview:
        """What is free."""
        return self.data.data[self.used :]

    def took(self, length: int) -> None:
        """Note that so many bytes of records were written to the room."""
        self.segments.append((self.used, self.used + length))
        self.used += length


_NONE = Block(np.zeros(0, np.uint8))
"""No block: the last one has been handed on."""


class Drain:
    """Empties `rings` every `interval_ns` into blocks of `block_bytes`, at most `blocks` of them.

    When the reader is so late that no block is free, samples are dropped and counted in `dropped`; the records that say
    where code was loaded are kept. Memory is touched only as far as it is used.
    """

    def __init__(self, rings: Rings, interval_ns: int, block_bytes: int, blocks: int) -> None:
        self._rings = rings
        self._interval = interval_ns / 1e9
        self._block_bytes = max(block_bytes, rings.size)
        self._free = [self._new_block() for _ in range(max(blocks, 2))]
        self._block = self._free.pop()
        self._kept = bytearray()
        self._ready: deque[Block] = deque()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._round_ns = self._settled_ns = 0
        self._thread = threading.Thread(target=self._run, name="blcperf-drain", daemon=True)
        self.dropped = 0

    def start(self) -> None:
        """Begin."""
        # While the reader computes in Python, the thread waits so long for its turn: with the default of 5 ms, rings of
        # 512 KiB overflowed at 4 kHz. Lower rates and larger rings do not need it.
        self._switch_interval = sys.getswitchinterval()
        sys.setswitchinterval(min(self._switch_interval, _SWITCH_SECONDS))
        self._thread.start()

    def stop(self) -> None:
        """Empty the rings, whose events have been disabled, a last time, and end. Again: nothing."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
            sys.setswitchinterval(self._switch_interval)

    def take(self, timeout: float = 0.0, full: bool = False) -> Block | None:
        """The next block: a full one; else, unless `full` is asked for, what there is so far. None when there is
        nothing, for `timeout` seconds. The last one settles everything, and may be empty. Give it back with `recycle`.
        Raises what the thread died of.
        """
        with self._changed:
            if not self._ready and timeout > 0:
                self._changed.wait_for(lambda: self._ready or self.ended, timeout)
            if self._failure is not None:
                raise self._failure
            if not self._ready and self._may_retire(full):
                self._retire()
            return self._ready.popleft() if self._ready else None

    def _may_retire(self, full: bool) -> bool:
        if self.ended:
            return self._block is not _NONE
        return bool(self._block.used and self._free and not full)

    def recycle(self, block: Block) -> None:
        """Let the block be filled again."""
        block.used = 0
        block.segments.clear()
        with self._changed:
            self._free.append(block)

    def take_kept(self) -> bytes:
        """Records, no samples, that came while no block was free."""
        with self._changed:
            kept, self._kept = bytes(self._kept), bytearray()
        return kept

    @property
    def ended(self) -> bool:
        """Whether nothing more will come besides what is waiting."""
        return self._stopping.is_set() and not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._stopping.wait(self._interval):
                self._round()
            self._round()
            self._settled_ns = self._block.settled_ns = _EVERYTHING
        except BaseException as error:
            self._failure = error
        with self._changed:
            self._changed.notify_all()

    def _round(self) -> None:
        # A record may be stamped before it is written: what is older than the previous round has been written by now.
        previous, self._round_ns = self._round_ns, time.monotonic_ns()
        with self._changed:
            for ring in self._rings.rings:
                self._drain(ring)
            self._settled_ns = self._block.settled_ns = previous

    def _drain(self, ring: abi.Ring) -> None:
        if not ring.used:
            return
        if len(self._block.room()) < ring.size and self._free:
            self._retire()
            self._changed.notify_all()
        if len(self._block.room()) >= ring.size:
            self._block.took(ring.drain_into(self._block.room()))
        else:
            self._drop_samples(ring)

    def _drop_samples(self, ring: abi.Ring) -> None:
        words = np.frombuffer(ring.drain(), np.uint64)
        found = index_records(words, [(0, len(words))])
        self.dropped += int((found.type == abi.RECORD_SAMPLE).sum())
        for index in np.flatnonzero(found.type != abi.RECORD_SAMPLE).tolist():
            begin = int(found.position[index])
            if len(self._kept) < self._block_bytes:
                self._kept += words[begin : begin + int(found.size[index])].tobytes()

    def _retire(self) -> None:
        """Hand the block on and begin another, which there must be unless this has ended; call with the lock held."""
        self._block.settled_ns = self._settled_ns
        self._ready.append(self._block)
        self._block = _NONE if self.ended else self._free.pop()
        self._block.settled_ns = self._settled_ns

    def _new_block(self) -> Block:
        return Block(np.empty(self._block_bytes, np.uint8))
