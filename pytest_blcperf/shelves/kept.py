"""Runs kept somewhere else: what they are called there, and which of them fits a commit and a machine best."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pytest_blcperf.model.environment import Environment

SUFFIX = ".blcperf"
_FILE_NAME = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64})-([0-9a-f]{12})\.blcperf")


@dataclass(frozen=True)
class Kept:
    """A run on a shelf: its commit, the key of the machine that measured it ("" unknown), where the shelf has it."""

    commit: str
    machine: str
    place: str


class Source(Protocol):
    """Where runs of one name are kept. The methods raise BlcperfError, the children that fit."""

    def kept(self, commits: Sequence[str]) -> list[Kept]:
        """The runs that were taken from one of the commits."""
        ...

    def read(self, kept: Kept) -> bytes:
        """The run file; not to be trusted."""
        ...


class Shelf(Source, Protocol):
    """A source that can be written."""

    def keep(self, kept: Kept, data: bytes, most: int) -> None:
        """Keeps a run file, whole or not at all, and removes all but the newest `most`."""
        ...


def machine_key(environment: Environment) -> str:
    """A short hash of what must be equal for times to be compared."""
    text = "\0".join(map(str, environment.machine_identity)).encode("utf-8", "backslashreplace")
    return hashlib.sha256(text).hexdigest()[:12]


def file_name(commit: str, machine: str) -> str:
    """How a run is called in its folder: commit and machine, so that choosing one opens none."""
    return f"{commit}-{machine}{SUFFIX}"


def parse_file_name(name: str, place: str) -> Kept | None:
    """The run that a file name stands for, None for any other file."""
    match = _FILE_NAME.fullmatch(name)
    return Kept(match[1], match[2], place) if match else None


def folder_name(name: str) -> str:
    """A baseline's folder: `feature/x` must not lie inside `feature`."""
    return name.replace("/", "%2F")


def best_first(found: Iterable[Kept], commits: Sequence[str], machine: str) -> list[Kept]:
    """The runs of these commits, best first: those of an equal machine before all others, then the nearest commit.

    `commits` are the merge base and its ancestors, the nearest first. Another machine's run is kept in the list: its
    calls and shares still compare, and the report says that its times do not.
    """
    distance = {commit: number for number, commit in reversed(list(enumerate(commits)))}
    usable = [one for one in found if one.commit in distance]
    return sorted(usable, key=lambda one: (one.machine not in ("", machine), distance[one.commit]))
