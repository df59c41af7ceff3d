"""`blcperf baseline fetch` and `push`: baselines that other machines measured.

WHERE is one of
  github               artifacts of this repository's workflow runs (GITHUB_REPOSITORY, GITHUB_TOKEN)
  gitlab               artifacts of the project's jobs (CI_API_V4_URL, CI_PROJECT_ID, BLCPERF_GITLAB_TOKEN)
  git:BRANCH           a branch of origin that holds nothing else, such as git:blcperf-baselines
  SCHEME://…           object storage through fsspec: s3://bucket/perf, gs://…, az://…
  FOLDER               such as /mnt/baselines
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_blcperf.cli import common
from pytest_blcperf.errors import BaselineError, UsageError

if TYPE_CHECKING:
    from pytest_blcperf.bench.repository import Repository
    from pytest_blcperf.shelves.fetch import Fetched
    from pytest_blcperf.shelves.kept import Shelf, Source

_FETCH = """\
Fetches the stored run that fits best: taken from the merge base with NAME or the nearest commit before it, and on a
machine like this one before any other. It is kept as the baseline NAME.

For example:
  blcperf baseline fetch main --from github --optional
  blcperf baseline fetch main --from s3://ci-cache/perf

"""
_PUSH = """\
Keeps the stored baseline NAME somewhere else, filed under its commit and its machine.

For example:
  blcperf baseline push main --to git:blcperf-baselines
  blcperf baseline push main --to /mnt/baselines --keep 200

"""


def configure_fetch(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `fetch`."""
    _describe(parser, _FETCH)
    parser.add_argument("name", metavar="NAME", help="the baseline, and the branch it is of, such as main")
    parser.add_argument("--from", metavar="WHERE", required=True, dest="where", help="see above")
    parser.add_argument("--rev", metavar="REV", help="walk back from the merge base with this revision (default: NAME)")
    parser.add_argument("--artifact", metavar="PREFIX", default="blcperf-baseline", help="github: the artifact's name")
    parser.add_argument("--job", metavar="JOB", default="blcperf", help="gitlab: the job whose artifacts hold the run")
    parser.add_argument("--depth", metavar="N", type=int, default=50, help="how many commits to walk (default: 50)")
    parser.add_argument("--optional", action="store_true", help="exit code 0 and a line when there is none yet")
    parser.add_argument("--quiet", action="store_true", help="print nothing")
    parser.set_defaults(run_baseline=_fetch)


def configure_push(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `push`."""
    _describe(parser, _PUSH)
    parser.add_argument("name", metavar="NAME", help="a stored baseline")
    parser.add_argument("--to", metavar="WHERE", required=True, dest="where", help="see above; not github or gitlab")
    parser.add_argument("--keep", metavar="N", type=int, default=100, help="how many runs to keep (default: 100)")
    parser.add_argument("--quiet", action="store_true", help="print nothing")
    parser.set_defaults(run_baseline=_push)


def _describe(parser: argparse.ArgumentParser, text: str) -> None:
    assert __doc__ is not None
    parser.description = text + __doc__.partition("\n\n")[2]
    parser.formatter_class = argparse.RawDescriptionHelpFormatter


def _fetch(arguments: argparse.Namespace) -> int:
    from pytest_blcperf.bench import repository as git
    from pytest_blcperf.bench.interpreter import facts_of
    from pytest_blcperf.report.text import clean
    from pytest_blcperf.shelves.fetch import fetch
    from pytest_blcperf.store import baselines, environment

    baselines.check_name(arguments.name)
    repository = git.find(Path.cwd())
    base = repository.resolve_base(arguments.rev or arguments.name)
    commits = _ancestors(repository, base.commit, max(arguments.depth, 1))
    source = _source(arguments, repository)
    found = fetch(source, commits, environment.from_facts(facts_of(sys.executable)))
    if found is None:
        message = f"no stored baseline of {arguments.name} in {clean(arguments.where)}: looked for {base.label}"
        message += f" and {len(commits) - 1} commits before it"
        if not arguments.optional:
            raise BaselineError(message, "the next push to that branch should store one, or --optional")
        if not arguments.quiet:
            print(f"{message}; the next push to that branch should store one")
        return 0
    baselines.save_baseline(repository.root, found.run, arguments.name)
    if not arguments.quiet:
        _say(found, base.commit, arguments.name)
    return 0


def _say(found: Fetched, base: str, name: str) -> None:
    from pytest_blcperf.report.text import clean

    for warning in found.warnings:
        print(f"passed over {clean(warning.text, 300)}")
    away = "" if not found.distance else f", {found.distance} commits before the merge base {base[:9]}"
    machine = "a machine like this one" if found.same_machine else "another machine: its times do not compare"
    print(f"fetched baseline {name}: commit {found.run.commit[:9]}{away}, measured on {machine}")


def _push(arguments: argparse.Namespace) -> int:
    from pytest_blcperf.report.text import clean
    from pytest_blcperf.shelves.kept import Kept, machine_key
    from pytest_blcperf.store import baselines, run_file

    root = common.root_folder()
    path = baselines.find(root, arguments.name)
    if path is None:
        raise baselines.missing(root, arguments.name)
    run = run_file.read(path, profiles=False)
    if not run.commit or run.dirty:
        raise BaselineError(
            f"{arguments.name} was taken from {'a changed work tree' if run.dirty else 'no commit'}",
            "measure a clean checkout: pytest --blcperf --blcperf-save=" + arguments.name,
        )
    kept = Kept(run.commit, machine_key(run.environment), "")
    _shelf(arguments.where, arguments.name).keep(kept, path.read_bytes(), max(arguments.keep, 1))
    if not arguments.quiet:
        print(f"kept baseline {arguments.name} of {run.commit[:9]} in {clean(arguments.where)}")
    return 0


def _ancestors(repository: Repository, commit: str, most: int) -> list[str]:
    """The commit and what the branch was at before it, nearest first: first parents only."""
    from pytest_blcperf.bench.repository import run_git

    answer = run_git(repository.root, "rev-list", "--first-parent", f"--max-count={most}", commit, "--")
    return answer.line.split() or [commit]


def _source(arguments: argparse.Namespace, repository: Repository) -> Source:
    from pytest_blcperf.platforms.github import GitHub
    from pytest_blcperf.platforms.gitlab import GitLab
    from pytest_blcperf.shelves.artifacts import GitHubArtifacts, GitLabArtifacts

    if arguments.where == "github":
        return GitHubArtifacts(GitHub.from_environment(os.environ), arguments.name, arguments.artifact)
    if arguments.where == "gitlab":
        return GitLabArtifacts(GitLab.from_environment(os.environ), arguments.name, arguments.job)
    return _shelf(arguments.where, arguments.name, repository)


def _shelf(where: str, name: str, repository: Repository | None = None) -> Shelf:
    from pytest_blcperf.bench import repository as git
    from pytest_blcperf.shelves.branch import Branch
    from pytest_blcperf.shelves.directory import Directory
    from pytest_blcperf.shelves.objects import Objects

    if where in ("github", "gitlab"):
        raise UsageError(
            f"{where} has no API that writes artifacts", "let the job upload .blcperf/baselines, as ci-templates/ does"
        )
    if where.startswith("git:"):
        return Branch(repository or git.find(Path.cwd()), where.removeprefix("git:"), name)
    if "://" in where:
        return Objects(where, name)
    return Directory(Path(where), name)
