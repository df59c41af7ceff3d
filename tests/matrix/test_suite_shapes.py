"""Shapes of suites, and pytest's own switches, with `--blcperf`."""

from __future__ import annotations

from pathlib import Path

import pytest
from gate_runs import BENCHMARK, LIBRARY, QUICK
from gitrepo import GitRepo
from neighbours import WHOLE, measure, only_in_the_matrix, run

CONFTEST = """\
import pytest


@pytest.fixture
def benchmark(benchmark):
    benchmark.group = "ours"
    return benchmark


@pytest.fixture(scope="session")
def table():
    return list(range(100))


@pytest.fixture(autouse=True)
def always(request):
    request.node.started = True
    yield
    assert request.node.started


@pytest.fixture
def size(request):
    return request.param * 10
"""
SUITE = """\
import unittest
import pytest

pytestmark = pytest.mark.filterwarnings("error")


def test_session_fixture(benchmark, table):
    assert benchmark(sum, table) == 4950 and benchmark.group == "ours"


@pytest.mark.parametrize("size", [1, 2], indirect=True)
@pytest.mark.parametrize("kind", [list, tuple])
def test_indirect(benchmark, size, kind):
    assert len(benchmark(kind, range(size))) == size


@pytest.mark.benchmark(group="marked", min_rounds=2, disable_gc=True, warmup=False)
class TestClass:
    @pytest.fixture(autouse=True)
    def bench(self, benchmark):
        self.benchmark = benchmark

    def test_method(self):
        assert self.benchmark(len, "abc") == 3


class Old(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def bench(self, benchmark):
        self.benchmark = benchmark

    def test_case(self):
        self.assertEqual(self.benchmark(len, "abcd"), 4)


def test_stats(benchmark):
    benchmark.pedantic(sorted, args=([3, 1, 2],), rounds=6)
    if benchmark.disabled:
        return
    assert benchmark.stats.stats.rounds == len(benchmark.stats.stats.data) > 0
    assert benchmark.stats["median"] <= benchmark.stats["max"]


def test_ordinary(table):
    assert table
"""
MEASURED = {
    "test_session_fixture",
    "test_indirect[list-1]",
    "test_indirect[list-2]",
    "test_indirect[tuple-1]",
    "test_indirect[tuple-2]",
    "TestClass::test_method",
    "Old::test_case",
    "test_stats",
}


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_shapes.py").write_text(SUITE)
    return folder


SWITCHES = {
    "strict": (
        ["--strict-markers", "--strict-config", "-W", "error", "-p", "no:cacheprovider", "--import-mode=importlib"],
        {},
    ),
    "no autoload": (["-p", "pytest_blcperf.plugin"], {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}),
    "capture off": (["-s", "-p", "no:terminal"], {}),
    "capture sys, quiet": (["--capture=sys", "-q", "-p", "no:cacheprovider"], {}),
    "no benchmark plugin": (["-p", "no:benchmark", "--benchmark-columns=min", "--benchmark-sort=name"], {}),
    "append mode, reversed": (["--import-mode=append", "--durations=2", "--maxfail=1", "-rA"], {}),
}


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("peer", ["pytest-benchmark", "nothing"])
def test_every_shape_is_measured(suite: Path, switch: str, peer: str) -> None:
    if switch not in ("strict", "no autoload") or (switch == "no autoload" and peer != "nothing"):
        only_in_the_matrix()
    arguments, variables = SWITCHES[switch]
    if peer == "nothing" and WHOLE:
        arguments = ["-p", "no:benchmark", "-p", "no:codspeed", *arguments]
    done, measured = measure(
        suite, *arguments, beside=["pytest-benchmark"] if peer != "nothing" else [], python=variables
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert measured == MEASURED, done.stdout


@pytest.mark.parametrize("place", ["above", "below"])
def test_the_rootdir_need_not_be_the_repository(tmp_path: Path, place: str) -> None:
    if place == "above":
        only_in_the_matrix()
    # GIVEN a repository whose tests lie below (or all of which lies below) the folder with pytest's configuration
    files = {"lib/__init__.py": "", "lib/core.py": LIBRARY, "benchmarks/test_core.py": BENCHMARK}
    if place == "below":
        files["benchmarks/pytest.ini"] = "[pytest]\npythonpath = ..\n"
    else:
        (tmp_path / "pytest.ini").write_text("[pytest]\n")
    repo = GitRepo(tmp_path / "repo").write(files).commit().branch("change")
    repo.write({"lib/core.py": LIBRARY.replace("value * value", "value * value + 0")}).commit()
    folder = repo.path / "benchmarks" if place == "below" else tmp_path / "repo"
    # WHEN it is gated
    done = run(folder, "--blcperf", "--blcperf-baseline=main", *QUICK)
    # THEN both sides were found and compared
    assert "benchmarks/test_core.py::test_total" in done.stdout, done.stdout + done.stderr
    assert "NOTHING WAS COMPARED" not in done.stdout, done.stdout


def test_without_the_option_nothing_changes(suite: Path) -> None:
    """The marker alone makes nothing a benchmark, and no line is printed."""
    (suite / "test_marked.py").write_text(
        "import pytest\n\n@pytest.mark.benchmark\ndef test_marked(benchmark):\n    assert benchmark(len, 'abc') == 3\n"
    )
    beside = ["pytest-benchmark"]
    with_it = run(suite, "-q", "-rA", "--strict-markers", "--benchmark-disable", beside=beside)
    without = run(suite, "-q", "-rA", "--strict-markers", "--benchmark-disable", "-p", "no:blcperf", beside=beside)
    assert with_it.returncode == without.returncode == 0, with_it.stdout
    assert _timeless(with_it.stdout) == _timeless(without.stdout)


def _timeless(output: str) -> list[str]:
    return [line.partition(" in ")[0] for line in output.splitlines()]
