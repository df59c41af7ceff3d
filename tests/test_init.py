"""`blcperf init`: what it finds out about a repository, and that it never overwrites."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from commands import Command, command
from gitrepo import GitRepo

from pytest_blcperf.errors import UsageError
from pytest_blcperf.scaffold.project import Project, look, package_manager, python_versions
from pytest_blcperf.scaffold.render import PLATFORMS, render

BENCHMARK = "def test_one(benchmark):\n    benchmark(int)\n"


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GitRepo:
    repo = GitRepo(tmp_path / "repo").write({"README.md": "x"}).commit()
    monkeypatch.chdir(repo.path)
    return repo


@pytest.fixture
def blcperf(capsys: pytest.CaptureFixture[str]) -> Command:
    return command(capsys)


# ---- what a project is like


@pytest.mark.parametrize(
    ("pyproject", "names", "manager"),
    [
        ({}, [], "pip"),
        ({"build-system": {"build-backend": "hatchling.build"}}, [], "pip"),
        ({}, ["uv.lock"], "uv"),
        ({"tool": {"uv": {}}}, [], "uv"),
        ({"tool": {"poetry": {}}}, ["uv.lock"], "uv"),
        ({"tool": {"poetry": {"name": "x"}}}, [], "poetry"),
        ({"build-system": {"build-backend": "poetry.core.masonry.api"}}, [], "poetry"),
        ({}, ["poetry.lock"], "poetry"),
        ({}, ["pdm.lock"], "pdm"),
        ({"tool": {"pdm": {"dev-dependencies": {}}}}, [], "pip"),
        ({"tool": {"hatch": {"envs": {"default": {}}}}}, [], "hatch"),
        ({"tool": {"hatch": {"version": {"path": "x"}}}}, [], "pip"),
        ({"tool": "nonsense", "build-system": 3}, [], "pip"),
    ],
)
def test_the_package_manager(pyproject: dict[str, object], names: list[str], manager: str) -> None:
    assert package_manager(pyproject, names) == manager


@pytest.mark.parametrize(
    ("project", "versions"),
    [
        ({}, ("3.12",)),
        (
            {"classifiers": ["Programming Language :: Python :: 3.13", "Programming Language :: Python :: 3.11"]},
            ("3.11", "3.13"),
        ),
        ({"classifiers": ["Programming Language :: Python :: 3.8", "x"], "requires-python": ">=3.8"}, ("3.12",)),
        ({"requires-python": ">=3.13"}, ("3.13",)),
        ({"requires-python": ">=3.9,<3.12"}, ("3.11",)),
        ({"requires-python": "==3.10.*"}, ("3.12",)),
        ({"requires-python": "~=3.14"}, ("3.14",)),
        ({"requires-python": 3, "classifiers": "none"}, ("3.12",)),
    ],
)
def test_the_python_versions(project: dict[str, object], versions: tuple[str, ...]) -> None:
    assert python_versions(project, {}) == versions


def test_how_it_is_installed(repo: GitRepo) -> None:
    assert look(repo.path, "main").install == ()
    assert look(repo.path, "main").cache_files == ""
    repo.write({"setup.py": "", "requirements-dev.txt": ""})
    assert look(repo.path, "main").install == (
        "python -m pip install -r requirements-dev.txt",
        "python -m pip install --editable .",
    )
    repo.write({"pyproject.toml": '[project]\nname = "x"\n[dependency-groups]\ntest = []\ndev = []\n'})
    found = look(repo.path, "main")
    assert "python -m pip install --group dev --group test" in found.install
    assert found.cache_files == "pyproject.toml"
    repo.write({"uv.lock": ""})
    assert look(repo.path, "main").install[1].endswith("uv sync --inexact --all-groups")


def test_benchmarks_outside_testpaths_are_given_to_pytest(repo: GitRepo) -> None:
    repo.write(
        {
            "tests/test_x.py": "def test_x(): pass",
            "benchmarks/deep/test_b.py": BENCHMARK,
            "benchmarks/test_b.py": BENCHMARK,
            "perf tests/test_b.py": BENCHMARK,
            ".venv/test_c.py": BENCHMARK,
        }
    )
    (repo.path / "link").symlink_to("/")
    assert look(repo.path, "main").pytest_paths == ()
    repo.write({"pyproject.toml": '[tool.pytest.ini_options]\ntestpaths = ["tests"]\n'})
    assert look(repo.path, "main").pytest_paths == ("tests", "benchmarks")
    repo.write({"pyproject.toml": '[tool.pytest.ini_options]\ntestpaths = "tests benchmarks"\n'})
    assert look(repo.path, "main").pytest_paths == ()


def test_a_pyproject_that_is_none(repo: GitRepo, blcperf: Command) -> None:
    repo.write({"pyproject.toml": "[["})
    code, _, error = blcperf("init", "github")
    assert code == 2
    assert "pyproject.toml cannot be read" in error
    assert not (repo.path / ".github").exists()


def test_a_branch_name_cannot_become_more_than_a_name() -> None:
    with pytest.raises(UsageError, match="cannot hold"):
        render("github", Project(default_branch='x"\nrun: evil'))


# ---- what is written


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_files_fit_the_repository(platform: str, repo: GitRepo, blcperf: Command) -> None:
    repo.git("branch", "--move", "trunk")
    repo.write(
        {
            "pyproject.toml": '[project]\nname = "x"\nversion = "1"\nrequires-python = ">=3.13"\n'
            '[tool.pytest.ini_options]\ntestpaths = ["tests"]\n',
            "poetry.lock": "",
            "bench/test_b.py": BENCHMARK,
        }
    )
    code, said, _ = blcperf("init", platform)
    assert code == 0
    assert "for: branch trunk, Python 3.13, installed by poetry" in said
    made = [repo.path / line.removeprefix("written: ") for line in said.splitlines() if line.startswith("written: ")]
    text = "".join(path.read_text() for path in made)
    assert "--blcperf-only" in text
    if "github" not in platform and "gitlab" not in platform:
        assert "trunk" in text or platform in ("jenkins", "buildkite", "forgejo", "woodpecker")
    if platform != "pre-push":
        assert "poetry install" in text
    assert " tests bench" in text
    for path in made:
        if path.suffix == ".yml":
            assert list(yaml.safe_load_all(path.read_text()))
        assert bool(path.stat().st_mode & stat.S_IXUSR) == (platform == "pre-push")
    assert "unchanged: " in blcperf("init", platform)[1]


def test_the_remotes_default_branch_is_found(repo: GitRepo, blcperf: Command) -> None:
    repo.git("update-ref", "refs/remotes/origin/develop", "HEAD")
    repo.git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/develop")
    assert "for: branch develop" in blcperf("init", "gitlab")[1]
    assert "for: branch release/1, Python 3.14t" in blcperf(
        "init", "github", "--branch", "release/1", "--python", "3.14t"
    )[1]  # fmt: skip
    assert blcperf("init", "github", "--python", "three")[0] == 2


def test_nothing_is_overwritten_without_asking(repo: GitRepo, blcperf: Command) -> None:
    mine = {".github/workflows/blcperf-comment.yml": "mine\n"}
    repo.write(mine)
    code, _, error = blcperf("init", "github")
    assert code == 2
    assert ".github/workflows/blcperf-comment.yml is there and differs" in error
    assert "--force" in error
    assert not (repo.path / ".github/workflows/blcperf.yml").exists()  # all or nothing
    assert (repo.path / ".github/workflows/blcperf-comment.yml").read_text() == "mine\n"
    assert "overwritten: .github/workflows/blcperf-comment.yml" in blcperf("init", "github", "--force")[1]


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("\n", 2), ("no\n", 2)])
def test_on_a_terminal_it_shows_the_difference_and_asks(repo: GitRepo, answer: str, code: int) -> None:
    import pty

    repo.write({".woodpecker/blcperf.yml": "mine: 1\n"})
    controller, terminal = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest_blcperf", "init", "woodpecker"],
            cwd=repo.path,
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        os.write(controller, answer.encode())
        said, _ = process.communicate(timeout=60)
    finally:
        os.close(controller)
        os.close(terminal)
    assert process.returncode == code, said
    assert "-mine: 1" in said
    assert "Overwrite it? [y/N]" in said
    assert ((repo.path / ".woodpecker/blcperf.yml").read_text() == "mine: 1\n") == (code != 0)


def test_print_writes_nothing(repo: GitRepo, blcperf: Command) -> None:
    code, said, _ = blcperf("init", "github", "--matrix", "--print")
    assert code == 0
    assert "# ---- .github/workflows/blcperf-matrix.yml" in said
    assert repo.git("status", "--porcelain") == ""


def test_a_link_on_the_way_is_refused(repo: GitRepo, tmp_path: Path, blcperf: Command) -> None:
    (tmp_path / "outside").mkdir()
    (repo.path / ".github").symlink_to(tmp_path / "outside")
    code, _, error = blcperf("init", "github", "--force")
    assert code == 2
    assert ".github is a symbolic link" in error
    assert list((tmp_path / "outside").iterdir()) == []


def test_the_templates_are_in_the_package() -> None:
    """They are found beside the code, wherever it is installed."""
    import pytest_blcperf

    folder = Path(pytest_blcperf.__file__).parent / "scaffold" / "templates"
    assert len(list(folder.rglob("*.j2"))) >= len(PLATFORMS)
