"""The samplers on real work, and how they leave the process behind."""

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from pytest_blcperf.capture import probe
from pytest_blcperf.errors import UsageError

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="perf_event_open exists on Linux only"),
]
REFUSAL = probe.perf_refusal(1000)
PERF = pytest.param(
    "perf-signal", marks=pytest.mark.skipif(REFUSAL is not None, reason=REFUSAL.message if REFUSAL else "")
)
BACKENDS = [PERF, "timer"]
NUMBERS = random.Random(1).choices(range(10**9), k=30_000)


def small(scale=1):
    total = 0
    for number in range(20_000 * scale):
        total += number * number % 7
    return total


def large():
    return small(2)


def in_c():
    return sorted(NUMBERS)


PARTS = (small, large, in_c)


def rounds(truth):
    for index, part in enumerate(PARTS):
        before = time.thread_time_ns()
        part()
        truth[index] += time.thread_time_ns() - before


def burn(seconds):
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        small()


def measure(sampler, root, run, cpu_seconds=1.0):
    """Rounds of `run` until they used that much CPU time; the samples."""
    sampler.open(root.__code__)
    try:
        until = time.thread_time() + cpu_seconds
        while time.thread_time() < until:
            start = time.perf_counter_ns()
            run()
            sampler.add_window(start, time.perf_counter_ns())
            small()  # outside the window
    finally:
        samples = sampler.finish()
    return samples


def outermost(samples):
    """Weight by the function that the root called, which is a part of the work."""
    weights = dict.fromkeys([part.__name__ for part in PARTS], 0)
    for stack, weight in zip(samples.stacks, samples.weight_ns, strict=True):
        if stack:
            weights[samples.codes[stack[-1]].co_name] += weight
    return weights


@pytest.mark.parametrize(
    ("backend", "tolerance"), [pytest.param("perf-signal", 0.05, marks=PERF.marks), ("timer", 0.10)]
)
def test_inclusive_shares_are_those_of_the_thread_clock(backend, tolerance):
    truth = [0, 0, 0]
    samples = measure(probe.open_sampler(backend, 1000), rounds, lambda: rounds(truth), cpu_seconds=1.5)
    weights = outermost(samples)
    for part, spent in zip(PARTS, truth, strict=True):
        assert weights[part.__name__] / sum(samples.weight_ns) == pytest.approx(spent / sum(truth), abs=tolerance)
    assert samples.backend == backend
    assert samples.lost == 0
    # Nothing outside the windows: they were charged no more CPU time than was spent in them.
    assert sum(samples.weight_ns) < 1.1 * sum(truth)
    assert len(samples.stacks) == len(samples.weight_ns) == len(samples.count) == len(set(samples.stacks))


def dispositions():
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


def descriptors():
    return sorted(entry.name for entry in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_is_left_behind_even_after_an_exception(backend):
    probe.choose("auto", 1000)
    before = dispositions(), descriptors()

    def fail():
        small()
        raise ZeroDivisionError

    sampler = probe.open_sampler(backend, 1000)
    assert sampler.name == backend
    with pytest.raises(ZeroDivisionError):
        measure(sampler, fail, fail)
    assert sampler.finish() is sampler.finish()
    assert (dispositions(), descriptors()) == before
    assert signal.getitimer(signal.ITIMER_REAL) == signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
    burn(0.02)  # a signal left armed would end the process here


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_sampler_that_was_never_opened_has_no_samples(backend):
    sampler = probe.open_sampler(backend, 1000)
    sampler.add_window(0, 1)
    assert sampler.finish().stacks == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_sampler_is_opened_once(backend):
    sampler = probe.open_sampler(backend, 1000)
    sampler.open(None)
    try:
        with pytest.raises(UsageError, match="opened before"):
            sampler.open(None)
    finally:
        sampler.finish()
    with pytest.raises(UsageError, match="opened before"):
        sampler.open(None)


@pytest.mark.parametrize("backend", BACKENDS)
def test_other_threads_than_the_main_one_are_refused(backend):
    raised = []

    def start():
        try:
            probe.open_sampler(backend, 1000).open(None)
        except UsageError as error:
            raised.append(error)

    thread = threading.Thread(target=start, name="worker-7")
    thread.start()
    thread.join()
    assert "'worker-7'" in raised[0].message
    assert "main thread" in raised[0].message


@pytest.mark.parametrize("backend", BACKENDS)
def test_work_in_other_threads_is_warned_of(backend):
    def work():
        thread = threading.Thread(target=burn, args=(0.05,))
        thread.start()
        burn(0.05)
        thread.join()

    samples = measure(probe.open_sampler(backend, 1000), work, work, cpu_seconds=0.1)
    assert "other-threads" in dict(samples.warnings)


@pytest.mark.parametrize("backend", BACKENDS)
def test_deep_stacks_are_walked_to_the_root(backend):
    def deep(depth):
        return deep(depth - 1) if depth else burn(0.3)

    def root():
        deep(300)

    samples = measure(probe.open_sampler(backend, 1000), root, root, cpu_seconds=0.01)
    depths = {len(stack) for stack in samples.stacks}
    assert depths <= {0, *range(1, 304)}
    assert max(depths) >= 302


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_forked_child_can_finish_without_harming_its_parent(backend):
    sampler = probe.open_sampler(backend, 1000)
    sampler.open(burn.__code__)
    child = os.fork()
    if child == 0:
        sampler.add_window(0, time.perf_counter_ns())
        sampler.finish()
        os._exit(7)
    _, status = os.waitpid(child, 0)
    start = time.perf_counter_ns()
    burn(0.1)
    sampler.add_window(start, time.perf_counter_ns())
    samples = sampler.finish()
    assert os.waitstatus_to_exitcode(status) == 7
    assert sum(samples.count) > 0


@pytest.mark.skipif(REFUSAL is not None, reason=REFUSAL.message if REFUSAL else "")
def test_records_lost_in_a_small_ring_are_counted(monkeypatch):
    from pytest_blcperf.capture import perf_event

    page = os.sysconf("SC_PAGE_SIZE")
    monkeypatch.setattr(perf_event.largest_ring, "__defaults__", ((page,),))
    numbers = NUMBERS * 40

    def long_c_call():
        sorted(numbers)

    samples = measure(probe.open_sampler("perf-signal", 10_000), long_c_call, long_c_call, cpu_seconds=0.01)
    # A page holds about a hundred records; the call takes longer than that many periods.
    assert samples.lost > 0
    assert "lost-samples" in dict(samples.warnings)


@pytest.mark.skipif(REFUSAL is not None, reason=REFUSAL.message if REFUSAL else "")
def test_a_long_c_call_gets_its_full_weight_in_perf_signal():
    numbers = NUMBERS * 10

    def long_c_call():
        return sorted(numbers)

    spent = []

    def root():
        before = time.thread_time_ns()
        long_c_call()
        spent.append(time.thread_time_ns() - before)

    samples = measure(probe.open_sampler("perf-signal", 1000), root, root, cpu_seconds=0.3)
    index = [code.co_name for code in samples.codes].index("long_c_call")
    weight = sum(w for stack, w in zip(samples.stacks, samples.weight_ns, strict=True) if index in stack)
    assert weight / sum(samples.weight_ns) > 0.9
    assert weight > 0.5 * sum(spent)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_replaced_handler_stays_and_is_warned_of(backend):
    sampler = probe.open_sampler(backend, 1000)
    before = dispositions()
    sampler.open(None)
    taken = [number for number, handler in dispositions().items() if handler != before[number]]
    try:
        for number in taken:
            signal.signal(number, signal.SIG_IGN)
        samples = sampler.finish()
        assert "signal-taken" in dict(samples.warnings)
        assert {signal.getsignal(number) for number in taken} == {signal.SIG_IGN}
    finally:
        for number in taken:
            signal.signal(number, before[number])
    burn(0.02)


def test_the_timer_leaves_a_taken_alarm_alone():
    def alarm(number, frame):
        """Stands for a test timeout."""

    before = signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, 1000)
    try:
        samples = measure(probe.open_sampler("timer", 1000), burn, lambda: burn(0.05), cpu_seconds=0.2)
        assert signal.getsignal(signal.SIGALRM) is alarm
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 900
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert "coarse-timer" in dict(samples.warnings)
    assert "small" in {code.co_name for code in samples.codes}
