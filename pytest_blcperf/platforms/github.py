"""GitHub's REST API (version 2022-11-28): runs, artifacts, pull requests, labels, comments. Forgejo's is similar, not
the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from pytest_blcperf.errors import UsageError
from pytest_blcperf.platforms import zipped
from pytest_blcperf.platforms.http import Client, positive
from pytest_blcperf.report.text import clean

API = "https://api.github.com"
VERSION = "2022-11-28"
BOT = "github-actions[bot]"
"""Who writes with a workflow's own token."""


@dataclass(frozen=True)
class WorkflowRun:
    """A completed run of a push to a branch: its number and its commit."""

    id: int
    commit: str


@dataclass(frozen=True)
class Artifact:
    """An artifact that has not expired."""

    id: int
    name: str


@dataclass(frozen=True)
class Comment:
    """A comment and who wrote it."""

    id: int
    author: str
    body: str


class GitHub:
    """One repository (`owner/name`). Raises UsageError for a name that is none; its methods raise PlatformError."""

    def __init__(self, client: Client, repository: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}/(?!\.{1,2}$)[A-Za-z0-9_.-]{1,100}", repository):
            raise UsageError(f"not a repository: {clean(repository, 80)!r}", "owner/name, from GITHUB_REPOSITORY")
        self._client, self.repository = client, repository
        self._path = f"/repos/{repository}"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], pause: float = 1.0) -> GitHub:
        """The repository of the workflow that runs us, with GITHUB_TOKEN. Raises UsageError."""
        repository = environ.get("GITHUB_REPOSITORY", "")
        if not repository:
            raise UsageError("GITHUB_REPOSITORY is not set", "run it in a workflow, or set it to owner/name")
        token = environ.get("GITHUB_TOKEN") or environ.get("GH_TOKEN")
        headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": VERSION}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return cls(Client(environ.get("GITHUB_API_URL") or API, headers, pause=pause), repository)

    def pushed_runs(self, branch: str) -> Iterator[WorkflowRun]:
        """Completed runs of pushes to a branch of this very repository, the newest first.

        Failed ones too: a baseline may be good though a later step failed. A fork's branch of the same name, and pull
        requests, are left out: their artifacts are a stranger's.
        """
        path = f"{self._path}/actions/runs"
        for run in self._client.pages(path, "workflow_runs", branch=branch, event="push", status="completed"):
            owner = run.get("head_repository")
            same = isinstance(owner, dict) and owner.get("full_name") == self.repository
            if same and run.get("event") == "push" and run.get("head_branch") == branch:
                yield WorkflowRun(positive(run, "id"), _commit(run.get("head_sha")))

    def artifacts(self, run: int) -> Iterator[Artifact]:
        """The artifacts of a run that have not expired."""
        for one in self._client.pages(f"{self._path}/actions/runs/{run:d}/artifacts", "artifacts"):
            if not one.get("expired"):
                yield Artifact(positive(one, "id"), str(one.get("name")))

    def download(self, artifact: Artifact) -> bytes:
        """The artifact's zip archive."""
        return self._client.download(f"{self._path}/actions/artifacts/{artifact.id:d}/zip", zipped.ARCHIVE_LIMIT)

    def open_pulls(self, head_repository: str, branch: str) -> Iterator[dict[str, Any]]:
        """The open pull requests of a branch of a repository, as the API describes them."""
        head = f"{head_repository.partition('/')[0]}:{branch}"
        yield from self._client.pages(f"{self._path}/pulls", state="open", head=head)

    def labels(self, number: int) -> Iterator[str]:
        """The labels of a pull request."""
        for label in self._client.pages(f"{self._path}/issues/{number:d}/labels"):
            yield str(label.get("name"))

    def labelled_by(self, number: int, label: str) -> str:
        """Who put the label on last, "" when that is not known."""
        actor = ""
        for event in self._client.pages(f"{self._path}/issues/{number:d}/events"):
            who, what = event.get("actor"), event.get("label")
            if event.get("event") == "labeled" and isinstance(what, dict) and what.get("name") == label:
                actor = str(who.get("login", "")) if isinstance(who, dict) else ""
        return actor

    def comments(self, number: int) -> Iterator[Comment]:
        """The comments of a pull request, the oldest first."""
        for one in self._client.pages(f"{self._path}/issues/{number:d}/comments"):
            user = one.get("user")
            login = str(user.get("login")) if isinstance(user, dict) else ""
            yield Comment(positive(one, "id"), login, str(one.get("body") or ""))

    def comment(self, number: int, body: str) -> None:
        """Adds a comment to a pull request."""
        self._client.send("POST", f"{self._path}/issues/{number:d}/comments", {"body": body})

    def replace_comment(self, comment: Comment, body: str) -> None:
        """Gives a comment another text."""
        self._client.send("PATCH", f"{self._path}/issues/comments/{comment.id:d}", {"body": body})


def _commit(value: Any) -> str:
    return value if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", value) else ""


def run_page(server: str, repository: str, run: int) -> str:
    """The address of a run's page."""
    return f"{server.rstrip('/')}/{quote(repository)}/actions/runs/{run:d}"
