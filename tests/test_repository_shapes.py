"""The gate in repositories of every shape: what is compared with what, and what the user is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from gate_runs import BENCHMARK, LIBRARY, QUICK, SRC_LAYOUT, run_gate, run_pytest, slower, src_repo
from gitrepo import GitRepo


def test_a_doubled_hot_function_fails_and_is_named(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo").write({"src/lib/core.py": slower()}).commit("slower")
    files = {name: tmp_path / name for name in ("junit.xml", "own.xml", "summary.md")}
    run = run_gate(
        repo,
        "--blcperf-launches=4",
        "--blcperf-profile-window=100ms",
        "--blcperf-rounds=8",
        "-v",
        f"--junitxml={files['junit.xml']}",
        f"--blcperf-junit={files['own.xml']}",
        f"--blcperf-markdown={files['summary.md']}",
    )
    # THEN the benchmark's own test fails, and the other one passes
    assert run.code == 1, run.output
    assert "benchmarks/test_core.py::test_total FAILED" in run.output
    assert "benchmarks/test_core.py::test_ordinary PASSED" in run.output
    # AND the function is named first, with where it is and how often it is called
    found = run.benchmark("test_total")
    assert found["outcome"] == "regressed"
    guilty = found["functions"][0]
    assert guilty["guilty"] and "square" in guilty["name"]
    assert (guilty["calls_base"], guilty["calls_head"], guilty["code_changed"]) == (300, 300, True)
    assert "src/lib/core.py:8" in run.output and "dearer per call" in run.output
    assert "1 regressed" in run.last_line and "main" in run.last_line
    # AND every report says the same
    pytest_suite = ElementTree.parse(files["junit.xml"]).getroot()[0]
    assert (pytest_suite.get("tests"), pytest_suite.get("failures"), pytest_suite.get("errors")) == ("2", "1", "0")
    failure = pytest_suite.find(".//testcase[@name='test_total']/failure")
    assert failure is not None and "square" in (failure.get("message") or "")
    own_suite = ElementTree.parse(files["own.xml"]).getroot()[0]
    assert (own_suite.get("tests"), own_suite.get("failures")) == ("1", "1")
    assert "square" in files["summary.md"].read_text()


def test_warn_and_off_do_not_fail(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo").write({"src/lib/core.py": slower()}).commit("slower")
    options = ("--blcperf-launches=4", "--blcperf-profile-window=100ms", "--blcperf-rounds=8")
    run = run_gate(repo, *options, "--blcperf-gate=warn")
    assert run.code == 0, run.output
    assert run.benchmark("test_total")["outcome"] == "regressed"
    assert "1 regressed" in run.last_line


def test_src_layout_dirty_tree_is_the_head(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo").write({"src/lib/core.py": slower()})
    run = run_gate(repo)
    assert run.benchmark("test_total")["outcome"] != "not compared"
    assert "+changes" in run.last_line


def test_untracked_module_belongs_to_the_head(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo")
    repo.write(
        {
            "src/lib/extra.py": LIBRARY,
            "src/lib/core.py": "from lib.extra import total\n",
        }
    )
    assert run_gate(repo).benchmark("test_total")["evidence"] == "lockstep time"


def test_flat_layout(tmp_path: Path) -> None:
    repo = GitRepo(tmp_path / "repo")
    repo.write({"lib/__init__.py": "", "lib/core.py": LIBRARY, "tests/test_core.py": BENCHMARK}).commit()
    repo.branch("change").write({"lib/core.py": slower()}).commit()
    run = run_gate(repo)
    found = run.benchmark("test_total")
    assert found["outcome"] != "not compared", run.output
    assert found["measured"]["head_ns"] > 1.5 * found["measured"]["base_ns"]


def test_editable_install_of_the_head_does_not_leak_into_the_base(tmp_path: Path) -> None:
    # GIVEN an environment in which an editable install's .pth file points at the head's sources
    repo = src_repo(tmp_path / "repo").write({"pyproject.toml": "", "src/lib/core.py": slower()}).commit()
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(f"import sys\nsys.path.append({str(repo.path / 'src')!r})\n")
    # WHEN the gate runs
    run = run_gate(repo, PYTHONPATH=str(site))
    # THEN the base ran its own, faster code
    found = run.benchmark("test_total")
    assert found["measured"]["head_ns"] > 1.5 * found["measured"]["base_ns"], run.output


def test_a_leak_is_an_error_not_a_verdict(tmp_path: Path) -> None:
    # GIVEN an import hook that serves the head's code to everybody
    repo = src_repo(tmp_path / "repo").write({"pyproject.toml": "", "src/lib/core.py": slower()}).commit()
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(f"import sys\nsys.path.insert(0, {str(repo.path / 'src')!r})\n")
    run = run_gate(repo, PYTHONPATH=str(site))
    assert run.code == 4
    assert "the base side imported the head's code: src/lib/" in run.output
    assert "--blcperf-base-python" in run.output


def test_shallow_clone_without_the_base_names_the_fetch(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "origin").write({"README.md": "more"}).commit()
    clone = tmp_path / "clone"
    repo.git("clone", "--quiet", "--depth=1", "--branch=change", f"file://{repo.path}", str(clone))
    run = run_gate(GitRepo(clone))
    assert run.code == 4
    assert "git fetch" in run.output
    assert "Traceback" not in run.output


def test_renamed_benchmark_file(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo")
    repo.git("mv", "benchmarks/test_core.py", "benchmarks/test_renamed.py")
    repo.write({"src/lib/core.py": slower()}).commit()
    found = run_gate(repo).benchmark("test_renamed.py::test_total")
    assert found["evidence"] == "lockstep time"


def test_new_benchmark_of_a_new_function_leaves_its_neighbours_comparable(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo")
    new = BENCHMARK.replace("import total", "import cube, total")
    new += "\n\ndef test_cube(benchmark):\n    assert benchmark(cube, 2) == 8\n"
    cube = "\n\ndef cube(value):\n    return value ** 3\n"
    repo.write({"benchmarks/test_core.py": new, "src/lib/core.py": slower() + cube}).commit()
    run = run_gate(repo)
    assert run.benchmark("test_cube")["outcome"] == "not compared"
    assert run.benchmark("test_total")["evidence"] == "lockstep time"
    assert "cannot import name 'cube'" in run.output


def test_base_that_cannot_import_compares_nothing_and_says_so(tmp_path: Path) -> None:
    repo = GitRepo(tmp_path / "repo").write({**SRC_LAYOUT, "src/lib/core.py": "raise RuntimeError('broken base')\n"})
    repo.commit().branch("change").write({"src/lib/core.py": LIBRARY}).commit()
    here = run_gate(repo)
    assert here.code == 0
    assert "NOTHING WAS COMPARED" in here.last_line
    assert "broken base" in here.output
    in_ci = run_gate(repo, CI="true")
    assert in_ci.code == 4
    assert "NOTHING WAS COMPARED" in in_ci.output


def test_benchmark_that_the_base_has_no_more_is_listed(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo")
    more = BENCHMARK + "\n\ndef test_gone(benchmark):\n    benchmark(total, [1])\n"
    repo.checkout("main").write({"benchmarks/test_core.py": more}).commit().checkout("change")
    repo.git("merge", "--quiet", "main")
    repo.write({"benchmarks/test_core.py": BENCHMARK}).commit()
    run = run_gate(repo)
    assert "test_gone" in run.output


def test_run_from_a_subfolder_and_from_a_linked_worktree(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo").write({"src/lib/core.py": slower()}).commit()
    assert run_gate(repo, folder="benchmarks").benchmark("test_total")["evidence"] == "lockstep time"
    repo.checkout("main")
    repo.git("worktree", "add", "--quiet", str(tmp_path / "a linked wörktree"), "change")
    linked = GitRepo(tmp_path / "a linked wörktree")
    assert run_gate(linked).benchmark("test_total")["evidence"] == "lockstep time"


def test_documentation_change_passes_without_measuring(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo").write({"README.md": "changed\n"}).commit()
    run = run_gate(repo)
    assert run.code == 0
    found = run.benchmark("test_total")
    assert (found["outcome"], found["evidence"]) == ("unchanged", "identical code")
    assert "launch" not in run.output


def test_comments_pass_without_measuring(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo").write({"src/lib/core.py": "# why\n\n" + LIBRARY}).commit()
    assert run_gate(repo).benchmark("test_total")["evidence"] == "identical code"


@pytest.mark.parametrize("mode", ["auto", "lockstep"])
def test_the_main_branch_itself(tmp_path: Path, mode: str) -> None:
    repo = GitRepo(tmp_path / "repo").write(SRC_LAYOUT).commit()
    run = run_gate(repo, f"--blcperf-mode={mode}")
    assert run.benchmark("test_total")["outcome"] == "unchanged"
    assert "the base is the very commit that is on disk" in run.output


def test_not_a_git_repository(tmp_path: Path) -> None:
    for name, content in SRC_LAYOUT.items():
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
    done = run_pytest(tmp_path, "--blcperf", "--blcperf-baseline=main", *QUICK)
    assert done.returncode == 4
    assert "not a git repository" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    # Without a baseline there is nothing that needs git.
    alone = run_pytest(tmp_path, "--blcperf", *QUICK)
    assert alone.returncode == 0, alone.stdout
    assert "1 measured, nothing compared" in alone.stdout


def test_base_python_runs_the_base(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo").write({"README.md": "changed\n"}).commit()
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\nexec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    run = run_gate(repo, f"--blcperf-base-python={wrapper}")
    assert "-m pytest_blcperf.bench.worker" in (tmp_path / "calls").read_text()
    # Another interpreter is another environment: nothing is taken for identical.
    assert run.benchmark("test_total")["evidence"] == "lockstep time"


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo").write({"src/lib/core.py": slower()}).commit()
    run_gate(repo)
    assert repo.git("worktree", "list").count("\n") == 0
    assert repo.git("status", "--porcelain") == ""
    left = subprocess.run(["pgrep", "-f", str(repo.path)], capture_output=True, text=True, check=False).stdout
    assert left == ""
