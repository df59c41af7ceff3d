"""Applies a verdict: the last step of a CI job, after everything was shown and uploaded.

--status is pytest's exit code. Exit codes: 0 passed; 1 a regression or a failing test; 6 nothing was compared, or there
is no verdict; any other code of pytest's as it is. A first pull request, whose base has none of the benchmark files,
passes although nothing could be compared, and says so.

For example:
  blcperf ci gate verdict.json --status "$status"
  blcperf ci gate verdict.json --status "$status" --base origin/main --fail-inconclusive
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_blcperf.errors import BlcperfError, ExitCode

if TYPE_CHECKING:
    from pytest_blcperf.model.verdict import GateVerdict

_PYTEST_FAILED = 1
_PYTEST_USAGE = 4


@dataclass(frozen=True)
class Decision:
    """An exit code and the line that says why."""

    code: int
    text: str


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.description, parser.formatter_class = __doc__, argparse.RawDescriptionHelpFormatter
    parser.add_argument("verdict", metavar="VERDICT", type=Path, help="what `--blcperf-json=PATH` wrote")
    parser.add_argument("--status", metavar="CODE", type=int, required=True, help="pytest's exit code")
    parser.add_argument("--base", metavar="REV", help="a first pull request passes: REV has no benchmark file yet")
    parser.add_argument("--fail-inconclusive", action="store_true", help="exit code 1 for inconclusive benchmarks too")
    parser.set_defaults(run_ci=_run)


def _run(arguments: argparse.Namespace) -> int:
    from pytest_blcperf.store import verdict_file

    verdict = verdict_file.read(arguments.verdict) if arguments.verdict.exists() else None
    first = verdict is not None and arguments.base is not None and _is_first(verdict, arguments.base)
    decision = decide(arguments.status, verdict, first=first, strict=arguments.fail_inconclusive)
    print(f"blcperf: {decision.text}")
    return decision.code


def decide(status: int, verdict: GateVerdict | None, *, first: bool, strict: bool) -> Decision:
    """The exit code of a job, from pytest's and from the verdict; `first` when the base has no benchmark file."""
    from pytest_blcperf.model.verdict import Outcome
    from pytest_blcperf.report import words

    if verdict is None:
        if status:
            return Decision(status, f"FAILED: pytest ended with exit code {status} before there was a verdict")
        return Decision(ExitCode.BASELINE, "FAILED: pytest wrote no verdict, so nothing was compared")
    said, nothing = words.outcome_line(verdict), not verdict.compared
    broken = f"FAILED: pytest ended with exit code {status}; {said}"
    undecided = strict and verdict.count(Outcome.INCONCLUSIVE) > 0
    rules = (
        (status not in (0, _PYTEST_FAILED, _PYTEST_USAGE), status, broken),
        (verdict.failed, ExitCode.REGRESSION, f"FAILED: {said}"),
        (status == _PYTEST_FAILED, ExitCode.REGRESSION, f"FAILED: a test failed; {said}"),
        (nothing and first, ExitCode.OK, f"PASSED as a first run: the base has no benchmark yet; {said}"),
        (nothing, ExitCode.BASELINE, f"FAILED: {said}{_first_reason(verdict)}"),
        (status != 0, status, broken),
        (undecided, ExitCode.REGRESSION, f"FAILED: not everything was decided; {said}"),
    )
    found = next(((code, text) for holds, code, text in rules if holds), (ExitCode.OK, f"PASSED: {said}"))
    return Decision(*found)


def _first_reason(verdict: GateVerdict) -> str:
    from pytest_blcperf.report.text import clean

    reasons = [one.reason for one in verdict.benchmarks if one.reason]
    return f"; {clean(reasons[0], 200)}" if reasons else ""


def _is_first(verdict: GateVerdict, revision: str) -> bool:
    """Whether the merge base with the revision has none of the files whose benchmarks were looked at."""
    from pytest_blcperf.bench import repository as git

    files = {one.id.partition("::")[0] for one in verdict.benchmarks}
    try:
        repository = git.find(Path.cwd())
        base = repository.resolve_base(revision).commit
    except BlcperfError:
        return False
    known = [git.run_git(repository.root, "cat-file", "-e", f"{base}:{file}").code == 0 for file in files]
    return bool(known) and not any(known)
