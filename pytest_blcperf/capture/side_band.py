"""What the kernel tells besides samples: mappings, names, new and ended threads, losses. One object a record."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

from pytest_blcperf.capture import perf_event as abi
from pytest_blcperf.capture.records import SampleLayout
from pytest_blcperf.model.recording import Fork, Mapping, ThreadName

MOST_RECORDS = 1_000_000
"""More than that is no recording of something real. Whoever adds them asks for `room` and counts the rest as broken."""

_MAP = struct.Struct("=iiQQQ")
_MAP2_FILE = struct.Struct("=IIQQII")
_COMM = struct.Struct("=ii")
_TASK = struct.Struct("=iiiiQ")
_LOST = struct.Struct("=QQ")
_U64 = struct.Struct("=Q")
_PROT_EXEC = 4
_LOST_TO_A_FILTER = 1 << 15
_MAX_NAME = 4096
_BUILD_ID_BYTES = 20


@dataclass
class SideBand:
    """Everything but samples, as it comes in. `ended` holds (process, thread, time) of threads that exited.

    `lost` are records that rings had no room for, `lost_samples` samples that were lost elsewhere, or, in perf's
    files, the same counted once more.
    """

    mappings: list[Mapping] = field(default_factory=list)
    names: list[ThreadName] = field(default_factory=list)
    forks: list[Fork] = field(default_factory=list)
    ended: list[tuple[int, int, int]] = field(default_factory=list)
    lost: int = 0
    lost_samples: int = 0
    throttled: int = 0
    broken: int = 0

    def add(self, kind: int, misc: int, body: bytes, trailer_words: int, time: int) -> None:
        """Note the record with that body, whose last `trailer_words` are its sample_id, taken at `time` (ns)."""
        inner = body[: len(body) - 8 * trailer_words] if trailer_words else body
        if kind not in _READERS or 8 * trailer_words > len(body):
            self.broken += kind in _READERS
            return
        try:
            _READERS[kind](self, misc, inner, time)
        except struct.error:
            self.broken += 1

    def room(self) -> int:
        """How many more records are taken."""
        return max(MOST_RECORDS - sum(len(one) for one in (self.mappings, self.names, self.forks, self.ended)), 0)

    def _mmap(self, misc: int, body: bytes, time: int) -> None:
        if not misc & abi.MISC_MMAP_DATA:
            self._map(body, _MAP.size, time)

    def _mmap2(self, misc: int, body: bytes, time: int) -> None:
        major, minor, inode, generation, protection, _ = _MAP2_FILE.unpack_from(body, _MAP.size)
        if not protection & _PROT_EXEC or misc & abi.MISC_MMAP_DATA:
            return
        if misc & abi.MISC_MMAP_BUILD_ID:
            size = min(body[_MAP.size], _BUILD_ID_BYTES)
            file: dict[str, Any] = {"build_id": body[_MAP.size + 4 : _MAP.size + 4 + size].hex()}
        else:
            file = {"device": (major, minor), "inode": inode, "generation": generation}
        self._map(body, _MAP.size + _MAP2_FILE.size, time, **file)

    def _map(self, body: bytes, name_at: int, time: int, **file: Any) -> None:
        process, _, start, length, offset = _MAP.unpack_from(body)
        if start + length > 1 << 64 or not length:
            self.broken += 1
            return
        self.mappings.append(Mapping(process, start, start + length, offset, text(body[name_at:]), time, **file))

    def _comm(self, misc: int, body: bytes, time: int) -> None:
        process, thread = _COMM.unpack_from(body)
        name = text(body[_COMM.size :], "backslashreplace")
        self.names.append(ThreadName(process, thread, time, name, bool(misc & abi.MISC_COMM_EXEC)))

    def _fork(self, _misc: int, body: bytes, _time: int) -> None:
        process, parent, thread, parent_thread, time = _TASK.unpack_from(body)
        self.forks.append(Fork(process, parent, thread, parent_thread, _signed(time)))

    def _exit(self, _misc: int, body: bytes, _time: int) -> None:
        process, _, thread, _, time = _TASK.unpack_from(body)
        self.ended.append((process, thread, _signed(time)))

    def _lost(self, _misc: int, body: bytes, _time: int) -> None:
        self.lost += _LOST.unpack_from(body)[1]

    def _lost_samples(self, misc: int, body: bytes, _time: int) -> None:
        if not misc & _LOST_TO_A_FILTER:
            self.lost_samples += _U64.unpack_from(body)[0]

    def _throttle(self, _misc: int, _body: bytes, _time: int) -> None:
        self.throttled += 1


_READERS = {
    abi.RECORD_MMAP: SideBand._mmap,
    abi.RECORD_MMAP2: SideBand._mmap2,
    abi.RECORD_COMM: SideBand._comm,
    abi.RECORD_FORK: SideBand._fork,
    abi.RECORD_EXIT: SideBand._exit,
    abi.RECORD_LOST: SideBand._lost,
    abi.RECORD_LOST_SAMPLES: SideBand._lost_samples,
    abi.RECORD_THROTTLE: SideBand._throttle,
}

KINDS = tuple(_READERS)
"""The records that are noted; others may be passed over."""


def text(name: bytes, errors: str = "surrogateescape") -> str:
    """A zero-terminated path, with surrogates for bytes that are no UTF-8 (os.fsencode gives them back); or a name that
    is only shown (`errors="backslashreplace"`).
    """
    return name.partition(b"\0")[0][:_MAX_NAME].decode("utf-8", errors)


def trailer_time(body: bytes, layout: SampleLayout) -> int:
    """The time in a record's sample_id, 0 where it has none."""
    if not layout.sample_type & abi.SAMPLE_TIME:
        return 0
    before_time = bool(layout.sample_type & abi.SAMPLE_TID)
    at = len(body) - 8 * (layout.trailer_words - before_time)
    return _signed(_U64.unpack_from(body, at)[0]) if at >= 0 else 0


def _signed(time: int) -> int:
    """Times above 2⁶³ ns are 292 years off, and no column holds them."""
    return min(time, (1 << 63) - 1)
