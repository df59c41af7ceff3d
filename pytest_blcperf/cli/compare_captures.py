"""`blcperf compare` where the sides are captures of any process: what grew, what shrank, and how sure that is."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_blcperf.cli import common
from pytest_blcperf.errors import BaselineError, ExitCode, UsageError
from pytest_blcperf.options import share

if TYPE_CHECKING:
    from pytest_blcperf.detect.rules import Rules
    from pytest_blcperf.model.capture import Capture
    from pytest_blcperf.model.capture_comparison import CaptureComparison
    from pytest_blcperf.model.run import Run

Side = tuple["Capture", ...]

_FILES_LIMIT = 1_000
_TABLES = ("mode", "class", "library", "role", "system call")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that only captures have."""
    captures = parser.add_argument_group("captures (files of blcperf record or of other profilers, folders of them)")
    captures.add_argument(
        "--fail-over", metavar="SHARE", help="exit code 1 when something grew by more, such as 5%%; also with --history"
    )
    captures.add_argument("--preset", metavar="NAME", help="classes and roles of mariadb, mysql, postgresql, or a file")
    captures.add_argument("--top", metavar="N", type=int, default=20, help="functions shown (default: 20)")


def sides(base: str, head: str) -> tuple[Side, Side] | None:
    """The captures of both sides, None when both are runs. Raises BaselineError, UsageError for one of each."""
    loaded = [_load(name) for name in (base, head)]
    captures = [one for one in loaded if isinstance(one, tuple)]
    if not captures:
        return None
    if len(captures) == 1:
        raise UsageError("a run of benchmarks and a capture cannot be compared", "give two of one kind")
    return captures[0], captures[1]


def run(both: tuple[Side, Side], arguments: argparse.Namespace) -> int:
    """Compares, prints, and returns 0, or 1 when something grew by more than `--fail-over`."""
    from pytest_blcperf.compare.captures import failures
    from pytest_blcperf.detect import rules as presets

    if arguments.markdown:
        raise UsageError("--markdown is for runs of benchmarks", "--html and --json have everything of captures")
    most = limit(arguments.fail_over)
    comparison = _compared(both, presets.load(arguments.preset))
    if arguments.html:
        from pytest_blcperf.report import html_capture_comparison

        common.write_report(arguments.html, html_capture_comparison.render(comparison, *both).encode())
    if not arguments.quiet:
        _print(comparison, arguments)
    grown = failures(comparison, most) if most is not None and not arguments.no_fail else []
    return ExitCode.REGRESSION if grown else ExitCode.OK


def _load(name: str) -> Run | Side:
    folder = Path(name)
    if not folder.is_dir():
        return common.load_measured(name)
    paths = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix == ".blcperf")
    if not paths or len(paths) > _FILES_LIMIT:
        raise BaselineError(
            f"{name}: {len(paths)} captures in this folder", "blcperf record --output-dir DIR --repeat 5"
        )
    found: list[Capture] = []
    for path in paths:
        measured = common.load_measured(str(path))
        if not isinstance(measured, tuple):
            raise UsageError(f"{path}: a run of benchmarks among captures", "keep them in another folder")
        found += measured
    return tuple(found)


def limit(text: str | None) -> float | None:
    """The share that `--fail-over` says, None without. Raises UsageError."""
    if text is None:
        return None
    try:
        return share(text)
    except ValueError as error:
        raise UsageError(f"--fail-over {text}: {error}", "--fail-over 5%") from None


def _compared(both: tuple[Side, Side], rules: Rules) -> CaptureComparison:
    from pytest_blcperf.compare.captures import compare_captures
    from pytest_blcperf.detect.analysis import breakdowns
    from pytest_blcperf.detect.view import View
    from pytest_blcperf.store.environment import drift

    tables = [{id(one): breakdowns(View(one), rules) for one in side} for side in both]
    known = {**tables[0], **tables[1]}

    def split(title: str, capture: Capture) -> dict[str, float]:
        return {part.name: part.time for part in known[id(capture)].get(title, ())}

    base, head = both
    return compare_captures(
        base,
        head,
        {title: partial(split, title) for title in _TABLES},
        drift(base[0].environment, head[0].environment),
    )


def _print(comparison: CaptureComparison, arguments: argparse.Namespace) -> None:
    from pytest_blcperf.report import capture_comparison

    if arguments.json:
        common.print_json(capture_comparison.as_data(comparison))
        return
    shown = common.terminal()
    for line in capture_comparison.render(comparison, width=shown.width, top=max(arguments.top, 1)):
        print(shown.show(line))
