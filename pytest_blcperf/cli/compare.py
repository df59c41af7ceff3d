"""Compares two measured runs and judges every hot function, as `pytest --blcperf` does; or captures of any process.

A is the base, B the head; each is a run file or the name of a stored baseline. Two runs of one lockstep measurement
compare round by round; any others as stored runs, whose sessions may have drifted apart. Thresholds come from
[tool.blcperf] in pyproject.toml and from BLCPERF_… variables, as for pytest.

With --history, every saved run is a point in time: where a benchmark or a function changed for good, a line each.

For example:
  blcperf compare main .blcperf/runs/20260101T120000Z-1a2b3c4d5-0f0f0f.blcperf
  blcperf compare base.blcperf head.blcperf --markdown summary.md
  blcperf compare base.blcperf head.blcperf --html comparison.html
  blcperf compare main head.blcperf --threshold 10% --no-fail
  blcperf compare main head.blcperf --json | jq .benchmarks
  blcperf compare main --history --fail-over 5%
  blcperf compare --history runs/
  blcperf compare before/ after/ --preset mariadb --fail-over 5%
  blcperf compare before/ after/ --html comparison.html
  blcperf compare perf.data new.blcperf
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_blcperf import pyproject
from pytest_blcperf.cli import common, compare_captures, compare_history
from pytest_blcperf.errors import BaselineError, ExitCode
from pytest_blcperf.options import BY_NAME

if TYPE_CHECKING:
    from pytest_blcperf.model.run import Run
    from pytest_blcperf.model.verdict import GateVerdict
    from pytest_blcperf.settings import Settings

NAME = "compare"
SUMMARY = "compare two runs; exit code 1 when the head regressed"

_OPTIONS = ("threshold", "benchmark_threshold", "min_share", "min_impact", "alpha", "metric")


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's arguments."""
    parser.add_argument("base", metavar="A", help="the base: a run, a stored baseline, captures")
    parser.add_argument("head", metavar="B", help="the head: a run, a stored baseline, captures")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print the verdict as JSON (schema blcperf.verdict/1)")
    output.add_argument("--quiet", action="store_true", help="print nothing: the exit code says how it came out")
    parser.add_argument("--markdown", metavar="PATH", type=Path, help="also write the verdict as Markdown")
    parser.add_argument("--html", metavar="PATH", type=Path, help="also write the comparison as one HTML page")
    failing = parser.add_mutually_exclusive_group()
    failing.add_argument(
        "--fail-on-regression", action="store_true", help="exit code 1 when a benchmark regressed (the default)"
    )
    failing.add_argument("--no-fail", action="store_true", help="only show: exit code 0 whatever the verdict")
    for name in _OPTIONS:
        option = BY_NAME[name]
        parser.add_argument(_flag(name), dest=name, metavar=option.metavar, help=option.help)
    compare_history.add_options(parser)
    compare_captures.add_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Compares, prints, and returns 0, 1 (regressed), or raises BaselineError when there was nothing to compare."""
    from pytest_blcperf import sources
    from pytest_blcperf.changes import with_changed_lines
    from pytest_blcperf.pages import comparison_page
    from pytest_blcperf.report.write import write_reports
    from pytest_blcperf.session import compare_runs

    if arguments.history is not None:
        return compare_history.run(arguments)
    captures = compare_captures.sides(arguments.base, arguments.head)
    if captures is not None:
        return compare_captures.run(captures, arguments)
    base, head = common.load(arguments.base), common.load(arguments.head)
    repository = sources.root_of(common.root_folder())
    verdict = with_changed_lines(compare_runs(base, head, _settings(arguments, head)), base, head, repository)
    page = comparison_page(verdict, base, head, repository) if arguments.html else None
    write_reports(verdict, markdown_path=arguments.markdown, html_path=arguments.html, page=page)
    if not arguments.quiet:
        _print(verdict, arguments.json)
    if arguments.no_fail:
        return ExitCode.OK
    if not verdict.compared:
        raise BaselineError(
            f"nothing was compared: {base.label} and {head.label} have no measured benchmark in common",
            "measure both again, or see what they hold with `blcperf report`",
        )
    return ExitCode.REGRESSION if verdict.failed else ExitCode.OK


def _settings(arguments: argparse.Namespace, head: Run) -> Settings:
    from pytest_blcperf import calibrated
    from pytest_blcperf.settings import resolve

    flags = {name: getattr(arguments, name) for name in _OPTIONS}
    for name, text in flags.items():
        if text is not None:  # checked here so that the error names this command's flag, not pytest's
            BY_NAME[name].read(text, _flag(name))
    root = common.root_folder()
    settings = resolve(flags, {}, pyproject.table(root))
    return replace(settings, calibration=calibrated.fitting(root, settings, head.environment)[0])


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _print(verdict: GateVerdict, as_json: bool) -> None:
    from pytest_blcperf.report import json, terminal

    if as_json:
        print(json.render(verdict), end="")
        return
    shown = common.terminal()
    for line in terminal.render(verdict, width=shown.width, color=shown.color, unicode=shown.unicode):
        print(line)
