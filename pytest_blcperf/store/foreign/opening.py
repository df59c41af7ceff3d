"""Which tool wrote a file, by what is in it, and its capture."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

from pytest_blcperf.errors import BaselineError
from pytest_blcperf.model.capture import Capture
from pytest_blcperf.store.checked import MalformedError
from pytest_blcperf.store.foreign import collapsed, firefox, pprof, speedscope

FILE_LIMIT = 1 << 30
_HEAD = 64 << 10
_MARSHAL = b"\xfb"
_PERF = b"PERFILE2"
_KNOWN = "run files, perf.data, collapsed stacks, pprof, speedscope and Firefox profiles"


def is_perf_data(path: Path) -> bool:
    """Whether `perf record` wrote the file. `capture_session` reads those: that takes symbols."""
    try:
        with path.open("rb") as file:
            return file.read(len(_PERF)) == _PERF
    except OSError:
        return False


def read(path: Path) -> Capture:
    """The capture in a file of another tool. Raises BaselineError when it is none, damaged, or too large."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise BaselineError(f"{path}: not a regular file", f"give a file: {_KNOWN} are read")
        if path.stat().st_size > FILE_LIMIT:
            raise BaselineError(f"{path}: larger than {FILE_LIMIT >> 30} GiB", "record for a shorter time")
        data = path.read_bytes()
    except OSError as error:
        raise BaselineError(f"{path}: cannot be read: {error.strerror}", "check the path") from None
    try:
        return _reader(data, path)(data, path.name)
    except MalformedError as error:
        raise BaselineError(f"{path}: not a readable profile: {error}", f"{_KNOWN} are read") from None


def _reader(data: bytes, path: Path) -> Callable[[bytes, str], Capture]:
    head = data[:_HEAD].lstrip()
    if head[:1] == b"{":
        return firefox.read if b'"stackTable"' in data and b'"speedscope' not in head else speedscope.read
    if head[:2] == b"\x1f\x8b" or b"\0" in head or path.suffix in (".pb", ".pprof"):
        if head[:1] == _MARSHAL or path.suffix in (".pstats", ".prof"):
            raise BaselineError(f"{path}: a pstats file", "those have no stacks: write collapsed stacks instead")
        return pprof.read
    return lambda data, name: collapsed.read(data.decode("utf-8", "replace"), name)
