"""An event on one thread of another process: the kernel sends that thread a signal with every sample it writes here.

So the thread can note what only it knows while the samples, their registers and their stacks never touch its memory.
One ring on any CPU; the recorder's rings, one a CPU, cannot wake anybody up at every sample.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable

import numpy as np

from pytest_blcperf.capture import perf_event as abi
from pytest_blcperf.capture.drain import drain_interval_ns
from pytest_blcperf.capture.perf_attributes import REGISTER_MASKS
from pytest_blcperf.capture.records import SampleLayout, batch, decode, index_records
from pytest_blcperf.capture.refusal import refused
from pytest_blcperf.errors import UsageError
from pytest_blcperf.model.recording import RecordingHealth, SampleBatch

STACK_BYTES = 16 << 10
RING_BYTES = (4 << 20, 2 << 20, 1 << 20, *abi.RING_BYTES)
CHUNK_BYTES = 16 << 20
"""How much may wait before it is handed on."""

_FIELDS = (
    *(abi.SAMPLE_IP, abi.SAMPLE_TID, abi.SAMPLE_TIME, abi.SAMPLE_CPU, abi.SAMPLE_PERIOD),
    *(abi.SAMPLE_REGISTERS_USER, abi.SAMPLE_STACK_USER),
)
_HEADER_BYTES = 400


class ThreadEvent:
    """Samples of the thread id `thread`, `rate` a second of its CPU time in user mode, from `start` to `stop`.

    `consume` is given batches, by a thread of this class and by `stop`, never by both at once. Raises PermissionDenied
    when the kernel refuses, UsageError on other machines than x86-64 and 64-bit ARM.
    """

    def __init__(self, thread: int, rate: int, signal: int, consume: Callable[[SampleBatch], None]) -> None:
        self._machine = os.uname().machine
        if self._machine not in REGISTER_MASKS:
            raise UsageError(f"recording is not supported on {self._machine}", "choose another --blcperf-backend")
        self._consume = consume
        self._descriptor = -1
        self._ring: abi.Ring | None = None
        try:
            self._descriptor = abi.open_event(self._attributes(10**9 // rate), thread)
            self._ring = abi.largest_ring(self._descriptor, RING_BYTES)
            abi.send_signal(self._descriptor, signal, thread)
        except OSError as error:
            self.close()
            raise refused(error) from error
        self._layout = SampleLayout(self._machine, sum(_FIELDS), registers_mask=REGISTER_MASKS[self._machine])
        self._interval = drain_interval_ns(self._ring.size, _HEADER_BYTES + STACK_BYTES, rate) / 1e9
        self._waiting: list[bytes] = []
        self._failure: BaseException | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="blcperf-drain", daemon=True)
        self._samples = self._lost = self._throttled = self._broken = 0

    def _attributes(self, period_ns: int) -> abi.Attributes:
        flags = abi.FLAG_DISABLED | abi.FLAG_EXCLUDE_KERNEL | abi.FLAG_EXCLUDE_HYPERVISOR
        return abi.Attributes(
            type=abi.TYPE_SOFTWARE,
            size=ctypes.sizeof(abi.Attributes),
            config=abi.CPU_CLOCK,
            sample_period=period_ns,
            sample_type=sum(_FIELDS),
            flags=flags | abi.FLAG_SAMPLE_ID_ALL | abi.FLAG_USE_CLOCKID,
            wakeup_events=1,
            sample_regs_user=REGISTER_MASKS[self._machine],
            sample_stack_user=STACK_BYTES,
            clockid=time.CLOCK_MONOTONIC,
        )

    def start(self) -> None:
        """Begin."""
        self._thread.start()
        abi.enable(self._descriptor)

    def _run(self) -> None:
        try:
            while not self._stopping.wait(self._interval):
                self._drain()
                if sum(map(len, self._waiting)) > CHUNK_BYTES:
                    self._hand_on()
        except BaseException as error:
            self._failure = error

    def _drain(self) -> None:
        assert self._ring is not None
        if self._ring.used:
            buffer = bytearray(self._ring.size)
            length = self._ring.drain_into(memoryview(buffer))
            self._waiting.append(bytes(memoryview(buffer)[:length]))

    def _hand_on(self) -> None:
        """What is waiting, as one batch."""
        data, self._waiting = b"".join(self._waiting), []
        words = np.frombuffer(data, np.uint64)
        index = index_records(words, [(0, len(words))])
        rows = np.flatnonzero(index.type == abi.RECORD_SAMPLE)
        for position, size in zip(
            *(column[index.type == abi.RECORD_LOST].tolist() for column in (index.position, index.size)), strict=True
        ):
            self._lost += abi.decode_lost(words[position + 1 : position + size].tobytes())
        self._throttled += int((index.type == abi.RECORD_THROTTLE).sum())
        table = decode(words, index.position[rows], index.misc[rows], index.size[rows], self._layout)
        self._broken += index.broken + table.broken
        self._samples += len(table)
        if len(table):
            every = np.arange(len(table))
            self._consume(batch([table], [every], [np.zeros(len(table), np.int64)]))

    def stop(self) -> RecordingHealth:
        """No more samples and signals; hand on what is left, give everything back. Raises what `consume` has raised."""
        try:
            abi.disable(self._descriptor)
            self._stopping.set()
            if self._thread.is_alive():
                self._thread.join()
            if self._failure is not None:
                raise self._failure
            self._drain()
            self._hand_on()
        finally:
            self.close()
        return RecordingHealth(self._samples, self._lost, self._throttled, self._broken)

    def close(self) -> None:
        """Give everything back. Again: nothing."""
        stopping = getattr(self, "_stopping", None)
        if stopping is not None:
            stopping.set()
            if self._thread.is_alive():
                self._thread.join()
        ring, self._ring = self._ring, None
        if self._descriptor >= 0:
            abi.disable(self._descriptor)
        if ring is not None:
            ring.close()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
