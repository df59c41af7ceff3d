"""Where runs are kept: `.blcperf/baselines/NAME.blcperf`, and the newest runs under `.blcperf/runs`."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_blcperf.errors import BaselineError, UsageError
from pytest_blcperf.model.run import Run
from pytest_blcperf.store import folder, run_file
from pytest_blcperf.store.checked import show

NAME_LIMIT = 100

_SEGMENT = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_NAME = re.compile(rf"{_SEGMENT}(/{_SEGMENT})*")
_SLASH = "%2F"
"""`feature/x` is kept as `feature%2Fx.blcperf`: folders would let `feature` and `feature/x` get in each other's way."""
_RUN_NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z-([0-9a-f]{1,9}|nogit)-[0-9a-f]{6}\.blcperf")
_ZIP = b"PK\x03\x04"


@dataclass(frozen=True)
class Stored:
    """A stored baseline: its name, its file, and the file's size in bytes."""

    name: str
    path: Path
    size: int


def check_name(name: str) -> str:
    """The name, if a baseline can be called that. Raises UsageError."""
    if len(name) > NAME_LIMIT or not _NAME.fullmatch(name):
        raise UsageError(
            f"a baseline cannot be called {show(name)}",
            f"up to {NAME_LIMIT} letters, digits, `.`, `_`, `-`, and `/` between them, such as main or feature/x",
        )
    return name


def save_run(root: Path, run: Run, keep: int) -> Path:
    """Saves the run under `.blcperf/runs` and removes all but the newest `keep` runs there; returns the file.

    Raises BaselineError when it cannot be written.
    """
    runs = _subfolder(root, "runs")
    stamp = re.sub(r"[^0-9]", "", run.created)[:14].ljust(14, "0")
    commit = run.commit[:9] or "nogit"
    path = runs / f"{stamp[:8]}T{stamp[8:]}Z-{commit}-{secrets.token_hex(3)}{run_file.SUFFIX}"
    run_file.write(run, path)
    for old in sorted_runs(root)[keep:]:
        if old != path:
            old.unlink(missing_ok=True)
    return path


def sorted_runs(root: Path) -> list[Path]:
    """The files `save_run` wrote, the newest first; any other file in that folder is left out."""
    runs = root / folder.NAME / "runs"
    files = [path for path in runs.glob("*" + run_file.SUFFIX) if _RUN_NAME.fullmatch(path.name)]
    return sorted(files, key=lambda path: (path.name[:16], _modified(path)), reverse=True)


def save_baseline(root: Path, run: Run, name: str) -> Path:
    """Saves the run as baseline `name`, in place of an older one of that name; returns the file.

    The stored run is called `name` too. Raises UsageError for an unusable name, BaselineError when writing fails.
    """
    check_name(name)
    _subfolder(root, "baselines")
    path = _path(root, name)
    run_file.write(replace(run, name=name), path)
    return path


def find(root: Path, name: str) -> Path | None:
    """The run file that `name` means: a file at that path, or else the stored baseline of that name, or else None.

    A file that is neither called `*.blcperf` nor a zip archive (a script called `main`, say) is no run file.
    """
    if _is_run_file(Path(name)):
        return Path(name)
    if len(name) > NAME_LIMIT or not _NAME.fullmatch(name):
        return None
    path = _path(root, name)
    return path if path.is_file() else None


def list_baselines(root: Path) -> tuple[Stored, ...]:
    """The stored baselines, by name. Their files are not opened."""
    stored = []
    for path in (root / folder.NAME / "baselines").glob("*" + run_file.SUFFIX):
        name = path.name[: -len(run_file.SUFFIX)].replace(_SLASH, "/")
        if _NAME.fullmatch(name) and path.is_file():
            stored.append(Stored(name, path, path.stat().st_size))
    return tuple(sorted(stored, key=lambda item: item.name))


def remove(root: Path, name: str) -> Path:
    """Removes a stored baseline; returns the file that is gone. Raises UsageError, BaselineError when there is none."""
    path = _path(root, check_name(name))
    try:
        path.unlink()
    except FileNotFoundError:
        raise missing(root, name) from None
    except OSError as error:
        raise BaselineError(f"{path}: cannot be removed: {error.strerror}", "check the folder's permissions") from error
    return path


def missing(root: Path, name: str) -> BaselineError:
    """The error that says there is no such baseline, and which there are."""
    names = [item.name for item in list_baselines(root)]
    known = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
    return BaselineError(
        f"no run file and no stored baseline called {show(name)}",
        f"stored baselines: {known}" if names else "save one with `pytest --blcperf --blcperf-save=NAME`",
    )


def _path(root: Path, name: str) -> Path:
    return root / folder.NAME / "baselines" / (name.replace("/", _SLASH) + run_file.SUFFIX)


def _subfolder(root: Path, name: str) -> Path:
    path = folder.ensure(root) / name
    if path.is_symlink():  # committed by somebody, it would send our files and deletions elsewhere
        raise UsageError(f"{path} is a symbolic link", f"remove it: rm {folder.NAME}/{name}")
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise BaselineError(f"{path}: cannot be created: {error.strerror}", "check the folder's permissions") from error
    return path


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _is_run_file(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
        if path.suffix == run_file.SUFFIX:
            return True
        with path.open("rb") as file:
            return file.read(len(_ZIP)) == _ZIP
    except (OSError, ValueError):  # ValueError: a null byte
        return False
