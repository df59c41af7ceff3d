"""Object storage by its URL, through fsspec: `s3://bucket/prefix`, `gs://…`, `az://…`, `sftp://…`, `memory://…`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_blcperf.errors import BaselineError, UsageError
from pytest_blcperf.report.text import clean
from pytest_blcperf.shelves.kept import Kept, file_name, folder_name, parse_file_name
from pytest_blcperf.store.archive import FILE_LIMIT


class Objects:
    """The runs called `name` in object storage. Credentials come from where the storage's own library looks."""

    def __init__(self, url: str, name: str) -> None:
        try:
            from fsspec.core import url_to_fs
        except ImportError:
            raise UsageError(
                f"{clean(url, 80)} needs the package fsspec", "pip install 'pytest-blcperf[store]'"
            ) from None
        self._url = clean(url.partition("?")[0], 200)
        try:
            self._system, root = url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise UsageError(f"{self._url}: {clean(str(error), 200)}", "install what this kind of URL needs") from None
        self._folder = f"{root.rstrip('/')}/{folder_name(name)}"

    def kept(self, commits: Sequence[str]) -> list[Kept]:
        """The runs of those commits."""
        wanted = set(commits)
        found = [parse_file_name(place.rpartition("/")[2], place) for place in self._places()]
        return [one for one in found if one is not None and one.commit in wanted]

    def read(self, kept: Kept) -> bytes:
        """The run file."""
        return bytes(self._do("cat_file", kept.place, 0, FILE_LIMIT + 1))

    def keep(self, kept: Kept, data: bytes, most: int) -> None:
        """Writes the object; objects appear whole. Then removes the oldest ones."""
        self._do("makedirs", self._folder, True)
        self._do("pipe_file", f"{self._folder}/{file_name(kept.commit, kept.machine)}", data)
        places = [place for place in self._places() if parse_file_name(place.rpartition("/")[2], place)]
        places.sort(key=lambda place: str(self._modified(place)), reverse=True)
        for old in places[most:]:
            self._do("rm_file", old)

    def _places(self) -> list[str]:
        self._do("invalidate_cache")
        try:
            return [str(place) for place in self._do("ls", self._folder, False)]
        except FileNotFoundError:
            return []

    def _modified(self, place: str) -> Any:
        """When it was written, where the storage tells: not every kind does."""
        try:
            return self._do("modified", place)
        except NotImplementedError:
            return ""

    def _do(self, method: str, *arguments: Any) -> Any:
        """Calls the file system; each kind has exceptions of its own, and all of them mean that it did not work."""
        try:
            return getattr(self._system, method)(*arguments)
        except (FileNotFoundError, NotImplementedError):
            raise
        except Exception as error:
            raise BaselineError(
                f"{self._url}: {type(error).__name__}: {clean(str(error), 200)}", "check the URL and the credentials"
            ) from None
