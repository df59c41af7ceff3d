"""What a fixture hands over to be measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Rounds = Sequence[tuple[int, int, int]]
"""Timed rounds: iterations, CPU ns, wall ns."""


@dataclass(frozen=True)
class Schedule:
    """The calls a test declares with `benchmark.pedantic`: warm-up rounds and timed ones, of so many iterations."""

    warmup_rounds: int
    rounds: int
    iterations: int


@dataclass(frozen=True)
class Job:
    """The callable and what surrounds it, all of it untimed.

    `setup` gives the arguments of a call and runs before each one, `teardown` gets them after it. `before_round` and
    `after_round` surround a round of many calls (asv's setup and teardown). `schedule` is what the test declared; it
    is kept to where the test depends on the number of calls. `disable_gc` is the marker's.
    """

    call: Callable[..., object]
    name: str
    setup: Callable[[], Arguments] | None = None
    teardown: Callable[..., object] | None = None
    schedule: Schedule | None = None
    disable_gc: bool = False
    before_round: Callable[[], object] | None = None
    after_round: Callable[[], object] | None = None


class Measure(Protocol):
    """What measures a job."""

    def __call__(self, job: Job) -> tuple[object, Rounds]:
        """Measure; gives the result of one call and the timed rounds."""


def call_once(job: Job) -> tuple[object, Rounds]:
    """What `benchmark(f)` does without --blcperf: one call, timed, so that `stats` has something to show."""
    import time

    if job.before_round is not None:
        job.before_round()
    args, kwargs = job.setup() if job.setup is not None else ((), {})
    wall, cpu = time.perf_counter_ns(), time.process_time_ns()
    try:
        result = job.call(*args, **kwargs)
        cpu, wall = time.process_time_ns() - cpu, time.perf_counter_ns() - wall
    finally:
        if job.teardown is not None:
            job.teardown(*args, **kwargs)
        if job.after_round is not None:
            job.after_round()
    return result, [(1, cpu, wall)]
