"""The CI files of a platform for a project: the templates of this package, filled in."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from pytest_blcperf.errors import UsageError
from pytest_blcperf.scaffold.project import Project


@dataclass(frozen=True)
class File:
    """A file to write, relative to the repository, and whether it can be executed."""

    path: str
    text: str
    executable: bool = False


_PLATFORMS: dict[str, tuple[tuple[str, str], ...]] = {
    "github": (
        ("github/workflows/blcperf.yml.j2", ".github/workflows/blcperf.yml"),
        ("github/workflows/blcperf-comment.yml.j2", ".github/workflows/blcperf-comment.yml"),
        ("github/actions/blcperf-setup/action.yml.j2", ".github/actions/blcperf-setup/action.yml"),
    ),
    "gitlab": (("gitlab/blcperf.gitlab-ci.yml.j2", "ci/blcperf.gitlab-ci.yml"),),
    "gitlab-component": (("gitlab/template.yml.j2", "templates/blcperf/template.yml"),),
    "jenkins": (("others/Jenkinsfile.j2", "Jenkinsfile"),),
    "azure": (("others/azure-pipelines.yml.j2", "azure-pipelines.yml"),),
    "buildkite": (("others/buildkite.yml.j2", ".buildkite/blcperf.yml"),),
    "circleci": (("others/circleci.yml.j2", ".circleci/config.yml"),),
    "forgejo": (("others/forgejo.yml.j2", ".forgejo/workflows/blcperf.yml"),),
    "woodpecker": (("others/woodpecker.yml.j2", ".woodpecker/blcperf.yml"),),
    "pre-push": (("others/pre-push.j2", ".githooks/pre-push"),),
}
PLATFORMS = tuple(_PLATFORMS)
MATRIX = ("github/workflows/blcperf-matrix.yml.j2", ".github/workflows/blcperf-matrix.yml")

NEXT: dict[str, str] = {
    "github": "commit the files; make the check `gate` required once it has passed some times (docs/ci/github.md)",
    "gitlab": "add to .gitlab-ci.yml: include: [{local: ci/blcperf.gitlab-ci.yml}]",
    "gitlab-component": "tag a release of the project, then include: component: …/blcperf@VERSION",
    "pre-push": "git config core.hooksPath .githooks",
}


def render(platform: str, project: Project, *, matrix: bool = False) -> tuple[File, ...]:
    """The files of a platform (a member of PLATFORMS). Raises UsageError for a branch that cannot be written safely."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}", project.default_branch):
        raise UsageError(
            f"the default branch {project.default_branch[:80]!r} has characters that a template cannot hold",
            "give another one: --branch main",
        )
    environment = Environment(
        loader=PackageLoader("pytest_blcperf", "scaffold/templates"),
        undefined=StrictUndefined,
        variable_start_string="@{",  # the platforms use braces of all other kinds
        variable_end_string="}@",
        block_start_string="@%",
        block_end_string="%@",
        comment_start_string="@#",
        comment_end_string="#@",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    wanted = _PLATFORMS[platform] + ((MATRIX,) if matrix and platform == "github" else ())
    values = _values(project, matrix)
    texts = {target: environment.get_template(name).render(values).lstrip("\n") for name, target in wanted}
    return tuple(File(target, text, text.startswith("#!")) for target, text in texts.items())


def _values(project: Project, matrix: bool) -> dict[str, object]:
    return {
        "default_branch": project.default_branch,
        "python_version": project.python_version,
        "python_versions": json.dumps(list(project.python_versions)),
        "install": project.install or (":",),
        "cache_files": project.cache_files,
        "pytest_paths": "".join(f" {path}" for path in project.pytest_paths),
        "matrix": matrix,
    }
