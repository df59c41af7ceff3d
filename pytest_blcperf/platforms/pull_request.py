"""Which pull request a `workflow_run` event is about. Its artifacts are never asked: its own code made them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_blcperf.errors import UsageError
from pytest_blcperf.platforms.github import GitHub
from pytest_blcperf.platforms.http import positive
from pytest_blcperf.report.text import clean


@dataclass(frozen=True)
class TriggeringRun:
    """The run that an event of kind `workflow_run` speaks of; GitHub says these things, no artifact does."""

    id: int
    commit: str
    branch: str
    repository: str
    numbers: frozenset[int]
    """Pull requests GitHub names itself; empty for forks."""


@dataclass(frozen=True)
class Found:
    """A pull request's number, or None and why there is none to comment on."""

    number: int | None
    reason: str = ""


def triggering_run(event: Any) -> TriggeringRun | None:
    """The run of a pull request in an event's JSON; None for a run of something else. Raises UsageError."""
    run = event.get("workflow_run") if isinstance(event, dict) else None
    if not isinstance(run, dict):
        raise UsageError("the event is no workflow_run", "run it in a workflow with `on: workflow_run`")
    if run.get("event") != "pull_request":
        return None
    owner = run.get("head_repository")
    repository = owner.get("full_name") if isinstance(owner, dict) else None
    commit, branch, number = run.get("head_sha"), run.get("head_branch"), run.get("id")
    if not isinstance(repository, str) or not isinstance(branch, str) or type(number) is not int:
        raise UsageError("the event names no head repository, branch or run", "was the fork deleted?")
    if not isinstance(commit, str) or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", commit):
        raise UsageError(f"the event's head_sha is no commit: {clean(str(commit), 80)!r}", "is it GitHub's event?")
    named = run.get("pull_requests") or []
    numbers = frozenset(one["number"] for one in named if isinstance(one, dict) and type(one.get("number")) is int)
    return TriggeringRun(number, commit, branch, repository, numbers)


def find(run: TriggeringRun, github: GitHub) -> Found:
    """The one open pull request whose head is the run's commit, in the run's repository and branch.

    A pull request that has moved on since gets no comment about what it was. Raises PlatformError.
    """
    pulls = [one for one in github.open_pulls(run.repository, run.branch) if positive(one, "number")]
    same = [one for one in pulls if _is_head(one, run) and _base_repository(one) == github.repository]
    numbers = {positive(one, "number") for one in same}
    if len(numbers) > 1:
        numbers &= run.numbers
    if len(numbers) == 1:
        return Found(numbers.pop())
    if len(same) > 1:
        return Found(None, f"{len(same)} open pull requests have the head {run.commit[:9]}")
    if pulls:
        return Found(None, f"the pull request's head is no longer {run.commit[:9]}")
    return Found(None, f"no open pull request has the head {run.commit[:9]}")


def _is_head(pull: Mapping[str, Any], run: TriggeringRun) -> bool:
    head = pull.get("head")
    if not isinstance(head, dict):
        return False
    repository = head.get("repo")
    name = repository.get("full_name") if isinstance(repository, dict) else None
    return (head.get("sha"), head.get("ref"), name) == (run.commit, run.branch, run.repository)


def _base_repository(pull: Mapping[str, Any]) -> Any:
    base = pull.get("base")
    repository = base.get("repo") if isinstance(base, dict) else None
    return repository.get("full_name") if isinstance(repository, dict) else None
