"""A head against a stored run, benchmark by benchmark: which it clears, and which have to be measured in lockstep."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_blcperf import gate
from pytest_blcperf.bench.repository import Repository
from pytest_blcperf.compare.align import match_benchmarks
from pytest_blcperf.compare.screening import Screened, Step, cleared, screen_stored
from pytest_blcperf.errors import BlcperfError, UsageError
from pytest_blcperf.model.run import Run, test_id
from pytest_blcperf.model.verdict import BenchmarkVerdict
from pytest_blcperf.model.warning import Warning
from pytest_blcperf.settings import Settings

_TOLD = 20
"""Reasons that the progress lists; every one stands in the report."""


@dataclass(frozen=True)
class Screening:
    """What the stored run says of the head's benchmarks, and the verdicts of those that it clears."""

    found: tuple[Screened, ...]
    cleared: tuple[BenchmarkVerdict, ...]

    def clears(self, test: str) -> bool:
        """Whether a test's time and all of its metrics are cleared."""
        own = self._of(test)
        return bool(own) and all(one.step is Step.CLEARED for one in own)

    def told(self, left: Sequence[str], label: str) -> list[str]:
        """Progress: how many are left to measure in lockstep, and why each of them is."""
        lines = [f"screened by {label}: {len(self.cleared)} cleared, {_count(left)} to measure in lockstep"]
        lines += [f"  {test}: {self._why(test)}" for test in left[:_TOLD]]
        return [*lines, f"  and {len(left) - _TOLD} more"] if len(left) > _TOLD else lines

    def explained(self, verdicts: Iterable[BenchmarkVerdict]) -> list[BenchmarkVerdict]:
        """The verdicts of the measurement in lockstep, each with the reason why it took place."""
        known = {one.id: one for one in self.found}
        return [
            replace(one, warnings=(*one.warnings, _warning(known[one.id]))) if one.id in known else one
            for one in verdicts
        ]

    def _of(self, test: str) -> list[Screened]:
        return [one for one in self.found if test_id(one.id, (test,)) == test]

    def _why(self, test: str) -> str:
        reasons = [f"{one.step.value}: {one.reason}" for one in self._of(test) if one.step is not Step.CLEARED]
        return "; ".join(reasons) or "not measured on the head alone"


def screen_runs(
    base: Run,
    head: Run,
    settings: Settings,
    settings_by_id: Mapping[str, Settings],
    changed_files: Collection[str] = (),
) -> Screening:
    """Screen every benchmark of the head; `changed_files` are those that differ from the stored run's commit."""
    matched = match_benchmarks(base, head)
    found, passed = [], []
    for old, new in matched.pairs:
        chosen = settings_by_id.get(test_id(new.id, settings_by_id), settings)
        trial = gate.stored_trial(old, new, chosen, base.environment, head.environment)
        screened = screen_stored(trial, changed_files)
        found.append(screened)
        if screened.step is Step.CLEARED:
            passed.append(cleared(trial, screened))
    found += [Screened(one.id, Step.UNKNOWN, "the stored run does not have it") for one in matched.only_head]
    screening = Screening(tuple(found), ())
    # A test that is measured again for a metric's sake gets all of its verdicts from there.
    own = {one.id: test_id(one.id, settings_by_id) for one in passed}
    return replace(screening, cleared=tuple(one for one in passed if screening.clears(own[one.id] or one.id)))


def changed_since(repository: Repository | None, run: Run) -> frozenset[str]:
    """The files that differ from a run's commit.

    Raises UsageError where that is not known: a constant that changed would be cleared.
    """
    if repository is None or not run.commit or run.dirty:
        raise UsageError(
            f"the stored run {run.label} is of no commit, so what differs from it is not known",
            "save one of a clean commit with --blcperf-save, or gate with --blcperf-mode=lockstep",
        )
    try:
        return frozenset(one.path for one in repository.differences(run.commit))
    except BlcperfError as error:
        raise UsageError(
            f"what differs from the stored run {run.label} is not known: {error.message}",
            "fetch its commit (in CI: fetch-depth: 0), or gate with --blcperf-mode=lockstep",
        ) from error


def _count(tests: Sequence[str]) -> str:
    return f"{len(tests)} benchmark{'s'[: len(tests) != 1]}"


def _warning(screened: Screened) -> Warning:
    if screened.step is Step.SUSPICIOUS:
        return Warning("screen-suspicious", f"measured in lockstep because of the stored run: {screened.reason}")
    return Warning("screen-cannot-judge", f"measured in lockstep, the stored run cannot judge it: {screened.reason}")
