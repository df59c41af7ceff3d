"""Dependencies whose versions differ between the sides, and the guilty functions that belong to one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from pytest_blcperf.model.environment import Environment
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.verdict import BenchmarkVerdict, Outcome
from pytest_blcperf.model.warning import Warning

_SITE = "<site>/"


def name_packages(
    verdicts: Iterable[BenchmarkVerdict], base: Environment, head: Environment
) -> tuple[BenchmarkVerdict, ...]:
    """The verdicts, regressions in a package of another version with a warning that says so.

    A package is known by the first folder of its files: `yaml` is PyYAML's, `dateutil` python-dateutil's. One whose
    folder has another name altogether is not found.
    """
    changed = _changed(base, head)
    if not changed:
        return tuple(verdicts)
    return tuple(_named(one, changed) if one.outcome is Outcome.REGRESSED else one for one in verdicts)


def _changed(base: Environment, head: Environment) -> dict[str, tuple[str, str]]:
    """Distributions that both sides have, by normalised name → their versions where these differ."""
    return {
        name: (base.packages[name], head.packages[name])
        for name in base.packages.keys() & head.packages.keys()
        if base.packages[name] != head.packages[name]
    }


def _named(verdict: BenchmarkVerdict, changed: Mapping[str, tuple[str, str]]) -> BenchmarkVerdict:
    found: dict[str, Warning] = {}
    for function in _suspects(verdict):
        name = _distribution(function, changed)
        if name is not None and name not in found:
            before, after = changed[name]
            text = f"{function.name} is part of {name}, whose version differs between the sides: {before} → {after}"
            found[name] = Warning("package-differs", text)
    return replace(verdict, warnings=(*verdict.warnings, *found.values()))


def _suspects(verdict: BenchmarkVerdict) -> Iterator[Function]:
    """The guilty functions, then changed code that the benchmark runs: what a guilty function calls."""
    yield from (one.comparison.function for one in verdict.guilty)
    yield from verdict.changed_code


def _distribution(function: Function, changed: Mapping[str, tuple[str, str]]) -> str | None:
    if not function.file.startswith(_SITE):
        return None
    folder = function.file.removeprefix(_SITE).split("/")[0].removesuffix(".py")
    plain = re.sub(r"[-_.]+", "-", folder).lower().strip("-")
    return next((name for name in (plain, f"py{plain}", f"python-{plain}") if name in changed), None)
