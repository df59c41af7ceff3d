"""The artifacts of earlier CI runs of the default branch, read by the platforms' APIs. Nothing can be written there: a
job's artifacts are uploaded by the job's own steps.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from pytest_blcperf.platforms import zipped
from pytest_blcperf.platforms.github import Artifact, GitHub
from pytest_blcperf.platforms.gitlab import GitLab
from pytest_blcperf.shelves.kept import SUFFIX, Kept
from pytest_blcperf.store.archive import FILE_LIMIT

MOST = 10
"""Runs to look at: each is a request or two, and a download when the nearest was measured elsewhere."""


class GitHubArtifacts:
    """Artifacts called `prefix` or `prefix-…`, of pushes to a branch."""

    def __init__(self, github: GitHub, branch: str, prefix: str) -> None:
        self._github, self._branch, self._prefix = github, branch, prefix

    def kept(self, commits: Sequence[str]) -> list[Kept]:
        """The artifacts of the nearest commits; which machine made them is in the files."""
        runs = _nearest([(run.commit, run.id) for run in self._github.pushed_runs(self._branch)], commits)
        return [
            Kept(commit, "", json.dumps([artifact.id, artifact.name]))
            for commit, run in runs
            for artifact in self._github.artifacts(run)
            if artifact.name == self._prefix or artifact.name.startswith(self._prefix + "-")
        ]

    def read(self, kept: Kept) -> bytes:
        """The one run file in the artifact."""
        artifact = Artifact(*json.loads(kept.place))
        return zipped.only_member(self._github.download(artifact), SUFFIX, FILE_LIMIT)


class GitLabArtifacts:
    """Artifacts of a job, of pushes to a branch."""

    def __init__(self, gitlab: GitLab, branch: str, job: str) -> None:
        self._gitlab, self._branch, self._job = gitlab, branch, job

    def kept(self, commits: Sequence[str]) -> list[Kept]:
        """The jobs of the nearest commits; which machine made them is in the files."""
        pipelines = _nearest([(one.commit, one.id) for one in self._gitlab.pushed_pipelines(self._branch)], commits)
        return [
            Kept(commit, "", str(job))
            for commit, pipeline in pipelines
            for job in self._gitlab.jobs_with_artifacts(pipeline, self._job)
        ]

    def read(self, kept: Kept) -> bytes:
        """The one run file in the archive."""
        return zipped.only_member(self._gitlab.download(int(kept.place)), SUFFIX, FILE_LIMIT)


def _nearest(runs: Sequence[tuple[str, int]], commits: Sequence[str]) -> list[tuple[str, int]]:
    """The runs of these commits, the nearest commit first, at most MOST."""
    distance = {commit: number for number, commit in enumerate(commits)}
    return sorted((run for run in runs if run[0] in distance), key=lambda run: distance[run[0]])[:MOST]
