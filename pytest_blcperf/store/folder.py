"""`.blcperf/`: where runs, baselines and caches of one repository are kept."""

from __future__ import annotations

from pathlib import Path

from pytest_blcperf.errors import PermissionDenied, UsageError

NAME = ".blcperf"


def ensure(root: Path) -> Path:
    """`root/.blcperf`, created with a `.gitignore` of its own so that git never shows what is in it.

    Raises UsageError when something else has that name, PermissionDenied when the repository cannot be written.
    """
    folder = root / NAME
    # A symbolic link committed to the repository could send everything we write, and delete, anywhere.
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UsageError(f"{folder} is not a directory of this repository", f"move it away: mv {NAME} {NAME}.old")
    try:
        folder.mkdir(exist_ok=True)
        _ignore_everything(folder / ".gitignore")
    except OSError as error:
        raise PermissionDenied(
            f"cannot write {folder}: {error.strerror}",
            "make the repository writable for this user, or work in a copy of it",
        ) from None
    return folder


def _ignore_everything(path: Path) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write("*\n")
    except FileExistsError:
        pass
