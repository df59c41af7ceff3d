"""The measured callable inside the worker: it runs the rounds it is asked for and answers with figures.

Every request and every answer is plain data (see `lockstep.py` for who asks what when). Standard library only.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_blcperf.bench.fixture import call_once
from pytest_blcperf.capture import probe
from pytest_blcperf.capture.backends import OUTSIDE
from pytest_blcperf.capture.call_counts import count_calls
from pytest_blcperf.capture.functions import Roots, describe
from pytest_blcperf.capture.observed import Observed
from pytest_blcperf.capture.samples import Sampler, Samples
from pytest_blcperf.errors import BlcperfError

if TYPE_CHECKING:
    from pytest_blcperf.capture.callgrind import InstructionCounter

Request = Mapping[str, Any]
Answer = dict[str, Any]
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def run_iterations(call: Callable[[], object], iterations: int) -> None:
    """The round: nothing but calls. Its frame is where profiles are cut off."""
    for _ in repeat(None, iterations):
        call()


class Target:
    """A callable without arguments, or one whose arguments `setup` makes anew, untimed, before every call."""

    def __init__(
        self,
        call: Callable[..., object],
        name: str,
        roots: Roots,
        setup: Callable[[], Arguments] | None = None,
        teardown: Callable[..., object] | None = None,
    ) -> None:
        self._call = call
        self._roots = roots
        self._setup = setup
        self._teardown = teardown
        self.name = name
        self.rounds: list[tuple[int, int, int]] = []
        """Timed rounds so far: iterations, CPU ns, wall ns."""
        self._sampler: Sampler | None = None
        self._observed: Observed | None = None

    def answer(self, request: Request) -> Answer:
        """Do what one request asks. What the callable raises comes through; the sampler is closed first."""
        try:
            handler: Callable[[Request], Answer] = getattr(self, "_on_" + request["op"].replace("-", "_"))
            return handler(request)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop sampling, if it is going on."""
        sampler, self._sampler = self._sampler, None
        if sampler is not None:
            sampler.finish()
        if self._observed is not None:
            self._observed.close(silent=False)
        gc.unfreeze()

    def last_call(self) -> tuple[object, list[tuple[int, int, int]]]:
        """One more call: its result, and the timed rounds, of which that call is the only one if there were none."""
        result, rounds = call_once(self._call, self.name, self._setup, self._teardown)
        return result, self.rounds or list(rounds)

    def _round(self, iterations: int, window: Callable[[int, int], None] | None = None) -> tuple[int, int]:
        if self._setup is not None:
            return self._round_with_setup(iterations, window)
        wall = time.perf_counter_ns()
        cpu = time.process_time_ns()
        run_iterations(self._call, iterations)
        cpu = time.process_time_ns() - cpu
        end = time.perf_counter_ns()
        if window is not None:
            window(wall, end)
        return cpu, end - wall

    def _round_with_setup(self, iterations: int, window: Callable[[int, int], None] | None) -> tuple[int, int]:
        assert self._setup is not None
        cpu_sum = wall_sum = 0
        for _ in repeat(None, iterations):
            args, kwargs = self._setup()
            call = partial(self._call, *args, **kwargs)
            wall = time.perf_counter_ns()
            cpu = time.process_time_ns()
            run_iterations(call, 1)
            cpu_sum += time.process_time_ns() - cpu
            end = time.perf_counter_ns()
            wall_sum += end - wall
            if window is not None:
                window(wall, end)
            if self._teardown is not None:
                self._teardown(*args, **kwargs)
        return cpu_sum, wall_sum

    def _on_round(self, request: Request) -> Answer:
        iterations = int(request["iterations"])
        cpu, wall = self._round(iterations)
        if request.get("timed"):
            self.rounds.append((iterations, cpu, wall))
        return {"cpu": cpu, "wall": wall}

    def _on_freeze(self, _request: Request) -> Answer:
        # What start-up and warm-up left behind must not be collected, or traversed, in a timed round.
        gc.collect()
        gc.freeze()
        return {}

    def _on_pin(self, request: Request) -> Answer:
        cpus = set(request["cpus"])
        try:
            for thread in Path("/proc/self/task").iterdir():
                os.sched_setaffinity(int(thread.name), cpus)
        except (OSError, AttributeError):
            return {"pinned": False}
        return {"pinned": True}

    def _on_profile_open(self, request: Request) -> Answer:
        if request["backend"] in OUTSIDE:
            try:
                self._observed = Observed(request["backend"], run_iterations.__code__)
            except BlcperfError as error:
                # Of no concern to the benchmark, which is measured all the same.
                return {"refused": error.message, "hint": error.hint}
            return self._observed.facts()
        self._sampler = probe.open_sampler(request["backend"], int(request["rate"]))
        self._sampler.open(run_iterations.__code__)
        return {"backend": self._sampler.name}

    def _on_profile_round(self, request: Request) -> Answer:
        if self._observed is not None:
            return self._observed_round(int(request["iterations"]), self._observed)
        assert self._sampler is not None
        cpu, wall = self._round(int(request["iterations"]), self._sampler.add_window)
        return {"cpu": cpu, "wall": wall}

    def _observed_round(self, iterations: int, observed: Observed) -> Answer:
        observed.begin_round()
        try:
            cpu, wall = self._round(iterations, observed.add_window)
        finally:
            windows = observed.end_round()
        return {"cpu": cpu, "wall": wall, "windows": windows}

    def _on_profile_close(self, _request: Request) -> Answer:
        if self._observed is not None:
            return {**self._observed.finish(), "target": self.name}
        assert self._sampler is not None
        sampler, self._sampler = self._sampler, None
        return profile_data(sampler.finish(), self.name, self._roots)

    def _on_profile_describe(self, request: Request) -> Answer:
        """The functions that were seen from outside; the last request of a profile."""
        assert self._observed is not None
        observed, self._observed = self._observed, None
        return {"functions": observed.describe(request["indices"], self._roots)}

    def _on_count(self, request: Request) -> Answer:
        """Calls per iteration, `repeat` times over, so that the controller can see whether they are the same."""
        passes = []
        functions: dict[tuple[str | int, ...], int] = {}
        for _ in range(int(request["repeat"])):
            counted = count_calls(lambda: self._round(1), run_iterations.__code__)
            described: list[tuple[tuple[str | int, ...], int]] = [
                (describe(code, self._roots), calls) for code, calls in counted.items()
            ]
            described += [(function.describe(self._roots), calls) for function, calls in counted.c_calls]
            passes.append([[functions.setdefault(one, len(functions)), calls] for one, calls in described])
        return {"functions": list(functions), "passes": passes}

    def _on_instructions(self, request: Request) -> Answer:
        """Instructions of some iterations, where this process runs under callgrind."""
        from pytest_blcperf.capture.callgrind import InstructionCounter

        counter = InstructionCounter(self._roots)
        run = partial(self._instructions, counter)
        return counter.count(run, run_iterations.__code__, int(request["iterations"]), int(request["repeat"]))

    def _instructions(self, counter: InstructionCounter, iterations: int) -> int:
        if self._setup is None or not iterations:
            counter.start()
            run_iterations(self._call, iterations)
            counter.stop()
            return 1
        for _ in repeat(None, iterations):
            args, kwargs = self._setup()
            call = partial(self._call, *args, **kwargs)
            counter.start()
            run_iterations(call, 1)
            counter.stop()
            if self._teardown is not None:
                self._teardown(*args, **kwargs)
        return iterations


def profile_data(samples: Samples, target: str, roots: Roots) -> Answer:
    """Samples as data. A stack without Python frames is the target itself: a C function called by the round."""
    table: list[Any] = [describe(code, roots) for code in samples.codes]
    table.append(["<benchmark>", target, 0, ""])
    return {
        "backend": samples.backend,
        "self_time": samples.self_time,
        "functions": table,
        "stacks": [list(stack) or [len(table) - 1] for stack in samples.stacks],
        "weight": samples.weight_ns,
        "count": samples.count,
        "lost": samples.lost,
        "throttled": samples.throttled,
        "warnings": [list(warning) for warning in samples.warnings],
    }
