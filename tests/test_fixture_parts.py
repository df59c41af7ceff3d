"""The parts around the fixture: the harness's overhead, the figures of `stats`, the process's state, the options."""

from __future__ import annotations

import os
import signal
import statistics
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_blcperf.bench.compat_options import without_effect
from pytest_blcperf.bench.job import Job, Schedule
from pytest_blcperf.bench.overhead import LEAST, Overhead
from pytest_blcperf.bench.process_state import process_state_kept
from pytest_blcperf.bench.stats import Stats
from pytest_blcperf.bench.target import Target
from pytest_blcperf.capture.functions import Roots

ROOTS = Roots.of("/nowhere")


def test_the_fastest_empty_round_is_the_overhead() -> None:
    times = iter([(9000, 9000), (3000, 4000), (2000, 5000), *[(5000, 6000)] * 9])
    overhead = Overhead.measured(lambda _iterations: next(times), 100)
    assert (overhead.cpu_ns, overhead.wall_ns) == (20, 40)
    assert overhead.clock_step_ns > 0


@pytest.mark.parametrize(("raw", "left"), [(10_000, 8_500), (1_600, 100), (1_500, 75), (0, 0)])
def test_it_is_taken_off_and_something_is_always_left(raw: int, left: int) -> None:
    assert Overhead(15.0, 15.0, 500).removed(100, raw, raw) == (left, left)
    assert left >= raw * LEAST


def test_a_real_overhead_is_a_small_part_of_a_microsecond() -> None:
    target = Target(Job(lambda: sum(range(1000)), "work"), ROOTS)
    raw = target.answer({"op": "round", "iterations": 200})["cpu"] / 200
    answer = target.answer({"op": "freeze"})
    target.close()
    assert 0 < answer["overhead"] < 0.1 * raw


def calls_of(schedule: Schedule | None) -> tuple[int, int, object]:
    """How often a target is called when its test is looked at; the rounds; the result."""
    calls: list[int] = []

    def call() -> int:
        calls.append(1)
        return len(calls)

    result, rounds = Target(Job(call, "call", schedule=schedule), ROOTS).declared_calls()
    return len(calls), len(rounds), result


@pytest.mark.parametrize(
    ("schedule", "calls", "rounds"),
    [(Schedule(0, 1, 1), 1, 1), (Schedule(2, 5, 1), 7, 5), (Schedule(0, 15, 10), 151, 15), (Schedule(1, 2, 3), 10, 2)],
)
def test_declared_calls_are_made_as_pytest_benchmark_makes_them(schedule: Schedule, calls: int, rounds: int) -> None:
    made, timed, result = calls_of(schedule)
    assert (made, timed, result) == (calls, rounds, calls)


def test_without_a_declaration_stats_still_have_some_warm_rounds() -> None:
    assert calls_of(None)[1] == 5


def test_figures_are_those_of_the_statistics_module() -> None:
    rounds = [(2, 0, 2000 * value) for value in (1, 2, 3, 4, 100)]
    stats = Stats(rounds, SimpleNamespace(name="t", group=None, extra_info={"a": 1}))
    data = [value * 1e-6 for value in (1, 2, 3, 4, 100)]
    assert stats["mean"] == stats.stats.mean == pytest.approx(statistics.fmean(data))
    assert (stats.median, stats.rounds, stats.iterations) == (pytest.approx(3e-6), 5, 2)
    assert (stats.iqr_outliers, stats.stddev_outliers, stats.outliers) == (1, 1, "1;1")
    assert (stats.ld15iqr, stats.hd15iqr) == (pytest.approx(1e-6), pytest.approx(4e-6))
    assert set(stats.as_dict()) >= {"min", "max", "q1", "q3", "iqr", "ops", "total"}
    assert (stats.get("name"), stats.get("nothing", 7), stats.extra_info) == ("t", 7, {"a": 1})
    assert not Stats([]) and Stats([]).as_dict()["mean"] == 0
    with pytest.raises(KeyError, match="known:"):
        stats["nothing"]


def test_the_process_is_put_back(tmp_path: Path) -> None:
    folder, handler = Path.cwd(), signal.getsignal(signal.SIGUSR2)
    with process_state_kept():
        os.chdir(tmp_path)
        os.environ["LEFT_BEHIND"] = "1"
        del os.environ["PATH"]
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    assert Path.cwd() == folder and "LEFT_BEHIND" not in os.environ and os.environ["PATH"]
    assert signal.getsignal(signal.SIGUSR2) is handler


def test_only_options_that_were_given_for_nothing_are_named() -> None:
    given = SimpleNamespace(benchmark_json="x", benchmark_only=True, benchmark_sort=None, benchmark_compare="")
    assert without_effect(given) == ["--benchmark-json", "--benchmark-compare"]
