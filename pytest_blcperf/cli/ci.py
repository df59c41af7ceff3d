"""What a CI job does with a verdict.json: show it where people look, and pass or fail.

The file counts as untrusted: it is checked and bounded before anything is shown, and everything in it is escaped.

For example:
  blcperf ci summary verdict.json >> "$GITHUB_STEP_SUMMARY"
  blcperf ci annotate verdict.json                        GitHub, Forgejo: annotations at the guilty functions
  blcperf ci codequality verdict.json > gl-code-quality-report.json
  blcperf ci sarif verdict.json > blcperf.sarif
  blcperf ci comment                                      in a workflow_run job; with VERDICT in a GitLab job
  blcperf ci accepted --label blcperf-accept              the reason, when the pull request has the label
  blcperf ci gate verdict.json --status "$status"         the last step: pytest's exit code applied
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_blcperf.cli import ci_comment, ci_gate

if TYPE_CHECKING:
    from pytest_blcperf.model.verdict import GateVerdict

NAME = "ci"
SUMMARY = "show a verdict in CI, comment on it, and apply it"

SUMMARY_LIMIT = 900_000
"""Bytes; GitHub refuses a job summary of more than 1 MiB as a whole, and other steps write to it too."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's own verbs."""
    verbs = parser.add_subparsers(metavar="summary|annotate|codequality|sarif|comment|accepted|gate", required=True)
    for name, help_, render in (
        ("summary", "the verdict as Markdown, for a job summary", _summary),
        ("annotate", "workflow commands: annotations at the guilty functions' lines", _annotate),
        ("codequality", "a GitLab Code Quality report", _codequality),
        ("sarif", "SARIF 2.1.0, for code scanning", _sarif),
    ):
        one = verbs.add_parser(name, help=help_, description=f"Prints {help_}.")
        one.add_argument("verdict", metavar="VERDICT", type=Path, help="what `--blcperf-json=PATH` wrote")
        one.set_defaults(run_ci=_printing(render))
    ci_comment.configure_comment(verbs.add_parser("comment", help="write the sticky comment of a pull request"))
    ci_comment.configure_accepted(verbs.add_parser("accepted", help="whether a label accepts the regressions"))
    ci_gate.configure(verbs.add_parser("gate", help="exit as the verdict says: the last step of a job"))


def run(arguments: argparse.Namespace) -> int:
    """Runs the chosen verb; returns its exit code."""
    return int(arguments.run_ci(arguments))


def _printing(render: Callable[[GateVerdict], str]) -> Callable[[argparse.Namespace], int]:
    def run_it(arguments: argparse.Namespace) -> int:
        from pytest_blcperf.store import verdict_file

        # Bytes: what is written to a report file is UTF-8 whatever the job's locale is.
        text = render(verdict_file.read(arguments.verdict)).encode("utf-8", "backslashreplace")
        sys.stdout.flush()
        output = getattr(sys.stdout, "buffer", None)
        if output is None:
            sys.stdout.write(text.decode("utf-8"))
        else:
            output.write(text)
            output.flush()
        return 0

    return run_it


def _summary(verdict: GateVerdict) -> str:
    from pytest_blcperf.report import markdown

    return markdown.render(verdict, SUMMARY_LIMIT)


def _annotate(verdict: GateVerdict) -> str:
    from pytest_blcperf.report import annotations

    return annotations.render(verdict)


def _codequality(verdict: GateVerdict) -> str:
    from pytest_blcperf.report import codequality

    return codequality.render(verdict)


def _sarif(verdict: GateVerdict) -> str:
    from pytest_blcperf.report import sarif

    return sarif.render(verdict)
