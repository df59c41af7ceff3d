"""The clock of timed functions, exact by a clock that only the functions under test move, in every Python there is."""

from __future__ import annotations

import cProfile
import json
import subprocess
import sys
import threading
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import function_clock_cases as cases
import interpreters
import pytest
from function_clock_cases import CASES, clock, leaf, parent, recurse, tick

from pytest_blcperf.capture import activations
from pytest_blcperf.capture.activations import ClockCost
from pytest_blcperf.capture.function_clock import FunctionClock, Reading, find_codes
from pytest_blcperf.capture.functions import Roots, describe

VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
NO_COST = ClockCost()


@cache
def readings(version: str) -> dict[str, tuple[list[list[int]], list[str]]]:
    """What every case reads in that version."""
    python = interpreters.of(version)
    done = subprocess.run([python, cases.__file__], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def timed(*functions, cost=NO_COST):
    return FunctionClock([function.__code__ for function in functions], clock, cost, None)


@contextmanager
def opened(meter):
    meter.open()
    try:
        yield
    finally:
        meter.close()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("version", VERSIONS)
def test_readings_are_exact(version, name):
    found, untimed = readings(version)[name]
    expected = [
        [0, 0, 0] if code.co_name in untimed else list(values)
        for code, values in zip(CASES[name][1], CASES[name][2], strict=True)
    ]
    assert found == expected
    awaiting = {"delegates", "waits", "gathers", "filters"} if version == "3.10" else set()
    assert set(untimed) <= awaiting


def test_readings_are_taken_by_round():
    meter = timed(leaf, parent)
    with opened(meter):
        parent()
        first = meter.take()
        leaf(9)
        second = meter.take()
        meter.stop()
        parent()
        meter.start()
        leaf(1)
        meter.stop()
        leaf(1)
        third = meter.take()
        fourth = meter.take()
    assert first == [Reading(2, 12, 12), Reading(1, 23, 11)]
    assert second == [Reading(1, 9, 9), Reading(0, 0, 0)]
    assert third == [Reading(1, 1, 1), Reading(0, 0, 0)]
    assert fourth == [Reading(0, 0, 0)] * 2


def test_what_was_counted_can_be_taken_after_closing():
    meter = timed(leaf)
    meter.open()
    leaf(3)
    meter.close()
    meter.close()
    leaf(3)
    assert meter.take() == [Reading(1, 3, 3)]
    assert meter.take() == [Reading(0, 0, 0)]


def test_the_cost_is_taken_off_and_that_of_nested_functions_too():
    meter = timed(leaf, parent, cost=ClockCost(2, 3))
    with opened(meter):
        parent()
        found = meter.take()
    assert found == [Reading(2, 12 - 2 * 2, 12 - 2 * 2), Reading(1, 23 - 2 * 5 - 2, 11 - 2 * 3 - 2)]


def test_readings_are_never_below_zero():
    meter = timed(leaf, parent, cost=ClockCost(1000, 3000))
    with opened(meter):
        parent()
        found = meter.take()
    assert found == [Reading(2, 0, 0), Reading(1, 0, 0)]


def test_long_logs_are_summed_up_on_the_way(monkeypatch):
    monkeypatch.setattr(activations, "LONGEST_LOG", 10)
    slow = [0]

    def ticking():
        # Summing up reads the clock twice, hooks once.
        slow[0] += 1
        return clock.now

    meter = FunctionClock([leaf.__code__, recurse.__code__], ticking, NO_COST, None)
    with opened(meter):
        for _ in range(20):
            recurse(3)
            leaf(1)
        found = meter.take()
    assert found == [Reading(20, 20, 20), Reading(80, 160, 160)]
    assert slow[0] > 2 * 100


def test_summing_up_is_in_no_reading(monkeypatch):
    monkeypatch.setattr(activations, "LONGEST_LOG", 3)

    class SlowLock:
        def acquire(self, blocking):
            return not blocking

        def release(self):
            tick(1_000_000)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(threading, "Lock", SlowLock)
    meter = timed(leaf, parent)
    with opened(meter):
        parent()
        parent()
        found = meter.take()
    assert found == [Reading(4, 24, 24), Reading(2, 46, 22)]


def test_an_exception_of_the_target_leaves_nothing_behind():
    def fail():
        tick(3)
        raise ZeroDivisionError

    code = fail.__code__
    meter = timed(fail, parent)
    with opened(meter):
        with pytest.raises(ZeroDivisionError):
            fail()
        parent()
        found = meter.take()
    assert found == [Reading(1, 3, 3), Reading(1, 23, 23)]
    assert fail.__code__ is code
    if sys.version_info >= (3, 12):
        assert all(sys.monitoring.get_tool(tool) != "pytest-blcperf" for tool in range(6))


def test_a_thread_that_ends_while_the_clock_is_open_is_counted():
    meter = timed(leaf)
    with opened(meter):
        for _ in range(3):
            thread = threading.Thread(target=leaf)
            thread.start()
            thread.join()
        found = meter.take()
    assert found == [Reading(3, 15, 15)]


def test_a_function_that_runs_already_is_timed_from_its_next_call():
    meter = timed(recurse, leaf)

    def inside():
        meter.open()
        leaf()
        leaf()

    def outside():
        inside()
        leaf()

    try:
        outside()
        found = meter.take()
    finally:
        meter.close()
    assert found == [Reading(0, 0, 0), Reading(3, 15, 15)]


def test_an_exit_that_was_not_entered_is_left_out():
    notes = activations.Activations([leaf.__code__, parent.__code__], clock, NO_COST)
    start, _, leave, _ = notes.hooks
    leave(leaf.__code__)
    start(parent.__code__)
    tick(5)
    leave(leaf.__code__)
    leave(parent.__code__)
    assert notes.sums() == [(0, 0.0, 0.0), (1, 5.0, 5.0)]
    assert notes.misplaced == 0


def test_stacks_that_are_switched_are_told():
    notes = activations.Activations([leaf.__code__, parent.__code__], clock, NO_COST)
    start, _, leave, _ = notes.hooks
    start(parent.__code__)
    start(leaf.__code__)
    leave(parent.__code__)
    assert notes.sums()[1][0] == 1
    assert notes.misplaced == 1


def test_half_a_note_waits():
    notes = activations.Activations([leaf.__code__], clock, NO_COST, None)
    start, resume, leave, _ = notes.hooks
    start(leaf.__code__)
    leave(leaf.__code__)
    (thread,) = notes._threads.values()
    whole = []
    for hook in (start, leave, resume, leave):
        hook(leaf.__code__)
        tick(7)
    whole, thread.log[:] = thread.log[2:], thread.log[:2]
    for note in whole:
        thread.log.append(note)
        notes.sums()
    assert notes.sums() == [(2, 14.0, 14.0)]


def test_a_profiler_and_a_tracer_stay_in_force():
    traced = set()

    def trace(frame, _event, _argument):
        traced.add(frame.f_code.co_name)
        return trace

    before, meter = sys.gettrace(), timed(leaf, parent)
    profiler = cProfile.Profile()
    sys.settrace(trace)
    try:
        meter.open()
        parent()
        found = meter.take()
        meter.close()
        after = sys.gettrace()
    finally:
        sys.settrace(before)
        meter.close()
    assert after is trace
    assert found == [Reading(2, 12, 12), Reading(1, 23, 11)]
    assert {"leaf", "parent"} <= traced
    profiler.enable()
    try:
        meter.open()
        parent()
        meter.close()
    finally:
        profiler.disable()
    assert meter.take() == [Reading(2, 12, 12), Reading(1, 23, 11)]
    assert "leaf" in {getattr(entry.code, "co_name", "") for entry in profiler.getstats()}


def test_tracers_see_the_lines_they_saw_before():
    def lines():
        seen = []

        def trace(frame, event, _argument):
            if frame.f_code.co_filename == cases.__file__ and frame.f_code is not cases.Clock.__call__.__code__:
                if event == "line":
                    seen.append((frame.f_code.co_name, frame.f_lineno))
                return trace
            return None

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            cases.exceptions_are_handled_inside()
            cases.generators_are_thrown_into()
            cases.jumps_stay_right()
        finally:
            sys.settrace(before)
        return seen

    plain = lines()
    meter = timed(cases.fails_in_a_loop, cases.fails, cases.listens, cases.long_body, cases.Guard.__exit__)
    with opened(meter):
        observed = lines()
    assert observed == plain


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring is there from Python 3.12 on")
def test_without_a_free_tool_nothing_is_timed_and_that_is_said():
    taken = [tool for tool in range(6) if sys.monitoring.get_tool(tool) is None]
    for tool in taken:
        sys.monitoring.use_tool_id(tool, "test")
    meter = timed(leaf)
    try:
        meter.open()
        leaf()
        assert meter.untimed == (leaf.__code__,)
        assert meter.take() == [Reading(0, 0, 0)]
        meter.close()
    finally:
        for tool in taken:
            sys.monitoring.free_tool_id(tool)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="code is exchanged before Python 3.12")
def test_code_that_nothing_runs_and_code_that_is_suspended_is_said_to_be_untimed():
    code = compile("tick(1)", "nowhere.py", "exec")
    suspended = cases.generate(2)
    next(suspended)
    meter = FunctionClock([code, cases.generate.__code__, leaf.__code__], clock, NO_COST, None)
    with opened(meter):
        assert meter.untimed == (code, cases.generate.__code__)
        list(suspended)
        list(cases.generate(1))
        assert meter.take() == [Reading(0, 0, 0)] * 3


def test_frozen_objects_are_reached():
    import gc

    gc.freeze()
    try:
        meter = timed(leaf)
        meter.open()
        leaf(2)
        meter.close()
    finally:
        gc.unfreeze()
    assert meter.take() == [Reading(1, 2, 2)]


def test_code_is_found_as_it_was_described():
    def run():
        root()

    def root():
        cases.closures_made_before_and_after()
        cases.held_in_tables_and_decorated()

    roots = Roots.of(str(Path(__file__).parents[1]))
    wanted_codes = [cases._inner_code, cases.dressed.__code__, cases.dressed.__wrapped__.__code__, cases.tick.__code__]
    wanted = [describe(code, roots) for code in wanted_codes]
    found = find_codes(run, root.__code__, [*wanted, ("tests/absent.py", "absent", 5, "0" * 16)], roots)
    assert [id(code) for code in found] == [id(code) for code in wanted_codes]
    file, name, line, _ = wanted[0]
    assert find_codes(run, root.__code__, [(file, name, line, "f" * 16)], roots) == []


def test_the_cost_is_measured_and_taken_off():
    now = [0]

    def stepping():
        now[0] += 10
        return now[0]

    def work():
        now[0] += 1000

    # A clock that reading it moves: twice for each call, once of that inside.
    meter = FunctionClock([work.__code__], stepping, None, None)
    with opened(meter):
        for _ in range(5):
            work()
        found = meter.take()
    assert (round(meter.cost.inside_ns), round(meter.cost.outside_ns)) == (10, 10)
    assert found == [Reading(5, 5000, 5000)]


def test_time_without_the_cpu_is_cut_off_the_longest_times():
    cpu = [0]

    def busy(ns):
        tick(ns)
        cpu[0] += ns

    def away(ns):
        tick(ns)

    def work(absent):
        busy(1_000)
        away(absent)

    meter = FunctionClock([work.__code__, leaf.__code__], clock, NO_COST, lambda: cpu[0])
    with opened(meter):
        for number in range(10):
            work(4_000_000 if number == 3 else 0)
            busy(1_000)
            away(3_000_000 if number == 7 else 0)
        first = meter.take()
        for _ in range(10):
            work(1_000)  # too short for an absence: it counts
        second = meter.take()
        away(9_000_000)
        for _ in range(10):
            busy(2_000)
            work(0)
        meter.stop()
        away(9_000_000)
        meter.start()
        work(0)
        third = meter.take()
    assert first[0] == Reading(10, 10_000, 10_000)
    assert second[0] == Reading(10, 20_000, 20_000)
    assert third[0] == Reading(11, 11_000, 11_000)


def test_time_without_the_cpu_is_cut_off_in_long_rounds_too(monkeypatch):
    monkeypatch.setattr(activations, "LONGEST_LOG", 8)
    meter = FunctionClock([leaf.__code__, cases.generate.__code__], clock, NO_COST, lambda: 0)
    with opened(meter):
        for _ in range(20):
            leaf(100_000)
            for _ in cases.generate(2):
                tick(5)
        found = meter.take()
    # A CPU clock that stands still: all of it was spent elsewhere, except where it was too little to be seen.
    assert found[0].calls == 20
    assert found[0].total_ns == 0


@pytest.mark.parametrize("apart", [1_000, 10_000_000])
def test_either_clock_counts_in_real_time(apart):
    def work():
        for _ in range(500):
            leaf()

    meter = FunctionClock.fitting([work.__code__, leaf.__code__], apart)
    with opened(meter):
        work()
        outer, inner = meter.take()
    assert outer.calls == 1
    assert (inner.calls, inner.self_ns) == (500, inner.total_ns)
    assert 0 <= outer.self_ns <= outer.total_ns
    assert meter.cost.inside_ns >= 0


@pytest.mark.parametrize(
    ("gaps", "excess", "level"),
    [([1, 2, 10], 8, 2), ([1, 2, 10], 3, 7), ([9, 1, 9], 6, 6), ([5], 5, 0), ([5, 5], 99, 0), ([4, 8, 2], 13, 1 / 3)],
)
def test_the_longest_are_cut_down_to_one_length(gaps, excess, level):
    found = activations._level(gaps, excess)
    assert found == pytest.approx(level)
    assert sum(max(0, gap - found) for gap in gaps) == pytest.approx(min(excess, sum(gaps)))


@pytest.mark.parametrize("version", ["3.10", "3.11"])
def test_the_standard_library_does_the_same_with_hooks_everywhere(version):
    program = Path(__file__).with_name("timed_code_program.py")
    command = [interpreters.of(version), "-W", "ignore", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["codes"] > 500
    assert found["calls"] > 5_000
    assert found["refused"] <= (found["codes"] // 20 if version == "3.10" else 0)
    assert (found["lines"], found["different"], found["after"], found["misplaced"]) == ([], [], True, 0)
