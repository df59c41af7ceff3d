"""The base side's checkout: a git worktree under `.blcperf/cache/worktrees`, gone when it is no longer needed."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from pytest_blcperf.bench import owner
from pytest_blcperf.bench.repository import Repository, full_hash, run_git
from pytest_blcperf.errors import BaselineError, PermissionDenied, UsageError
from pytest_blcperf.store import folder

# short hash, process, and a number that makes the name new
_OURS = re.compile(rf"[0-9a-f]{{9}}-{owner.PATTERN}(-[0-9]{{1,4}})?")
# The repository's hooks are for its user's checkouts. Filters (git-lfs, line ends) stay on: they make the content.
_WORKTREE = ("-c", "core.hooksPath=/dev/null", "worktree")


@contextmanager
def base_checkout(repository: Repository, commit: str) -> Iterator[Path]:
    """A checkout of `commit` (a full hash), removed on the way out whatever happened inside.

    Submodules are not checked out. Raises BaselineError when git cannot check the commit out, PermissionDenied when the
    repository cannot be written.
    """
    full_hash(commit)
    home = _home(repository)
    remove_stale(repository)
    path = _new_path(home, commit)
    try:
        done = run_git(repository.root, *_WORKTREE, "add", "--detach", "--", str(path), commit)
        if done.code:
            raise BaselineError(
                f"git could not check out {commit[:9]}: {done.complaint}",
                f"try it by hand: git worktree add --detach ../base {commit[:9]}",
            )
        yield path
    finally:
        _remove(repository, path)


def remove_stale(repository: Repository) -> None:
    """Removes checkouts whose process is gone: killed ones cannot clean up after themselves.

    Only directories with our kind of name are looked at; a worktree of the user's own is never touched.
    """
    for path in _home(repository).iterdir():
        match = _OURS.fullmatch(path.name)
        if match and not path.is_symlink() and not owner.is_alive(match):
            _remove(repository, path)


def _home(repository: Repository) -> Path:
    home = folder.ensure(repository.root) / "cache" / "worktrees"
    if home.is_symlink() or home.parent.is_symlink():
        raise UsageError(f"{home} is a symbolic link", "remove it: rm .blcperf/cache/worktrees")
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PermissionDenied(
            f"cannot write {home}: {error.strerror}", "make .blcperf writable for this user"
        ) from None
    return home


def _new_path(home: Path, commit: str) -> Path:
    name = f"{commit[:9]}-{owner.mark()}"
    names = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(home / candidate for candidate in names if not os.path.lexists(home / candidate))


def _remove(repository: Repository, path: Path) -> None:
    # The directory first: `worktree remove` refuses damaged checkouts and some with submodules, but forgets a missing
    # one readily. Not `worktree prune`: that also forgets the user's own worktrees on drives not mounted now.
    shutil.rmtree(path, ignore_errors=True)
    run_git(repository.root, *_WORKTREE, "remove", "--force", "--force", "--", str(path))
