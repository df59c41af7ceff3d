"""The measured callable inside the worker: it runs the rounds it is asked for and answers with figures.

Every request and every answer is plain data (see `lockstep.py` for who asks what when). Standard library only.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import repeat
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any

from pytest_blcperf.bench.job import Job, Rounds, Schedule, call_once
from pytest_blcperf.bench.memory_layout import ShiftingHeap, with_room
from pytest_blcperf.bench.overhead import Overhead
from pytest_blcperf.bench.process_state import resident_bytes
from pytest_blcperf.capture import probe
from pytest_blcperf.capture.backends import OUTSIDE
from pytest_blcperf.capture.call_counts import count_calls
from pytest_blcperf.capture.function_clock import CPU_CLOCK_FROM_NS, FunctionClock, Reading, find_codes
from pytest_blcperf.capture.functions import Description, Roots, describe
from pytest_blcperf.capture.observed import Observed
from pytest_blcperf.capture.samples import Sampler, Samples
from pytest_blcperf.errors import BlcperfError

if TYPE_CHECKING:
    from pytest_blcperf.capture.callgrind import InstructionCounter

Request = Mapping[str, Any]
Answer = dict[str, Any]

DECLARED_SECONDS = 5.0
"""How long the calls that a test declares may take when it is only looked at; a longer schedule is cut short."""
UNDECLARED_ROUNDS = 5
NEVER = 1e18
"""ns between calls of functions that are not called again and again."""
MOST_TIMED = 1.25
"""How much more time than the round's CPU time its functions may have been given, for what clocks do not know."""
CLOCK_NS = 20_000
"""A round at least: the clocks themselves take a microsecond."""
UNHURRIED_NS = 100_000_000
"""A call that takes this long is not repeated when the test is only looked at."""


def run_iterations(call: Callable[[], object], iterations: int) -> None:
    """The round: nothing but calls. Its frame is where profiles are cut off."""
    for _ in repeat(None, iterations):
        call()


class Target:
    """A job in this process, ready to be run as often as it is asked for."""

    def __init__(self, job: Job, roots: Roots) -> None:
        self._job = job
        self._roots = roots
        self.name = job.name
        self.rounds: list[tuple[int, int, int]] = []
        """Timed rounds so far: iterations, CPU ns, wall ns; the harness's own time is taken off."""
        self._overhead = Overhead()
        self._scheduled = False
        self._result: object = None
        self._sampler: Sampler | None = None
        self._observed: Observed | None = None
        self._suspects: list[CodeType | None] = []
        self._clock: FunctionClock | None = None
        self._heap = ShiftingHeap()

    def answer(self, request: Request) -> Answer:
        """Do what one request asks. What the callable raises comes through; the sampler is closed first."""
        try:
            handler: Callable[[Request], Answer] = getattr(self, "_on_" + request["op"].replace("-", "_"))
            return with_room(handler, request)
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
        self._close_clock()
        gc.unfreeze()

    def last_call(self) -> tuple[object, Rounds]:
        """One more call: its result, and the timed rounds. No more call after scheduled rounds of single ones."""
        if self._scheduled and self.rounds and self.rounds[-1][0] == 1:
            return self._result, self.rounds
        result, _ = call_once(self._job)
        return result, self.rounds

    def declared_calls(self) -> tuple[object, Rounds]:
        """The calls the test declared, for `DECLARED_SECONDS` at most; a few timed ones where it declared none.

        A first, cold call must not be all that `benchmark.stats` knows: tests assert on it.
        """
        end = time.monotonic() + DECLARED_SECONDS
        schedule = self._job.schedule
        if schedule is None:
            result, rounds = call_once(self._job)
            if rounds[0][2] > UNHURRIED_NS or self._job.setup is not None or self._job.before_round is not None:
                return result, rounds
            schedule = Schedule(0, UNDECLARED_ROUNDS, max(1, CLOCK_NS // max(1, rounds[0][2])))
        self._scheduled = True
        for number in range(schedule.warmup_rounds + schedule.rounds):
            request = {"iterations": schedule.iterations, "timed": number >= schedule.warmup_rounds}
            self._on_round(request)
            if time.monotonic() > end and self.rounds:
                break
        return self.last_call()

    def _round(self, iterations: int, window: Callable[[int, int], None] | None = None) -> tuple[int, int]:
        """CPU and wall ns of a round, as the clocks say."""
        job = self._job
        if self._scheduled:
            return self._scheduled_round(iterations)
        if job.setup is not None:
            return self._round_with_setup(iterations, window)
        if job.before_round is not None:
            job.before_round()
        with _collector_off(job.disable_gc), self._clocks_on():
            wall = time.perf_counter_ns()
            cpu = time.process_time_ns()
            run_iterations(job.call, iterations)
            cpu = time.process_time_ns() - cpu
            end = time.perf_counter_ns()
        if window is not None:
            window(wall, end)
        if job.after_round is not None:
            job.after_round()
        return cpu, end - wall

    def _round_with_setup(self, iterations: int, window: Callable[[int, int], None] | None) -> tuple[int, int]:
        job = self._job
        assert job.setup is not None
        cpu_sum = wall_sum = 0
        for _ in repeat(None, iterations):
            args, kwargs = job.setup()
            call = partial(job.call, *args, **kwargs)
            with _collector_off(job.disable_gc), self._clocks_on():
                wall = time.perf_counter_ns()
                cpu = time.process_time_ns()
                run_iterations(call, 1)
                cpu_sum += time.process_time_ns() - cpu
                end = time.perf_counter_ns()
            wall_sum += end - wall
            if window is not None:
                window(wall, end)
            if job.teardown is not None:
                job.teardown(*args, **kwargs)
        return cpu_sum, wall_sum

    def _scheduled_round(self, iterations: int) -> tuple[int, int]:
        """A round as pytest-benchmark makes it: one setup, the calls, one teardown; a single call's result is kept."""
        job = self._job
        args, kwargs = job.setup() if job.setup is not None else ((), {})
        call = partial(job.call, *args, **kwargs) if args or kwargs else job.call
        with _collector_off(job.disable_gc):
            wall = time.perf_counter_ns()
            cpu = time.process_time_ns()
            if iterations == 1:
                self._result = call()
            else:
                run_iterations(call, iterations)
            cpu = time.process_time_ns() - cpu
            wall = time.perf_counter_ns() - wall
        if job.teardown is not None:
            job.teardown(*args, **kwargs)
        return cpu, wall

    def _on_round(self, request: Request) -> Answer:
        iterations = int(request["iterations"])
        self._scheduled = self._scheduled or bool(request.get("scheduled"))
        self._shift(request)
        cpu, wall = self._round(iterations)
        if request.get("timed"):
            cpu, wall = self._overhead.removed(iterations, cpu, wall)
            self.rounds.append((iterations, cpu, wall))
        return {"cpu": cpu, "wall": wall, "memory": resident_bytes()}

    def _shift(self, request: Request) -> None:
        if "layout" in request:
            self._heap.shift(int(request["layout"]))

    def _on_freeze(self, _request: Request) -> Answer:
        # What start-up and warm-up left behind must not be collected, or traversed, in a timed round.
        gc.collect()
        gc.freeze()
        self._overhead = Overhead.measured(self._empty_round, 2_000 if self._job.setup is None else 100)
        return {"overhead": self._overhead.cpu_ns, "clock_step": self._overhead.clock_step_ns}

    def _empty_round(self, iterations: int) -> tuple[int, int]:
        """A round of calls of nothing, through everything that a round of this job goes through."""
        job, nothing = self._job, gc.isenabled
        empty: Callable[..., object] = partial(nothing) if isinstance(job.call, partial) else nothing
        if job.setup is None:
            return Target(Job(empty, ""), self._roots)._round(iterations)
        return Target(Job(nothing, "", lambda: ((), {})), self._roots)._round(iterations)

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
        return {"cpu": cpu, "wall": wall, "memory": resident_bytes()}

    def _observed_round(self, iterations: int, observed: Observed) -> Answer:
        observed.begin_round()
        try:
            cpu, wall = self._round(iterations, observed.add_window)
        finally:
            windows = observed.end_round()
        return {"cpu": cpu, "wall": wall, "memory": resident_bytes(), "windows": windows}

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

    def _on_clock_find(self, request: Request) -> Answer:
        """Which of the functions can be timed here: one iteration shows which live code they are."""
        wanted: list[Description] = [(file, name, line, code) for file, name, line, code in request["functions"]]
        found: dict[Description, list[CodeType]] = {}
        for code in find_codes(lambda: self._round(1), run_iterations.__code__, wanted, self._roots):
            found.setdefault(describe(code, self._roots), []).append(code)
        # Two of one description, such as lambdas on a line, would be one row of figures.
        self._suspects = [found[one][0] if len(found.get(one, ())) == 1 else None for one in wanted]
        return {"found": [code is not None for code in self._suspects]}

    def _on_clock_open(self, request: Request) -> Answer:
        """Begin timing them; which of them cannot be, and ns between calls of any of them. Their code is warm then.

        Generators that are resumed so often that the clock takes longer than they do cannot be; this is the first to
        know.
        """
        codes = [code for number in request["chosen"] if (code := self._suspects[number]) is not None]
        self._suspects = list(codes)
        clock = FunctionClock(codes)
        if not self._opened(clock):
            return {"untimed": list(range(len(codes))), "between": NEVER}
        _, wall = self._round(int(request["iterations"]))
        readings = clock.take()
        between = wall / max(1, sum(one.calls for one in readings))
        untimed = {id(code) for code in clock.untimed}
        cost = clock.cost.inside_ns + clock.cost.outside_ns
        resumed = zip(readings, clock.activations, strict=True)
        dear = [number > one.calls and number * cost > one.total_ns for one, number in resumed]
        return {
            "untimed": [place for place, code in enumerate(codes) if id(code) in untimed or dear[place]],
            "between": between if self._job.setup is None else NEVER,
        }

    def _on_clock_fit(self, request: Request) -> Answer:
        """Go on with the clock that suits how often they are called, on the side that calls them more often.

        Without what either side cannot time.
        """
        untimed = frozenset(request["untimed"])
        self._suspects = [None if place in untimed else code for place, code in enumerate(self._suspects)]
        codes = [code for code in self._suspects if code is not None]
        if (
            self._clock is not None
            and float(request["between"]) < CPU_CLOCK_FROM_NS
            and len(codes) == len(self._clock.codes)
        ):
            return {}  # The one that runs already: opening another takes as long as a dozen rounds.
        self._close_clock()
        if codes and self._opened(FunctionClock.fitting(codes, float(request["between"]))):
            self._round(int(request["iterations"]))
        return {}

    def _opened(self, clock: FunctionClock) -> bool:
        """Whether the clock runs now. That it cannot be installed is of no concern to the benchmark."""
        try:
            clock.open()
        except Exception:
            clock.close()
            return False
        clock.stop()
        self._clock = clock
        return True

    def _on_clock_round(self, request: Request) -> Answer:
        clock = self._clock
        if clock is None:
            return {**self._on_round(request), "readings": []}
        self._shift(request)
        clock.take()
        cpu, wall = self._round(int(request["iterations"]))
        taken = iter(clock.take())
        of_suspects = [Reading(0, 0, 0) if code is None else next(taken) for code in self._suspects]
        readings = [[one.calls, one.total_ns, one.self_ns] for one in of_suspects]
        # Greenlets confuse the clock, and in further threads it counts waiting too: no reading is better than those.
        if clock.misplaced or sum(own for _, _, own in readings) > MOST_TIMED * cpu + CLOCK_NS:
            readings = []
        return {"cpu": cpu, "wall": wall, "memory": resident_bytes(), "readings": readings}

    def _on_clock_close(self, _request: Request) -> Answer:
        self._close_clock()
        return {}

    @contextmanager
    def _clocks_on(self) -> Iterator[None]:
        """Clocks on functions count while the benchmark runs, and not in what lies around it."""
        if self._clock is None:
            yield
            return
        self._clock.start()
        try:
            yield
        finally:
            self._clock.stop()

    def _close_clock(self) -> None:
        clock, self._clock = self._clock, None
        if clock is not None:
            clock.close()

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
        """As `_round`, but counted; gives how often the counter was started."""
        job = self._job
        if job.setup is not None and iterations:
            return self._instructions_with_setup(counter, iterations)
        if job.before_round is not None:
            job.before_round()
        with _collector_off(job.disable_gc):
            counter.start()
            run_iterations(job.call, iterations)
            counter.stop()
        if job.after_round is not None:
            job.after_round()
        return 1

    def _instructions_with_setup(self, counter: InstructionCounter, iterations: int) -> int:
        job = self._job
        assert job.setup is not None
        for _ in repeat(None, iterations):
            args, kwargs = job.setup()
            call = partial(job.call, *args, **kwargs)
            with _collector_off(job.disable_gc):
                counter.start()
                run_iterations(call, 1)
                counter.stop()
            if job.teardown is not None:
                job.teardown(*args, **kwargs)
        return iterations


@contextmanager
def _collector_off(wanted: bool) -> Iterator[None]:
    """The garbage collector off where the marker asks for it, and left as it is otherwise."""
    if not (wanted and gc.isenabled()):
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


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
