"""What a repository is like, as far as CI files depend on it. Found by looking at files; nothing of it is executed."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pytest_blcperf.errors import UsageError

OLDEST, NEWEST, DEFAULT = 10, 14, "3.12"
"""Minor versions of Python 3 that are offered, and the one for projects that say nothing."""
FILE_LIMIT = 1 << 20
_BENCHMARK = re.compile(rb"^\s*(?:async\s+)?def\s+test_\w*\([^)]*\bbenchmark\b", re.MULTILINE)
_SKIPPED = {".git", ".hg", ".tox", ".nox", ".venv", "venv", "node_modules", "build", "dist", "__pycache__", ".blcperf"}
_FILES_LOOKED_AT = 20_000

PIP, UV, POETRY, PDM, HATCH = "pip", "uv", "poetry", "pdm", "hatch"
_INSTALL: Mapping[str, tuple[str, ...]] = {
    # Into the interpreter that runs the job, where pytest-blcperf is: no environment of the tool's own.
    UV: (
        "python -m pip install uv",
        'UV_PROJECT_ENVIRONMENT="$(python -c "import sys; print(sys.prefix)")" uv sync --inexact --all-groups',
    ),
    POETRY: ("python -m pip install poetry", "POETRY_VIRTUALENVS_CREATE=false poetry install --no-interaction"),
    PDM: (
        "python -m pip install pdm",
        "pdm export --without-hashes --no-extras --output /tmp/blcperf-requirements.txt",
        "python -m pip install -r /tmp/blcperf-requirements.txt",
    ),
    HATCH: (
        "python -m pip install hatch",
        "hatch dep show requirements --all > /tmp/blcperf-requirements.txt",
        "python -m pip install -r /tmp/blcperf-requirements.txt",
    ),
}


@dataclass(frozen=True)
class Project:
    """What the templates need. `install` are shell commands; `pytest_paths` are what pytest would not find itself."""

    default_branch: str = "main"
    python_version: str = DEFAULT
    python_versions: tuple[str, ...] = (DEFAULT,)
    manager: str = PIP
    install: tuple[str, ...] = ("python -m pip install --editable .",)
    cache_files: str = "pyproject.toml"
    pytest_paths: tuple[str, ...] = ()


def look(root: Path, default_branch: str) -> Project:
    """The project at `root`. Raises UsageError for a pyproject.toml that cannot be read."""
    pyproject = _pyproject(root)
    tool, project = _table(pyproject, "tool"), _table(pyproject, "project")
    versions = python_versions(project, tool)
    manager = package_manager(pyproject, {path.name for path in root.iterdir()})
    return Project(
        default_branch=default_branch,
        python_version=DEFAULT if DEFAULT in versions else versions[-1],
        python_versions=versions,
        manager=manager,
        install=_install(root, pyproject, manager),
        cache_files=_cache_files(root),
        pytest_paths=_paths(root, _table(_table(tool, "pytest"), "ini_options")),
    )


def package_manager(pyproject: Mapping[str, Any], names: Iterable[str]) -> str:
    """Which tool installs a project: its lock file says so first, then its tables in pyproject.toml."""
    present = set(names)
    for manager, lock in ((UV, "uv.lock"), (POETRY, "poetry.lock"), (PDM, "pdm.lock")):
        if lock in present:
            return manager
    tool = _table(pyproject, "tool")
    backend = str(_table(pyproject, "build-system").get("build-backend", ""))
    if "poetry" in tool or backend.startswith("poetry"):
        return POETRY
    if _table(_table(tool, "hatch"), "envs"):
        return HATCH
    # Without a lock file pdm has nothing to export, and pip installs such a project as any other.
    return UV if UV in tool else PIP


def python_versions(project: Mapping[str, Any], tool: Mapping[str, Any]) -> tuple[str, ...]:
    """The Pythons a project says it supports, oldest first: its classifiers, or `requires-python`; at least one."""
    listed = project.get("classifiers")
    text = " ".join(map(str, listed)) if isinstance(listed, list) else ""
    minors = {int(minor) for minor in re.findall(r"Python :: 3\.(\d{1,2})\b", text)}
    minors &= set(range(OLDEST, NEWEST + 1))
    poetry = _table(_table(tool, "poetry"), "dependencies").get("python", "")
    requires = str(project.get("requires-python") or poetry)
    if not minors:
        return (_one_version(requires),)
    return tuple(f"3.{minor}" for minor in sorted(minors))


def _one_version(requires: str) -> str:
    """DEFAULT, or the nearest that the specifier allows."""
    default = int(DEFAULT.partition(".")[2])
    low = [int(minor) for minor in re.findall(r"(?:>=|\^|~=?|==)\s*3\.(\d{1,2})", requires)]
    high = [int(minor) - 1 for minor in re.findall(r"<\s*3\.(\d{1,2})", requires)]
    chosen = max([default, *low]) if not high else max([min([default, *high]), *low])
    return f"3.{min(max(chosen, OLDEST), NEWEST)}"


def _install(root: Path, pyproject: Mapping[str, Any], manager: str) -> tuple[str, ...]:
    installable = bool(_table(pyproject, "build-system") or _table(pyproject, "project")) or _is_file(root, "setup.py")
    project = ("python -m pip install --editable .",) if installable else ()
    if manager in (UV, POETRY):  # they install the project themselves
        return _INSTALL[manager]
    if manager in _INSTALL:
        return (*_INSTALL[manager], *project)
    wanted = ("requirements.txt", "requirements-dev.txt", "dev-requirements.txt", "requirements/dev.txt")
    files = [name for name in wanted if _is_file(root, name)]
    groups = [name for name in ("dev", "test", "bench") if name in _table(pyproject, "dependency-groups")]
    found = [f"python -m pip install -r {name}" for name in files]
    if groups:
        found.append("python -m pip install --upgrade 'pip>=25.1'")
        found.append("python -m pip install " + " ".join(f"--group {name}" for name in groups))
    return (*found, *project)


def _cache_files(root: Path) -> str:
    """A file that setup-python may key its cache by; it fails when there is none."""
    candidates = ("uv.lock", "poetry.lock", "pdm.lock", "requirements.txt", "pyproject.toml", "setup.py")
    return next((name for name in candidates if _is_file(root, name)), "")


def _paths(root: Path, ini: Mapping[str, Any]) -> tuple[str, ...]:
    """Folders with benchmarks that `testpaths` leaves out; without `testpaths` pytest looks everywhere."""
    testpaths = ini.get("testpaths", [])
    testpaths = testpaths.split() if isinstance(testpaths, str) else testpaths
    if not isinstance(testpaths, list) or not testpaths:
        return ()
    known = [PurePosixPath(str(path)) for path in testpaths]
    folders = {PurePosixPath(path).parent for path in benchmark_files(root)}
    outside = {folder for folder in folders if not any(folder == one or one in folder.parents for one in known)}
    top = {folder for folder in outside if not any(other in folder.parents for other in outside)}
    plain = [path for path in sorted(map(str, top)) if re.fullmatch(r"[A-Za-z0-9._/-]+", path)]
    if not plain:
        return ()
    return (*(str(path) for path in known if re.fullmatch(r"[A-Za-z0-9._/-]+", str(path))), *plain)


def benchmark_files(root: Path) -> list[str]:
    """Test files with a test that takes the fixture `benchmark`, relative to the root; links are not followed."""
    found, looked = [], 0
    folders = [root]
    while folders and looked < _FILES_LOOKED_AT:
        for path in sorted(folders.pop().iterdir()):
            looked += 1
            if path.is_symlink():
                continue
            if path.is_dir():
                folders += [path] if path.name not in _SKIPPED else []
            elif re.fullmatch(r"(test_.*|.*_test|bench_.*)\.py", path.name) and _has_benchmark(path):
                found.append(path.relative_to(root).as_posix())
    return sorted(found)


def _has_benchmark(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return _BENCHMARK.search(file.read(FILE_LIMIT)) is not None
    except OSError:
        return False


def _is_file(root: Path, name: str) -> bool:
    return (root / name).is_file()


def _pyproject(root: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        with (root / "pyproject.toml").open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"pyproject.toml cannot be read: {error}", "correct the file") from None


def _table(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = data.get(key)
    return found if isinstance(found, dict) else {}
