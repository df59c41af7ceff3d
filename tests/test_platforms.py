"""The platforms' APIs, spoken to a loopback server: paging, errors, redirects, limits, and where comments go."""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import report_samples as samples
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from platform_server import Platform, Reply, Request, redirect, serving
from report_samples import patient

from pytest_blcperf import cli
from pytest_blcperf.errors import BaselineError, PermissionDenied, UsageError
from pytest_blcperf.platforms import http, zipped
from pytest_blcperf.platforms.github import GitHub
from pytest_blcperf.platforms.http import Client, PlatformError
from pytest_blcperf.report.comment import MARKER
from pytest_blcperf.report.json import render

REPO = "/repos/team/project"
HEAD = "c" * 40


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    """GitHub with the repository team/project, and this process in one of its jobs."""
    with serving(Platform()) as platform:
        for name, value in (
            ("GITHUB_API_URL", platform.root),
            ("GITHUB_REPOSITORY", "team/project"),
            ("GITHUB_TOKEN", "secret"),
            ("GITHUB_SERVER_URL", "https://github.com"),
        ):
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("pytest_blcperf.platforms.github.Client", quick)
        yield platform


def quick(root: str, headers: dict[str, str], pause: float = 0) -> Client:
    """A client that does not wait between attempts."""
    return Client(root, headers, pause=min(pause, 0))


def client(platform: Platform) -> Client:
    return quick(platform.root, {"Authorization": "Bearer secret"})


def zip_of(**members: str | bytes) -> bytes:
    """A zip archive; `__` in a name stands for a slash."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_json", ".json"), content)
    return data.getvalue()


# ---- the client


def test_all_pages_are_read(github: Platform) -> None:
    github.on("/list", [{"n": number} for number in range(5)], key="things")
    assert [one["n"] for one in client(github).pages("/list", "things", state="open")] == [0, 1, 2, 3, 4]
    assert [one.query.get("page") for one in github.asked("/list")] == [None, "2", "3"]
    assert all(one.query["state"] == "open" for one in github.asked("/list"))


def test_pages_that_never_end_do(github: Platform) -> None:
    github.on("/list", lambda _: Reply(data=[{}], headers={"Link": f'<{github.root}/list>; rel="next"'}))
    assert len(list(client(github).pages("/list"))) == http.PAGE_LIMIT


def test_a_page_on_another_host_is_not_asked(github: Platform) -> None:
    github.on("/list", lambda _: Reply(data=[], headers={"Link": '<https://evil.example/x>; rel="next"'}))
    with pytest.raises(PlatformError, match="on another host"):
        list(client(github).pages("/list"))


def test_a_busy_server_is_asked_again_and_a_comment_is_written_once(github: Platform) -> None:
    github.on("/x", {"ok": True})
    github.failing = [502, 429]
    assert client(github).get("/x") == {"ok": True}
    github.failing = [502]
    with pytest.raises(PlatformError, match="answers 502"):
        client(github).send("POST", "/x", {})
    assert len(github.asked("/x", "POST")) == 1
    github.failing = [503] * 3
    with pytest.raises(PlatformError, match="answers 503: Server Error"):
        client(github).get("/x")


@pytest.mark.parametrize(
    ("reply", "error", "said"),
    [
        (Reply(401, {"message": "Bad credentials"}), PermissionDenied, "answers 401: Bad credentials"),
        (Reply(403, {"message": "a\n::error::b"}), PermissionDenied, r"answers 403: a\\n::error::b"),
        (Reply(404, {"message": "Not Found"}), PlatformError, "answers 404: Not Found"),
        (Reply(200, raw=b"<html>"), PlatformError, "gave no JSON"),
        (Reply(200, raw=b"[" * 100_000), PlatformError, "gave no JSON"),
    ],
)
def test_errors_are_one_line(github: Platform, reply: Reply, error: type[Exception], said: str) -> None:
    github.on("/x", lambda _: reply)
    with pytest.raises(error, match=said) as caught:
        client(github).get("/x")
    assert "\n" not in caught.value.message  # type: ignore[attr-defined]


def test_a_list_that_is_none_is_an_error(github: Platform) -> None:
    github.on("/x", {"things": "none"})
    with pytest.raises(PlatformError, match="gave no list"):
        list(client(github).pages("/x", "things"))


def test_an_answer_is_bounded(github: Platform) -> None:
    github.on("/file", lambda _: Reply(raw=b"x" * 1000))
    assert len(client(github).download("/file", 1000)) == 1000
    with pytest.raises(PlatformError, match="more than 999 bytes"):
        client(github).download("/file", 999)


def test_no_server_is_an_error_without_the_credential() -> None:
    with pytest.raises(PlatformError, match="does not answer") as caught:
        quick("http://127.0.0.1:9", {"Authorization": "Bearer secret"}).get("/x")
    assert "secret" not in str(caught.value)
    with pytest.raises(UsageError, match="not the address"):
        quick("file:///etc/passwd", {})


def test_a_download_elsewhere_does_not_get_the_credential(github: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Platform()) as storage:
        storage.on("/signed", lambda _: Reply(raw=b"content"))
        github.on("/file", lambda _: redirect(f"{storage.root}/signed?signature=s"))
        with pytest.raises(PlatformError, match="https is expected"):
            client(github).download("/file", 100)
        # On loopback there is no certificate; what is tested is what goes there.
        monkeypatch.setattr(http, "urlsplit", _as_https(storage.root))
        assert client(github).download("/file", 100) == b"content"
        (request,) = storage.requests
    assert "authorization" not in request.headers
    assert github.asked("/file")[0].headers["authorization"] == "Bearer secret"


def _as_https(root: str) -> Any:
    original = http.urlsplit

    def split(url: str) -> Any:
        parts = original(url)
        return parts._replace(scheme="https") if url.startswith(root) else parts

    return split


def test_a_redirect_to_itself_ends(github: Platform) -> None:
    github.on("/file", lambda _: redirect("/file"))
    with pytest.raises(PlatformError, match="redirects more than 3 times"):
        client(github).download("/file", 100)


# ---- artifacts of strangers


def test_one_file_comes_out_of_an_archive() -> None:
    assert zipped.only_member(zip_of(out__verdict_json="{}"), "verdict.json", 100) == b"{}"
    assert zipped.only_member(zip_of(**{"a.blcperf": b"x", "b.txt": b"y"}), ".blcperf", 100) == b"x"


def bomb() -> bytes:
    """1 GiB of zeros in about a megabyte, by its own account and in fact."""
    return zip_of(verdict_json=b"\0" * (8 << 20))


def lying() -> bytes:
    """Says 10 bytes, unpacks to 8 MiB."""
    data = bytearray(bomb())
    size = struct.pack("<I", 8 << 20)
    return bytes(data.replace(size, struct.pack("<I", 10)))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no sound zip"),
        (b"PK\x03\x04garbage", "no sound zip"),
        (zip_of(other="x"), "0 members called verdict.json"),
        (zip_of(a__verdict_json="1", b__verdict_json="2"), "2 members called verdict.json"),
        (zip_of(**{"../../verdict_json": "{}"}), "points outside"),
        (zip_of(**{"/etc/verdict_json": "{}"}), "points outside"),
        (zip_of(**{f"f{number}": "" for number in range(1001)}), "1,001 members"),
        (bomb(), "has 8,388,608 bytes, more than 1,000"),
        (lying(), "no sound zip|larger than it says"),
    ],
)
def test_an_archive_that_is_not_plain_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(BaselineError, match=said):
        zipped.only_member(data, "verdict.json", 1000)


@patient
@given(st.data())
def test_a_damaged_archive_is_read_or_refused(choose: st.DataObject) -> None:
    data = bytearray(zip_of(verdict_json='{"a": 1}', other="x" * 50))
    for _ in range(choose.draw(st.integers(1, 8))):
        data[choose.draw(st.integers(0, len(data) - 1))] = choose.draw(st.integers(0, 255))
    try:
        assert len(zipped.only_member(bytes(data), "verdict.json", 1000)) <= 1000
    except BaselineError as error:
        assert "\n" not in error.message


# ---- the comment


def pull(number: int, sha: str = HEAD, repository: str = "stranger/project", base: str = "team/project") -> Any:
    return {
        "number": number,
        "head": {"sha": sha, "ref": "patch", "repo": {"full_name": repository}},
        "base": {"repo": {"full_name": base}},
    }


def run_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    run = {
        "id": 5,
        "event": "pull_request",
        "head_sha": HEAD,
        "head_branch": "patch",
        "head_repository": {"full_name": "stranger/project"},
        "pull_requests": [],
        "conclusion": "failure",
    }
    path = tmp_path / "event.json"
    path.write_text(json.dumps({"action": "completed", "workflow_run": run | changes}))
    monkeypatch.setenv("GITHUB_EVENT_PATH", str(path))


@pytest.fixture
def ended(github: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """A run of a fork's pull request 7 has ended with an artifact; other things are there too."""
    run_event(tmp_path, monkeypatch)
    github.on(f"{REPO}/pulls", [pull(6, "d" * 40), pull(8, HEAD, "other/project"), pull(7)])
    github.on(
        f"{REPO}/actions/runs/5/artifacts",
        [
            {"id": 1, "name": "coverage", "expired": False},
            {"id": 2, "name": "blcperf-verdict-old", "expired": True},
            {"id": 3, "name": "blcperf-verdict-3.12", "expired": False},
        ],
        key="artifacts",
    )
    archive = zip_of(verdict_json=render(samples.everything()), pr_number_txt="1")
    github.on(f"{REPO}/actions/artifacts/3/zip", lambda _: Reply(raw=archive))
    comments: list[dict[str, Any]] = [
        {"id": 1, "user": {"login": "human"}, "body": f"{MARKER} is what I write too"},
        {"id": 2, "user": {"login": "github-actions[bot]"}, "body": "another bot comment"},
        {"id": 3, "user": None, "body": None},
    ]
    github.on(f"{REPO}/issues/7/comments", comments)

    def add(request: Request) -> Reply:
        comments.append({"id": 9, "user": {"login": "github-actions[bot]"}, "body": request.body["body"]})
        return Reply(201, {})

    def change(request: Request) -> Any:
        comments[-1]["body"] = request.body["body"]
        return {}

    github.on(f"{REPO}/issues/7/comments", add, "POST")
    github.on(f"{REPO}/issues/comments/9", change, "PATCH")
    return github


def written(platform: Platform) -> list[Request]:
    return [one for one in platform.requests if one.method != "GET"]


def test_the_comment_is_written_once_and_then_kept_up_to_date(
    ended: Platform, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["ci", "comment"]) == 0
    assert capsys.readouterr().out == "blcperf: commented on #7\n"
    (first,) = written(ended)
    assert first.path == f"{REPO}/issues/7/comments"
    body = first.body["body"]
    assert body.startswith(MARKER)
    assert "ParserInline.tokenize" in body
    assert "<code>3.12</code>" in body
    assert "(https://github.com/team/project/actions/runs/5)" in body
    assert len(body) < 65_536

    assert cli.main(["ci", "comment"]) == 0
    assert len(written(ended)) == 1  # nothing changed
    archive = zip_of(verdict_json=render(samples.gate(samples.unchanged())))
    ended.on(f"{REPO}/actions/artifacts/3/zip", lambda _: Reply(raw=archive))
    assert cli.main(["ci", "comment"]) == 0
    assert (written(ended)[-1].method, written(ended)[-1].path) == ("PATCH", f"{REPO}/issues/comments/9")
    assert "1 unchanged" in written(ended)[-1].body["body"]


@pytest.mark.parametrize(
    ("pulls", "said"),
    [
        ([pull(1, "d" * 40)], "the pull request's head is no longer ccccccccc"),
        ([pull(1, HEAD, "other/project")], "the pull request's head is no longer"),
        ([pull(1, HEAD, base="elsewhere/project")], "the pull request's head is no longer"),
        ([pull(1), pull(2)], "2 open pull requests have the head"),
        ([], "no open pull request has the head"),
        ([{"number": "1", "head": None}, {}], "no open pull request"),
    ],
)
def test_no_verified_pull_request_means_no_comment(
    ended: Platform, capsys: pytest.CaptureFixture[str], pulls: list[Any], said: str
) -> None:
    ended.on(f"{REPO}/pulls", pulls)
    assert cli.main(["ci", "comment"]) == 0
    assert said in capsys.readouterr().out
    assert written(ended) == []


def test_of_two_the_one_that_github_names_gets_it(
    ended: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended.on(f"{REPO}/pulls", [pull(6), pull(7)])
    run_event(tmp_path, monkeypatch, pull_requests=[{"number": 7}, {"number": 99}])
    assert cli.main(["ci", "comment"]) == 0
    assert [one.path for one in written(ended)] == [f"{REPO}/issues/7/comments"]


def test_an_artifact_that_claims_another_pull_request_changes_nothing(ended: Platform) -> None:
    claims = json.loads(render(samples.gate(samples.unchanged()))) | {"pull_request": 1, "number": 1}
    archive = zip_of(verdict_json=json.dumps(claims), pull_request_json='{"number": 1}', NR="1")
    ended.on(f"{REPO}/actions/artifacts/3/zip", lambda _: Reply(raw=archive))
    assert cli.main(["ci", "comment"]) == 0
    assert [one.path for one in written(ended)] == [f"{REPO}/issues/7/comments"]


@pytest.mark.parametrize("archive", [b"no zip", bomb(), zip_of(verdict_json="{}"), zip_of(**{"../verdict_json": "{}"})])
def test_a_hostile_artifact_writes_nothing(ended: Platform, capsys: pytest.CaptureFixture[str], archive: bytes) -> None:
    ended.on(f"{REPO}/actions/artifacts/3/zip", lambda _: Reply(raw=archive))
    assert cli.main(["ci", "comment"]) == 6
    assert written(ended) == []
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_hostile_names_do_nothing_in_a_comment(ended: Platform, capsys: pytest.CaptureFixture[str]) -> None:
    name = "@everyone #1 <img src=x onerror=y> [click](http://evil.example) ::error::x\n::set-output name=a::b"
    archive = zip_of(verdict_json=render(samples.renamed(name)))
    ended.on(f"{REPO}/actions/artifacts/3/zip", lambda _: Reply(raw=archive))
    assert cli.main(["ci", "comment"]) == 0
    body = written(ended)[0].body["body"]
    shown = MarkdownIt("commonmark", {"html": True}).enable("table").render(body)
    shown = re.sub(r"(?s)<pre>.*?</pre>|<code>.*?</code>", "", shown)
    assert "<img" not in shown
    assert re.findall(r'href="([^"]*)"', shown) == ["https://github.com/team/project/actions/runs/5"]
    assert "@everyone" not in shown
    assert not any(line.startswith("::") for line in body.splitlines() + capsys.readouterr().out.splitlines())


@pytest.mark.parametrize(
    ("changes", "ends"),
    [
        ({"event": "push"}, (0, "not one of a pull request")),
        ({"head_repository": None}, (2, "names no head repository")),
        ({"head_sha": "main; rm -rf /"}, (2, "is no commit")),
    ],
)
def test_other_runs_get_no_comment(
    ended: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], ends: tuple[int, str]
) -> None:
    run_event(tmp_path, monkeypatch, **changes)
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        code = cli.main(["ci", "comment"])
    assert (code, ends[1] in said.getvalue()) == (ends[0], True)
    assert written(ended) == []


def test_a_run_without_the_artifact_gets_no_comment(ended: Platform, capsys: pytest.CaptureFixture[str]) -> None:
    ended.on(f"{REPO}/actions/runs/5/artifacts", [], key="artifacts")
    assert cli.main(["ci", "comment"]) == 0
    assert "has no artifact blcperf-verdict" in capsys.readouterr().out


def test_a_repository_that_is_none_is_refused() -> None:
    for name in ("", "x", "a/b/c", "../x", "a b/c"):
        with pytest.raises(UsageError):
            GitHub(quick("http://localhost", {}), name)


# ---- the label


def label_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labels: list[str], body: str | None = None) -> None:
    event = {"pull_request": {"number": 7, "labels": [{"name": name} for name in labels], "body": body}}
    path = tmp_path / "event.json"
    path.write_text(json.dumps(event))
    monkeypatch.setenv("GITHUB_EVENT_PATH", str(path))


ACCEPTED = ["ci", "accepted", "--label", "blcperf-accept"]


def test_a_label_accepts_with_who_and_why(
    github: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    label_event(tmp_path, monkeypatch, [], "Text.\n\nblcperf-accept: correct at last\nmore")
    github.on(f"{REPO}/issues/7/labels", [{"name": "a"}, {"name": "b"}, {"name": "blcperf-accept"}])
    events: list[dict[str, Any]] = [{"event": "closed"}]
    events += [
        {"event": "labeled", "label": {"name": name}, "actor": {"login": who}}
        for name, who in (("blcperf-accept", "first"), ("blcperf-accept", "maintainer"), ("b", "another"))
    ]
    github.on(f"{REPO}/issues/7/events", events)
    assert cli.main(ACCEPTED) == 0
    assert capsys.readouterr().out == "label blcperf-accept, put on by maintainer: correct at last\n"


def test_a_label_taken_off_again_accepts_nothing(
    github: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    label_event(tmp_path, monkeypatch, ["blcperf-accept"])
    github.on(f"{REPO}/issues/7/labels", [{"name": "a"}])
    assert cli.main(ACCEPTED) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("github")
def test_without_the_api_the_events_labels_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    label_event(tmp_path, monkeypatch, ["blcperf-accept"])
    assert cli.main(ACCEPTED) == 0
    assert "no reason given" in capsys.readouterr().out


@pytest.mark.usefixtures("github")
def test_a_push_has_no_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "event.json").write_text("{}")
    monkeypatch.setenv("GITHUB_EVENT_PATH", str(tmp_path / "event.json"))
    assert cli.main(ACCEPTED) == 0
    assert capsys.readouterr().out == ""


# ---- GitLab's note


@pytest.fixture
def gitlab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Platform]:
    """GitLab with project 3 and this process in a pipeline of its merge request 7."""
    with serving(Platform()) as platform:
        for name, value in (
            ("CI_API_V4_URL", platform.root),
            ("CI_PROJECT_ID", "3"),
            ("CI_MERGE_REQUEST_IID", "7"),
            ("CI_COMMIT_SHA", "m" * 40),
            ("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA", HEAD),
            ("CI_PIPELINE_URL", "https://gitlab.example/p/1"),
            ("BLCPERF_GITLAB_TOKEN", "token"),
        ):
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("pytest_blcperf.platforms.gitlab.Client", quick)
        monkeypatch.chdir(tmp_path)
        Path("verdict.json").write_text(render(samples.everything()))
        platform.on("/user", {"id": 42})
        platform.on("/projects/3/merge_requests/7", {"iid": 7, "sha": HEAD})
        notes = [{"id": number, "author": {"id": 1}, "body": MARKER} for number in (1, 2, 3)]
        platform.on("/projects/3/merge_requests/7/notes", notes)
        platform.on("/projects/3/merge_requests/7/notes", {"id": 4}, "POST")
        platform.on("/projects/3/merge_requests/7/notes/5", {}, "PUT")
        yield platform


def test_a_note_is_written_and_found_again(gitlab: Platform, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ci", "comment", "verdict.json"]) == 0
    assert capsys.readouterr().out == "blcperf: wrote a note on !7\n"
    (note,) = written(gitlab)
    assert note.headers["private-token"] == "token"
    assert "(https://gitlab.example/p/1)" in note.body["body"]
    gitlab.on(
        "/projects/3/merge_requests/7/notes",
        [
            *({"id": one, "author": {"id": 1}, "body": MARKER} for one in (1, 2)),
            {"id": 5, "author": {"id": 42}, "body": MARKER},
        ],
    )
    assert cli.main(["ci", "comment", "verdict.json"]) == 0
    assert (written(gitlab)[-1].method, written(gitlab)[-1].path) == ("PUT", "/projects/3/merge_requests/7/notes/5")


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("BLCPERF_GITLAB_TOKEN=", "BLCPERF_GITLAB_TOKEN is not set"),
        ("CI_MERGE_REQUEST_IID=", "no merge-request pipeline"),
        ("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA=" + "d" * 40, "the head of !7 is no longer ddddddddd"),
    ],
)
def test_no_note_where_none_can_be(
    gitlab: Platform, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, said: str
) -> None:
    monkeypatch.setenv(*variable.split("="))
    assert cli.main(["ci", "comment", "verdict.json"]) == 0
    assert said in capsys.readouterr().out
    assert written(gitlab) == []
