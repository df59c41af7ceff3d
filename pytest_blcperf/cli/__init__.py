"""The `blcperf` command. One verb a module: `NAME`, `SUMMARY`, `configure(parser)`, `run(arguments) -> exit code`.

The module's docstring is the verb's help. Verbs import what is heavy when they run, so `--help` is quick.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from pytest_blcperf import __version__
from pytest_blcperf.cli import baseline, calibrate, ci, compare, completion, doctor, export, init, record, report, trend
from pytest_blcperf.errors import BlcperfError, ExitCode, UsageError
from pytest_blcperf.report.text import clean

VERBS = (record, report, compare, baseline, export, init, ci, doctor, completion, trend, calibrate)

BROKEN_PIPE = 141
"""What a shell reports for a program ended by SIGPIPE: the reader of our output went away."""
INTERNAL_ERROR = 70
"""EX_SOFTWARE of sysexits.h: not a code that means something about the measured program."""

_CODES = """\
exit codes: 0 fine, 1 regression, 2 usage, 3 target missing or died, 4 not permitted, 5 no samples,
6 baseline missing or unreadable, 70 a bug in blcperf, 130 interrupted, 141 output closed"""


class Parser(argparse.ArgumentParser):
    """A parser whose errors look like all others."""

    def error(self, message: str) -> NoReturn:
        """Raises UsageError."""
        raise UsageError(message, f"see `{self.prog} --help`")


def parser() -> Parser:
    """The parser of the whole command line."""
    top = Parser(
        prog="blcperf",
        description="Looks at runs measured with `pytest --blcperf`, compares them, and keeps baselines.",
        epilog=_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"blcperf {__version__}")
    verbs = top.add_subparsers(metavar="VERB", required=True)
    for verb in VERBS:
        one = verbs.add_parser(
            verb.NAME,
            help=verb.SUMMARY,
            description=verb.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        verb.configure(one)
        one.set_defaults(run=verb.run)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code; raises nothing but, with BLCPERF_DEBUG=1, bugs."""
    _never_fail_to_print()
    try:
        code = _run(argv)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes standard output again when it exits, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return _complain("interrupted", "", ExitCode.INTERRUPTED)
    except BlcperfError as error:
        return _complain(error.message, error.hint, error.exit_code)
    except Exception as error:
        if os.environ.get("BLCPERF_DEBUG") == "1":
            raise
        hint = "run it again with BLCPERF_DEBUG=1 and report what it shows"
        return _complain(f"this is a bug: {type(error).__name__}: {error}", hint, INTERNAL_ERROR)
    return code


def _run(argv: Sequence[str] | None) -> int:
    try:
        arguments = parser().parse_args(argv)
    except SystemExit as end:  # --help and --version
        return int(end.code or 0)
    return int(arguments.run(arguments))


def _complain(message: str, hint: str, code: int) -> int:
    print(f"blcperf: {clean(message, 1000)}", file=sys.stderr)
    if hint:
        print(f"hint: {clean(hint, 1000)}", file=sys.stderr)
    return int(code)


def _never_fail_to_print() -> None:
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
