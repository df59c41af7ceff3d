"""Presets: which functions belong together, what threads are called, from where on a pattern counts. Read from TOML.

`default` always applies; a preset such as `mariadb` adds to it and comes first. A file of the user's own has the same
tables:

    [sets]            # functions by name: glob patterns, after file` where the object or source file matters, too
    lock = ["lock_rec_lock", "libc.so*`pthread_mutex_*"]
    [classes]         # classes of functions, the first that matches; their order is that of the file
    "buffer pool" = ["buf_*", "Buf_*"]
    [roles]           # threads by name, glob patterns
    purge = ["ib_srv_purge*"]
    [thresholds.lock-contention]
    share = 0.10
    [capture]         # defaults of `blcperf record` for this kind of target
    rate = 1000
"""

from __future__ import annotations

import fnmatch
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_blcperf.errors import UsageError
from pytest_blcperf.model.function import Function

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent / "presets"
DEFAULT = "default"
OTHER = "application"
"""The class of functions that no rule speaks of."""

_SIZE_LIMIT = 1 << 20
_PATTERN_LIMIT = 5_000
_TABLES = {"sets", "classes", "roles", "thresholds", "capture"}


@dataclass(frozen=True)
class Rules:
    """A preset, or several laid over each other. Patterns are globs; see the module."""

    name: str
    sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    thresholds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    capture: Mapping[str, Any] = field(default_factory=dict)

    def over(self, other: Rules) -> Rules:
        """These rules on top of others: sets are joined, classes and roles come first, single thresholds win."""
        names = dict.fromkeys([*self.sets, *other.sets])
        patterns = {*self.thresholds, *other.thresholds}
        return Rules(
            self.name,
            {name: (*self.sets.get(name, ()), *other.sets.get(name, ())) for name in names},
            {**self.classes, **{name: other.classes[name] for name in other.classes if name not in self.classes}},
            {**self.roles, **{name: other.roles[name] for name in other.roles if name not in self.roles}},
            {one: {**other.thresholds.get(one, {}), **self.thresholds.get(one, {})} for one in sorted(patterns)},
            {**other.capture, **self.capture},
        )

    def threshold(self, pattern: str, key: str) -> float:
        """A threshold; every one that is asked for stands in `default.toml`."""
        return float(self.thresholds[pattern][key])

    def members(self, name: str, functions: Sequence[Function]) -> npt.NDArray[np.bool_]:
        """Which of the functions belong to a set."""
        return matching(self.sets[name], functions)

    def classify(self, functions: Sequence[Function]) -> list[str]:
        """The class of every function: the first whose patterns match, else `application`."""
        found = [OTHER] * len(functions)
        for name, patterns in reversed(list(self.classes.items())):
            for index in np.flatnonzero(matching(patterns, functions)).tolist():
                found[index] = name
        return found

    def role(self, thread: str) -> str:
        """What a thread of that name does, its name without a number where no rule says."""
        for role, patterns in self.roles.items():
            if any(fnmatch.fnmatchcase(thread, pattern) for pattern in patterns):
                return role
        return re.sub(r"[-_#:/ ]*[0-9]+$", "", thread) or thread


def matching(patterns: Iterable[str], functions: Sequence[Function]) -> npt.NDArray[np.bool_]:
    """Which functions match one of the patterns: a glob of the name, after one of the file and a backquote (as in
    DTrace) or alone.
    """
    split = [pattern.rpartition("`")[::2] for pattern in patterns]
    anywhere = _compiled(tuple(name for file, name in split if not file))
    placed = [(_compiled((file,)), _compiled((name,))) for file, name in split if file]
    return np.array(
        [
            bool(anywhere.match(one.name))
            or any(file.match(one.file) and name.match(one.name) for file, name in placed)
            for one in functions
        ],
        bool,
    )


@cache
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns) or r"(?!)", re.DOTALL)


def available() -> list[str]:
    """The names of the presets in the package."""
    return sorted(path.stem for path in FOLDER.glob("*.toml") if path.stem != DEFAULT)


def load(preset: str | None = None) -> Rules:
    """The default rules, with those of a preset (a name, or the path of a TOML file) over them. Raises UsageError."""
    default = _read(FOLDER / f"{DEFAULT}.toml", DEFAULT)
    if preset is None:
        return default
    path = FOLDER / f"{preset}.toml" if preset in available() else Path(preset)
    if path.suffix != ".toml" or not path.is_file():
        raise UsageError(
            f"no preset {preset!r}: there are {', '.join(available())}",
            "--preset takes one of these, or the path of a TOML file with the same tables (docs/presets.md)",
        )
    return _read(path, path.stem).over(default)


def _read(path: Path, name: str) -> Rules:
    try:
        if path.stat().st_size > _SIZE_LIMIT:
            raise UsageError(f"{path}: larger than {_SIZE_LIMIT >> 20} MiB", "a preset is a small TOML file")
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not a readable preset: {error}", "docs/presets.md shows one") from None
    unknown = set(data) - _TABLES
    if unknown:
        raise UsageError(f"{path}: unknown table {min(unknown)!r}", f"a preset has {', '.join(sorted(_TABLES))}")
    try:
        return Rules(
            name,
            _patterns(data.get("sets", {})),
            _patterns(data.get("classes", {})),
            _patterns(data.get("roles", {})),
            _numbers(data.get("thresholds", {})),
            dict(data.get("capture", {})),
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path}: {error}", "docs/presets.md shows a preset") from None


def _numbers(tables: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    return {name: {key: float(value) for key, value in table.items()} for name, table in tables.items()}


def _patterns(table: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    for name, patterns in table.items():
        if not isinstance(patterns, list) or not all(isinstance(one, str) and one for one in patterns):
            raise ValueError(f"{name!r} is not a list of patterns")
    if sum(map(len, table.values())) > _PATTERN_LIMIT:
        raise ValueError(f"more than {_PATTERN_LIMIT:,} patterns")
    return {name: tuple(patterns) for name, patterns in table.items()}
