from __future__ import annotations

import os
from pathlib import Path

import pytest
from gitrepo import GitRepo

from pytest_blcperf.bench.repository import ADDED, DELETED, MODIFIED, Difference, find, listed_files, tree_reader
from pytest_blcperf.errors import BaselineError, UsageError


@pytest.fixture
def repo(tmp_path: Path) -> GitRepo:
    return GitRepo(tmp_path / "a repo é").write({"a.py": "a = 1\n", "old.py": "x = 1\n"}).commit()


def kinds(repo: GitRepo, commit: str) -> dict[str, str]:
    return {difference.path: difference.kind for difference in find(repo.path).differences(commit)}


def test_find_gives_the_top_folder_from_anywhere_below_it(repo: GitRepo) -> None:
    repo.write({"deep/er/b.py": ""})
    assert find(repo.path / "deep" / "er").root == repo.path.resolve()


def test_find_outside_a_repository_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a git repository") as raised:
        find(tmp_path)
    assert "git init" in raised.value.hint and "stored baseline" in raised.value.hint


def test_find_in_a_bare_repository_says_that_there_is_no_work_tree(repo: GitRepo, tmp_path: Path) -> None:
    repo.git("clone", "--quiet", "--bare", ".", str(tmp_path / "bare"))
    with pytest.raises(UsageError, match="without a work tree"):
        find(tmp_path / "bare")


def test_find_without_git_says_so(repo: GitRepo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="git cannot be run"):
        find(repo.path)


def test_variables_of_a_running_hook_do_not_redirect_git(
    repo: GitRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = GitRepo(tmp_path / "other").commit()
    monkeypatch.setenv("GIT_DIR", str(other.path / ".git"))
    assert find(repo.path).head_commit() == repo.head != other.head


def test_before_the_first_commit(tmp_path: Path) -> None:
    repository = find(GitRepo(tmp_path).write({"a.py": ""}).path)
    assert repository.head_commit() == ""
    assert repository.dirty()
    with pytest.raises(BaselineError, match="no commit"):
        repository.resolve_base("main")


@pytest.mark.parametrize("change", [{"a.py": "a = 2\n"}, {"new.py": ""}], ids=["modified", "untracked"])
def test_dirty(repo: GitRepo, change: dict[str, str]) -> None:
    assert not find(repo.path).dirty()
    repo.write(change)
    assert find(repo.path).dirty()


def test_ignored_files_do_not_make_it_dirty(repo: GitRepo) -> None:
    repo.write({".gitignore": "*.log\n"}).commit().write({"a.log": "x"})
    assert not find(repo.path).dirty()


def test_base_of_a_branch_is_the_merge_base(repo: GitRepo) -> None:
    parting = repo.head
    repo.branch("feature").write({"a.py": "a = 2\n"}).commit()
    repo.checkout("main").write({"b.py": ""}).commit().checkout("feature")
    base = find(repo.path).resolve_base("main")
    assert base.commit == parting
    assert base.label == f"main (merge base {parting[:9]})"
    assert not base.same_as_head


def test_base_that_is_an_ancestor_is_itself(repo: GitRepo) -> None:
    first = repo.head
    repo.write({"a.py": "a = 2\n"}).commit()
    base = find(repo.path).resolve_base("HEAD~1")
    assert (base.commit, base.label) == (first, f"HEAD~1 ({first[:9]})")


def test_on_the_default_branch_the_base_is_the_head_unless_dirty(repo: GitRepo) -> None:
    base = find(repo.path).resolve_base("main")
    assert (base.commit, base.same_as_head) == (repo.head, True)
    repo.write({"a.py": "a = 2\n"})
    assert not find(repo.path).resolve_base("main").same_as_head


def test_detached_head(repo: GitRepo) -> None:
    main = repo.head
    repo.branch("feature").write({"a.py": "a = 2\n"}).commit().checkout(repo.head)
    assert find(repo.path).resolve_base("main").commit == main


@pytest.mark.parametrize("remote", ["origin", "upstream"])
def test_branch_that_only_the_remote_has(repo: GitRepo, tmp_path: Path, remote: str) -> None:
    repo.branch("release").checkout("main")
    repo.git("clone", "--quiet", "--origin", remote, ".", str(tmp_path / "clone"))
    assert find(tmp_path / "clone").resolve_base("release").commit == repo.head


def test_unknown_revision_with_a_remote_names_the_fetch(repo: GitRepo, tmp_path: Path) -> None:
    repo.git("clone", "--quiet", ".", str(tmp_path / "clone"))
    with pytest.raises(BaselineError, match="no revision 'develop'") as raised:
        find(tmp_path / "clone").resolve_base("develop")
    assert raised.value.hint == "git fetch origin develop:refs/remotes/origin/develop"


def test_unknown_revision_without_a_remote(repo: GitRepo) -> None:
    with pytest.raises(BaselineError, match="no revision 'develop'") as raised:
        find(repo.path).resolve_base("develop")
    assert "git branch" in raised.value.hint


@pytest.mark.parametrize("name", ["", "--output=x", "-h", "a\nb"])
def test_names_that_git_could_misread_are_refused(repo: GitRepo, name: str) -> None:
    with pytest.raises(UsageError, match="not a git revision"):
        find(repo.path).resolve_base(name)


def test_hint_quotes_the_name_for_the_shell(repo: GitRepo, tmp_path: Path) -> None:
    repo.git("clone", "--quiet", ".", str(tmp_path / "clone"))
    with pytest.raises(BaselineError) as raised:
        find(tmp_path / "clone").resolve_base("x;reboot")
    assert "origin 'x;reboot'" in raised.value.hint


def shallow_clone(repo: GitRepo, target: Path) -> GitRepo:
    repo.git("clone", "--quiet", "--depth=1", "--branch=feature", f"file://{repo.path}", str(target))
    return GitRepo(target)


def test_shallow_clone_without_the_branch_and_its_hint_works(repo: GitRepo, tmp_path: Path) -> None:
    parting = repo.head
    repo.branch("feature").write({"a.py": "a = 2\n"}).commit()
    clone = shallow_clone(repo, tmp_path / "clone")
    with pytest.raises(BaselineError, match="shallow clone has no revision 'main'") as raised:
        find(clone.path).resolve_base("main")
    commands, _, action = raised.value.hint.partition(";")
    assert "fetch-depth: 0" in action
    for command in commands.split(" && "):
        clone.git(*command.split()[1:])
    assert find(clone.path).resolve_base("main").commit == parting


def test_shallow_clone_without_the_merge_base(repo: GitRepo, tmp_path: Path) -> None:
    parting = repo.head
    repo.branch("feature").write({"a.py": "a = 2\n"}).commit()
    clone = shallow_clone(repo, tmp_path / "clone")
    repo.checkout("main").write({"a.py": "a = 3\n"}).commit()
    clone.git("fetch", "--quiet", "--depth=1", "origin", "main:refs/remotes/origin/main")
    with pytest.raises(BaselineError, match="does not reach back") as raised:
        find(clone.path).resolve_base("main")
    clone.git(*raised.value.hint.partition(";")[0].split()[1:])
    assert find(clone.path).resolve_base("main").commit == parting


def test_unrelated_histories(repo: GitRepo) -> None:
    repo.git("checkout", "--quiet", "--orphan", "other")
    repo.commit("another first commit")
    with pytest.raises(BaselineError, match="no common ancestor"):
        find(repo.path).resolve_base("main")


def test_differences_of_everything_on_disk(repo: GitRepo) -> None:
    first = repo.head
    repo.write({".gitignore": "*.log\n", "committed.py": ""}).commit()
    repo.git("mv", "old.py", "renamed.py")
    repo.write({"a.py": "a = 2\n", 'new\n"é.py': "", "ignored.log": ""})
    assert find(repo.path).differences(first) == (
        Difference(".gitignore", ADDED),
        Difference("a.py", MODIFIED),
        Difference("committed.py", ADDED),
        Difference('new\n"é.py', ADDED),
        Difference("old.py", DELETED),
        Difference("renamed.py", ADDED),
    )


def test_a_touched_file_is_no_difference(repo: GitRepo) -> None:
    os.utime(repo.path / "a.py", (1, 1))
    assert kinds(repo, repo.head) == {}


def test_mode_and_link_changes_are_modifications(repo: GitRepo) -> None:
    (repo.path / "link").symlink_to("a.py")
    repo.commit()
    (repo.path / "a.py").chmod(0o755)
    (repo.path / "link").unlink()
    (repo.path / "link").symlink_to("old.py")
    (repo.path / "old.py").unlink()
    (repo.path / "old.py").symlink_to("a.py")
    assert kinds(repo, repo.head) == {"a.py": MODIFIED, "link": MODIFIED, "old.py": MODIFIED}


def test_a_file_only_removed_from_the_index_is_still_there(repo: GitRepo) -> None:
    repo.git("rm", "--quiet", "--cached", "a.py", "old.py")
    repo.write({".gitignore": "old.py\n"})
    assert kinds(repo, repo.head) == {".gitignore": ADDED, "a.py": MODIFIED, "old.py": MODIFIED}


def test_files_that_git_was_told_not_to_look_at_count_as_modified(repo: GitRepo) -> None:
    repo.git("update-index", "--assume-unchanged", "a.py")
    repo.git("update-index", "--skip-worktree", "old.py")
    repo.write({"a.py": "a = 2\n"})
    assert kinds(repo, repo.head) == {"a.py": MODIFIED, "old.py": MODIFIED}


def test_a_changed_submodule_and_a_repository_inside_are_one_path_each(repo: GitRepo, tmp_path: Path) -> None:
    library = GitRepo(tmp_path / "library").write({"lib.py": "x = 1\n"}).commit()
    repo.git("submodule", "--quiet", "add", str(library.path), "vendor")
    repo.commit()
    assert kinds(repo, repo.head) == {}
    repo.write({"vendor/lib.py": "x = 2\n"})
    GitRepo(repo.path / "nested").write({"n.py": ""}).commit()
    assert kinds(repo, repo.head) == {"nested": ADDED, "vendor": MODIFIED}
    assert "vendor/lib.py" in listed_files(repo.path)


def test_differences_from_something_else_than_a_commit(repo: GitRepo) -> None:
    with pytest.raises(UsageError, match="full commit hash"):
        find(repo.path).differences("--output=x")
    with pytest.raises(BaselineError, match="could not read"):
        find(repo.path).differences("0" * 40)


def test_tree_reader_bounds_what_it_reads(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert tree_reader(tmp_path)("a") == b"12345"
    assert tree_reader(tmp_path)("missing") is None
    with pytest.raises(OSError, match="larger"):
        tree_reader(tmp_path, limit=4)("a")
