"""`blcperf ci comment` and `blcperf ci accepted`: what needs the platform's API."""

from __future__ import annotations

import argparse
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_blcperf.errors import BlcperfError, UsageError

if TYPE_CHECKING:
    from pytest_blcperf.model.verdict import GateVerdict
    from pytest_blcperf.platforms.github import GitHub

_COMMENT = """\
Writes the comment of a pull request, or brings it up to date.

In a GitHub job of kind `workflow_run` it downloads the artifact of the run that has ended, and comments on the pull
request whose head is that run's commit, as GitHub says. Nothing that the artifact says decides where. In a GitLab
job with VERDICT it writes a note on the merge request, when BLCPERF_GITLAB_TOKEN is there.

For example:
  blcperf ci comment
  blcperf ci comment verdict.json
"""
_ACCEPTED = """\
Prints why the regressions of this pull request are accepted, when it has the label; otherwise nothing.

A line `blcperf-accept: REASON` in the description gives the reason. GitHub is asked for the labels as they are now, so
that a job can be run again after the label was added; where it cannot be asked, the event's labels count.

For example:
  BLCPERF_ACCEPT_ALL=$(blcperf ci accepted --label blcperf-accept) pytest --blcperf --blcperf-baseline origin/main
"""
_EVENT_LIMIT = 8 << 20
_LABEL_LIMIT = 200
_REASON = re.compile(r"^[ \t]*blcperf-accept:[ \t]*(\S.{0,300})", re.MULTILINE | re.IGNORECASE)


def configure_comment(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `comment`."""
    from pytest_blcperf.platforms.github import BOT

    parser.description, parser.formatter_class = _COMMENT, argparse.RawDescriptionHelpFormatter
    parser.add_argument("verdict", metavar="VERDICT", type=Path, nargs="?", help="GitLab: the verdict of this job")
    parser.add_argument("--artifact", metavar="PREFIX", default="blcperf-verdict", help="GitHub: the artifact's name")
    parser.add_argument("--author", metavar="LOGIN", default=BOT, help=f"GitHub: whose token it is (default: {BOT})")
    parser.set_defaults(run_ci=_comment)


def configure_accepted(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `accepted`."""
    parser.description, parser.formatter_class = _ACCEPTED, argparse.RawDescriptionHelpFormatter
    parser.add_argument("--label", metavar="LABEL", required=True, help="the label, such as blcperf-accept")
    parser.set_defaults(run_ci=_accepted)


# ---- comment


def _comment(arguments: argparse.Namespace) -> int:
    if arguments.verdict is not None:
        return _gitlab_note(arguments.verdict)
    from pytest_blcperf.platforms import github, pull_request
    from pytest_blcperf.report import comment

    run = pull_request.triggering_run(_event())
    if run is None:
        print("blcperf: no comment: the run was not one of a pull request")
        return 0
    api = github.GitHub.from_environment(os.environ)
    found = pull_request.find(run, api)
    if found.number is None:
        print(f"blcperf: no comment: {found.reason}")
        return 0
    verdicts = _verdicts(api, run.id, arguments.artifact)
    if not verdicts:
        print(f"blcperf: no comment: run {run.id} has no artifact {arguments.artifact}")
        return 0
    server = os.environ.get("GITHUB_SERVER_URL") or "https://github.com"
    body = comment.render(verdicts, github.run_page(server, api.repository, run.id))
    mine = (one for one in api.comments(found.number) if one.author == arguments.author and comment.is_ours(one.body))
    old = next(mine, None)
    if old is None:
        api.comment(found.number, body)
    elif old.body.strip() != body.strip():
        api.replace_comment(old, body)
    print(f"blcperf: {'commented on' if old is None else 'the comment is up to date on'} #{found.number}")
    return 0


def _verdicts(api: GitHub, run: int, prefix: str) -> list[tuple[str, GateVerdict]]:
    """The verdicts in the artifacts called PREFIX or PREFIX-…, by the part of the name after the prefix."""
    from pytest_blcperf.errors import BaselineError
    from pytest_blcperf.platforms import zipped
    from pytest_blcperf.report.comment import MOST
    from pytest_blcperf.store import verdict_file
    from pytest_blcperf.store.checked import MalformedError

    pattern = re.compile(re.escape(prefix) + r"(?:-([A-Za-z0-9._-]{1,60}))?")
    found = [(match, one) for one in api.artifacts(run) if (match := pattern.fullmatch(one.name))]
    verdicts = []
    for match, artifact in sorted(found, key=lambda pair: pair[1].name)[: MOST + 1]:
        data = zipped.only_member(api.download(artifact), "verdict.json", verdict_file.SIZE_LIMIT)
        try:
            verdicts.append((match[1] or "", verdict_file.parse(data)))
        except MalformedError as error:
            raise BaselineError(
                f"the artifact {artifact.name} holds no verdict: {error}", "look at the run that made it"
            ) from None
    return verdicts


def _gitlab_note(path: Path) -> int:
    from pytest_blcperf.platforms.gitlab import GitLab
    from pytest_blcperf.report import comment
    from pytest_blcperf.store import verdict_file

    verdict = verdict_file.read(path)
    number = os.environ.get("CI_MERGE_REQUEST_IID", "")
    if not number.isdecimal():
        print("blcperf: no note: this is no merge-request pipeline")
        return 0
    if not os.environ.get("BLCPERF_GITLAB_TOKEN"):
        print("blcperf: no note: BLCPERF_GITLAB_TOKEN is not set (forks never get it)")
        return 0
    api, commit = GitLab.from_environment(os.environ), os.environ.get("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA")
    commit = commit or os.environ.get("CI_COMMIT_SHA")
    if not commit or api.merge_request_head(int(number)) != commit:
        print(f"blcperf: no note: the head of !{number} is no longer {(commit or 'known')[:9]}")
        return 0
    body = comment.render([("", verdict)], os.environ.get("CI_PIPELINE_URL", "").replace(")", "%29"))
    me = api.me()
    old = next((one for one in api.notes(int(number)) if one.author == me and comment.is_ours(one.body)), None)
    if old is None:
        api.note(int(number), body)
    else:
        api.replace_note(int(number), old, body)
    print(f"blcperf: {'wrote a note on' if old is None else 'the note is up to date on'} !{number}")
    return 0


# ---- accepted


def _accepted(arguments: argparse.Namespace) -> int:
    from pytest_blcperf.report.text import clean

    pull = _event().get("pull_request")
    if not isinstance(pull, dict) or type(pull.get("number")) is not int:
        return 0
    labels, actor = _labels(pull, arguments.label)
    if arguments.label not in labels:
        return 0
    given = _REASON.search(str(pull.get("body") or ""))
    reason = given[1].strip() if given else "no reason given (a line `blcperf-accept: …` in the description gives one)"
    by = f", put on by {actor}" if actor else ""
    print(clean(f"label {arguments.label}{by}: {reason}", 500))
    return 0


def _labels(pull: dict[str, Any], label: str) -> tuple[list[str], str]:
    """The pull request's labels now, and who put that one on; from the event where the API does not answer."""
    from pytest_blcperf.platforms.github import GitHub

    try:
        api = GitHub.from_environment(os.environ)
        labels = list(api.labels(pull["number"]))
        return labels, api.labelled_by(pull["number"], label) if label in labels else ""
    except BlcperfError:
        listed = pull.get("labels")
        listed = listed[:_LABEL_LIMIT] if isinstance(listed, list) else []
        return [str(one.get("name")) for one in listed if isinstance(one, dict)], ""


def _event() -> dict[str, Any]:
    """The event that started the workflow. Raises UsageError."""
    path = os.environ.get("GITHUB_EVENT_PATH", "")
    hint = "run it in a GitHub workflow"
    if not path:
        raise UsageError("GITHUB_EVENT_PATH is not set", hint)
    try:
        with Path(path).open("rb") as file:
            event = json.loads(file.read(_EVENT_LIMIT))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"the event cannot be read: {error}", hint) from None
    if not isinstance(event, dict):
        raise UsageError("the event is no object", hint)
    return event
