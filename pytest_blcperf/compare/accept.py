"""Accepted regressions: found, shown with the reason, and not failing, until a date."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date

from pytest_blcperf.model.verdict import BenchmarkVerdict
from pytest_blcperf.model.warning import Warning
from pytest_blcperf.settings import Acceptance

ACCEPTED = "accepted"
"""The policy in force for an accepted regression, beside fail, warn and off; also the code of its warning."""
EXPIRED = "acceptance-expired"


def accept(
    verdicts: Iterable[BenchmarkVerdict], acceptances: Sequence[Acceptance], everything: str | None, today: date
) -> tuple[BenchmarkVerdict, ...]:
    """The verdicts, those that fail but are accepted with the policy `accepted` and a warning that says why.

    A benchmark is accepted when each of its guilty functions is, or the benchmark as a whole. `everything` is the
    reason for which every regression of this run is accepted. An acceptance that has expired accepts nothing and is
    named.
    """
    return tuple(_accept(one, acceptances, everything, today) if one.fails else one for one in verdicts)


def _accept(
    verdict: BenchmarkVerdict, acceptances: Sequence[Acceptance], everything: str | None, today: date
) -> BenchmarkVerdict:
    if everything:
        return _with(verdict, [Warning(ACCEPTED, f"accepted for this run: {everything}")])
    about = [one for one in acceptances if one.concerns(verdict.id)]
    valid = [one for one in about if today <= one.until]
    used = _covering(verdict, valid)
    if used:
        return _with(verdict, [Warning(ACCEPTED, f"accepted until {one.until}: {one.reason}") for one in used])
    expired = _covering(verdict, about)
    notes = [
        Warning(EXPIRED, f"its acceptance ended on {one.until}: {one.reason}") for one in expired if one.until < today
    ]
    return replace(verdict, warnings=(*verdict.warnings, *notes))


def _covering(verdict: BenchmarkVerdict, acceptances: Sequence[Acceptance]) -> list[Acceptance]:
    """The acceptances that together cover everything guilty, each once; empty when something is left over."""
    whole = next((one for one in acceptances if one.function is None), None)
    if whole is not None:
        return [whole]
    found: list[Acceptance] = []
    for guilty in verdict.guilty:
        function = guilty.comparison.function
        covering = next((one for one in acceptances if one.covers(function.file, function.name)), None)
        if covering is None:
            return []
        found.append(covering)
    return list(dict.fromkeys(found))


def _with(verdict: BenchmarkVerdict, notes: list[Warning]) -> BenchmarkVerdict:
    return replace(verdict, gate=ACCEPTED, warnings=(*verdict.warnings, *notes))
