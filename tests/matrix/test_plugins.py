"""Beside each plugin that suites with benchmarks use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gate_runs import QUICK
from neighbours import WHOLE, measure, only_in_the_matrix, run, version

WORK = "def work(n=100):\n    return sum(range(n))\n\n\n"


def suite(folder: Path, text: str, **files: str) -> Path:
    """A suite of one file, and more."""
    (folder / "test_suite.py").write_text("import pytest\n\n" + WORK + text)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)
    return folder


def test_pytest_benchmarks_tables_files_and_comparisons_show_what_was_measured(tmp_path: Path) -> None:
    folder = suite(
        tmp_path,
        "@pytest.mark.benchmark(group='mine')\n@pytest.mark.parametrize('n', [1, 2])\n"
        "def test_work(benchmark, n):\n    benchmark.extra_info['n'] = n\n    benchmark(work, n)\n"
        "    assert benchmark.stats['mean'] == benchmark.stats.stats.mean > 0\n",
    )
    beside = ["pytest-benchmark"]
    done, measured = measure(folder, "--benchmark-autosave", "--benchmark-json=out.json", beside=beside)
    assert done.returncode == 0, done.stdout + done.stderr
    assert measured == {"test_work[1]", "test_work[2]"}
    assert "benchmark 'mine': 2 tests" in done.stdout
    benchmarks = json.loads((folder / "out.json").read_text())["benchmarks"]
    assert [(one["group"], one["extra_info"], one["params"]) for one in benchmarks] == [
        ("mine", {"n": n}, {"n": n}) for n in (1, 2)
    ]
    assert all(0 < one["stats"]["min"] < 1e-3 and one["stats"]["rounds"] == 2 for one in benchmarks)
    again, _ = measure(folder, "--benchmark-compare", "--benchmark-compare-fail=min:0.5", beside=beside)
    assert again.returncode == 0 and "0001" in again.stdout, again.stdout


def test_options_of_pytest_benchmark_are_accepted_without_it(tmp_path: Path) -> None:
    folder = suite(tmp_path, "def test_work(benchmark):\n    benchmark(work)\n\n\ndef test_other():\n    pass\n")
    options = ["--benchmark-sort=mean", "--benchmark-compare-fail", "mean:5%", "min:1", "--benchmark-warmup"]
    blocked = ["-p", "no:benchmark", "-p", "no:codspeed"] if WHOLE else []
    done = run(folder, *blocked, *options, "--benchmark-skip", "-W", "error")
    assert "1 passed, 1 skipped" in done.stdout, done.stdout + done.stderr
    assert done.stdout.count("without effect: --benchmark-sort, --benchmark-warmup, --benchmark-compare-fail") == 1
    done, measured = measure(folder, *blocked, "--benchmark-only", "--benchmark-disable")
    assert "1 passed, 1 skipped" in done.stdout
    assert measured == {"test_work"}


def test_a_marked_test_is_measured_as_a_whole_with_fresh_fixtures(tmp_path: Path) -> None:
    folder = suite(
        tmp_path,
        "@pytest.fixture\ndef stock():\n    things = [1]\n    yield things\n    assert things == [1, 2]\n\n\n"
        "@pytest.mark.benchmark(group='whole', max_rounds=3, max_time=1)\n"
        "def test_whole(stock):\n    assert stock == [1]\n    stock.append(2)\n    work()\n\n\n"
        "@pytest.mark.benchmark(max_rounds=3)\ndef test_fixture(benchmark):\n    benchmark(work)\n\n\n"
        "def test_codspeeds_name(codspeed_benchmark):\n    assert codspeed_benchmark(work) == 4950\n",
    )
    for beside in ([], ["pytest-codspeed"], ["pytest-codspeed", "pytest-benchmark"]):
        if WHOLE and len(beside) < 2:
            continue
        done, measured = measure(folder, beside=beside)
        assert done.returncode == 0, done.stdout + done.stderr
        assert measured == {"test_whole", "test_fixture", "test_codspeeds_name"}


def test_codspeed_and_blcperf_at_once_are_refused(tmp_path: Path) -> None:
    done = run(suite(tmp_path, ""), "--blcperf", "--codspeed", beside=["pytest-codspeed"])
    assert done.returncode == 4
    assert "choose one of the two" in done.stderr


def test_xdist_runs_the_ordinary_tests_and_the_controller_measures(tmp_path: Path) -> None:
    folder = suite(
        tmp_path,
        "import os\n\n"
        "def test_work(benchmark):\n    assert 'PYTEST_XDIST_WORKER' not in os.environ\n    benchmark(work)\n\n\n"
        "@pytest.mark.parametrize('n', range(3))\ndef test_other(n):\n    assert os.environ['PYTEST_XDIST_WORKER']\n",
    )
    done, measured = measure(folder, "-n2", beside=["pytest-xdist"])
    assert "4 passed" in done.stdout, done.stdout + done.stderr
    assert measured == {"test_work"}
    assert done.stdout.count("the benchmarks are measured here") == 1
    # AND a gate that finds nothing to measure is an error there
    nothing = run(
        folder, "-n2", "--blcperf", "--blcperf-baseline=mine", *QUICK, "-k", "test_other", beside=["pytest-xdist"]
    )
    assert nothing.returncode == 4 and "NOTHING WAS COMPARED" in nothing.stdout, nothing.stdout
    if WHOLE:
        done, measured = measure(folder, "-n0", "-k", "test_work", beside=["pytest-xdist"])
        assert "1 passed" in done.stdout and measured == {"test_work"}


def test_reruns_and_timeouts_leave_the_measurement_alone(tmp_path: Path) -> None:
    folder = suite(
        tmp_path,
        "import time\n\n@pytest.mark.timeout(0.3)\ndef test_long(benchmark):\n    benchmark(time.sleep, 0.11)\n\n\n"
        "@pytest.mark.flaky(reruns=3)\ndef test_fails(benchmark):\n    benchmark(work)\n    assert False, 'once'\n\n\n"
        "def test_after(benchmark):\n    benchmark(work)\n",
        pytest__ini="[pytest]\ntimeout = 1\n",
    )
    beside = ["pytest-timeout", "pytest-rerunfailures"]
    done, measured = measure(folder, "--reruns=2", "--strict-markers", beside=beside)
    assert "1 failed, 2 passed" in done.stdout, done.stdout + done.stderr
    assert measured == {"test_long", "test_after"}


def test_asynchronous_tests(tmp_path: Path) -> None:
    only_in_the_matrix()
    folder = suite(
        tmp_path,
        "import asyncio\n\nasync def pause():\n    await asyncio.sleep(0)\n    return 7\n\n\n"
        "def test_coroutine_function(benchmark):\n    assert benchmark(pause) == 7\n\n\n"
        "@pytest.mark.asyncio\nasync def test_inside_a_loop(benchmark):\n    assert benchmark(work) == 4950\n\n\n"
        "@pytest.mark.anyio\nasync def test_anyio(benchmark):\n    assert benchmark(work) == 4950\n\n\n"
        "@pytest.mark.trio\nasync def test_trio(benchmark):\n    assert benchmark(work) == 4950\n\n\n"
        "@pytest.mark.asyncio\nasync def test_coroutine_inside_a_loop(benchmark):\n"
        "    with pytest.raises(RuntimeError, match='running event loop'):\n        benchmark(pause)\n\n\n"
        "@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n",
    )
    done, measured = measure(folder, beside=["pytest-asyncio", "anyio", "pytest-trio"])
    assert "5 passed" in done.stdout, done.stdout + done.stderr
    assert measured == {"test_coroutine_function", "test_inside_a_loop", "test_anyio", "test_trio"}


def test_order_repetition_coverage_and_hypothesis(tmp_path: Path) -> None:
    only_in_the_matrix()
    folder = suite(
        tmp_path,
        "from hypothesis import given, strategies\n\n"
        "def test_work(benchmark):\n    benchmark(work)\n\n\n"
        "@given(strategies.integers())\ndef test_given(n):\n    assert isinstance(n, int)\n\n\n"
        "class TestMore:\n    def test_one(self, benchmark):\n        benchmark(work, 3)\n",
    )
    beside = ["pytest-randomly", "pytest-repeat", "pytest-cov", "hypothesis"]
    done, measured = measure(folder, "--count=2", "-p", "randomly", "--cov=.", beside=beside)
    assert "6 passed" in done.stdout, done.stdout + done.stderr
    assert measured == {f"{name}[{n}-2]" for name in ("test_work", "TestMore::test_one") for n in (1, 2)}


def test_django(tmp_path: Path) -> None:
    only_in_the_matrix()
    folder = suite(
        tmp_path,
        "@pytest.mark.django_db\ndef test_query(benchmark):\n    from django.contrib.auth.models import User\n"
        "    User.objects.create(username='a')\n    assert benchmark(User.objects.count) == 1\n",
        settings__py=(
            "SECRET_KEY = 'x'\nINSTALLED_APPS = ['django.contrib.auth', 'django.contrib.contenttypes']\n"
            "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': ':memory:'}}\n"
        ),
        pytest__ini="[pytest]\nDJANGO_SETTINGS_MODULE = settings\npythonpath = .\n",
    )
    done, measured = measure(folder, beside=["pytest-django"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert measured == {"test_query"}


@pytest.mark.parametrize("weave", ["benchmark_weave('time.sleep')", "benchmark.patch('time.sleep')"])
def test_weaving(tmp_path: Path, weave: str) -> None:
    fixture = weave.partition("(")[0].partition(".")[0]
    folder = suite(tmp_path, f"import time\n\ndef test_woven({fixture}):\n    {weave}\n    time.sleep(0.0001)\n")
    if "patch" in weave:
        only_in_the_matrix()
    done, measured = measure(folder, beside=["aspectlib", *(["pytest-benchmark"] if WHOLE else [])])
    assert done.returncode == 0, done.stdout + done.stderr
    assert measured == {"test_woven"}


def test_the_matrix_says_what_it_ran_with() -> None:
    only_in_the_matrix()
    print({name: version(name) for name in ("pytest", "pytest-benchmark", "pytest-codspeed", "pytest-xdist")})
