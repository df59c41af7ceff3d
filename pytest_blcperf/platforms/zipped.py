"""One file out of an artifact's zip archive, which may have been made by anybody. Nothing is extracted to disk."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import PurePosixPath

from pytest_blcperf.errors import BaselineError
from pytest_blcperf.report.text import clean

ARCHIVE_LIMIT = 128 << 20
"""Bytes of an archive."""
MEMBER_LIMIT = 1_000
_DIRECTORY_LIMIT = 1 << 20
_END = b"PK\x05\x06"
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError, LookupError, OSError)
"""What `zipfile` raises for damaged archives; RuntimeError covers encryption and unknown methods."""


def only_member(data: bytes, name: str, limit: int) -> bytes:
    """The one member whose base name is `name` (or ends with it, where it begins with a dot), at most `limit` bytes.

    Raises BaselineError for a damaged archive, and unless there is exactly one such member in a plain place.
    """
    try:
        with zipfile.ZipFile(_checked(data)) as archive:
            members = archive.infolist()
            if len(members) > MEMBER_LIMIT:
                raise _refused(f"it has {len(members):,} members, more than {MEMBER_LIMIT:,}")
            member = _choose(members, name)
            if member.file_size > limit:
                raise _refused(f"{name} has {member.file_size:,} bytes, more than {limit:,}")
            with archive.open(member) as file:
                content = file.read(limit + 1)
    except _DAMAGE as error:
        raise _refused(f"it is no sound zip archive: {clean(str(error), 100)}") from None
    if len(content) > limit:
        raise _refused(f"{name} is larger than it says")
    return content


def _checked(data: bytes) -> io.BytesIO:
    """The archive, if its directory is small: `zipfile` makes an object of every 46 bytes of it."""
    if len(data) > ARCHIVE_LIMIT:
        raise _refused(f"it has {len(data):,} bytes, more than {ARCHIVE_LIMIT:,}")
    place = data.rfind(_END, max(0, len(data) - 66_000))
    size = int.from_bytes(data[place + 12 : place + 16], "little") if place >= 0 else 0
    if size > _DIRECTORY_LIMIT:
        raise _refused(f"its directory has {size:,} bytes, more than {_DIRECTORY_LIMIT:,}")
    return io.BytesIO(data)


def _choose(members: list[zipfile.ZipInfo], name: str) -> zipfile.ZipInfo:
    found = []
    for member in members:
        path = PurePosixPath(member.filename)
        wanted = path.name.endswith(name) if name.startswith(".") else path.name == name
        if not wanted or member.is_dir():
            continue
        if path.is_absolute() or ".." in path.parts or "\\" in member.filename:
            raise _refused(f"its member {clean(member.filename, 80)!r} points outside")
        found.append(member)
    if len(found) != 1:
        raise _refused(f"it has {len(found)} members called {name}, and one is expected")
    return found[0]


def _refused(reason: str) -> BaselineError:
    return BaselineError(f"the artifact cannot be used: {reason}", "look at the artifact of the job that made it")
