"""What ordinary pull requests and suites do besides changing a function: the gate compares what can be compared."""

from __future__ import annotations

from pathlib import Path

from gate_runs import BENCHMARK, LIBRARY, QUICK, SRC_LAYOUT, run_gate, run_pytest, slower, src_repo
from gitrepo import GitRepo

CUBE = "\n\ndef cube(value):\n    return value ** 3\n"


def test_a_new_benchmark_file_for_a_new_function(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo").write({"src/lib/core.py": slower() + CUBE})
    repo.write(
        {"benchmarks/test_cube.py": "from lib.core import cube\n\ndef test_cube(benchmark):\n    benchmark(cube, 2)\n"}
    ).commit()
    run = run_gate(repo)
    assert run.benchmark("test_cube")["outcome"] == "not compared"
    assert run.benchmark("test_total")["evidence"] == "lockstep time"


def test_a_new_parameter_keeps_the_heads_benchmark_on_both_sides(tmp_path: Path) -> None:
    repo = GitRepo(tmp_path / "repo").write({**SRC_LAYOUT, "src/lib/core.py": LIBRARY + "\n\nSIZES = [10]\n"})
    sized = (
        "import pytest\nfrom lib.core import SIZES, total\n\nREPEAT = 1\n\n"
        "@pytest.mark.parametrize('size', SIZES)\ndef test_size(benchmark, size):\n    benchmark(total, range(size * REPEAT))\n"
    )
    repo.write({"benchmarks/test_size.py": sized}).commit().branch("change")
    # WHEN the head adds a parameter the base does not have, and a bigger benchmark
    repo.write({"src/lib/core.py": "ONE = 1\n" + LIBRARY + "\n\nSIZES = [10, 20]\n"})
    repo.write({"benchmarks/test_size.py": sized.replace("REPEAT = 1", "REPEAT = 100")}).commit()
    run = run_gate(repo)
    # THEN the base runs the bigger one as well
    assert run.benchmark("test_size[20]")["outcome"] == "not compared"
    measured = run.benchmark("test_size[10]")["measured"]
    assert 0.5 < measured["head_ns"] / measured["base_ns"] < 2
    assert "own version" not in run.output


def test_a_conftest_that_the_base_cannot_import(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo").write({"src/lib/core.py": slower() + CUBE})
    repo.write({"benchmarks/conftest.py": "from lib.core import cube\n"}).commit()
    run = run_gate(repo)
    assert run.benchmark("test_total")["evidence"] == "lockstep time", run.output
    assert "the base runs its own conftest files" in run.output


def test_a_generated_module_that_git_ignores(tmp_path: Path) -> None:
    repo = GitRepo(tmp_path / "repo").write({**SRC_LAYOUT, ".gitignore": "_version.py\n"})
    repo.write({"src/lib/__init__.py": "from lib._version import VERSION\n"}).commit().branch("change")
    repo.write({"src/lib/core.py": slower()}).commit().write({"src/lib/_version.py": "VERSION = '1'\n"})
    assert run_gate(repo).benchmark("test_total")["evidence"] == "lockstep time"


def test_an_installed_copy_is_not_taken_for_the_repository(tmp_path: Path) -> None:
    # GIVEN a package that lies where nothing says it does, and a copy of it that is what gets imported
    repo = GitRepo(tmp_path / "repo").write({"pytest.ini": "[pytest]\n", "code/python/lib/core.py": LIBRARY})
    repo.write({"code/python/lib/__init__.py": ""})
    repo.write({"benchmarks/test_core.py": BENCHMARK}).commit().branch("change")
    installed = GitRepo(tmp_path / "installed").write({"lib/__init__.py": "", "lib/core.py": LIBRARY}).path
    repo.write({"code/python/lib/core.py": slower()}).commit()
    run = run_gate(repo, PYTHONPATH=str(installed))
    assert run.benchmark("test_total")["outcome"] == "not compared"
    assert "--blcperf-source-roots" in run.output
    named = run_gate(repo, "--blcperf-source-roots=code/python", PYTHONPATH=str(installed))
    measured = named.benchmark("test_total")["measured"]
    assert measured["head_ns"] > 1.5 * measured["base_ns"]


def test_a_benchmark_that_cannot_share_the_machine_with_its_twin(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo").write({"src/lib/core.py": slower()})
    alone = (
        "import socket\nimport pytest\nfrom lib.core import total\n\n"
        "@pytest.fixture\ndef port():\n    with socket.socket() as server:\n        server.bind(('127.0.0.1', 47813))\n        yield\n\n"
        "@pytest.mark.blcperf(lockstep=False)\ndef test_alone(port, benchmark):\n    benchmark(total, range(300))\n"
    )
    repo.write({"benchmarks/test_alone.py": alone}).commit()
    run = run_gate(repo, "--blcperf-launches=2")
    found = run.benchmark("test_alone")
    assert found["evidence"] == "lockstep time", run.output
    assert found["measured"]["launches"] >= 2
    assert run.benchmark("test_total")["evidence"] == "lockstep time"


def test_ordinary_tests_around_benchmarks_keep_their_fixtures(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo").write({"src/lib/core.py": slower()})
    ordinary = "import pytest\n\n@pytest.fixture(scope='module', autouse=True)\ndef around():\n    yield\n    print('module over')\n\n"
    repo.write(
        {
            "benchmarks/test_a.py": ordinary + "def test_first(): pass\n\n" + BENCHMARK,
            "benchmarks/test_b.py": ordinary + "def test_other(): pass\n",
        }
    ).commit()
    run = run_gate(repo, "-x")
    assert run.code == 0, run.output
    assert "previous item was not torn down" not in run.output
    assert "6 passed" in run.output


def test_only_ordinary_tests_were_chosen(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo").write({"src/lib/core.py": slower()}).commit()
    here = run_gate(repo, "-k", "ordinary")
    assert here.code == 0 and "NOTHING WAS COMPARED with main" in here.last_line
    assert run_gate(repo, "-k", "ordinary", CI="1").code == 4
    assert run_gate(repo, "--collect-only").code == 0


def test_a_folder_that_the_base_does_not_have(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo").write({".gitignore": "build/\n", "src/lib/core.py": slower()}).commit()
    (repo.path / "build").mkdir()
    run = run_gate(repo, "../benchmarks", folder="build")
    assert run.benchmark("test_total")["evidence"] == "lockstep time"


def test_stats_are_there_from_the_first_call_on(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo").write({"src/lib/core.py": slower()})
    rated = BENCHMARK.replace(
        "== 8955050", "== 8955050\n    benchmark.extra_info['rate'] = 1 / benchmark.stats['mean']"
    )
    repo.write({"benchmarks/test_core.py": rated}).commit()
    assert run_gate(repo).benchmark("test_total")["evidence"] == "lockstep time"


def test_the_fixture_asked_for_by_name_runs_once(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo").write({"README.md": "changed\n"})
    repo.write(
        {
            "benchmarks/test_late.py": "def test_late(request):\n    assert request.getfixturevalue('benchmark')(len, []) == 0\n"
        }
    )
    run = run_gate(repo, "-p", "no:terminal")
    assert run.code == 0, run.output


def test_a_dear_setup_counts_in_the_time_budget(tmp_path: Path) -> None:
    (tmp_path / "test_setup.py").write_text(
        "def spin():\n    sum(range(200_000))\n\ndef test_it(benchmark):\n    benchmark.pedantic(len, setup=lambda: (spin(), (([],), {}))[1])\n"
    )
    done = run_pytest(tmp_path, "--blcperf", "--blcperf-save=mine", *QUICK)
    assert done.returncode == 0, done.stdout
    from pytest_blcperf.store import run_file

    (benchmark,) = run_file.read(tmp_path / ".blcperf/baselines/mine.blcperf").benchmarks
    # A round of microseconds holds few calls when each needs milliseconds of setup.
    assert benchmark.launches[0].rounds[0].iterations < 20
