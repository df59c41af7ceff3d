"""Shows what one run measured: time per iteration of every benchmark, its hottest functions, calls, warnings.

RUN is a run file, the name of a stored baseline, a capture, or a file of another profiler: perf.data, collapsed stacks,
pprof, speedscope, Firefox. Self is time in the function itself, total with what it calls.

For example:
  blcperf report main
  blcperf report head.blcperf --top 40
  blcperf report head.blcperf --callers Parser.parse
  blcperf report head.blcperf --flat
  blcperf report head.blcperf --html run.html
  blcperf report head.blcperf --json | jq '.benchmarks[].cpu_ns'
  blcperf report mariadbd.blcperf --preset mariadb
  blcperf report perf.data --html page.html
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_blcperf.cli import common
from pytest_blcperf.errors import UsageError

if TYPE_CHECKING:
    from pytest_blcperf.model.capture import Capture
    from pytest_blcperf.model.run import Run
    from pytest_blcperf.report.function_rows import FunctionRow
    from pytest_blcperf.report.run_text import Screen

NAME = "report"
SUMMARY = "show what one run measured"

TOP, FLAT_TOP = 10, 40


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's arguments."""
    parser.add_argument("run_name", metavar="RUN", help="a run file, a capture file or a stored baseline")
    add_view_options(parser)


def add_view_options(parser: argparse.ArgumentParser) -> None:
    """The options of every verb that shows one run."""
    parser.add_argument("--json", action="store_true", help="print JSON (blcperf.report/1, of captures analysis/1)")
    parser.add_argument("--preset", metavar="NAME", help="of captures: mariadb, mysql, postgresql, or a TOML file")
    parser.add_argument("--quiet", action="store_true", help="the table of benchmarks only")
    parser.add_argument("--top", metavar="N", type=int, help=f"functions shown (default: {TOP}, flat {FLAT_TOP})")
    parser.add_argument("--flat", action="store_true", help="all functions in one table, those with most time first")
    parser.add_argument("--html", metavar="PATH", type=Path, help="write the run as one self-contained HTML page")
    parser.add_argument("--callers", metavar="FUNC", help="who calls this function, and whom it calls")


def run(arguments: argparse.Namespace) -> int:
    """Prints the run; returns 0."""
    from pytest_blcperf.report.run_text import Screen
    from pytest_blcperf.report.text import clean

    measured = common.load_measured(arguments.run_name)
    if arguments.html:
        common.write_report(arguments.html, _page(measured, arguments.preset))
        if not arguments.quiet:
            print(f"HTML report: {clean(str(arguments.html), 300)}")
        return 0
    shown = common.terminal()
    for line in _lines(measured, arguments, Screen(shown.width, shown.unicode)):
        print(line)
    return 0


def _lines(measured: Run | Sequence[Capture], arguments: argparse.Namespace, screen: Screen) -> list[str]:
    from pytest_blcperf.model.run import Run
    from pytest_blcperf.report import run_json, run_text

    top = max(arguments.top if arguments.top is not None else FLAT_TOP if arguments.flat else TOP, 0)
    if arguments.json:
        data = run_json.of_run(measured, top) if isinstance(measured, Run) else _analysed_data(measured, arguments, top)
        return common.json_text(data).splitlines()
    if arguments.callers:
        return _callers(measured, arguments.callers, screen)
    if arguments.flat:
        return run_text.flat(_rows(measured), screen, top)
    if isinstance(measured, Run):
        return run_text.of_run(measured, screen, top, details=not arguments.quiet)
    if arguments.quiet:
        return run_text.of_captures(measured, screen, top, details=False)
    return _analysed(measured, arguments, screen, top)


def _analysed(captures: Sequence[Capture], arguments: argparse.Namespace, screen: Screen, top: int) -> list[str]:
    from pytest_blcperf.detect.analysis import analyse_all
    from pytest_blcperf.report import capture_text

    found: list[str] = []
    for one in analyse_all(captures, arguments.preset):
        lines = capture_text.render(one, width=screen.width, top=max(top, 1), unicode=screen.unicode)
        found += ["", *screen.lines(lines)] if found else screen.lines(lines)
    return found


def _analysed_data(captures: Sequence[Capture], arguments: argparse.Namespace, top: int) -> list[dict[str, Any]]:
    from pytest_blcperf.detect.analysis import analyse_all
    from pytest_blcperf.report import capture_json

    return [capture_json.as_data(one, top) for one in analyse_all(captures, arguments.preset)]


def _page(measured: Run | Sequence[Capture], preset: str | None) -> str:
    from pytest_blcperf.detect.analysis import analyse_all
    from pytest_blcperf.model.run import Run
    from pytest_blcperf.report.html_run import render
    from pytest_blcperf.report.run_page import RunPage

    if isinstance(measured, Run):
        return render(RunPage(run=measured))
    return render(RunPage(captures=tuple(measured), findings=analyse_all(measured[:1], preset)[0].findings))


def _rows(measured: Run | Sequence[Capture]) -> list[FunctionRow]:
    from pytest_blcperf.model.run import Run
    from pytest_blcperf.report.function_rows import rows_of_benchmarks, rows_of_capture

    if isinstance(measured, Run):
        return rows_of_benchmarks(measured.benchmarks)
    return [row for capture in measured for row in rows_of_capture(capture)]


def _callers(measured: Run | Sequence[Capture], name: str, screen: Screen) -> list[str]:
    from pytest_blcperf.report import run_text
    from pytest_blcperf.report.text import clean

    lines = run_text.callers(run_text.profiles_of(measured), name, screen)
    if not lines:
        raise UsageError(f"no sampled function is called {clean(name)}", "see the names: blcperf report RUN --flat")
    return lines
