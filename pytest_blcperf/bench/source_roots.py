"""Which folders of a checkout come first on `sys.path`, so that each side imports its own code."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from pytest_blcperf.errors import UsageError

_PYPROJECT_LIMIT = 1 << 20

# fmt: off
_NOT_PACKAGES = frozenset((
    "test", "tests", "testing", "benchmark", "benchmarks", "bench", "benches", "perf", "example", "examples", "doc",
    "docs", "build", "dist", "site", "scripts", "tools", "ci", "venv", "env", "node_modules", "notebooks", "data",
))
_NOT_MODULES = frozenset((
    "setup", "conftest", "noxfile", "tasks", "fabfile", "dodo", "versioneer", "ez_setup", "hatch_build",
))
# fmt: on


def source_roots(root: Path, requested: tuple[str, ...] | None) -> tuple[str, ...]:
    """Folders relative to `root`, "." for the root itself, in the order in which they belong on `sys.path`.

    `requested` None means auto: what pyproject.toml declares for setuptools, hatch, poetry, pdm, uv or maturin, then
    `src` and the root where they hold packages or modules. Raises UsageError for a requested folder that is not there.
    """
    if requested is not None:
        return tuple(_checked(root, folder) for folder in requested)
    found = [folder for folder in _declared(_pyproject(root)) if _inside(root, folder)]
    if not (root / "src" / "__init__.py").exists() and _holds_code(root / "src"):
        found.append("src")
    if _holds_code(root, besides=frozenset(PurePosixPath(folder).parts[0] for folder in found if folder != ".")):
        found.append(".")
    return tuple(dict.fromkeys(found))


def _checked(root: Path, folder: str) -> str:
    if not _inside(root, folder):
        raise UsageError(
            f"source root {folder[:80]!r} is not a folder of the repository",
            "name folders relative to its top: src, lib",
        )
    return PurePosixPath(folder).as_posix()


def _inside(root: Path, folder: str) -> bool:
    path = PurePosixPath(folder)
    return bool(folder) and not path.is_absolute() and ".." not in path.parts and (root / path).is_dir()


def _holds_code(folder: Path, besides: frozenset[str] = frozenset()) -> bool:
    if not folder.is_dir():
        return False
    return any(_is_module(entry) or (entry.name not in besides and _is_package(entry)) for entry in folder.iterdir())


def _is_module(path: Path) -> bool:
    name = path.stem
    test = name.startswith("test_") or name.endswith("_test")
    return path.suffix == ".py" and name.isidentifier() and name not in _NOT_MODULES and not test and path.is_file()


def _is_package(path: Path) -> bool:
    """A package, or a folder of a namespace package: it holds modules or packages itself."""
    if (
        path.name in _NOT_PACKAGES
        or not path.name.isidentifier()
        or not path.is_dir()
        or (path / "pyvenv.cfg").exists()
    ):
        return False
    return any(entry.suffix == ".py" or (entry / "__init__.py").exists() for entry in path.iterdir())


def _pyproject(root: Path) -> Mapping[str, Any]:
    """pyproject.toml; empty when it is missing or broken: pytest and the build tool complain better than we can."""
    try:
        with (root / "pyproject.toml").open("rb") as file:
            text = file.read(_PYPROJECT_LIMIT).decode()
        toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
        data: dict[str, Any] = toml.loads(text)
    except (OSError, ValueError, ImportError):
        return {}
    return data


def _declared(pyproject: Mapping[str, Any]) -> Iterator[str]:
    tool = _table(pyproject, "tool")
    yield from _setuptools(_table(tool, "setuptools"))
    hatch = _table(tool, "hatch", "build")
    wheel = _table(hatch, "targets", "wheel")
    for package in [*_texts(hatch.get("packages")), *_texts(wheel.get("packages"))]:
        yield PurePosixPath(package).parent.as_posix()
    for sources in (hatch.get("sources"), wheel.get("sources")):
        yield from _hatch_sources(sources)
    packages = _table(tool, "poetry").get("packages")
    for package in packages if isinstance(packages, list) else []:
        yield from _texts([package.get("from")] if isinstance(package, dict) else [])
    for table, key in (
        (_table(tool, "pdm", "build"), "package-dir"),
        (_table(tool, "uv", "build-backend"), "module-root"),
        (_table(tool, "maturin"), "python-source"),
    ):
        yield from _texts([table.get(key)])


def _setuptools(table: Mapping[str, Any]) -> Iterator[str]:
    for package, folder in _table(table, "package-dir").items():
        if not isinstance(folder, str):
            continue
        # {"pkg": "lib/pkg"} can be had by a folder on sys.path, {"pkg": "lib"} cannot: the names must end alike.
        wanted, path = tuple(filter(None, package.split("."))), PurePosixPath(folder)
        if path.parts[len(path.parts) - len(wanted) :] == wanted:
            yield PurePosixPath(*path.parts[: len(path.parts) - len(wanted)]).as_posix()
    yield from _texts(_table(table, "packages", "find").get("where"))


def _hatch_sources(sources: Any) -> Iterator[str]:
    """A list of prefixes to strip, or a table from prefix to what replaces it."""
    if isinstance(sources, dict):
        yield from _texts([folder for folder, name in sources.items() if name == ""])
    else:
        yield from _texts(sources)


def _table(data: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    for key in keys:
        inner = data.get(key)
        data = inner if isinstance(inner, dict) else {}
    return data


def _texts(values: Any) -> Iterator[str]:
    for value in values if isinstance(values, list) else []:
        if isinstance(value, str) and value:
            yield PurePosixPath(value).as_posix()
