"""Shows how times changed over saved runs: every benchmark and its hot functions, and where they changed their level.

Without RUNs it takes all that are kept under .blcperf/runs, oldest first. Lockstep sessions keep two runs, called base
and head; --name takes one of them. Runs of different machines are never compared.

For example:
  blcperf trend
  blcperf trend --html trend.html --name head
  blcperf trend --benchmark '*test_parse*' --last 50
  blcperf trend old.blcperf main .blcperf/runs/*.blcperf
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_blcperf.cli import common
from pytest_blcperf.errors import BaselineError

if TYPE_CHECKING:
    from pytest_blcperf.model.run import Run
    from pytest_blcperf.model.trend import Trend

NAME = "trend"
SUMMARY = "show how times changed over saved runs"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's arguments."""
    parser.add_argument("run_names", metavar="RUN", nargs="*", help="run files or stored baselines (default: all runs)")
    parser.add_argument("--html", metavar="PATH", type=Path, help="write the trend as one self-contained HTML page")
    parser.add_argument("--json", action="store_true", help="print JSON (schema blcperf.trend/1)")
    parser.add_argument("--quiet", action="store_true", help="print change points only")
    parser.add_argument("--name", metavar="NAME", help="only runs of this name, such as head")
    parser.add_argument("--benchmark", metavar="PATTERN", help="only benchmarks whose id matches the shell pattern")
    parser.add_argument("--last", metavar="N", type=int, default=200, help="the newest N runs (default: 200)")


def run(arguments: argparse.Namespace) -> int:
    """Prints or writes the trend; returns 0. Raises BaselineError where there is no run."""
    from pytest_blcperf.compare.trend import trend

    runs = list(_chosen(_runs(arguments.run_names), arguments))[-max(arguments.last, 1) :]
    if not runs:
        raise BaselineError(
            "there is no run to show", "runs are kept by `pytest --blcperf`; see --name and --benchmark"
        )
    found = trend(runs)
    if arguments.html:
        from pytest_blcperf.report.html_trend import render

        common.write_report(arguments.html, render(found))
    _print(found, arguments)
    return 0


def _runs(names: Iterable[str]) -> Iterator[Run]:
    """The runs, oldest first. Damaged files among the kept ones end the command as any other."""
    from pytest_blcperf.store import baselines, run_file

    if names:
        yield from sorted((common.load(name) for name in names), key=lambda one: one.created)
        return
    for path in reversed(baselines.sorted_runs(common.root_folder())):
        yield run_file.read(path)


def _chosen(runs: Iterable[Run], arguments: argparse.Namespace) -> Iterator[Run]:
    for one in runs:
        if arguments.name not in (None, one.name):
            continue
        pattern = arguments.benchmark
        kept = tuple(other for other in one.benchmarks if pattern is None or fnmatchcase(other.id, pattern))
        if kept:
            yield replace(one, benchmarks=kept)


def _print(found: Trend, arguments: argparse.Namespace) -> None:
    from pytest_blcperf.report import trend_json, trend_text
    from pytest_blcperf.report.run_text import Screen
    from pytest_blcperf.report.text import clean

    if arguments.json:
        common.print_json(trend_json.as_data(found))
        return
    if arguments.html and not arguments.quiet:
        print(f"HTML report: {clean(str(arguments.html), 300)}")
    shown = common.terminal()
    for line in trend_text.render(found, Screen(shown.width, shown.unicode), table=not arguments.quiet):
        print(line)
