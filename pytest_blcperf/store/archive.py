"""The zip around a run file: written the same every time, read as what it is: a file from somebody else.

Nothing is ever extracted to disk. The limits keep a small file from becoming much memory.
"""

from __future__ import annotations

import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pytest_blcperf.store.checked import MalformedError, show, unique

FILE_LIMIT = 256 << 20
"""Bytes of the file."""
MEMBER_LIMIT = 10_000
"""Members of the archive."""
DIRECTORY_LIMIT = 2 << 20
"""Bytes of the archive's directory; `zipfile` makes an object of every 46 of them."""
TOTAL_LIMIT = 1 << 30
"""Bytes of all members, unpacked."""
RATIO_LIMIT = 200
"""Unpacked bytes a byte of the file, once they are more than `RATIO_FROM`: columns of equal numbers pack well too."""
RATIO_FROM = 16 << 20
SIZE_LIMITS = {
    r"run\.json": 128 << 20,
    r"profiles/[0-9]{4,6}\.json": 64 << 20,
    r"instructions/[0-9]{4,6}\.json": 64 << 20,
    r"profiles/[0-9]{4,6}\.pb\.gz": 64 << 20,
    r"captures\.json": 128 << 20,
    r"captures/[0-9]{4}/[a-z_]{1,30}\.bin": 80 << 20,
}
"""The members this release knows, and their bytes unpacked."""

_END = b"PK\x05\x06"
_END_SIZE = 22
_END64_LOCATOR = b"PK\x06\x07"
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    RuntimeError,
    ValueError,
    OverflowError,
    LookupError,
    OSError,
)
"""What `zipfile` raises for damaged archives; RuntimeError covers encryption and unknown methods."""


def write(file: IO[bytes], members: Mapping[str, bytes]) -> None:
    """Writes the archive: the same members give the same bytes. Raises MalformedError if unreadable."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, data, _method(name, data), compresslevel=6)
    _open(file)


def _method(name: str, data: bytes) -> int:
    """Stored where packing gains nothing, or so much that a reader would take the file for a bomb."""
    bomb = len(data) > 1 << 20 and len(zlib.compress(data, 6)) * RATIO_LIMIT < len(data)
    return zipfile.ZIP_STORED if bomb or name.endswith(".gz") else zipfile.ZIP_DEFLATED


@contextmanager
def reading(path: Path) -> Iterator[Archive]:
    """The archive at `path`. Raises MalformedError for an unsound archive, OSError where it cannot be opened."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise MalformedError("not a regular file")
    with path.open("rb") as file:
        yield Archive(_open(file))


class Archive:
    """A checked archive. `names` are those of its members."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self.names = frozenset(archive.namelist())

    def read(self, name: str) -> bytes:
        """One member, unpacked. Raises MalformedError."""
        try:
            with self._archive.open(name) as member:
                limit = _limit(name)
                data = member.read(limit + 1)
        except KeyError:
            raise MalformedError(f"{name} is missing") from None
        except _DAMAGE as error:
            raise MalformedError(f"{name} is damaged: {show(str(error))}") from None
        if len(data) > limit:
            raise MalformedError(f"{name} is larger than it says")
        return data


def _open(file: IO[bytes]) -> zipfile.ZipFile:
    """Opens and checks, before anything is unpacked."""
    size = file.seek(0, 2)
    if size > FILE_LIMIT:
        raise MalformedError(f"{size:,} bytes, more than {FILE_LIMIT:,}")
    _check_end(file, size)
    try:
        archive = zipfile.ZipFile(file)
    except _DAMAGE as error:
        raise MalformedError(f"not a sound zip archive: {show(str(error))}") from None
    members = archive.infolist()
    if len(members) > MEMBER_LIMIT:
        raise MalformedError(f"{len(members):,} members, more than {MEMBER_LIMIT:,}")
    unique((member.filename for member in members), "members")
    for member in members:
        _check_member(member)
    total = sum(member.file_size for member in members)
    if total > TOTAL_LIMIT:
        raise MalformedError(f"{total:,} bytes unpacked, more than {TOTAL_LIMIT:,}")
    if total > RATIO_FROM and total > RATIO_LIMIT * size:
        raise MalformedError(f"{size:,} bytes unpack to {total:,}, more than {RATIO_LIMIT} times as many")
    return archive


def _check_end(file: IO[bytes], size: int) -> None:
    """The end record, before `zipfile` trusts it: no comment, no 64-bit form, a directory of bounded size."""
    file.seek(max(0, size - _END_SIZE - 20))
    tail = file.read(_END_SIZE + 20)
    end = tail[-_END_SIZE:]
    if len(end) < _END_SIZE or not end.startswith(_END) or end[20:] != b"\0\0":
        raise MalformedError("not a run file, or cut off: the zip archive's end is missing")
    directory = int.from_bytes(end[12:16], "little")
    if tail[:-_END_SIZE].startswith(_END64_LOCATOR) or directory > DIRECTORY_LIMIT:
        raise MalformedError(f"the zip archive's directory is larger than {DIRECTORY_LIMIT:,} bytes")


def _check_member(member: zipfile.ZipInfo) -> None:
    name = member.filename
    if name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
        raise MalformedError(f"member {show(name)} points outside the archive")
    if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise MalformedError(f"member {show(name)} is encrypted or packed in an unknown way")
    if (limit := _limit(name)) and member.file_size > limit:
        raise MalformedError(f"member {name} has {member.file_size:,} bytes, more than {limit:,}")


def _limit(name: str) -> int:
    """Bytes a member may have; 0 for a name this release does not know and never reads."""
    return next((limit for pattern, limit in SIZE_LIMITS.items() if re.fullmatch(pattern, name)), 0)
