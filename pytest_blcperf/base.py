"""What `--blcperf-baseline NAME` stands for: a run file, a stored baseline, or a git revision that can be measured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from pytest_blcperf.bench.repository import Base, Repository
from pytest_blcperf.errors import BaselineError, BlcperfError
from pytest_blcperf.model.run import Run
from pytest_blcperf.model.warning import Warning
from pytest_blcperf.settings import Settings
from pytest_blcperf.store import baselines, run_file


@dataclass(frozen=True)
class Choice:
    """The base: a commit to measure in lockstep, or else a run that was measured before; both to screen by the run."""

    label: str
    commit: Base | None = None
    run: Run | None = None
    warnings: tuple[Warning, ...] = ()

    @property
    def screens(self) -> bool:
        """Whether the head is compared with the run first, and in lockstep only where that leaves it open."""
        return self.commit is not None and self.run is not None

    @property
    def mode(self) -> str:
        """`lockstep`, `stored` or `screen`."""
        if self.screens:
            return "screen"
        return "lockstep" if self.commit is not None else "stored"


def choose(settings: Settings, root: Path, repository: Repository | None) -> Choice | None:
    """The base that the settings ask for; None without `--blcperf-baseline`.

    Order: a run file at that path, a stored baseline of that name, a git revision. A stored baseline says which commit
    it was; when that can be checked out, `auto` and `lockstep` measure it again next to the head, because only times
    taken side by side compare well. A name that is also a revision means the revision's merge base.
    Raises BaselineError, UsageError.
    """
    name = settings.baseline
    if name is None:
        return None
    path = baselines.find(root, name)
    run = run_file.read(path) if path is not None else None
    if settings.mode == "stored":
        if run is None:
            raise baselines.missing(root, name)
        return Choice(run.label, run=run)
    if settings.mode == "screen":
        return _screened(name, run, root, repository)
    try:
        return _live(name, run, repository)
    except BlcperfError as error:
        if run is None:
            raise type(error)(
                f"{name!r} is no run file and no stored baseline, and {error.message}", error.hint
            ) from None
        if settings.mode == "lockstep":
            raise
        text = f"the base could not be checked out ({error.message}), so the stored run is compared instead"
        return Choice(run.label, run=run, warnings=(Warning("stored-instead", text),))


def _screened(name: str, run: Run | None, root: Path, repository: Repository | None) -> Choice:
    """A stored run to screen by, and the commit that confirms."""
    if run is None:
        error = baselines.missing(root, name)
        raise type(error)(
            f"--blcperf-mode=screen compares with a stored run first: {error.message}",
            f"save one on the base with `pytest --blcperf --blcperf-save={name}`, or use --blcperf-mode=lockstep",
        )
    try:
        live = _live(name, run, repository)
    except BlcperfError as error:
        raise type(error)(
            f"--blcperf-mode=screen measures suspects next to the base, but {error.message}",
            f"{error.hint}; or --blcperf-mode=stored, which never measures the base",
        ) from None
    return replace(live, run=run)


def _live(name: str, run: Run | None, repository: Repository | None) -> Choice:
    if repository is None:
        raise BaselineError(
            "not a git repository, so the base cannot be measured next to the head",
            "git init, or compare with a run file: --blcperf-baseline=FILE.blcperf --blcperf-mode=stored",
        )
    try:
        found = repository.resolve_base(name)
    except BlcperfError:
        if run is None:
            raise
        if not run.commit or run.dirty:
            raise BaselineError(f"the stored run {name} was not taken from a clean commit", "save it again") from None
        found = repository.resolve_base(run.commit)
        return Choice(run.label, commit=found, warnings=_same(found))
    return Choice(found.label, commit=found, warnings=_same(found))


def _same(base: Base) -> tuple[Warning, ...]:
    if not base.same_as_head:
        return ()
    text = "the base is the very commit that is on disk: a commit compared with itself shows nothing but noise"
    return (Warning("same-commit", text),)
