"""Baselines kept elsewhere: folder, object storage, git branch, GitHub's and GitLab's artifacts; and which one fits."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import Command, command
from formats.make_run_1 import sample_run
from gitrepo import GitRepo
from platform_server import Platform, Reply, Request, serving

from pytest_blcperf.bench.interpreter import facts_of
from pytest_blcperf.bench.repository import Repository
from pytest_blcperf.model.environment import Environment
from pytest_blcperf.platforms.http import Client
from pytest_blcperf.shelves.branch import Branch
from pytest_blcperf.shelves.directory import Directory
from pytest_blcperf.shelves.kept import Kept, best_first, machine_key
from pytest_blcperf.shelves.objects import Objects
from pytest_blcperf.store import baselines, environment, run_file

HERE = environment.from_facts(facts_of(sys.executable))
ELSEWHERE = replace(HERE, cpu_model="Another CPU")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GitRepo:
    """A clone on a branch, with `origin`, whose main has four commits; the branch leaves it at the third."""
    origin = tmp_path / "origin.git"
    origin.mkdir()
    repo = GitRepo(tmp_path / "project")
    repo.git("init", "--quiet", "--bare", "--initial-branch=main", str(origin))
    repo.git("remote", "add", "origin", str(origin))
    for number in range(4):
        repo.write({"file.txt": str(number)}).commit(str(number))
    repo.git("push", "--quiet", "origin", "main")
    repo.git("checkout", "--quiet", "-b", "work", "main~1")
    repo.write({"work.txt": "1"}).commit("work")
    monkeypatch.chdir(repo.path)
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, "/dev/null")
    return repo


@pytest.fixture
def blcperf(capsys: pytest.CaptureFixture[str]) -> Command:
    return command(capsys)


def commits(repo: GitRepo) -> list[str]:
    """Main's commits, the newest first."""
    return repo.git("rev-list", "main").split()


def content(commit: str, where: Environment, tmp_path: Path, *, dirty: bool = False) -> bytes:
    """A run file of that commit and machine."""
    path = tmp_path / "made.blcperf"
    run_file.write(replace(sample_run(), name="main", commit=commit, dirty=dirty, environment=where), path)
    return path.read_bytes()


# ---- which one


A, B, C = ("a" * 40, "b" * 40, "c" * 40)


def test_the_nearest_of_an_equal_machine_comes_first() -> None:
    kept = [Kept(C, "here", "1"), Kept(A, "other", "2"), Kept(B, "here", "3"), Kept("d" * 40, "here", "4")]
    assert [one.place for one in best_first(kept, [A, B, C], "here")] == ["3", "1", "2"]
    unknown = [Kept(B, "", "1"), Kept(A, "", "2")]
    assert [one.place for one in best_first(unknown, [A, B, C], "here")] == ["2", "1"]


def test_the_key_of_a_machine_follows_what_times_depend_on() -> None:
    assert machine_key(HERE) == machine_key(replace(HERE, packages={"numpy": "1"}, memory_bytes=1))
    assert machine_key(HERE) != machine_key(ELSEWHERE)


# ---- shelves that can be written


@pytest.fixture(params=["directory", "memory", "file", "branch"])
def shelf(request: pytest.FixtureRequest, project: GitRepo, tmp_path: Path) -> Iterator[Any]:
    if request.param == "directory":
        yield Directory(tmp_path / "kept", "feature/x")
    elif request.param == "branch":
        yield Branch(Repository(project.path), "perf/baselines", "feature/x")
    else:
        fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
        url = f"memory://{tmp_path.name}" if request.param == "memory" else f"file://{tmp_path}/kept"
        yield Objects(url, "feature/x")
        if request.param == "memory":
            fsspec.filesystem("memory").store.clear()


def test_what_is_kept_is_found_again(shelf: Any, project: GitRepo) -> None:
    newest, second, third, oldest = commits(project)
    assert shelf.kept([newest]) == []
    for commit, machine in ((oldest, "0" * 12), (second, "0" * 12), (second, "1" * 12)):
        shelf.keep(Kept(commit, machine, ""), f"{commit}{machine}".encode(), 10)
    found = shelf.kept([newest, second, third, oldest])
    assert {(one.commit, one.machine) for one in found} == {
        (oldest, "0" * 12),
        (second, "0" * 12),
        (second, "1" * 12),
    }
    assert all(shelf.read(one) == f"{one.commit}{one.machine}".encode() for one in found)
    assert {one.commit for one in shelf.kept([newest, third])} == set()


def test_only_the_newest_are_kept(shelf: Any, project: GitRepo) -> None:
    everything = commits(project)
    for number, commit in enumerate(reversed(everything)):
        shelf.keep(Kept(commit, "0" * 12, ""), str(number).encode(), 2)
    assert {one.commit for one in shelf.kept(everything)} == set(everything[:2])
    shelf.keep(Kept(everything[0], "0" * 12, ""), b"again", 2)
    assert {shelf.read(one) for one in shelf.kept(everything)} == {b"again", b"2"}


def test_a_branch_has_one_commit_and_leaves_the_clone_alone(project: GitRepo) -> None:
    branch, other = (Branch(Repository(project.path), "baselines", name) for name in ("main", "other"))
    before = project.git("status", "--porcelain"), project.git("branch", "--list"), project.git("worktree", "list")
    for commit in commits(project)[:2]:
        branch.keep(Kept(commit, "0" * 12, ""), b"x", 10)
        other.keep(Kept(commit, "0" * 12, ""), b"x", 10)
    assert project.git("ls-remote", "origin", "refs/heads/baselines")
    assert project.git("rev-list", "--count", "refs/blcperf/baselines") == "1"
    assert len(branch.kept(commits(project))) == len(other.kept(commits(project))) == 2
    after = project.git("status", "--porcelain"), project.git("branch", "--list"), project.git("worktree", "list")
    assert after == before


def test_a_branch_that_somebody_else_pushed_meanwhile(project: GitRepo, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, theirs = (Branch(Repository(project.path), "baselines", "main") for _ in range(2))
    newest, second, *_ = commits(project)
    mine.keep(Kept(newest, "0" * 12, ""), b"1", 10)
    original, raced = mine._commit, []

    def race(*arguments: Any) -> str:
        commit = original(*arguments)
        if not raced:
            raced.append(theirs.keep(Kept(second, "1" * 12, ""), b"2", 10))
        return commit

    monkeypatch.setattr(mine, "_commit", race)
    mine.keep(Kept(second, "2" * 12, ""), b"3", 10)
    assert {one.machine[0] for one in mine.kept([newest, second])} == {"0", "1", "2"}


# ---- fetch and push


def test_push_and_fetch_walk_back_from_the_merge_base(project: GitRepo, tmp_path: Path, blcperf: Command) -> None:
    _, second, third, _ = commits(project)
    for commit, where in ((third, HERE), (second, ELSEWHERE)):
        (tmp_path / "run.blcperf").write_bytes(content(commit, where, tmp_path))
        assert blcperf("baseline", "save", str(tmp_path / "run.blcperf"), "main", "--quiet")[0] == 0
        code, said, _ = blcperf("baseline", "push", "main", "--to", str(tmp_path / "kept"))
        assert (code, said) == (0, f"kept baseline main of {commit[:9]} in {tmp_path / 'kept'}\n")
    baselines.remove(project.path, "main")

    code, said, _ = blcperf("baseline", "fetch", "main", "--from", str(tmp_path / "kept"))
    assert code == 0
    assert said == (
        f"fetched baseline main: commit {third[:9]}, 1 commits before the merge base {second[:9]}, "
        "measured on a machine like this one\n"
    )
    stored = baselines.find(project.path, "main")
    assert stored is not None
    assert run_file.read(stored).commit == third
    # Not far enough back for the equal machine: the other one's, and it says so.
    _, said, _ = blcperf("baseline", "fetch", "main", "--from", str(tmp_path / "kept"), "--depth", "1")
    assert said.endswith("measured on another machine: its times do not compare\n")


def test_no_baseline_yet_is_an_error_unless_optional(project: GitRepo, tmp_path: Path, blcperf: Command) -> None:
    code, _, error = blcperf("baseline", "fetch", "main", "--from", str(tmp_path / "kept"))
    assert code == 6
    assert "no stored baseline of main" in error
    code, said, _ = blcperf("baseline", "fetch", "main", "--from", str(tmp_path / "kept"), "--optional")
    assert code == 0
    assert "the next push to that branch should store one" in said
    assert not baselines.list_baselines(project.path)


def test_a_changed_work_tree_is_not_pushed(project: GitRepo, tmp_path: Path, blcperf: Command) -> None:
    (tmp_path / "run.blcperf").write_bytes(content(commits(project)[0], HERE, tmp_path, dirty=True))
    blcperf("baseline", "save", str(tmp_path / "run.blcperf"), "main")
    code, _, error = blcperf("baseline", "push", "main", "--to", str(tmp_path / "kept"))
    assert code == 6
    assert "a changed work tree" in error


def test_artifacts_cannot_be_pushed(project: GitRepo, tmp_path: Path, blcperf: Command) -> None:
    (tmp_path / "run.blcperf").write_bytes(content(commits(project)[0], HERE, tmp_path))
    blcperf("baseline", "save", str(tmp_path / "run.blcperf"), "main")
    for where in ("github", "gitlab"):
        code, _, error = blcperf("baseline", "push", "main", "--to", where)
        assert code == 2
        assert f"{where} has no API that writes artifacts" in error


def test_a_run_of_another_commit_or_a_damaged_one_is_passed_over(
    project: GitRepo, tmp_path: Path, blcperf: Command
) -> None:
    _, second, third, oldest = commits(project)
    shelf = Directory(tmp_path / "kept", "main")
    shelf.keep(Kept(second, machine_key(HERE), ""), b"PK\x03\x04 not a run", 9)
    shelf.keep(Kept(third, machine_key(HERE), ""), content("e" * 40, HERE, tmp_path), 9)
    shelf.keep(Kept(oldest, machine_key(HERE), ""), content(oldest, HERE, tmp_path), 9)
    code, said, _ = blcperf("baseline", "fetch", "main", "--from", str(tmp_path / "kept"))
    assert code == 0
    assert f"passed over {second[:9]}" in said
    assert f"passed over {third[:9]}: the run was taken from eeeeeeeee" in said
    assert f"fetched baseline main: commit {oldest[:9]}, 2 commits before" in said


def test_unusable_places_are_said(project: GitRepo, blcperf: Command) -> None:
    for where, said in (
        ("git:--upload-pack=x", "not a branch"),
        ("nosuch://x", "nosuch"),
        ("git:missing", "no stored baseline"),
    ):
        code, _, error = blcperf("baseline", "fetch", "main", "--from", where)
        assert code in (2, 6)
        assert said in error
    assert project.git("status", "--porcelain") == ""


# ---- artifacts


def archive(**members: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for name, member in members.items():
            file.writestr(name.replace("_", "."), member)
    return data.getvalue()


def quick(root: str, headers: dict[str, str], pause: float = 0) -> Client:
    """A client that does not wait between attempts."""
    return Client(root, headers, pause=min(pause, 0))


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch, project: GitRepo, tmp_path: Path) -> Iterator[Platform]:
    """Runs of pushes to main, the merge base's own among them, and two that a stranger made."""
    newest, second, third, oldest = commits(project)
    runs = [
        {"id": number, "head_sha": sha, "head_branch": "main", "event": event, "head_repository": {"full_name": owner}}
        for number, sha, event, owner in (
            (1, newest, "push", "team/project"),
            (2, second, "pull_request", "team/project"),
            (3, second, "push", "stranger/project"),
            (4, second, "push", "team/project"),
            (5, third, "push", "team/project"),
            (6, oldest, "push", "team/project"),
        )
    ]
    with serving(Platform()) as platform:
        monkeypatch.setenv("GITHUB_API_URL", platform.root)
        monkeypatch.setenv("GITHUB_REPOSITORY", "team/project")
        monkeypatch.setenv("GITHUB_TOKEN", "secret")
        monkeypatch.setattr("pytest_blcperf.platforms.github.Client", quick)
        platform.on("/repos/team/project/actions/runs", runs, key="workflow_runs")
        for run, made in ((4, []), (5, [("blcperf-baseline-3.11", 51), ("logs", 52)]), (6, [("blcperf-baseline", 61)])):
            listed = [{"id": number, "name": name, "expired": False} for name, number in made]
            platform.on(f"/repos/team/project/actions/runs/{run}/artifacts", listed, key="artifacts")
        for number, commit, where in ((51, third, ELSEWHERE), (61, oldest, HERE)):
            data = archive(main_blcperf=content(commit, where, tmp_path))
            platform.on(f"/repos/team/project/actions/artifacts/{number}/zip", _raw(data))
        yield platform


def _raw(data: bytes) -> Callable[[Request], Reply]:
    return lambda _: Reply(raw=data)


def test_github_artifacts_are_fetched_by_commit_and_machine(
    github: Platform, project: GitRepo, blcperf: Command
) -> None:
    oldest = commits(project)[-1]
    code, said, _ = blcperf("baseline", "fetch", "main", "--from", "github")
    assert code == 0
    assert f"fetched baseline main: commit {oldest[:9]}, 2 commits before the merge base" in said
    (first, *_) = github.asked("/repos/team/project/actions/runs")
    assert first.query == {"branch": "main", "event": "push", "status": "completed", "per_page": "100"}
    assert first.headers["authorization"] == "Bearer secret"
    # Nothing of the stranger's run, of the pull request's, or of what came after the merge base was asked for.
    looked = {one.path.split("/")[6] for one in github.requests if one.path.endswith("/artifacts")}
    assert looked == {"4", "5", "6"}


def test_github_errors_are_said(github: Platform, blcperf: Command) -> None:
    github.on("/repos/team/project/actions/runs", lambda _: Reply(403, {"message": "Resource not accessible"}))
    code, _, error = blcperf("baseline", "fetch", "main", "--from", "github", "--optional")
    assert code == 4
    assert "answers 403: Resource not accessible" in error
    assert "actions: read" in error
    github.on(
        "/repos/team/project/actions/runs", [{"id": "x", "head_sha": 3, "head_branch": None}], key="workflow_runs"
    )
    assert blcperf("baseline", "fetch", "main", "--from", "github", "--optional")[0] == 0


def test_github_artifacts_that_are_no_baseline_are_passed_over(
    github: Platform, project: GitRepo, tmp_path: Path, blcperf: Command
) -> None:
    two = archive(a_blcperf=b"1", b_blcperf=b"2")
    github.on("/repos/team/project/actions/artifacts/51/zip", _raw(two))
    github.on("/repos/team/project/actions/artifacts/61/zip", _raw(archive(main_blcperf=b"\0" * 1000)))
    code, said, _ = blcperf("baseline", "fetch", "main", "--from", "github", "--optional")
    assert code == 0
    assert not baselines.list_baselines(project.path)
    assert not list(tmp_path.rglob("a.blcperf"))
    assert "no stored baseline" in said


def test_gitlab_artifacts_are_fetched_by_commit_and_machine(
    project: GitRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blcperf: Command
) -> None:
    newest, second, third, _ = commits(project)
    with serving(Platform()) as gitlab:
        monkeypatch.setenv("CI_API_V4_URL", gitlab.root)
        monkeypatch.setenv("CI_PROJECT_ID", "team/project")
        monkeypatch.setenv("CI_JOB_TOKEN", "job")
        monkeypatch.delenv("BLCPERF_GITLAB_TOKEN", raising=False)
        monkeypatch.setattr("pytest_blcperf.platforms.gitlab.Client", quick)
        root = "/projects/team%2Fproject"
        pipelines = [{"id": n, "sha": sha, "ref": "main"} for n, sha in ((1, newest), (2, second), (3, third))]
        gitlab.on(f"{root}/pipelines", pipelines)
        gitlab.on(f"{root}/pipelines/2/jobs", [{"id": 21, "name": "lint"}, {"id": 22, "name": "blcperf"}])
        made = [{"id": 31, "name": "test", "artifacts_file": {"size": 1}}, {"id": 32, "name": "blcperf: [3.12]"}]
        made += [{"id": 33, "name": "blcperf: [3.11]", "artifacts_file": {"size": 9}}]
        gitlab.on(f"{root}/pipelines/3/jobs", made)
        data = archive(main_blcperf=content(third, HERE, tmp_path), verdict_json=b"{}")
        gitlab.on(f"{root}/jobs/33/artifacts", _raw(data))
        code, said, error = blcperf("baseline", "fetch", "main", "--from", "gitlab")
        assert (code, error) == (0, "")
        assert f"fetched baseline main: commit {third[:9]}, 1 commits before" in said
        assert all(one.headers["job-token"] == "job" for one in gitlab.requests)
        gitlab.failing = [404]
        assert "answers 404" in blcperf("baseline", "fetch", "main", "--from", "gitlab", "--optional")[2]


def test_outside_a_job_it_says_what_is_missing(
    project: GitRepo, monkeypatch: pytest.MonkeyPatch, blcperf: Command
) -> None:
    for name in ("GITHUB_REPOSITORY", "CI_API_V4_URL", "CI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)
    assert "GITHUB_REPOSITORY is not set" in blcperf("baseline", "fetch", "main", "--from", "github")[2]
    assert "CI_API_V4_URL" in blcperf("baseline", "fetch", "main", "--from", "gitlab")[2]
    assert json.dumps(project.git("status", "--porcelain")) == '""'
