"""Shows what one run measured: time per iteration of every benchmark, its hottest functions, calls, warnings.

RUN is a run file or the name of a stored baseline. Self is time in the function itself, total with what it calls.

For example:
  blcperf report main
  blcperf report head.blcperf --top 20
  blcperf report head.blcperf --json | jq '.benchmarks[].cpu_ns'
"""

from __future__ import annotations

import argparse

from pytest_blcperf.cli import common

NAME = "report"
SUMMARY = "show what one run measured"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's arguments."""
    parser.add_argument("run_name", metavar="RUN", help="a run file or a stored baseline")
    add_view_options(parser)


def add_view_options(parser: argparse.ArgumentParser) -> None:
    """The options of every verb that shows one run."""
    parser.add_argument("--json", action="store_true", help="print JSON (schema blcperf.report/1)")
    parser.add_argument("--quiet", action="store_true", help="the table of benchmarks only")
    parser.add_argument("--top", metavar="N", type=int, default=10, help="functions a benchmark (default: 10)")


def run(arguments: argparse.Namespace) -> int:
    """Prints the run; returns 0."""
    from pytest_blcperf.cli import run_view

    taken = common.load(arguments.run_name)
    top = max(arguments.top, 0)
    if arguments.json:
        common.print_json(run_view.as_data(taken, top))
    else:
        run_view.show(taken, 0 if arguments.quiet else top, details=not arguments.quiet)
    return 0
