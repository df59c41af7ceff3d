"""Writes a run or a capture in a format that other tools open.

RUN is a run file, a capture file or the name of a stored baseline.

  pprof        go tool pprof, Grafana, Polar Signals     svg          a flame graph for a README or a mail
  collapsed    flamegraph.pl, inferno                    csv          spreadsheets
  speedscope   www.speedscope.app                        markdown     a job summary, at most 1 MiB
  firefox      profiler.firefox.com                      openmetrics  Prometheus and its relatives
  json         scripts (docs/schemas)

For example:
  blcperf export main --format speedscope --output main.speedscope.json
  blcperf export main --format pprof --benchmark '*test_parse*' -o parse.pb.gz && go tool pprof -http=: parse.pb.gz
  blcperf export main --format collapsed | flamegraph.pl > main.svg
  blcperf export main --format markdown >> "$GITHUB_STEP_SUMMARY"
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_blcperf.cli import common
from pytest_blcperf.errors import UsageError

if TYPE_CHECKING:
    from pytest_blcperf.model.capture import Capture
    from pytest_blcperf.model.run import Run
    from pytest_blcperf.model.tracks import Tracks
    from pytest_blcperf.report.function_rows import FunctionRow

T = TypeVar("T")

NAME = "export"
SUMMARY = "write a run in a format that other tools open"

_BINARY = ("pprof",)
FORMATS = ("pprof", "collapsed", "speedscope", "firefox", "svg", "csv", "markdown", "openmetrics", "json")


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's arguments."""
    parser.add_argument("run_name", metavar="RUN", help="a run file, a capture file or a stored baseline")
    parser.add_argument("--format", required=True, choices=FORMATS, help="the format to write")
    parser.add_argument("--output", "-o", metavar="PATH", type=Path, help="the file (default: standard output)")
    parser.add_argument("--benchmark", metavar="PATTERN", help="only benchmarks whose id matches the shell pattern")
    parser.add_argument("--event", metavar="NAME", help="only this event of a capture")


def run(arguments: argparse.Namespace) -> int:
    """Writes the file; returns 0."""
    found = _chosen(common.load_measured(arguments.run_name), arguments)
    if arguments.output is None and arguments.format in _BINARY and sys.stdout.isatty():
        raise UsageError(f"{arguments.format} is not for a terminal", "name a file: --output profile.pb.gz")
    data = _encoder(arguments.format)(found)
    if arguments.output is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        return 0
    common.write_report(arguments.output, data)
    return 0


def _chosen(measured: Run | Sequence[Capture], arguments: argparse.Namespace) -> Run | Sequence[Capture]:
    """What the patterns leave. Raises UsageError when that is nothing, naming what there is."""
    from pytest_blcperf.model.run import Run
    from pytest_blcperf.report.text import clean

    if isinstance(measured, Run):
        pattern = arguments.benchmark
        kept = tuple(one for one in measured.benchmarks if pattern is None or fnmatchcase(one.id, pattern))
        names, what, flag = [one.id for one in measured.benchmarks], "benchmark", "--benchmark"
        wrong = arguments.event is not None or (pattern is not None and not kept)
    else:
        captures = tuple(one for one in measured if arguments.event in (None, one.event))
        names, what, flag = [one.event for one in measured], "event", "--event"
        wrong = arguments.benchmark is not None or not captures
    if wrong:
        listed = ", ".join(clean(name, 80) for name in names[:10]) or "none"
        raise UsageError(f"no such {what} in {clean(arguments.run_name)}", f"{flag} takes one of: {listed}")
    return replace(measured, benchmarks=kept) if isinstance(measured, Run) else captures


def _encoder(name: str) -> Callable[[Run | Sequence[Capture]], bytes]:
    """The function that writes a format, its modules imported only now."""
    from pytest_blcperf.report import function_csv, openmetrics, run_json, run_markdown, svg_flame
    from pytest_blcperf.store import collapsed, firefox, pprof, speedscope

    of_tracks: dict[str, Callable[[Tracks], bytes]] = {
        "pprof": pprof.encode_tracks,
        "collapsed": collapsed.encode,
        "speedscope": speedscope.encode,
        "firefox": firefox.encode,
        "svg": lambda tracks: svg_flame.render(tracks).encode(),
    }
    if name in of_tracks:
        return lambda measured: of_tracks[name](_tracks(measured))
    texts: dict[str, Callable[[Run | Sequence[Capture]], str]] = {
        "csv": lambda measured: function_csv.render(_rows(measured)),
        "markdown": lambda measured: _either(measured, run_markdown.of_run, run_markdown.of_captures),
        "openmetrics": lambda measured: _either(measured, openmetrics.of_run, openmetrics.of_captures),
        "json": lambda measured: common.json_text(_either(measured, run_json.of_run, _analysed)),
    }
    return lambda measured: texts[name](measured).encode()


def _either(measured: Run | Sequence[Capture], of_run: Callable[[Run], T], of_captures: Callable[[Any], T]) -> T:
    from pytest_blcperf.model.run import Run

    return of_run(measured) if isinstance(measured, Run) else of_captures(measured)


def _analysed(captures: Sequence[Capture]) -> list[dict[str, Any]]:
    """What `blcperf report --json` prints, with all functions of the analysis."""
    from pytest_blcperf.detect.analysis import MOST_FUNCTIONS, analyse_all
    from pytest_blcperf.report import capture_json

    return [capture_json.as_data(one, MOST_FUNCTIONS) for one in analyse_all(captures)]


def _rows(measured: Run | Sequence[Capture]) -> list[FunctionRow]:
    from pytest_blcperf.report.function_rows import rows_of_benchmarks, rows_of_capture

    return _either(
        measured,
        lambda run: rows_of_benchmarks(run.benchmarks),
        lambda captures: [row for capture in captures for row in rows_of_capture(capture)],
    )


def _tracks(measured: Run | Sequence[Capture]) -> Tracks:
    """The one thing these formats hold. Raises UsageError where there is no profile, or a choice to make."""
    from pytest_blcperf.model.run import Run
    from pytest_blcperf.model.tracks import tracks_of_capture, tracks_of_run

    if isinstance(measured, Run):
        tracks = tracks_of_run(measured, measured.benchmarks)
        if not tracks.tracks:
            raise UsageError(
                "there is no profile in it", "measure with a --blcperf-profile-window above 0, or take --format csv"
            )
        return tracks
    if len(measured) > 1:
        events = ", ".join(one.event for one in measured)
        raise UsageError("this format holds one event, and there are several", f"--event takes one of: {events}")
    return tracks_of_capture(measured[0])
