"""asv suites: `time_*` benchmarks collected with `blcperf_asv_dir`."""

from __future__ import annotations

from pathlib import Path

import pytest
from gate_runs import QUICK, run_gate, run_pytest
from gitrepo import GitRepo

from pytest_blcperf.store import run_file

MODULE = """\
from .common import DATA, _Base

LOG = []


def setup(*args):
    LOG.append("module")


def time_function():
    assert LOG
    sum(DATA)


class TimeSort(_Base):
    params = ([10, 100], ["up", "down"])
    param_names = ["n", "order"]
    timeout = 20

    def setup(self, n, order):
        if (n, order) == (100, "down"):
            raise NotImplementedError("too slow")
        self.values = list(range(n))
        self.open = True

    def time_sorted(self, n, order):
        assert self.open and len(self.values) == n
        sorted(self.values, reverse=order == "down")

    def teardown(self, n, order):
        self.open = False

    def track_size(self, n, order):
        return n


class TimeOnce:
    number = 1

    def setup(self):
        self.stock = [1]

    def time_take(self):
        self.stock.pop()


class TimeCached:
    def setup_cache(self):
        return {"a": 1}

    def time_lookup(self, cache):
        cache["a"]


class TimeEndless:
    timeout = 1

    def time_forever(self):
        import time

        time.sleep(30)


class _Private:
    def time_nothing(self):
        raise AssertionError
"""
FILES = {
    "asv_bench/__init__.py": "",
    "asv_bench/common.py": "from lib import DATA\n\n\nclass _Base:\n    def time_inherited(self, n, order):\n        len(self.values)\n",
    "asv_bench/sorting.py": MODULE,
    "lib.py": "DATA = list(range(50))\n",
    "pytest.ini": "[pytest]\nblcperf_asv_dir = asv_bench\ntestpaths = tests\npythonpath = .\n",
    "tests/test_own.py": "def test_own(benchmark):\n    benchmark(len, 'abc')\n",
}
SORT = ["TimeSort.time_sorted[10-up]", "TimeSort.time_sorted[10-down]", "TimeSort.time_sorted[100-up]"]
MEASURED = {
    "test_own",
    "time_function",
    "TimeOnce.time_take",
    "TimeCached.time_lookup",
    *SORT,
    *(name.replace("sorted", "inherited") for name in SORT),
}


@pytest.fixture
def repo(tmp_path: Path) -> GitRepo:
    return GitRepo(tmp_path / "repo").write(FILES).commit("first").branch("change")


def test_a_suite_is_measured_with_its_parameters_setups_and_time_outs(repo: GitRepo) -> None:
    # A flag would win over the benchmarks' own time-outs.
    quick = [option for option in QUICK if "timeout" not in option]
    done = run_pytest(repo.path, "--blcperf", *quick, "--blcperf-save=mine", "-rs", "--strict-markers")
    run = run_file.read(repo.path / ".blcperf/baselines/mine.blcperf")
    assert {benchmark.name for benchmark in run.benchmarks} == MEASURED, done.stdout
    assert "1 failed, 10 passed, 2 skipped" in done.stdout
    assert "no answer for 1 s" in done.stdout and "NotImplementedError too slow" in done.stdout
    (function,) = (benchmark for benchmark in run.benchmarks if benchmark.name == "time_function")
    assert function.line == MODULE.splitlines().index("def time_function():") + 1


def test_a_suite_is_gated_and_its_files_are_laid_over_the_base(repo: GitRepo) -> None:
    repo.write({"lib.py": "DATA = list(range(500_000))\n"}).commit("more")
    repo.write({"asv_bench/new.py": "from lib import DATA\n\n\ndef time_new():\n    max(DATA)\n"})
    run = run_gate(repo, "-k", "time_function or time_new")
    for name in ("sorting.py::time_function", "new.py::time_new"):
        assert run.benchmark(name)["evidence"] == "lockstep time", run.output
        assert run.benchmark(name)["measured"]["ratio"]["log_ratio"] > 0.5


def test_without_the_option_nothing_is_collected(repo: GitRepo) -> None:
    done = run_pytest(repo.path, "-q")
    assert "1 passed" in done.stdout, done.stdout


def test_a_missing_folder_is_said(repo: GitRepo) -> None:
    done = run_pytest(repo.path, "--blcperf", "--blcperf-asv-dir=nowhere")
    assert done.returncode == 4 and "is no folder" in done.stderr
