"""The head's benchmarks in the base's checkout: both sides must run the same benchmark, also one that is new."""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path, PurePosixPath

from pytest_blcperf.bench.repository import full_hash, listed_files, run_git, split_names
from pytest_blcperf.errors import BaselineError, UsageError

_CHUNK = 1 << 20
_NOT_SOURCES = frozenset(
    [".venv", "venv", "env", ".tox", ".nox", "build", "dist", "node_modules", "site-packages", ".blcperf"]
)
_GENERATED_LIMIT = 1000
_TEST_FOLDERS = frozenset(("test", "tests", "benchmark", "benchmarks"))
_TOP_TEST_FOLDERS = _TEST_FOLDERS | frozenset(("testing", "bench", "benches", "perf", "performance"))


def plan_overlay(
    head: Path, worktree: Path, benchmarks: Iterable[str], config: str | None, source_roots: Sequence[str]
) -> tuple[str, ...]:
    """The paths that must be in the base's checkout as they are in the head, missing ones included, sorted.

    These are the benchmark files, the pytest configuration file, every conftest.py on the way to them, and the test
    folder around each. All paths are relative to both trees. Raises UsageError for a path outside the repository.
    """
    head_files = frozenset(listed_files(head))
    known = head_files.union(listed_files(worktree))
    plan: set[str] = set()
    paths: set[str] = set()
    for name in benchmarks:
        path, links = _resolved(head, name)
        plan.update(links, [path], _conftests(path, head, known))
        paths.add(path)
    parents = {PurePosixPath(path).parent for path in paths}
    for folder in {tree_around(parent, head_files - paths, source_roots) for parent in parents} - {None}:
        plan.update(file for file in known if file.startswith(f"{folder}/"))
    if config is not None:
        plan.add(_contained(config))
    return tuple(sorted(plan))


def generated_modules(head: Path, worktree: Path, source_roots: Sequence[str]) -> tuple[str, ...]:
    """Python modules in the head's packages that git ignores and the base lacks, such as a `_version.py`.

    Builds write them into the tree and packages import them, so a checkout alone cannot be imported. Compiled
    extensions are left out: the head's would stand in for the base's.
    """
    listed = run_git(
        head, "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--", *(source_roots or ("/",))
    )
    found = []
    for path in split_names(listed.output) if not listed.code else ():
        folder = head / PurePosixPath(path).parent
        inside = path.endswith(".py") and not any(part in _NOT_SOURCES for part in path.split("/"))
        if (
            inside
            and (folder / "__init__.py").is_file()
            and (worktree / path).parent.is_dir()
            and not (worktree / path).exists()
        ):
            found.append(path)
    return tuple(found[:_GENERATED_LIMIT])


def apply_overlay(head: Path, worktree: Path, plan: Iterable[str]) -> None:
    """Makes every path of the plan in `worktree` what it is in `head`: the same file, the same link, or nothing.

    Files get the time of the copy, not the head's: with a time of its own no cached bytecode can be taken for theirs.
    """
    for path in plan:
        _contained(path)
        source = _at(head, path)
        if source is None:
            _discard(worktree, path)
        elif not _same(source, _at(worktree, path)):
            _copy(source, _make_way(worktree, path))
            _forget_bytecode(worktree / path)


def restore(worktree: Path, commit: str, path: str) -> bool:
    """Puts the base's own version of one file back; False when the base has none, and then there is none.

    For a benchmark file of the head that cannot be imported in the base. Raises BaselineError when git fails.
    """
    _contained(path)
    listed = run_git(worktree, "ls-tree", "-z", "--name-only", "--full-tree", full_hash(commit), "--", path)
    if listed.code:
        raise BaselineError(f"git could not read {commit[:9]}: {listed.complaint}", "git fsck")
    _discard(worktree, path)
    if not listed.output:
        return False
    _make_way(worktree, path)
    done = run_git(worktree, "-c", "core.hooksPath=/dev/null", "checkout", "--quiet", commit, "--", path)
    if done.code:
        raise BaselineError(f"git could not restore {path}: {done.complaint}", "git fsck")
    return True


def tree_around(parent: PurePosixPath, files: Collection[str], source_roots: Sequence[str]) -> str | None:
    """The highest folder from the root down to `parent` that holds tests and no code under test, None when none does.

    `files` are those of the head that are not benchmark files themselves. A name such as `tests` settles it; a folder
    of another name must hold nothing importable but test files: code under test that is laid over the base would be
    compared with itself, and every regression in it would be missed.
    """
    inside_package = False
    for path in reversed((parent, *parent.parents)[:-1]):
        folder = path.as_posix()
        if any(PurePosixPath(root).is_relative_to(path) for root in source_roots):
            inside_package = False
            continue
        if path.name in (_TEST_FOLDERS if inside_package else _TOP_TEST_FOLDERS):
            return folder
        inside_package = inside_package or f"{folder}/__init__.py" in files
        if not inside_package and not any(_is_code(file) for file in files if file.startswith(folder + "/")):
            return folder
    return None


def _is_code(file: str) -> bool:
    name = PurePosixPath(file).name
    stem, _, suffix = name.partition(".")
    if name == "conftest.py" or stem.startswith("test_") or stem.endswith("_test"):
        return False
    return suffix.rpartition(".")[2] in ("py", "so", "pyd", "pyx", "pxd")


def _conftests(path: str, head: Path, known: Collection[str]) -> set[str]:
    names = {(parent / "conftest.py").as_posix() for parent in PurePosixPath(path).parents}
    return {name for name in names if name in known or _at(head, name) is not None}


def _resolved(head: Path, name: str) -> tuple[str, list[str]]:
    """Where a file really lies below `head`, and the symbolic links that its name goes through."""
    _contained(name)
    try:
        real = (head / name).resolve().relative_to(head.resolve()).as_posix()
    except ValueError:
        raise UsageError(f"{name} is a link out of the repository", "keep benchmarks in the repository") from None
    prefixes = [path.as_posix() for path in (PurePosixPath(name), *PurePosixPath(name).parents[:-1])]
    links = [prefix for prefix in prefixes if (head / prefix).is_symlink() and _at(head, prefix) is not None]
    return real, links


def _contained(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or parts[0] == ".git" or "\0" in path:
        raise UsageError(f"{path[:200]!r} is not a file of the repository", "run pytest from inside the repository")
    return path


def _at(root: Path, path: str) -> Path | None:
    """`root/path` when it is a file or a link that no linked folder leads to; None otherwise."""
    target = root / path
    if any((root / parent).is_symlink() for parent in PurePosixPath(path).parents[:-1]):
        return None
    try:
        mode = target.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    return target if stat.S_ISREG(mode) or stat.S_ISLNK(mode) else None


def _same(source: Path, target: Path | None) -> bool:
    if target is None or source.lstat().st_mode != target.lstat().st_mode:
        return False
    if source.is_symlink():
        return source.readlink() == target.readlink()
    # Not filecmp: it remembers answers by size and time.
    with source.open("rb") as first, target.open("rb") as second:
        while (chunk := first.read(_CHUNK)) == second.read(_CHUNK):
            if not chunk:
                return True
    return False


def _make_way(worktree: Path, path: str) -> Path:
    """`worktree/path` with real folders above it and nothing at it: a link of the base must not redirect the write."""
    folder = worktree
    for part in PurePosixPath(path).parts[:-1]:
        folder = folder / part
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            folder.unlink()
        folder.mkdir(exist_ok=True)
    target = worktree / path
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
    return target


def _copy(source: Path, target: Path) -> None:
    if source.is_symlink():
        target.symlink_to(source.readlink())
        return
    with source.open("rb") as original, target.open("xb") as copy:
        shutil.copyfileobj(original, copy)
    target.chmod(stat.S_IMODE(source.stat().st_mode))


def _discard(worktree: Path, path: str) -> None:
    target = _at(worktree, path)
    if target is None:
        return
    target.unlink()
    _forget_bytecode(target)
    # An empty folder that stays behind is importable as a namespace package.
    for parent in PurePosixPath(path).parents[:-1]:
        try:
            (worktree / parent).rmdir()
        except OSError:
            return


def _forget_bytecode(source: Path) -> None:
    """Drops cached bytecode: it is looked up by the second and the size, and both versions of a file can share them."""
    if source.suffix != ".py":
        return
    cache = Path(importlib.util.cache_from_source(os.fspath(source))).parent
    if not cache.is_dir() or cache.is_symlink():
        return
    for entry in cache.iterdir():
        if entry.name.startswith(source.stem + ".") and entry.suffix == ".pyc":
            entry.unlink(missing_ok=True)
    if not any(cache.iterdir()):
        cache.rmdir()
