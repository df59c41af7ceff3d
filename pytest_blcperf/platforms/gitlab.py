"""GitLab's REST API (v4): pipelines, jobs, artifacts, merge-request notes. What runs on the free tier and what does not
is in docs/ci/gitlab.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from pytest_blcperf.errors import UsageError
from pytest_blcperf.platforms import zipped
from pytest_blcperf.platforms.http import Client, positive

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class Pipeline:
    """A finished pipeline of a push to a branch: its number and its commit."""

    id: int
    commit: str


@dataclass(frozen=True)
class Note:
    """A note and who wrote it."""

    id: int
    author: int
    body: str


class GitLab:
    """One project. Its methods raise PlatformError and PermissionDenied."""

    def __init__(self, client: Client, project: str) -> None:
        self._client = client
        self._path = f"/projects/{quote(project, safe='')}"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], pause: float = 1.0) -> GitLab:
        """The project of the job that runs us. Raises UsageError.

        BLCPERF_GITLAB_TOKEN (a project access token) comes first; the job's own token may not read artifacts on the
        free tier, nor write notes on any.
        """
        address, project = environ.get("CI_API_V4_URL", ""), environ.get("CI_PROJECT_ID", "")
        if not address or not project:
            raise UsageError("CI_API_V4_URL or CI_PROJECT_ID is not set", "run it in a GitLab job, or set both")
        token, job_token = environ.get("BLCPERF_GITLAB_TOKEN"), environ.get("CI_JOB_TOKEN")
        headers = {"PRIVATE-TOKEN": token} if token else {"JOB-TOKEN": job_token} if job_token else {}
        return cls(Client(address, headers, pause=pause), project)

    def pushed_pipelines(self, branch: str) -> Iterator[Pipeline]:
        """Finished pipelines of pushes to a branch, the newest first; failed ones too."""
        for one in self._client.pages(f"{self._path}/pipelines", ref=branch, source="push", scope="finished"):
            commit = one.get("sha")
            if one.get("ref") == branch and isinstance(commit, str) and _COMMIT.fullmatch(commit):
                yield Pipeline(positive(one, "id"), commit)

    def jobs_with_artifacts(self, pipeline: int, job: str) -> Iterator[int]:
        """The jobs of that name (or of that name in a matrix, `name: [3.12]`) which have an artifact archive."""
        for one in self._client.pages(f"{self._path}/pipelines/{pipeline:d}/jobs"):
            name = str(one.get("name"))
            if (name == job or name.startswith(job + ":")) and one.get("artifacts_file"):
                yield positive(one, "id")

    def download(self, job: int) -> bytes:
        """The zip archive of a job's artifacts."""
        return self._client.download(f"{self._path}/jobs/{job:d}/artifacts", zipped.ARCHIVE_LIMIT)

    def me(self) -> int:
        """The number of the user that the token stands for."""
        found = self._client.get("/user")
        return positive(found, "id") if isinstance(found, dict) else 0

    def merge_request_head(self, number: int) -> str:
        """The commit a merge request's branch is at."""
        found = self._client.get(f"{self._path}/merge_requests/{number:d}")
        commit = found.get("sha") if isinstance(found, dict) else None
        return commit if isinstance(commit, str) else ""

    def notes(self, number: int) -> Iterator[Note]:
        """The notes of a merge request."""
        for one in self._client.pages(f"{self._path}/merge_requests/{number:d}/notes", sort="asc"):
            author = one.get("author")
            who = positive(author, "id") if isinstance(author, dict) else 0
            yield Note(positive(one, "id"), who, str(one.get("body") or ""))

    def note(self, number: int, body: str) -> None:
        """Adds a note to a merge request."""
        self._client.send("POST", f"{self._path}/merge_requests/{number:d}/notes", {"body": body})

    def replace_note(self, number: int, note: Note, body: str) -> None:
        """Gives a note another text."""
        self._client.send("PUT", f"{self._path}/merge_requests/{number:d}/notes/{note.id:d}", {"body": body})
