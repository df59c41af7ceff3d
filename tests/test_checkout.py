from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from gitrepo import GitRepo

from pytest_blcperf.bench.checkout import base_checkout, remove_stale
from pytest_blcperf.bench.repository import Repository, find
from pytest_blcperf.bench.scratch import scratch_folder
from pytest_blcperf.errors import BaselineError, PermissionDenied, UsageError
from pytest_blcperf.store import folder

PACKAGE_ROOT = Path(__file__).parent.parent


@pytest.fixture
def repo(tmp_path: Path) -> GitRepo:
    repo = GitRepo(tmp_path / "a repo é").write({"src/lib.py": "x = 1\n"}).commit()
    return repo.branch("feature").write({"src/lib.py": "x = 2\n"}).commit()


def worktrees(repo: GitRepo) -> int:
    return repo.git("worktree", "list", "--porcelain").count("worktree ")


def leftovers(repo: GitRepo) -> list[str]:
    return sorted(path.name for path in (repo.path / ".blcperf" / "cache" / "worktrees").iterdir())


def base_of(repo: GitRepo) -> tuple[Repository, str]:
    repository = find(repo.path)
    return repository, repository.resolve_base("main").commit


def test_the_base_is_checked_out_and_removed_and_git_does_not_notice(repo: GitRepo) -> None:
    repository, commit = base_of(repo)
    with base_checkout(repository, commit) as path:
        assert (path / "src/lib.py").read_text() == "x = 1\n"
        assert path.is_relative_to(repo.path.resolve() / ".blcperf" / "cache" / "worktrees")
        assert not repository.dirty()
    assert leftovers(repo) == []
    assert worktrees(repo) == 1
    assert repo.git("branch", "--list").split() == ["*", "feature", "main"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_it_is_removed_whatever_happens_inside(repo: GitRepo, error: type[BaseException]) -> None:
    repository, commit = base_of(repo)
    with pytest.raises(error), base_checkout(repository, commit) as path:
        (path / "dirty.py").write_text("")
        raise error
    assert leftovers(repo) == []
    assert worktrees(repo) == 1


@pytest.mark.parametrize("damage", ["rm -r .", "rm .git"])
def test_a_checkout_that_is_already_damaged_is_forgotten_all_the_same(repo: GitRepo, damage: str) -> None:
    repository, commit = base_of(repo)
    with base_checkout(repository, commit) as path:
        subprocess.run(["rm", "-r", str(path) if damage == "rm -r ." else str(path / ".git")], check=True)
    assert leftovers(repo) == []
    assert worktrees(repo) == 1


def test_two_checkouts_of_one_process_do_not_meet(repo: GitRepo) -> None:
    repository, commit = base_of(repo)
    with base_checkout(repository, commit) as one, base_checkout(repository, commit) as two:
        assert one != two
        assert (one / "src/lib.py").exists() and (two / "src/lib.py").exists()
    assert worktrees(repo) == 1


def test_from_a_linked_worktree(repo: GitRepo, tmp_path: Path) -> None:
    repo.git("worktree", "add", "--quiet", "-b", "linked", str(tmp_path / "linked"))
    linked = GitRepo(tmp_path / "linked").write({"src/lib.py": "x = 3\n"}).commit()
    repository, commit = base_of(linked)
    with base_checkout(repository, commit) as path:
        assert path.is_relative_to(linked.path.resolve())
        assert (path / "src/lib.py").read_text() == "x = 1\n"
    assert worktrees(repo) == 2


def test_hooks_of_the_repository_do_not_run(repo: GitRepo, tmp_path: Path) -> None:
    hook = repo.path / ".git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch '{tmp_path}/ran'\n")
    hook.chmod(0o755)
    repository, commit = base_of(repo)
    with base_checkout(repository, commit):
        pass
    assert not (tmp_path / "ran").exists()


def test_a_commit_that_is_not_here(repo: GitRepo) -> None:
    with pytest.raises(BaselineError, match="could not check out 000000000"), base_checkout(find(repo.path), "0" * 40):
        pytest.fail("there is nothing to check out")
    assert leftovers(repo) == []


def start_checkout(repo: GitRepo) -> subprocess.Popen[str]:
    """A process that holds a checkout until it is killed; when this returns, the checkout is there."""
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from pytest_blcperf.bench.checkout import base_checkout\n"
        "from pytest_blcperf.bench.repository import find\n"
        "repository = find(Path(sys.argv[1]))\n"
        "with base_checkout(repository, repository.resolve_base('main').commit) as path:\n"
        "    print(path, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(repo.path)],
        env={**os.environ, "PYTHONPATH": str(PACKAGE_ROOT), "PYTHONUTF8": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stdout is not None
    assert Path(process.stdout.readline().rstrip("\n")).is_dir()
    return process


def test_the_checkout_of_a_killed_process_goes_and_a_living_one_stays(repo: GitRepo) -> None:
    repo.git("worktree", "add", "--quiet", "--detach", str(repo.path.parent / "users"))
    with start_checkout(repo) as living, start_checkout(repo) as killed:
        assert worktrees(repo) == 4
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        remove_stale(find(repo.path))
        assert worktrees(repo) == 3
        (left,) = leftovers(repo)
        assert f"-{living.pid}-" in left
        living.communicate("")
    assert worktrees(repo) == 2


def test_a_process_that_is_dead_but_not_yet_waited_for_owns_nothing(repo: GitRepo) -> None:
    with start_checkout(repo) as process:
        process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        remove_stale(find(repo.path))
        assert leftovers(repo) == []


def test_a_reused_process_number_is_not_taken_for_the_owner(repo: GitRepo) -> None:
    home = folder.ensure(repo.path) / "cache" / "worktrees"
    (home / f"012345678-{os.getpid()}-1").mkdir(parents=True)
    remove_stale(find(repo.path))
    assert leftovers(repo) == []


def test_folders_that_are_not_ours_stay(repo: GitRepo, tmp_path: Path) -> None:
    home = folder.ensure(repo.path) / "cache" / "worktrees"
    (home / "mine").mkdir(parents=True)
    repo.git("worktree", "add", "--quiet", "--detach", str(tmp_path / "users"))
    (home / "012345678-1-1").symlink_to(tmp_path / "users")
    remove_stale(find(repo.path))
    assert worktrees(repo) == 2
    assert leftovers(repo) == ["012345678-1-1", "mine"]


def test_a_linked_cache_is_refused(repo: GitRepo, tmp_path: Path) -> None:
    (folder.ensure(repo.path) / "cache").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="symbolic link"):
        remove_stale(find(repo.path))


def test_the_folder_ignores_itself_and_keeps_a_changed_gitignore(repo: GitRepo) -> None:
    folder.ensure(repo.path)
    assert (repo.path / ".blcperf/.gitignore").read_text() == "*\n"
    (repo.path / ".blcperf/.gitignore").write_text("cache\n")
    folder.ensure(repo.path)
    assert (repo.path / ".blcperf/.gitignore").read_text() == "cache\n"


def test_something_else_in_the_place_of_the_folder(repo: GitRepo, tmp_path: Path) -> None:
    (repo.path / ".blcperf").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="not a directory of this repository"):
        folder.ensure(repo.path)


def test_a_place_that_cannot_be_written() -> None:
    with pytest.raises(PermissionDenied, match="cannot write") as raised:
        folder.ensure(Path("/proc"))  # not even root can create something there
    assert "writable" in raised.value.hint


def start_scratch(home: Path) -> subprocess.Popen[str]:
    """A process that holds a scratch folder with something in it; when this returns, the folder is there."""
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from pytest_blcperf.bench.scratch import scratch_folder\n"
        "with scratch_folder(Path(sys.argv[1])) as path:\n"
        "    (path / 'left').write_text('')\n"
        "    print(path, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(home)],
        env={**os.environ, "PYTHONPATH": str(PACKAGE_ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert (Path(process.stdout.readline().rstrip("\n")) / "left").exists()
    return process


def test_the_scratch_folder_of_a_killed_process_goes_and_a_living_ones_stays(tmp_path: Path) -> None:
    with start_scratch(tmp_path) as living, start_scratch(tmp_path) as killed:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        with scratch_folder(tmp_path) as ours:
            assert ours.stat().st_mode & 0o777 == 0o700
            (living_ones,) = set(tmp_path.iterdir()) - {ours}
            assert f"-{living.pid}-" in living_ones.name
            assert (living_ones / "left").exists()
        living.communicate("")
    assert list(tmp_path.iterdir()) == []


def test_a_scratch_folder_whose_owner_has_no_number_here_stays_while_it_is_held(tmp_path: Path) -> None:
    # GIVEN a folder held by a process of another container: alive, but not by the number in the name
    with start_scratch(tmp_path) as living:
        (held,) = tmp_path.iterdir()
        elsewhere = held.rename(tmp_path / f"blcperf-{living.pid}-1-abcdefgh")
        with scratch_folder(tmp_path):
            assert elsewhere.is_dir()
        living.communicate("")
    # THEN it goes when it is held no more
    with scratch_folder(tmp_path) as ours:
        assert list(tmp_path.iterdir()) == [ours]


def test_folders_that_are_not_scratch_stay(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "precious").mkdir(parents=True)
    home = tmp_path / "home"
    (home / "blcperf-mine").mkdir(parents=True)
    (home / "blcperf-1-1-abcdefgh-and-more").mkdir()
    (home / "blcperf-1-1-file_000").write_text("")
    (home / "blcperf-1-1-abcdefgh").symlink_to(target)
    before = sorted(home.iterdir())
    with scratch_folder(home):
        pass
    assert sorted(home.iterdir()) == before
    assert (target / "precious").is_dir()
