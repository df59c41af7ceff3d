"""/proc/PID/maps: the mappings that exist already, which the kernel does not report again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pytest_blcperf.model.recording import Mapping

_MOST_BYTES = 64 << 20


def executable_mappings(pid: int, time: int = 0, proc: Path = Path("/proc")) -> list[Mapping]:
    """What the process may execute; empty when it is gone or may not be read."""
    try:
        with (proc / str(pid) / "maps").open("rb") as file:
            return list(parse(file.read(_MOST_BYTES), pid, time))
    except OSError:
        return []


def parse(text: bytes, pid: int, time: int = 0) -> Iterator[Mapping]:
    """The executable lines of a maps file (proc(5)). Lines that make no sense are left out."""
    for line in text.splitlines():
        fields = line.split(None, 5)
        if len(fields) < 5 or b"x" not in fields[1]:
            continue
        try:
            start, _, end = fields[0].partition(b"-")
            major, _, minor = fields[3].partition(b":")
            name = fields[5] if len(fields) > 5 else b"//anon"
            yield Mapping(
                process=pid,
                start=int(start, 16),
                end=int(end, 16),
                offset=int(fields[2], 16),
                path=name.replace(b"\\012", b"\n").decode("utf-8", "surrogateescape"),
                time=time,
                device=(int(major, 16), int(minor, 16)),
                inode=int(fields[4]),
            )
        except ValueError:
            continue
