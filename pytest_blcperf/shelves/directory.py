"""A folder, such as one on a network drive or in a CI cache: `FOLDER/NAME/COMMIT-MACHINE.blcperf`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_blcperf.errors import BaselineError
from pytest_blcperf.shelves.kept import SUFFIX, Kept, file_name, folder_name, parse_file_name
from pytest_blcperf.store.archive import FILE_LIMIT
from pytest_blcperf.store.atomic import replacing


class Directory:
    """The runs called `name` in a folder, which is made when the first one is kept."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder / folder_name(name)

    def kept(self, commits: Sequence[str]) -> list[Kept]:
        """The runs of those commits."""
        wanted = set(commits)
        try:
            files = sorted(self._folder.glob("*" + SUFFIX))
        except OSError as error:
            raise self._error(error) from None
        found = [parse_file_name(path.name, str(path)) for path in files if path.is_file()]
        return [one for one in found if one is not None and one.commit in wanted]

    def read(self, kept: Kept) -> bytes:
        """The run file."""
        try:
            with Path(kept.place).open("rb") as file:
                return file.read(FILE_LIMIT + 1)
        except OSError as error:
            raise self._error(error) from None

    def keep(self, kept: Kept, data: bytes, most: int) -> None:
        """Writes the file, then removes the oldest ones."""
        folder = self._folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with replacing(folder / file_name(kept.commit, kept.machine)) as file:
                file.write(data)
            runs = [path for path in folder.glob("*" + SUFFIX) if parse_file_name(path.name, "")]
            runs.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
            for old in runs[most:]:
                old.unlink(missing_ok=True)
        except OSError as error:
            raise self._error(error) from None

    def _error(self, error: OSError) -> BaselineError:
        return BaselineError(f"{self._folder}: {error.strerror or error}", "check the folder and its permissions")
