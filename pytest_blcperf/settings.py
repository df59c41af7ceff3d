"""The option table resolved: flag > marker > environment > ini > pyproject > default; a frozen dataclass."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime
from fnmatch import fnmatchcase
from typing import Any

from pytest_blcperf.errors import UsageError
from pytest_blcperf.model.calibration import BUILT_IN, Calibration
from pytest_blcperf.model.comparison import CPU, INSTRUCTIONS, WALL
from pytest_blcperf.options import BY_NAME, OPTIONS, Option

COSTS = CPU, WALL, INSTRUCTIONS
"""What an iteration costs, in one measure or another; every other `metric` is the name of one that tests report."""
BENCHMARK_PART = 0.3
"""Part of the functions' threshold that is the benchmark's own: 1.5 % where a function may get 5 % dearer. Declared
before the error rates in docs/accuracy.md were measured."""
_CALLGRIND = "callgrind"

_ACCEPT_KEYS = ("benchmark", "function", "reason", "until")
_RULE_KEYS = ("match", "benchmark", "threshold", "min_share", "min_impact", "ignore")


@dataclass(frozen=True)
class FunctionRule:
    """Thresholds of the functions whose `file::name` or `name` matches a shell pattern; None leaves the benchmark's.

    From `[[tool.blcperf.functions]]` with `match`, or from the marker's `functions=[…]` and `ignore=[…]`.
    """

    match: str
    benchmark: str = "*"
    threshold: float | None = None
    min_share: float | None = None
    min_impact: float | None = None
    ignore: bool = False

    def applies(self, benchmark: str, file: str, name: str) -> bool:
        """Whether the rule speaks of this function of this benchmark."""
        if not fnmatchcase(benchmark, self.benchmark):
            return False
        return fnmatchcase(name, self.match) or fnmatchcase(f"{file}::{name}", self.match)


@dataclass(frozen=True)
class Acceptance:
    """A regression that does not fail the gate up to and including a day, with the reason for it.

    From `[[tool.blcperf.accept]]` or `.blcperf-accept.toml`. `benchmark` and `function` are shell patterns;
    `function` None accepts the benchmark whatever is guilty in it.
    """

    benchmark: str
    reason: str
    until: date
    function: str | None = None

    def concerns(self, benchmark: str) -> bool:
        """Whether it speaks of that benchmark; its id itself counts as a pattern that matches it literally."""
        return benchmark == self.benchmark or fnmatchcase(benchmark, self.benchmark)

    def covers(self, file: str, name: str) -> bool:
        """Whether it accepts the cost of that function."""
        pattern = self.function
        return pattern is None or fnmatchcase(name, pattern) or fnmatchcase(f"{file}::{name}", pattern)


@dataclass(frozen=True)
class Limits:
    """What one function must exceed to fail the gate; shares as fractions (0.05 is 5 %)."""

    threshold: float
    min_share: float
    min_impact: float
    ignore: bool = False


@dataclass(frozen=True)
class Settings:
    """Every option's value, in the types of `options.py` (durations in seconds, shares as fractions)."""

    baseline: str | None
    mode: str
    save: str | None
    gate: str
    on_missing: str
    threshold: float
    min_share: float
    min_impact: float
    alpha: float
    launches: int
    rounds: int
    max_time: float
    timeout: float
    rate: int
    backend: str
    delay_start: float | None
    profile_window: float
    base_python: str | None
    source_roots: tuple[str, ...] | None
    asv_dir: str | None
    keep: int
    json: str | None
    junit: str | None
    markdown: str | None
    html: str | None
    only: bool
    benchmark_threshold: float | None = None
    """Of a benchmark as a whole; None: see `own_threshold`."""
    session_time: float | None = None
    metric: str = CPU
    """What is gated: one of COSTS, or the name of a metric that tests report."""
    accept_all: str | None = None
    codequality: str | None = None
    sarif: str | None = None
    rules: tuple[FunctionRule, ...] = ()
    accept: tuple[Acceptance, ...] = ()
    only_functions: tuple[str, ...] = ()
    """Patterns of the functions that are judged; empty means every hot function. From the marker's `functions=`."""
    given: frozenset[str] = field(default_factory=frozenset)
    """Names of the options given as flags: a marker does not override those."""
    calibration: Calibration = BUILT_IN
    """What this machine's noise is: from `blcperf calibrate`, where that was measured on such a machine."""

    def own_threshold(self, *, precise: bool) -> float:
        """The smallest slowdown of a benchmark as a whole that fails the gate.

        `precise`: it is about CPU time measured in lockstep, which shows single per cents. Code that neither clocks nor
        the sampler see from within, such as a C library's, shows nowhere else.
        """
        if self.benchmark_threshold is not None:
            return self.benchmark_threshold
        return self.threshold * (BENCHMARK_PART if precise else 1.0)

    def limits(self, benchmark: str, file: str, name: str) -> Limits:
        """The thresholds of one function; later rules win over earlier ones."""
        limits = Limits(self.threshold, self.min_share, self.min_impact)
        if self.only_functions and not any(
            fnmatchcase(name, pattern) or fnmatchcase(f"{file}::{name}", pattern) for pattern in self.only_functions
        ):
            limits = replace(limits, ignore=True)
        for rule in self.rules:
            if rule.applies(benchmark, file, name):
                limits = Limits(
                    limits.threshold if rule.threshold is None else rule.threshold,
                    limits.min_share if rule.min_share is None else rule.min_share,
                    limits.min_impact if rule.min_impact is None else rule.min_impact,
                    limits.ignore or rule.ignore,
                )
        return limits

    def for_benchmark(self, benchmark: str, marker: Mapping[str, Any]) -> Settings:
        """These settings with one benchmark's marker arguments laid over them.

        Raises UsageError for an unknown argument or an unusable value.
        """
        changes: dict[str, Any] = {}
        by_marker = {option.marker: option for option in OPTIONS if option.marker}
        source = f"@pytest.mark.blcperf of {benchmark}"
        for key, value in marker.items():
            if key in ("functions", "ignore"):
                continue
            if key not in by_marker:
                known = ", ".join(sorted([*by_marker, "functions", "ignore"]))
                raise UsageError(f"{source}: unknown argument {key!r}", f"known arguments: {known}")
            option = by_marker[key]
            if option.name not in self.given:
                changes[option.name] = option.read(value, f"{source}: {key}")
        functions = _patterns(marker.get("functions", ()), f"{source}: functions")
        ignored = _patterns(marker.get("ignore", ()), f"{source}: ignore")
        rules = tuple(FunctionRule(pattern, ignore=True) for pattern in ignored)
        if changes.get("metric") == INSTRUCTIONS and self.backend != _CALLGRIND:
            raise UsageError(
                f"{source}: metric: instructions are counted under callgrind, which this session does not use",
                f"add --blcperf-backend={_CALLGRIND}, or --blcperf-metric={INSTRUCTIONS} for every benchmark",
            )
        return replace(self, only_functions=functions or self.only_functions, rules=self.rules + rules, **changes)


def resolve(
    flags: Mapping[str, Any],
    ini: Mapping[str, str],
    pyproject: Mapping[str, Any],
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Settings from the four sources, each a mapping from option name to raw text (or a TOML value).

    Absent options are missing, None or "" (ini). Raises UsageError for unusable values, unknown `[tool.blcperf]` keys
    and options that contradict each other.
    """
    environ = os.environ if environ is None else environ
    unknown = sorted(set(pyproject) - set(BY_NAME) - {"functions", "accept"})
    if unknown:
        raise UsageError(
            f"[tool.blcperf] has an unknown key {unknown[0]!r}",
            "known keys: " + ", ".join(sorted([*BY_NAME, "functions", "accept"])),
        )
    values: dict[str, Any] = {}
    for option in OPTIONS:
        values[option.name] = _value(option, flags, ini, pyproject, environ)
    given = frozenset(name for name, value in flags.items() if value is not None)
    rules, accept = _rules(pyproject.get("functions", [])), _acceptances(pyproject.get("accept", []))
    if values["metric"] == INSTRUCTIONS and values["backend"] == "auto":
        values["backend"] = _CALLGRIND
    settings = Settings(**values, rules=rules, accept=accept, given=given)
    _check_conflicts(settings)
    return settings


def _value(
    option: Option,
    flags: Mapping[str, Any],
    ini: Mapping[str, str],
    pyproject: Mapping[str, Any],
    environ: Mapping[str, str],
) -> Any:
    if flags.get(option.name) is not None:
        return option.read(flags[option.name], option.flag)
    if environ.get(option.variable):
        return option.read(environ[option.variable], option.variable)
    if ini.get(option.name):
        return option.read(ini[option.name], option.dest)
    if option.name in pyproject:
        return option.read(pyproject[option.name], f"[tool.blcperf] {option.name}")
    return option.default


def _patterns(value: Any, source: str) -> tuple[str, ...]:
    patterns = (value,) if isinstance(value, str) else value
    if not isinstance(patterns, (list, tuple)) or not all(isinstance(pattern, str) for pattern in patterns):
        raise UsageError(
            f"{source}: expected a list of patterns, not {str(value)[:80]!r}", 'for example ["mylib/*.py::*"]'
        )
    return tuple(patterns)


def _rules(tables: Any) -> tuple[FunctionRule, ...]:
    source = "[[tool.blcperf.functions]]"
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError(
            f"{source}: expected a list of tables", f'for example {source} match = "mylib/*" threshold = "10%"'
        )
    rules = []
    for table in tables:
        unknown = sorted(set(table) - set(_RULE_KEYS))
        if unknown or not isinstance(table.get("match"), str):
            problem = f"unknown key {unknown[0]!r}" if unknown else "`match` is missing"
            raise UsageError(f"{source}: {problem}", "known keys: " + ", ".join(_RULE_KEYS))
        shares = {
            key: BY_NAME[key].read(table[key], f"{source} {key}")
            for key in ("threshold", "min_share", "min_impact")
            if key in table
        }
        rules.append(
            FunctionRule(
                table["match"], str(table.get("benchmark", "*")), ignore=bool(table.get("ignore", False)), **shares
            )
        )
    return tuple(rules)


def _acceptances(tables: Any) -> tuple[Acceptance, ...]:
    source = "[[tool.blcperf.accept]]"
    example = f'for example {source} benchmark = "tests/perf/*" reason = "worth it: …" until = 2030-01-31'
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"{source}: expected a list of tables", example)
    accepted = []
    for table in tables:
        unknown = sorted(set(table) - set(_ACCEPT_KEYS))
        if unknown:
            raise UsageError(f"{source}: unknown key {unknown[0]!r}", "known keys: " + ", ".join(_ACCEPT_KEYS))
        for key in ("benchmark", "reason"):
            if not isinstance(table.get(key), str) or not table[key].strip():
                raise UsageError(f"{source}: `{key}` is missing", example)
        function = table.get("function")
        if not isinstance(function, (str, type(None))):
            raise UsageError(f"{source}: `function` is no pattern: {str(function)[:80]!r}", example)
        until = _day(table.get("until"), source)
        accepted.append(Acceptance(table["benchmark"], table["reason"].strip(), until, function))
    return tuple(accepted)


def _day(value: Any, source: str) -> date:
    """A TOML date, or a string that is one. An acceptance without an end would be a threshold without a number."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise UsageError(
            f"{source}: `until` is no date: {str(value)[:80]!r}", "the last day it is valid, such as until = 2030-01-31"
        ) from None


def _check_conflicts(settings: Settings) -> None:
    if settings.metric == INSTRUCTIONS and settings.backend != _CALLGRIND:
        raise UsageError(
            f"--blcperf-metric=instructions counts under callgrind, --blcperf-backend={settings.backend} does not",
            "drop one of the two",
        )
    if settings.launches == 0 and settings.backend == _CALLGRIND:
        asked = "metric=instructions" if settings.metric == INSTRUCTIONS else "backend=callgrind"
        raise UsageError(
            f"--blcperf-launches=0 measures in this process, --blcperf-{asked} in workers under valgrind",
            "drop one of the two",
        )
    if settings.launches == 0 and settings.baseline and settings.mode in ("lockstep", "screen"):
        raise UsageError(
            "--blcperf-launches=0 measures in this process and cannot gate against --blcperf-baseline in lockstep",
            "drop one of the two",
        )
    if settings.mode in ("stored", "lockstep", "screen") and "mode" in settings.given and not settings.baseline:
        raise UsageError(f"--blcperf-mode={settings.mode} needs a baseline", "add --blcperf-baseline=main")
    if settings.mode == "stored" and settings.base_python:
        raise UsageError(
            "--blcperf-base-python runs the base side, but --blcperf-mode=stored does not run it", "drop one of the two"
        )


def as_data(settings: Settings) -> dict[str, Any]:
    """The settings as JSON data, for run files."""
    reports = {"json", "junit", "markdown", "codequality", "sarif"}
    skipped = {"given", "rules", "accept", "accept_all", "calibration", *reports}
    return {item.name: getattr(settings, item.name) for item in fields(settings) if item.name not in skipped}
