"""Each example is copied to an empty folder and run there by a pytest of its own, as its README says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
MEASURED = ["--blcperf", "--blcperf-launches=0", "--blcperf-profile-window=100ms", "--blcperf-rounds=5"]
PASSED = {"library": 7, "pytest_benchmark_suite": 8, "service": 3}
BENCHMARKS = {
    "library": ["test_build", "test_search"],
    "pytest_benchmark_suite": [
        "test_insertion_sort[[]10]",
        "test_insertion_sort[[]100]",
        "test_heap_sort",
        "test_pedantic_with_arguments",
        "test_decorated",
        "test_name_of_the_test",
        "test_coroutine",
    ],
}


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """Runs an example; `-q` keeps the names of passing tests out of pytest's own output."""
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("CI", raising=False)

    def run_example(name: str, *arguments: str) -> pytest.RunResult:
        shutil.copytree(EXAMPLES / name, pytester.path / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        monkeypatch.chdir(pytester.path / name)
        return pytester.runpytest_subprocess("-q", "--strict-markers", *arguments)

    return run_example


@pytest.mark.parametrize("name", sorted(PASSED))
def test_an_example_runs_as_an_ordinary_suite(run, name):
    result = run(name)
    result.assert_outcomes(passed=PASSED[name])
    assert "blcperf" not in result.stdout.str()


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_every_benchmark_of_an_example_is_measured(run, name):
    result = run(name, *MEASURED)
    result.assert_outcomes(passed=PASSED[name])
    for benchmark in BENCHMARKS[name]:
        result.stdout.fnmatch_lines([f"*{benchmark}*"])


def test_the_service_is_profiled_while_the_test_drives_it(run):
    result = run("service", "--blcperf", "-rP")
    result.assert_outcomes(passed=PASSED["service"])
    result.stdout.fnmatch_lines(["hottest: edit_distance*"])


def test_every_example_has_a_test_and_a_readme():
    folders = {folder.name for folder in EXAMPLES.iterdir() if folder.is_dir()}
    assert folders == set(PASSED)
    assert all((EXAMPLES / name / "README.md").is_file() for name in folders)
