"""One table of every option: pytest flag, ini key, environment variable, `[tool.blcperf]` key, type, default, help.

`--blcperf-max-time 30s`, `blcperf_max_time = 30s` (ini), `BLCPERF_MAX_TIME=30s` and `max_time = "30s"` (pyproject) are
the same option. Imported in every pytest run: standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from pytest_blcperf.errors import UsageError

_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def share(text: str) -> float:
    """`"5%"` or `"0.05"` → 0.05; between 0 and 10 (1000 %). Raises ValueError."""
    raw = str(text).strip()
    value = float(raw[:-1]) / 100 if raw.endswith("%") else float(raw)
    if not 0 <= value <= 10 or (value >= 1 and not raw.endswith("%")):
        raise ValueError("expected a share such as 5% or 0.05")
    return value


def share_or_auto(text: str) -> float | None:
    """`"auto"` → None; otherwise a share. Raises ValueError."""
    return None if str(text).strip().lower() == "auto" else share(text)


def probability(text: str) -> float:
    """A number strictly between 0 and 0.5. Raises ValueError."""
    value = share(text)
    if not 0 < value < 0.5:
        raise ValueError("expected an error rate between 0 and 0.5, such as 0.001")
    return value


def duration(text: str) -> float:
    """`"500ms"`, `"30s"`, `"2m"` or plain seconds → seconds. Raises ValueError."""
    raw = str(text).strip().lower()
    number = raw.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = raw[len(number) :] or "s"
    if unit not in _UNITS:
        raise ValueError("expected a duration such as 500ms, 30s or 2m")
    seconds = float(number) * _UNITS[unit]
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError("expected a duration of zero or more")
    return seconds


def positive_duration(text: str) -> float:
    """A duration above zero, in seconds. Raises ValueError."""
    seconds = duration(text)
    if seconds == 0:
        raise ValueError("expected a duration above zero")
    return seconds


def delay(text: str) -> float | None:
    """`"settled"` → None (wait until the round time settles); otherwise a duration in seconds. Raises ValueError."""
    return None if str(text).strip().lower() == "settled" else duration(text)


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """A parser of integers from `low` to `high`."""

    def parse(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise ValueError(f"expected a whole number from {low} to {high}")
        return value

    return parse


def truth(text: object) -> bool:
    """`true/false, yes/no, on/off, 1/0` → bool. Raises ValueError."""
    word = str(text).strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("", "0", "false", "no", "off"):
        return False
    raise ValueError("expected true or false")


def paths(text: object) -> tuple[str, ...] | None:
    """`"auto"` → None; `"none"` → (); otherwise paths separated by commas (a list in TOML)."""
    if isinstance(text, (list, tuple)):
        return tuple(str(part) for part in text)
    raw = str(text).strip()
    if raw == "auto":
        return None
    return () if raw == "none" else tuple(part.strip() for part in raw.split(",") if part.strip())


def metric_name(text: object) -> str:
    """The name of what is gated: printable, at most 100 characters, without `#`, which parts it from its test's."""
    name = str(text).strip()
    if not 0 < len(name) <= 100 or not name.isprintable() or "#" in name:
        raise ValueError("expected cpu, wall, instructions, or the name of a metric that tests report")
    return name


class Option:
    """One option under all its names. `name` has underscores; `parse` turns text into a value or raises ValueError.

    `marker` is the argument of `@pytest.mark.blcperf` that sets it for one benchmark, empty when there is none.
    No dataclass: making one costs each pytest start two milliseconds.
    """

    def __init__(
        self,
        name: str,
        parse: Callable[[Any], Any],
        default: Any,
        help: str,
        *,
        metavar: str = "",
        choices: tuple[str, ...] = (),
        marker: str = "",
    ) -> None:
        self.name, self.parse, self.default, self.help = name, parse, default, help
        self.metavar, self.choices, self.marker = metavar, choices, marker

    @property
    def flag(self) -> str:
        """The pytest command-line flag."""
        return "--blcperf-" + self.name.replace("_", "-")

    @property
    def dest(self) -> str:
        """The attribute of pytest's option namespace, also the ini key."""
        return "blcperf_" + self.name

    @property
    def variable(self) -> str:
        """The environment variable."""
        return "BLCPERF_" + self.name.upper()

    def read(self, text: Any, source: str) -> Any:
        """The parsed value. Raises UsageError naming `source` (a flag, a key, a variable) and the value seen."""
        if self.choices and str(text) not in self.choices:
            raise UsageError(
                f"{source}: {str(text)[:80]!r} is not one of {', '.join(self.choices)}",
                f"for example {self.flag}={self.choices[0]}",
            )
        try:
            return self.parse(text)
        except (ValueError, TypeError, OverflowError) as error:
            reason = str(error) if str(error).startswith("expected") else f"expected {self.metavar or 'a value'}"
            raise UsageError(
                f"{source}: {reason}, not {str(text)[:80]!r}", f"see {self.flag} in `pytest --help`"
            ) from None


OPTIONS: tuple[Option, ...] = (
    Option(
        "baseline",
        str,
        None,
        "what to compare with: a run file, a stored baseline, or a git revision such as main (its merge base)",
        metavar="NAME",
    ),
    Option(
        "mode",
        str,
        "auto",
        "lockstep measures both sides now, their rounds alternated; stored compares with a saved run; screen measures "
        "the head alone and in lockstep only what then looks suspicious against the saved run; auto is lockstep "
        "whenever the base can be checked out (default: auto)",
        choices=("auto", "lockstep", "stored", "screen"),
    ),
    Option("save", str, None, "save this run as baseline NAME under .blcperf/baselines", metavar="NAME"),
    Option(
        "gate",
        str,
        "fail",
        "what a regression does: fail the benchmark's test, only warn, or nothing (default: fail)",
        choices=("fail", "warn", "off"),
        marker="gate",
    ),
    Option(
        "on_missing",
        str,
        "auto",
        "when there is nothing to compare with: fail or warn; auto fails when CI is set (default: auto)",
        choices=("auto", "fail", "warn"),
    ),
    Option(
        "threshold",
        share,
        0.05,
        "smallest relative slowdown of a function that fails the gate (default: 5%%)",
        metavar="SHARE",
        marker="threshold",
    ),
    Option(
        "benchmark_threshold",
        share_or_auto,
        None,
        "smallest relative slowdown of a benchmark as a whole that fails the gate; auto is three tenths of "
        "--blcperf-threshold for CPU time in lockstep, which is that precise, and --blcperf-threshold for everything "
        "else (default: auto)",
        metavar="SHARE",
        marker="benchmark_threshold",
    ),
    Option(
        "metric",
        metric_name,
        "cpu",
        "what is gated: cpu (CPU time of an iteration), wall (its wall time), instructions (counted under callgrind, "
        "no time fails), or the name of a metric that tests report, and nothing else (default: cpu)",
        metavar="METRIC",
        marker="metric",
    ),
    Option(
        "min_share",
        share,
        0.03,
        "a function is judged when it holds at least this share of the time on either side (default: 3%%)",
        metavar="SHARE",
        marker="min_share",
    ),
    Option(
        "min_impact",
        share,
        0.01,
        "smallest slowdown of the whole benchmark that a function must account for (default: 1%%)",
        metavar="SHARE",
        marker="min_impact",
    ),
    Option(
        "alpha",
        probability,
        0.001,
        "chance of a false failure in one run, over all its benchmarks and functions (default: 0.001)",
        metavar="RATE",
    ),
    Option(
        "launches",
        whole_number(0, 200),
        12,
        "fresh processes a side at the second look; the first look uses half, a confirmation twice as many; 0 runs the "
        "benchmarks in this process, without a gate (default: 12)",
        metavar="N",
    ),
    Option(
        "rounds",
        whole_number(2, 10_000),
        30,
        "timed rounds a launch and side, 5-10 ms each (default: 30)",
        metavar="N",
        marker="rounds",
    ),
    Option(
        "max_time",
        positive_duration,
        180.0,
        "time budget of one benchmark, both sides and all launches together; the gate decides with what it has by then "
        "(default: 180s)",
        metavar="TIME",
        marker="max_time",
    ),
    Option(
        "session_time",
        positive_duration,
        None,
        "time budget of the whole measurement: no launch begins that would overrun it (default: none)",
        metavar="TIME",
    ),
    Option(
        "timeout",
        positive_duration,
        300.0,
        "a worker that gives no answer for this long is taken for hung and killed (default: 300s)",
        metavar="TIME",
        marker="timeout",
    ),
    Option("rate", whole_number(10, 10_000), 1000, "samples a second in profiled rounds (default: 1000)", metavar="HZ"),
    Option(
        "backend",
        str,
        "auto",
        "how profiles are taken: perf-bytecode, perf-trampoline (Python 3.12 on) or perf-signal (these need "
        "perf_event_open), profiling.sampling (3.15) or py-spy (these read the process's memory), timer (works "
        "everywhere, inclusive time only), callgrind (counts instructions under valgrind, exactly and slowly) "
        "(default: auto, the best that works here)",
        choices=(
            *("auto", "perf-bytecode", "perf-trampoline", "perf-signal"),
            *("profiling.sampling", "py-spy", "timer", "callgrind"),
        ),
    ),
    Option(
        "delay_start",
        delay,
        None,
        "warm-up before anything is timed or profiled: a duration, or `settled` to wait until the round time settles "
        "(default: settled)",
        metavar="TIME",
        marker="delay",
    ),
    Option(
        "profile_window",
        duration,
        0.5,
        "length of the profiled window a launch and side, twice that in launches that confirm; 0: no profile "
        "(default: 500ms)",
        metavar="TIME",
        marker="window",
    ),
    Option("base_python", str, None, "the interpreter that runs the base side (default: this one)", metavar="PATH"),
    Option(
        "source_roots",
        paths,
        None,
        "folders put first on each side's sys.path, relative to the repository, separated by commas; none for packages "
        "that must be installed (default: auto, src and the root where they hold packages)",
        metavar="DIRS",
    ),
    Option(
        "asv_dir",
        str,
        None,
        "folder of an asv suite: its time_* benchmarks are collected too, relative to the repository",
        metavar="DIR",
    ),
    Option("keep", whole_number(1, 10_000), 20, "how many runs to keep under .blcperf/runs (default: 20)", metavar="N"),
    Option("json", str, None, "write the verdict as JSON (schema blcperf.verdict/1)", metavar="PATH"),
    Option("junit", str, None, "write a JUnit file of the gate's verdicts", metavar="PATH"),
    Option("markdown", str, None, "write the verdict as Markdown, for a job summary or a comment", metavar="PATH"),
    Option("html", str, None, "write the comparison as one self-contained HTML page", metavar="PATH"),
    Option("codequality", str, None, "write regressions as a GitLab Code Quality report", metavar="PATH"),
    Option("sarif", str, None, "write regressions as SARIF 2.1.0, for code scanning", metavar="PATH"),
    Option(
        "accept_all",
        str,
        None,
        "accept every regression of this run, for this reason, which every report shows; for one of them, and until a "
        "date: [[tool.blcperf.accept]] or .blcperf-accept.toml",
        metavar="REASON",
    ),
    Option("only", truth, False, "run the benchmarks and deselect every other test"),
)

BY_NAME = {option.name: option for option in OPTIONS}
