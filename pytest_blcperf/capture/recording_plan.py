"""What to record: events, rate, modes, stacks, and how much memory that may take."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_blcperf.errors import UsageError

MAX_RATE = 4000
MAX_STACK_BYTES = 48 << 10
"""With registers and 127 kernel frames a record stays below the 64 KiB that its 16-bit size can say."""
MIN_RING_BYTES = 64 << 10


@dataclass(frozen=True)
class RecordingPlan:
    """`rate` samples a second of every event but tracepoints and those with a `period`, which are sampled every
    `period` occurrences (0: every one for tracepoints).

    `stack_bytes` of stack and the user registers come with each sample; 0: neither. 12 KiB is what 99 % of Python
    stacks need to reach their first frame of interest. `frame_pointers` adds the kernel's walk of the user stack.

    `ring_bytes` is what a CPU's ring should have; fewer when the kernel does not grant it. Samples are handed on in
    batches of at most `batch_bytes` of records, and `queue_bytes` may wait for their reader before samples are dropped.
    """

    events: tuple[str, ...] = ("cpu-clock",)
    rate: int = 1000
    period: int = 0
    user: bool = True
    kernel: bool = True
    stack_bytes: int = 16 << 10
    frame_pointers: bool = False
    ring_bytes: int = 4 << 20
    batch_bytes: int = 64 << 20
    queue_bytes: int = 256 << 20

    def __post_init__(self) -> None:
        """Raises UsageError for values that the kernel would refuse or that make no sense."""
        if not self.events:
            raise UsageError("no event to record", "name one, such as cpu-clock")
        if not 1 <= self.rate <= MAX_RATE:
            raise UsageError(f"a rate of {self.rate} per second is not possible", f"choose 1 to {MAX_RATE}")
        if self.period < 0:
            raise UsageError(f"a period of {self.period} is not possible", "choose 1 or more")
        if not (self.user or self.kernel):
            raise UsageError("neither user nor kernel mode is to be recorded", "ask for one of them")
        if not 0 <= self.stack_bytes <= MAX_STACK_BYTES or self.stack_bytes % 8:
            raise UsageError(
                f"stack dumps of {self.stack_bytes} bytes are not possible",
                f"choose a multiple of 8 up to {MAX_STACK_BYTES}",
            )
        if self.ring_bytes < MIN_RING_BYTES or self.batch_bytes < MIN_RING_BYTES or self.queue_bytes < self.batch_bytes:
            raise UsageError(
                "rings and batches need at least 64 KiB, and the queue a batch", "leave the sizes at their defaults"
            )
