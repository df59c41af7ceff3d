"""What is wrong is said in one line with a hint, exit code 4, before any test runs; nothing is left half-written."""

from __future__ import annotations

from pathlib import Path

import pytest
from gate_runs import QUICK, SRC_LAYOUT, run_gate, run_pytest, src_repo
from gitrepo import GitRepo

CASES = {
    "unknown baseline": (
        ["--blcperf-baseline=no-such-branch"],
        "no run file and no stored baseline",
        "git branch --all",
    ),
    "revision like an option": (["--blcperf-baseline=--upload-pack=x"], "not a git revision", "branch"),
    "wrong value": (["--blcperf-threshold=lots"], "--blcperf-threshold: expected SHARE, not 'lots'", "pytest --help"),
    "wrong choice": (["--blcperf-mode=duet"], "'duet' is not one of auto, lockstep, stored", "--blcperf-mode=auto"),
    "conflict": (
        ["--blcperf-launches=0", "--blcperf-baseline=main", "--blcperf-mode=lockstep"],
        "cannot gate",
        "drop one",
    ),
    "stored without a run": (["--blcperf-baseline=main", "--blcperf-mode=stored"], "main", "--blcperf-save"),
    "bad save name": (["--blcperf-save=../../etc/passwd"], "a baseline cannot be called", "such as main"),
    "bad base python": (
        ["--blcperf-baseline=main", "--blcperf-base-python=/no/such/python"],
        "/no/such/python",
        "base-python",
    ),
}


def everything(root: Path) -> set[str]:
    """Every file outside git's own folder and pytest's."""
    return {str(path.relative_to(root)) for path in root.rglob("*") if ".git" not in path.parts}


@pytest.mark.parametrize("case", CASES)
def test_bad_options(tmp_path: Path, case: str) -> None:
    arguments, message, hint = CASES[case]
    repo = src_repo(tmp_path / "repo").write(
        {"src/lib/core.py": "def total(values):\n    return sum(v * v for v in values)\n"}
    )
    before = everything(repo.path)
    done = run_pytest(repo.path, "--blcperf", *QUICK, *arguments)
    assert done.returncode == 4, done.stdout + done.stderr
    assert message in done.stderr
    assert "hint: " in done.stderr and hint in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "passed" not in done.stdout
    left = {
        name for name in everything(repo.path) - before if not name.startswith(".blcperf/cache") and name != ".blcperf"
    }
    assert left <= {".blcperf/.gitignore"}
    assert repo.git("worktree", "list").count("\n") == 0


@pytest.mark.parametrize("content", [b"", b"no zip at all", b"PK\x03\x04" + b"\0" * 100])
def test_broken_run_file(tmp_path: Path, content: bytes) -> None:
    repo = src_repo(tmp_path / "repo").write({"old.blcperf": content})
    done = run_pytest(repo.path, "--blcperf", "--blcperf-baseline=old.blcperf", *QUICK)
    assert done.returncode == 4
    assert "old.blcperf" in done.stderr and "hint: " in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('[tool.blcperf]\ntreshold = "5%"\n', "unknown key 'treshold'"),
        ("[tool]\nblcperf = 3\n", "[tool.blcperf] is no table"),
        ("[tool.blcperf\n", "pyproject.toml"),
        ('[[tool.blcperf.functions]]\nthreshold = "5%"\n', "`match` is missing"),
    ],
)
def test_bad_configuration(tmp_path: Path, table: str, message: str) -> None:
    repo = (
        GitRepo(tmp_path / "repo").write({**SRC_LAYOUT, "pytest.ini": "[pytest]\n", "pyproject.toml": table}).commit()
    )
    done = run_pytest(repo.path, "--blcperf", *QUICK)
    assert done.returncode == 4
    assert message in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_bad_marker(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo")
    marked = "import pytest\n\n@pytest.mark.blcperf(treshold='5%')\ndef test_it(benchmark):\n    benchmark(len, [])\n"
    repo.write({"benchmarks/test_marked.py": marked})
    run = run_gate(repo)
    assert run.code == 4
    assert "unknown argument 'treshold'" in run.output
    assert "INTERNALERROR" not in run.output


def test_a_report_that_cannot_be_written_fails_the_session_and_keeps_the_verdict(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo").write({"README.md": "changed\n"}).commit()
    done = run_pytest(repo.path, "--blcperf", "--blcperf-baseline=main", "--blcperf-junit=/proc/no/report.xml", *QUICK)
    assert done.returncode == 4
    assert "/proc/no/report.xml" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_configuration_reaches_the_gate_from_every_source(tmp_path: Path) -> None:
    repo = GitRepo(tmp_path / "repo").write(SRC_LAYOUT)
    repo.write(
        {
            "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["src"]\nblcperf_launches = "2"\n[tool.blcperf]\nrounds = "2"\n'
        }
    )
    repo.commit()
    done = run_pytest(
        repo.path,
        "--blcperf",
        "--blcperf-save=mine",
        "--blcperf-profile-window=10ms",
        BLCPERF_DELAY_START="0",
        BLCPERF_RATE="500",
    )
    assert done.returncode == 0, done.stdout
    from pytest_blcperf.store import run_file

    settings = run_file.read(repo.path / ".blcperf/baselines/mine.blcperf").settings
    assert (settings["launches"], settings["rounds"], settings["delay_start"], settings["rate"]) == (2, 2, 0.0, 500)
