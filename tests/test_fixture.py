"""The `benchmark` fixture's surface, without and with measuring."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from gate_runs import QUICK, run_pytest

SUITE = '''\
import asyncio
import pytest

CALLS = []


def double(value, plus=0):
    """Something to measure."""
    CALLS.append(value)
    return value * 2 + plus


def test_arguments_and_result(benchmark):
    assert benchmark(double, 3, plus=1) == 7


def test_pedantic(benchmark):
    made = []

    def setup():
        made.append(1)
        return (len(made),), {"plus": 1}

    def teardown(value, plus):
        assert plus == 1

    result = benchmark.pedantic(double, setup=setup, teardown=teardown, rounds=5)
    assert result == len(made) * 2 + 1


def test_pedantic_with_arguments(benchmark):
    assert benchmark.pedantic(double, args=(4,), kwargs={"plus": 2}, iterations=3, rounds=2) == 10


def test_coroutine(benchmark):
    loops = set()

    async def work(value):
        loops.add(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return value

    assert benchmark(work, 5) == 5
    assert len(loops) == 1


def test_attributes(benchmark):
    benchmark.extra_info["rows"] = 10
    benchmark.group = "mine"
    benchmark(len, [])
    assert benchmark.name == "test_attributes"
    assert benchmark.fullname.endswith("::test_attributes")
    assert benchmark.stats["min"] <= benchmark.stats["mean"] == benchmark.stats.stats.mean <= benchmark.stats.max
    assert benchmark.enabled is not benchmark.disabled
    assert not benchmark.has_error


@pytest.mark.parametrize("size", [1, 10])
@pytest.mark.benchmark(group="sizes")
def test_parameters(benchmark, size):
    assert benchmark.params == {"size": size} and benchmark.group == "sizes"
    benchmark(list, range(size))


def test_exception_comes_through(benchmark):
    with pytest.raises(ZeroDivisionError):
        benchmark(lambda: 1 / 0)
    assert benchmark.has_error


def test_twice_is_an_error(benchmark):
    benchmark(len, [])
    with pytest.raises(RuntimeError, match="only be used once"):
        benchmark(len, [])


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"iterations": 0}, {"setup": list, "iterations": 2}])
def test_wrong_pedantic(benchmark, wrong):
    with pytest.raises(ValueError, match="benchmark.pedantic"):
        benchmark.pedantic(len, args=([],), **wrong)


def test_setup_that_returns_arguments_excludes_given_ones(benchmark):
    with pytest.raises(TypeError, match="setup. returns the arguments"):
        benchmark.pedantic(len, args=([],), setup=lambda: (([],), {}))


class TestClass:
    @pytest.fixture(autouse=True)
    def prepare(self):
        self.value = 2

    def test_method(self, benchmark):
        assert benchmark(double, self.value) == 4
'''


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    (tmp_path / "test_suite.py").write_text(SUITE)
    return tmp_path


def test_without_the_option_every_target_runs_once(suite: Path) -> None:
    (suite / "test_suite.py").write_text(SUITE + "\n\ndef test_last():\n    assert len(CALLS) == 4\n")
    done = run_pytest(suite, "-W", "error", "--strict-markers")
    assert done.returncode == 0, done.stdout
    assert "15 passed" in done.stdout
    assert "blcperf:" not in done.stdout


@pytest.mark.parametrize("launches", ["0", "1"])
def test_measured_here_or_in_workers_the_surface_is_the_same(suite: Path, launches: str) -> None:
    done = run_pytest(suite, "-W", "error", "--strict-markers", "--blcperf", *QUICK, f"--blcperf-launches={launches}")
    assert done.returncode == 0, done.stdout
    assert "14 passed" in done.stdout


def test_what_was_measured_is_in_the_run(suite: Path) -> None:
    from pytest_blcperf.store import run_file

    done = run_pytest(suite, "--blcperf", *QUICK, "--blcperf-save=mine", "-k", "attributes or parameters")
    assert done.returncode == 0, done.stdout
    run = run_file.read(suite / ".blcperf/baselines/mine.blcperf")
    benchmark = run.benchmark("test_suite.py::test_attributes")
    assert benchmark is not None
    assert (benchmark.group, benchmark.extra_info) == ("mine", {"rows": 10})
    assert benchmark.launches[0].rounds[0].cpu_ns > 0
    parametrised = run.benchmark("test_suite.py::test_parameters[10]")
    assert parametrised is not None and (parametrised.params, parametrised.group) == ({"size": 10}, "sizes")


def test_calls_are_counted_exactly(suite: Path) -> None:
    from pytest_blcperf.store import run_file

    (suite / "test_suite.py").write_text(
        "def leaf():\n    return 1\n\ndef tree():\n    return sum(leaf() for _ in range(7)) + leaf()\n\n"
        "def test_tree(benchmark):\n    assert benchmark(tree) == 8\n"
    )
    run_pytest(suite, "--blcperf", *QUICK, "--blcperf-launches=2", "--blcperf-save=mine")
    (benchmark,) = run_file.read(suite / ".blcperf/baselines/mine.blcperf").benchmarks
    assert benchmark.counts is not None and benchmark.counts.deterministic
    calls = {count.function.name: count.calls for count in benchmark.counts.calls}
    assert (calls["tree"], calls["leaf"]) == (1, 8)


def test_only_benchmarks_when_asked(suite: Path) -> None:
    (suite / "test_suite.py").write_text(SUITE + "\n\ndef test_ordinary():\n    pass\n")
    done = run_pytest(suite, "--blcperf", *QUICK, "--blcperf-launches=0", "--blcperf-only")
    assert "14 passed, 1 deselected" in done.stdout


def test_the_window_excludes_warm_up_and_setup(suite: Path) -> None:
    # GIVEN a target that is slow while it is cold, in a function of its own, and a dear setup
    (suite / "test_suite.py").write_text(
        "import time\n\nstart = time.monotonic()\n\ndef spin(seconds):\n    end = time.perf_counter() + seconds\n"
        "    while time.perf_counter() < end:\n        pass\n\ndef cold():\n    spin(0.002)\n\ndef warm():\n    spin(0.002)\n\n"
        "def work():\n    if time.monotonic() - start < 1.5:\n        cold()\n    warm()\n\n"
        "def prepare():\n    spin(0.002)\n\n"
        "def test_work(benchmark):\n    benchmark.pedantic(work, setup=prepare)\n"
    )
    # WHEN the window opens after the cold time
    run_pytest(
        suite,
        "--blcperf",
        "--blcperf-launches=1",
        "--blcperf-rounds=2",
        "--blcperf-delay-start=1.6s",
        "--blcperf-profile-window=300ms",
        "--blcperf-save=mine",
    )
    # THEN neither the cold function nor the setup is in the profile
    from pytest_blcperf.store import run_file

    (benchmark,) = run_file.read(suite / ".blcperf/baselines/mine.blcperf").benchmarks
    assert benchmark.profile is not None and benchmark.profile.total_samples > 20
    names = {function.name for function in benchmark.profile.functions}
    assert "warm" in names
    assert not names & {"cold", "prepare"}


def test_profiling_a_service(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(
        "import sys\n\ndef busy():\n    return sum(range(20_000))\n\nfor line in sys.stdin:\n    print(busy(), flush=True)\n"
    )
    (tmp_path / "test_server.py").write_text(
        "import subprocess, sys, time\nimport pytest\n\n"
        "def test_load(blcperf):\n"
        f"    server = blcperf.start([{sys.executable!r}, 'server.py'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)\n"
        "    with server:\n"
        "        with blcperf.window(server, delay=0.1, duration=0.5) as window:\n"
        "            end = time.monotonic() + 0.7\n"
        "            while time.monotonic() < end:\n"
        "                print(1, file=server.stdin, flush=True)\n"
        "                server.stdout.readline()\n"
        "    assert window.top[0].name == 'busy'\n\n"
        "def test_dead(blcperf):\n"
        f"    server = blcperf.start([{sys.executable!r}, 'server.py'], stdin=subprocess.PIPE)\n"
        "    server.kill(), server.wait()\n"
        "    with pytest.raises(Exception, match='ended with code -9'):\n"
        "        with blcperf.window(server):\n            pass\n\n"
        "def test_foreign(blcperf):\n"
        "    with pytest.raises(Exception, match='Python programs'):\n        blcperf.start(['sleep', '1'])\n"
    )
    done = run_pytest(tmp_path, "--blcperf")
    assert done.returncode == 0, done.stdout
    assert "window of 0.50 s in test_load" in done.stdout
