"""A run from a shelf for a commit and a machine: walk back from the merge base, take the first that fits."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_blcperf.errors import BaselineError
from pytest_blcperf.model.environment import Environment
from pytest_blcperf.model.run import Run
from pytest_blcperf.model.warning import Warning
from pytest_blcperf.shelves.kept import Kept, Source, best_first, machine_key
from pytest_blcperf.store import run_file

LOOKED_AT = 10
"""Run files that are opened when a shelf does not know which machine made them."""


@dataclass(frozen=True)
class Fetched:
    """A run, how many commits before the merge base it is, and what to know about it."""

    run: Run
    distance: int
    same_machine: bool
    warnings: tuple[Warning, ...] = ()


def fetch(source: Source, commits: Sequence[str], environment: Environment) -> Fetched | None:
    """The best run for the commits (the merge base first, then its ancestors); None when there is none.

    A run of an equal machine wins over a nearer one of another. Files that cannot be read, or that were taken from
    another commit than the source says, are passed over with a warning. Raises what the source raises.
    """
    warnings: list[Warning] = []
    second: Fetched | None = None
    for kept in best_first(source.kept(commits), commits, machine_key(environment))[:LOOKED_AT]:
        try:
            run = _opened(source.read(kept), kept)
        except BaselineError as error:
            warnings.append(Warning("baseline-passed-over", f"{kept.commit[:9]}: {error.message}"))
            continue
        same = run.environment.comparable_times(environment)
        found = Fetched(run, list(commits).index(kept.commit), same)
        if same:
            return Fetched(run, found.distance, same, tuple(warnings))
        second = second or found
    return Fetched(second.run, second.distance, second.same_machine, tuple(warnings)) if second else None


def _opened(data: bytes, kept: Kept) -> Run:
    """The run, checked as any run file is. Raises BaselineError."""
    with tempfile.TemporaryDirectory(prefix="blcperf-fetch-") as scratch:
        path = Path(scratch) / f"fetched{run_file.SUFFIX}"
        path.write_bytes(data)
        run = run_file.read(path)
    if run.commit != kept.commit or run.dirty:
        raise BaselineError(
            f"the run was taken from {run.commit[:9] or 'no commit'}{' with changes' if run.dirty else ''}",
            "save it in a clean checkout of the commit",
        )
    return run
