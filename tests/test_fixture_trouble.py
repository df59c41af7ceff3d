"""Benchmarks that hurt: each is measured, or fails by itself, and leaves its neighbours alone."""

from __future__ import annotations

import pytest
from gate_runs import QUICK, run_pytest

from pytest_blcperf.model.run import Run
from pytest_blcperf.store import run_file

SUITE = """\
import os, signal, subprocess, sys, time
import pytest

HOME = os.getcwd()


def work():
    return sum(range(200))


def test_nothing(benchmark):
    benchmark(lambda: None)


def test_recursion(benchmark):
    def down(depth):
        return depth and down(depth - 1)

    assert benchmark(down, 800) == 0


def test_stateful(benchmark):
    stock = []

    def fill():
        stock[:] = [1, 2, 3]

    def empty():
        while stock:
            stock.pop()
        with pytest.raises(IndexError):
            stock.pop()

    benchmark.pedantic(empty, setup=fill, rounds=3)


def test_only_once(benchmark):
    used = []

    def open_sesame():
        assert not used, "opened twice"
        used.append(1)

    benchmark.pedantic(open_sesame)


def test_counts_its_calls(benchmark):
    calls = []
    benchmark.pedantic(calls.append, args=(1,), rounds=4, iterations=3, warmup_rounds=1)
    assert len(calls) == (1 + 4) * 3 + 1


def test_forks(benchmark):
    def fork():
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)

    benchmark(fork)


def test_spawns(benchmark):
    benchmark(subprocess.run, [sys.executable, "-S", "-E", "-c", ""], check=True)


def test_moves_and_changes_the_environment(benchmark, tmp_path):
    def move():
        os.chdir(tmp_path)
        os.environ["LEFT_BEHIND"] = "1"
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)

    benchmark(move)


def test_finds_everything_as_it_was(benchmark):
    assert os.getcwd() == HOME
    assert "LEFT_BEHIND" not in os.environ
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    benchmark(work)


def test_prints_megabytes(benchmark):
    line = "x" * (1 << 20)
    benchmark(print, line)


def test_leaks(benchmark):
    kept = []
    benchmark(lambda: kept.append(bytes(1 << 16)))


def test_raises_on_the_tenth_call(benchmark):
    calls = []

    def tenth():
        calls.append(1)
        if len(calls) == 10:
            raise RuntimeError("the tenth call")
        time.sleep(0.01)

    benchmark(tenth)


def test_exits(benchmark):
    benchmark(os._exit, 3)


def test_after_all_that(benchmark):
    assert benchmark(work) == 19900
"""

FAIL = {"test_raises_on_the_tenth_call", "test_exits"}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Run]:
    folder = tmp_path_factory.mktemp("hurt")
    (folder / "test_hurt.py").write_text(SUITE)
    done = run_pytest(folder, "--blcperf", *QUICK, "--blcperf-delay-start=50ms", "--blcperf-save=mine", "-rA")
    return done.stdout, run_file.read(folder / ".blcperf/baselines/mine.blcperf")


def test_each_is_measured_or_fails_alone(measured: tuple[str, Run]) -> None:
    output, run = measured
    names = {line.split()[1] for line in SUITE.splitlines() if line.startswith("def test_")}
    expected = {name.partition("(")[0] for name in names} - FAIL
    assert {benchmark.name for benchmark in run.benchmarks} == expected, output[-3000:]
    assert all(launch.rounds for benchmark in run.benchmarks for launch in benchmark.launches)
    assert f"{len(FAIL)} failed, {len(expected)} passed" in output
    assert "the tenth call" in output and "exited with code 3" in output


def test_output_is_bounded(measured: tuple[str, Run]) -> None:
    output, _ = measured
    assert len(output) < 20 << 20


def test_a_function_that_takes_nothing_comes_out_near_nothing(measured: tuple[str, Run]) -> None:
    _, run = measured
    nothing, work = (run.benchmark(f"test_hurt.py::test_{name}") for name in ("nothing", "after_all_that"))
    assert nothing is not None and work is not None
    one, other = (min(r.cpu_ns / r.iterations for r in b.launches[0].rounds) for b in (nothing, work))
    # Without the loop's share an empty function is a small part of a sum over 200 numbers.
    assert one < 0.1 * other
    assert nothing.overhead_ns > 0
    assert 0 < nothing.resolution_ns < 1


def test_calls_that_are_declared_are_the_only_ones(measured: tuple[str, Run]) -> None:
    _, run = measured
    counted = run.benchmark("test_hurt.py::test_counts_its_calls")
    assert counted is not None
    assert [(one.iterations) for one in counted.launches[0].rounds] == [3] * 4
    assert "scheduled" in {warning.code for warning in counted.warnings}


def test_a_call_timed_by_itself_is_said_to_be_coarse(measured: tuple[str, Run]) -> None:
    _, run = measured
    once = run.benchmark("test_hurt.py::test_only_once")
    assert once is not None
    assert "resolution" in {warning.code for warning in once.warnings}
