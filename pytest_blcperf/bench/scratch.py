"""The folder for what a run needs only while it lasts: temporary files and logs of the workers."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pytest_blcperf.bench import owner

_OURS = re.compile(rf"blcperf-{owner.PATTERN}-[a-z0-9_]{{8}}")


@contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """A new folder, for this user only, in `parent` or the system's folder for temporary files; removed on the way out.

    Those of this user's processes that were killed before they could remove theirs go first.
    """
    home = parent or Path(tempfile.gettempdir())
    _remove_stale(home)
    path = Path(tempfile.mkdtemp(prefix=f"blcperf-{owner.mark()}-", dir=home))
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # a file system without locks; the name remains
            fcntl.flock(lock, fcntl.LOCK_SH)
        yield path
    finally:
        os.close(lock)
        shutil.rmtree(path, ignore_errors=True)


def _remove_stale(home: Path) -> None:
    for path in home.glob("blcperf-*"):
        match = _OURS.fullmatch(path.name)
        if match and not owner.is_alive(match):
            # Gone meanwhile, a symbolic link, somebody else's, or locked: not for us to remove.
            with suppress(OSError):
                _remove_unlocked(path)


def _remove_unlocked(path: Path) -> None:
    """Remove the folder unless a process holds it: one in another container has no number here, but its lock counts."""
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(lock).st_uid == os.getuid():
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(lock)
