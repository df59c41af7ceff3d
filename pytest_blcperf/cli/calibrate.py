"""Measures how much launches of the same code differ on this machine, and the smallest slowdown that shows above it.

Runs the project's benchmarks in lockstep with both sides the working tree, so that whatever differs is noise. Keeps
what it finds in .blcperf/calibration.json, where the gate takes it from on machines of the same kind: CPU model and
number, kernel, interpreter. Arguments are pytest's; those that begin with a dash come after `--`.

For example:
  blcperf calibrate
  blcperf calibrate --launches 40 tests/perf
  blcperf calibrate --max-time 60s -- -k parse --blcperf-rounds 20
  blcperf calibrate --json | jq .pooled
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_blcperf.cli import common
from pytest_blcperf.errors import BlcperfError, ExitCode, UsageError
from pytest_blcperf.options import positive_duration

if TYPE_CHECKING:
    from pytest_blcperf.calibrated import Request
    from pytest_blcperf.model.calibration import BenchmarkNoise, CalibrationRecord
    from pytest_blcperf.settings import Settings

NAME = "calibrate"
SUMMARY = "measure this machine's noise, and the smallest slowdown that the gate sees"

BUDGETS = (10, 20, 60, 180)
"""Seconds a benchmark that the table is for."""
_LAUNCHES = 24
_MOST_LAUNCHES = 500


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's arguments."""
    parser.add_argument("arguments", metavar="PYTEST_ARGUMENT", nargs="*", help="what to collect, as for pytest")
    parser.add_argument(
        "--launches", metavar="N", type=int, default=_LAUNCHES, help=f"fresh processes a side (default: {_LAUNCHES})"
    )
    parser.add_argument("--max-time", metavar="TIME", default="120s", help="time budget a benchmark (default: 120s)")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print JSON alone (schema blcperf.calibration/1)")
    output.add_argument("--quiet", action="store_true", help="print nothing but errors")


def run(arguments: argparse.Namespace) -> int:
    """Measures, keeps and prints the calibration; returns 0. Raises BlcperfError when nothing could be measured."""
    from pytest_blcperf.compare.calibrate import LEAST_LAUNCHES
    from pytest_blcperf.store import calibration_file

    if not LEAST_LAUNCHES <= arguments.launches <= _MOST_LAUNCHES:
        raise UsageError(
            f"--launches {arguments.launches}: expected {LEAST_LAUNCHES} to {_MOST_LAUNCHES}",
            f"--launches {_LAUNCHES}: the SD of n launches is known to about 1 in √(2n)",
        )
    request, code = _measure(arguments)
    record, settings, root = request.found, request.settings, request.root
    if request.interrupted:
        return code
    if record is None or settings is None or root is None or not record.benchmarks:
        raise BlcperfError(
            f"no benchmark was measured {LEAST_LAUNCHES} times (pytest ended with exit code {code})",
            "pytest's own output says why (leave --quiet out); name the benchmarks, or give them more --max-time",
        )
    path = calibration_file.write(record, root)
    if arguments.json:
        common.print_json({**calibration_file.as_data(record), "smallest_effects": _effects_data(record, settings)})
    elif not arguments.quiet:
        _print(record, settings)
        print(f"kept in {os.path.relpath(path)}: the gate uses it on machines of this kind")
    return ExitCode.OK


def _measure(arguments: argparse.Namespace) -> tuple[Request, int]:
    """Runs pytest here. Its output goes to standard error, which leaves standard output to the result."""
    import pytest

    from pytest_blcperf.bench.measure import LOOK_SHARE
    from pytest_blcperf.calibrated import Request

    try:
        budget = positive_duration(arguments.max_time)
    except ValueError as error:
        raise UsageError(f"--max-time {arguments.max_time}: {error}", "--max-time 120s") from None
    request = Request(arguments.launches)
    flags = ["--blcperf", "--blcperf-only", f"--blcperf-max-time={budget / LOOK_SHARE:.3f}s"]
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        target = nowhere if arguments.quiet else sys.stderr
        with contextlib.redirect_stdout(target):
            code = pytest.main([*flags, *arguments.arguments], plugins=[request])
    return request, ExitCode.INTERRUPTED if request.interrupted else int(code)


def _effects(noise: BenchmarkNoise, settings: Settings) -> tuple[list[float | None], float | None]:
    """The smallest effects of the budgets, and that of the settings in force."""
    from pytest_blcperf.compare.calibrate import launches_within, smallest_effect
    from pytest_blcperf.compare.trial import CONFIRM_LAUNCHES, CONFIRM_SPENT, SCREENING_LOOKS
    from pytest_blcperf.gate import BY_OWN_TIME
    from pytest_blcperf.options import BY_NAME

    threshold = settings.own_threshold(precise=True)
    alpha = BY_OWN_TIME * CONFIRM_SPENT[-1] / SCREENING_LOOKS * settings.alpha

    def effect(seconds: float, most: int | None = None) -> float | None:
        launches = launches_within(seconds, noise.seconds)
        return smallest_effect(noise, min(launches, most or launches), threshold, alpha)

    # --blcperf-max-time was this command's own; the gate's is the default.
    default = effect(BY_NAME["max_time"].default, (1 + CONFIRM_LAUNCHES) * settings.launches)
    return [effect(seconds) for seconds in BUDGETS], default


def _effects_data(record: CalibrationRecord, settings: Settings) -> dict[str, Any]:
    from pytest_blcperf.compare.calibrate import together

    whole = together(record.benchmarks)
    rows = [*record.benchmarks, *([whole] if whole is not None else [])]
    found = {one.id: _effects(one, settings) for one in rows}
    return {
        "threshold": settings.own_threshold(precise=True),
        "alpha": settings.alpha,
        "power": 0.95,
        "benchmarks": [
            {
                "id": identifier or None,
                "by_seconds": {str(seconds): value for seconds, value in zip(BUDGETS, effects, strict=True)},
                "default": default,
            }
            for identifier, (effects, default) in found.items()
        ],
    }


def _print(record: CalibrationRecord, settings: Settings) -> None:
    from pytest_blcperf.compare.calibrate import together
    from pytest_blcperf.report.environment_text import machine
    from pytest_blcperf.report.text import clean, cut_middle, share

    shown = common.terminal()
    print(shown.show(f"{machine(record.environment)}, {record.backend} profiles"))
    print()
    header = ["benchmark", "launches", "s/launch", "SD", "σ_b", "φ", *(f"{one} s" for one in BUDGETS), "default"]
    rows = [header]
    room = max(shown.width - 84, 24)
    whole = together(record.benchmarks)
    for one in [*record.benchmarks, *([whole] if whole is not None and len(record.benchmarks) > 1 else [])]:
        effects, default = _effects(one, settings)
        name = cut_middle(clean(one.id, 500), room) if one.id else "all together"
        rows.append(
            [
                name,
                str(one.launches),
                f"{one.seconds:.2f}",
                f"{one.spread:.2%}",
                f"{one.between_launches:.2%}",
                "n/a" if one.dispersion is None else f"{one.dispersion:.2f}",
                *("n/a" if value is None else share(value) for value in [*effects, default]),
            ]
        )
    common.print_table(rows, frozenset(range(1, len(header))))
    lines = [
        "the right columns: the smallest slowdown of a benchmark that fails the gate with 95 % probability, in so many",
        f"seconds a benchmark with as many launches as fit, and with default launches and time; threshold "
        f"{share(settings.own_threshold(precise=True))}, alpha {settings.alpha:g}",
        "SD: of the log ratio over launches; σ_b: of it, between launches and a side;",
        "φ: variance of profile shares relative to binomial sampling",
    ]
    print("\n" + "\n".join(shown.show(line) for line in lines))
