from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from gitrepo import GitRepo

from pytest_blcperf.bench.checkout import base_checkout
from pytest_blcperf.bench.overlay import apply_overlay, plan_overlay, restore
from pytest_blcperf.bench.repository import find
from pytest_blcperf.errors import UsageError


class Sides:
    """A repository whose head is on disk, and the checkout of its last commit."""

    def __init__(self, head: GitRepo, stack: ExitStack) -> None:
        self.head = head
        self.commit = head.head
        self.base = stack.enter_context(base_checkout(find(head.path), self.commit))

    def plan(self, *benchmarks: str, config: str | None = None, roots: tuple[str, ...] = (".",)) -> tuple[str, ...]:
        return plan_overlay(self.head.path, self.base, benchmarks, config, roots)

    def lay(self, *benchmarks: str, config: str | None = None, roots: tuple[str, ...] = (".",)) -> None:
        apply_overlay(self.head.path, self.base, self.plan(*benchmarks, config=config, roots=roots))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def repo(tmp_path: Path) -> GitRepo:
    return GitRepo(tmp_path / "repo")


@pytest.mark.parametrize(
    ("files", "benchmark", "roots", "expected"),
    [
        (["tests/bench/test_x.py", "tests/data/a.txt", "src/lib.py"], "tests/bench/test_x.py", ["src"], "tests/"),
        (["tests/__init__.py", "tests/test_x.py", "lib/__init__.py"], "tests/test_x.py", ["."], "tests/"),
        (["src/p/__init__.py", "src/p/tests/test_x.py"], "src/p/tests/test_x.py", ["src"], "src/p/tests/"),
        (["p/__init__.py", "p/tests/deep/test_x.py", "p/a.py"], "p/tests/deep/test_x.py", ["."], "p/tests/"),
        (["test_x.py", "lib.py"], "test_x.py", ["."], "test_x.py"),
        (["p/__init__.py", "p/test_x.py", "p/a.py"], "p/test_x.py", ["."], "p/test_x.py"),
        (["p/__init__.py", "p/bench/test_x.py", "p/bench/a.py"], "p/bench/test_x.py", ["."], "p/bench/test_x.py"),
        (["acme/lib/__init__.py", "acme/test_x.py"], "acme/test_x.py", ["."], "acme/test_x.py"),
        (["checks/speed_x.py", "checks/a.json"], "checks/speed_x.py", ["."], "checks/"),
        (["mono/src/p/__init__.py", "mono/tests/test_x.py"], "mono/tests/test_x.py", ["mono/src"], "mono/tests/"),
        (["src/a.py", "src/perf/test_x.py"], "src/perf/test_x.py", ["src"], "src/perf/"),
    ],
)
def test_what_is_laid_over(
    repo: GitRepo, stack: ExitStack, *, files: list[str], benchmark: str, roots: list[str], expected: str
) -> None:
    """GIVEN a layout WHEN a benchmark is laid over the base THEN its test folder goes along, code under test never."""
    sides = Sides(repo.write(dict.fromkeys(files, "")).commit(), stack)
    wanted = [name for name in files if name == expected or (expected.endswith("/") and name.startswith(expected))]
    assert sides.plan(benchmark, roots=tuple(roots)) == tuple(sorted(wanted))


def test_conftests_on_the_way_and_the_configuration(repo: GitRepo, stack: ExitStack) -> None:
    repo.write(dict.fromkeys(["conftest.py", "src/conftest.py", "src/p/conftest.py", "src/q/conftest.py"], ""))
    repo.write({"src/p/__init__.py": "", "src/p/test_x.py": "", "pytest.ini": ""}).commit()
    plan = Sides(repo, stack).plan("src/p/test_x.py", config="pytest.ini", roots=("src",))
    assert plan == ("conftest.py", "pytest.ini", "src/conftest.py", "src/p/conftest.py", "src/p/test_x.py")


def test_the_base_gets_what_is_on_disk_and_keeps_its_own_code(repo: GitRepo, stack: ExitStack) -> None:
    repo.write({"src/lib.py": "x = 1\n", "tests/test_old.py": "old\n", "tests/gone/a.py": "", "conftest.py": "c1\n"})
    sides = Sides(repo.write({".gitignore": "*.log\n"}).commit(), stack)
    repo.git("mv", "tests/test_old.py", "tests/test_new.py")
    repo.git("rm", "--quiet", "tests/gone/a.py", "conftest.py")
    repo.write({"src/lib.py": "x = 2\n", "tests/helper é\n.txt": "untracked\n", "tests/a.log": "ignored\n"})
    sides.lay("tests/test_new.py", roots=("src",))
    assert (sides.base / "src/lib.py").read_text() == "x = 1\n"
    assert names(sides.base / "tests") == ["helper é\n.txt", "test_new.py"]
    assert not (sides.base / "conftest.py").exists()


def test_modes_and_links_are_copied_as_they_are(repo: GitRepo, stack: ExitStack, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    sides = Sides(repo.write({"tests/test_x.py": "", "tests/run.sh": "old\n"}).commit(), stack)
    (repo.path / "tests/out").symlink_to(tmp_path / "secret")
    repo.write({"tests/run.sh": "#!/bin/sh\n"})
    (repo.path / "tests/run.sh").chmod(0o755)
    sides.lay("tests/test_x.py")
    assert (sides.base / "tests/out").is_symlink()
    assert os.access(sides.base / "tests/run.sh", os.X_OK)


@pytest.mark.parametrize("place", ["tests", "tests/data", "tests/data/a.txt"])
def test_a_link_in_the_base_does_not_redirect_the_write(
    repo: GitRepo, stack: ExitStack, tmp_path: Path, place: str
) -> None:
    outside = tmp_path / "outside"
    (outside / "data").mkdir(parents=True)
    (outside / "a.txt").write_text("precious")
    link = repo.write({"lib.py": ""}).path / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside / "a.txt" if place.endswith("txt") else outside)
    sides = Sides(repo.commit(), stack)
    link.unlink()
    repo.write({"tests/test_x.py": "", "tests/data/a.txt": "new", "tests/data/data/b.txt": "b"})
    sides.lay("tests/test_x.py")
    assert (sides.base / "tests/data/a.txt").read_text() == "new"
    assert (outside / "a.txt").read_text() == "precious"
    assert names(outside) == ["a.txt", "data"]
    assert names(outside / "data") == []


def test_a_link_in_the_base_does_not_redirect_a_removal(repo: GitRepo, stack: ExitStack, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/a.txt").write_text("precious")
    (repo.path / "data").symlink_to(tmp_path / "outside")
    sides = Sides(repo.commit(), stack)
    (repo.path / "data").unlink()
    apply_overlay(repo.path, sides.base, ["data/a.txt"])
    assert (tmp_path / "outside/a.txt").exists()


def test_files_and_folders_that_changed_places(repo: GitRepo, stack: ExitStack) -> None:
    sides = Sides(repo.write({"tests/test_x.py": "", "tests/a": "file", "tests/b/c": "in folder"}).commit(), stack)
    repo.git("rm", "-r", "--quiet", "tests/a", "tests/b")
    repo.write({"tests/a/d": "in folder", "tests/b": "file"})
    sides.lay("tests/test_x.py")
    assert (sides.base / "tests/a/d").read_text() == "in folder"
    assert (sides.base / "tests/b").read_text() == "file"


def test_a_linked_test_folder_is_laid_over_where_it_really_is(repo: GitRepo, stack: ExitStack) -> None:
    sides = Sides(repo.write({"lib.py": ""}).commit(), stack)
    repo.write({"real/tests/test_x.py": "here"})
    (repo.path / "tests").symlink_to("real/tests")
    sides.lay("tests/test_x.py")
    assert (sides.base / "tests").is_symlink()
    assert (sides.base / "tests/test_x.py").read_text() == "here"


def test_files_of_a_submodule_come_along(repo: GitRepo, stack: ExitStack, tmp_path: Path) -> None:
    data = GitRepo(tmp_path / "data").write({"a.json": "{}"}).commit()
    repo.write({"tests/test_x.py": ""}).git("submodule", "--quiet", "add", str(data.path), "tests/data")
    sides = Sides(repo.commit(), stack)
    assert not (sides.base / "tests/data/a.json").exists()
    sides.lay("tests/test_x.py")
    assert (sides.base / "tests/data/a.json").read_text() == "{}"


@pytest.mark.parametrize("path", ["../x.py", "/etc/passwd", ".git", "tests/../../x.py", ""])
def test_paths_out_of_the_repository_are_refused(repo: GitRepo, stack: ExitStack, path: str) -> None:
    sides = Sides(repo.write({"a.py": ""}).commit(), stack)
    for attempt in (
        lambda: sides.plan(path),
        lambda: sides.plan("a.py", config=path),
        lambda: apply_overlay(repo.path, sides.base, [path]),
        lambda: restore(sides.base, sides.commit, path),
    ):
        with pytest.raises(UsageError, match="not a file of the repository"):
            attempt()


def test_a_benchmark_that_links_out_of_the_repository_is_refused(
    repo: GitRepo, stack: ExitStack, tmp_path: Path
) -> None:
    (tmp_path / "test_x.py").write_text("")
    sides = Sides(repo.commit(), stack)
    (repo.path / "test_x.py").symlink_to(tmp_path / "test_x.py")
    with pytest.raises(UsageError, match="link out of the repository"):
        sides.plan("test_x.py")


@pytest.mark.parametrize("path", ["tests/x.py", "tests/[x].py", ":x.py"])
def test_restore_puts_the_own_version_back_or_nothing(repo: GitRepo, stack: ExitStack, path: str) -> None:
    sides = Sides(repo.write({path: "base"}).commit(), stack)
    repo.write({path: "head", "tests/new/x.py": "head"})
    sides.lay(path, "tests/new/x.py")
    assert (sides.base / path).read_text() == "head"
    assert restore(sides.base, sides.commit, path)
    assert (sides.base / path).read_text() == "base"
    assert not restore(sides.base, sides.commit, "tests/new/x.py")
    assert not (sides.base / "tests/new").exists()


def test_cached_bytecode_of_another_version_is_not_reused(repo: GitRepo, stack: ExitStack) -> None:
    """GIVEN three versions of one size and one time WHEN each is imported THEN it is that version that runs."""
    sides = Sides(repo.write({"tests/x.py": "print('base')\n"}).commit(), stack)
    target = sides.base / "tests/x.py"

    def imported() -> str:
        os.utime(target, (1_000_000_000, 1_000_000_000))
        command = [sys.executable, "-c", "import sys; sys.path[:0] = ['tests']; import x"]
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        return subprocess.run(
            command, cwd=sides.base, env=environment, check=True, capture_output=True, text=True
        ).stdout.strip()

    assert imported() == "base"
    repo.write({"tests/x.py": "print('head')\n"})
    sides.lay("tests/x.py")
    assert imported() == "head"
    restore(sides.base, sides.commit, "tests/x.py")
    assert imported() == "base"
