"""What a sampler gives, and what a sampler is."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import CodeType
from typing import Protocol


@dataclass(frozen=True)
class Samples:
    """The samples of one benchmark in one process, interned, as parallel lists.

    `stacks[i]` holds indices into `codes`, leaf first, without the frame of the root and everything outside it, so the
    empty stack is time of the root itself (its loop, and C functions it calls directly). `weight_ns[i]` is the CPU time
    of the main thread (ns) that the `count[i]` samples of that stack stand for. `codes` are distinct by identity:
    `CodeType.__eq__` ignores the file name. `lost` counts samples the kernel could not hand over, `throttled` how often
    it paused sampling. `self_time` is False where the leaf is not to be trusted and only inclusive time counts.
    `warnings` are (code, text) pairs.
    """

    backend: str
    self_time: bool
    codes: list[CodeType] = field(default_factory=list)
    stacks: list[tuple[int, ...]] = field(default_factory=list)
    weight_ns: list[int] = field(default_factory=list)
    count: list[int] = field(default_factory=list)
    lost: int = 0
    throttled: int = 0
    warnings: list[tuple[str, str]] = field(default_factory=list)


class Sampler(Protocol):
    """Samples the Python stack of the main thread, in the process and the thread it is used from.

    Call `open`, then `add_window` after every round with the interval that counts (`time.perf_counter_ns`, in
    increasing order), then `finish`. What lies outside the windows is discarded.
    """

    name: str
    self_time: bool

    def open(self, root: CodeType | None) -> None:
        """Start sampling. Stacks are cut at the frame of `root`; samples without it are discarded (None: no cut).

        Raises BlcperfError when not called from the main thread, when it is already open, and when the system refuses.
        """

    def add_window(self, start_ns: int, end_ns: int) -> None:
        """Count what was sampled from `start_ns` to `end_ns`."""

    def finish(self) -> Samples:
        """Stop, restore signal handlers, close descriptors, give the samples. Again: the same samples."""
