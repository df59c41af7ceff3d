"""The counters of this process, on work whose counts are known."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_blcperf.capture import probe
from pytest_blcperf.capture.counters import Counters

REFUSAL = probe.perf_refusal(1000)
pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(REFUSAL is not None, reason=REFUSAL.message if REFUSAL else ""),
]


@pytest.fixture(params=[False, True], ids=["this thread", "all threads"])
def counters(request: pytest.FixtureRequest) -> Iterator[Counters]:
    opened = Counters(all_threads=request.param)
    yield opened
    opened.close()


def counted(counters: Counters, work) -> dict[str, int]:
    """What `work` cost."""
    before = counters.read()
    work()
    return {name: value - before[name] for name, value in counters.read().items()}


def test_cpu_time(counters: Counters) -> None:
    start = time.thread_time_ns()
    cost = counted(counters, lambda: [sum(range(1000)) for _ in range(5000)])
    used = time.thread_time_ns() - start
    assert 0.5 * used < cost["task-clock"]
    assert set(cost) == set(counters.names)
    assert set(counters.names) | set(counters.missing) >= {"task-clock", "page-faults", "instructions"}


def test_context_switches(counters: Counters) -> None:
    assert counted(counters, lambda: [time.sleep(0.0001) for _ in range(20)])["context-switches"] >= 20


def test_page_faults(counters: Counters) -> None:
    pages = 500
    with mmap.mmap(-1, pages * mmap.PAGESIZE) as memory:
        cost = counted(counters, lambda: [memory.__setitem__(at * mmap.PAGESIZE, 1) for at in range(pages)])
    # Shared memory may come in larger pages.
    assert 0 < cost["page-faults"] < 2 * pages + 200


def test_migrations(counters: Counters) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2 or "cpu-migrations" in counters.missing:
        pytest.skip("one CPU only, or migrations cannot be counted by this user")

    def there_and_back() -> None:
        for number in range(10):
            os.sched_setaffinity(0, {cpus[number % 2]})

    try:
        assert counted(counters, there_and_back)["cpu-migrations"] >= 9
    finally:
        os.sched_setaffinity(0, cpus)


def test_other_threads_count_when_asked_for_and_only_then() -> None:
    begun, go, done = threading.Event(), threading.Event(), threading.Event()

    def wait_and_burn() -> None:
        begun.set()
        go.wait()
        burn()

    def burn() -> None:
        until = time.thread_time() + 0.02
        while time.thread_time() < until:
            pass
        done.set()

    there = threading.Thread(target=wait_and_burn)
    there.start()
    begun.wait()
    own, everybody = Counters(), Counters(all_threads=True)
    new = threading.Thread(target=burn)
    go.set()
    new.start()
    there.join()
    new.join()
    assert everybody.read()["task-clock"] > 0.035e9
    assert own.read()["task-clock"] < 0.03e9
    own.close()
    everybody.close()


def test_instructions_are_counted_or_said_to_be_missing(counters: Counters) -> None:
    if "instructions" in counters.missing:
        assert "no hardware counters" in counters.missing["instructions"]
        return
    few = counted(counters, lambda: [None for _ in range(10_000)])["instructions"]
    many = counted(counters, lambda: [None for _ in range(1_000_000)])["instructions"]
    assert many > 10 * few > 0


def test_counters_need_the_standard_library_only() -> None:
    script = "import sys, pytest_blcperf.capture.counters\nprint('numpy' in sys.modules, 'psutil' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_descriptors_are_given_back() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        opened = Counters(all_threads=True)
        opened.read()
        opened.close()
        opened.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
