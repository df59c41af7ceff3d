"""Writes the CI files of a platform for this repository. It never overwrites a file without asking.

It finds the default branch, the Python versions, the folders with benchmarks, and how the project is installed (pip,
uv, poetry, pdm or hatch). The same files, for a project that pip installs, are in ci-templates/ of pytest-blcperf.

For example:
  blcperf init github                  the gate, the comment, and a set-up action
  blcperf init github --matrix         on every Python version
  blcperf init gitlab --print
  blcperf init pre-push --force
"""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_blcperf.errors import PermissionDenied, UsageError

if TYPE_CHECKING:
    from pytest_blcperf.scaffold.render import File

NAME = "init"
SUMMARY = "write the CI files of a platform for this repository"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's arguments."""
    from pytest_blcperf.scaffold.render import PLATFORMS

    parser.add_argument("platform", metavar="PLATFORM", choices=PLATFORMS, help=", ".join(PLATFORMS))
    parser.add_argument("--branch", metavar="NAME", help="the default branch (default: what the remote says)")
    parser.add_argument("--python", metavar="VERSION", help="the Python that measures (default: what the project says)")
    parser.add_argument("--matrix", action="store_true", help="github: a workflow for every Python version")
    parser.add_argument("--force", action="store_true", help="overwrite files that differ, without asking")
    parser.add_argument("--print", action="store_true", dest="only_print", help="print the files, write nothing")
    parser.add_argument("--quiet", action="store_true", help="print nothing but questions")


def run(arguments: argparse.Namespace) -> int:
    """Writes all the files, or none; returns 0."""
    from dataclasses import replace

    from pytest_blcperf.bench.repository import find
    from pytest_blcperf.scaffold import project, render

    root = find(Path.cwd()).root
    found = project.look(root, arguments.branch or _default_branch(root))
    if arguments.python:
        found = replace(found, python_version=_version(arguments.python))
    files = render.render(arguments.platform, found, matrix=arguments.matrix)
    if arguments.only_print:
        _print(files)
        return 0
    _check(root, files, arguments.force)
    for file in files:
        said = _write(root, file)
        if not arguments.quiet:
            print(f"{said}: {file.path}")
    if not arguments.quiet:
        print(f"for: branch {found.default_branch}, Python {found.python_version}, installed by {found.manager}")
        if arguments.platform in render.NEXT:
            print(f"next: {render.NEXT[arguments.platform]}")
    return 0


def _default_branch(root: Path) -> str:
    """What the remote calls its default branch, as far as this clone knows; else main or master; else this branch."""
    from pytest_blcperf.bench.repository import run_git

    remote = run_git(root, "symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD").line
    if remote.startswith("origin/"):
        return remote.removeprefix("origin/")
    for name in ("main", "master"):
        for where in ("refs/remotes/origin", "refs/heads"):
            if not run_git(root, "show-ref", "--verify", "--quiet", f"{where}/{name}").code:
                return name
    return run_git(root, "symbolic-ref", "--quiet", "--short", "HEAD").line or "main"


def _version(text: str) -> str:
    import re

    if not re.fullmatch(r"3\.\d{1,2}t?", text):
        raise UsageError(f"--python: not a version: {text[:40]!r}", "for example --python 3.12")
    return text


def _print(files: tuple[File, ...]) -> None:
    for file in files:
        print(f"# ---- {file.path}\n{file.text}")


def _check(root: Path, files: tuple[File, ...], force: bool) -> None:
    """Asks about every file that is there and differs, before anything is written. Raises UsageError for a no."""
    for file in files:
        path = root / file.path
        _refuse_links(root, path)
        old = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
        if old is None or old == file.text or force:
            continue
        if not (sys.stdin.isatty() and _asked(file, old)):
            raise UsageError(f"{file.path} is there and differs", "look with --print, overwrite with --force")


def _asked(file: File, old: str) -> bool:
    from pytest_blcperf.report.text import clean

    difference = difflib.unified_diff(old.splitlines(), file.text.splitlines(), file.path, "new", lineterm="", n=1)
    for line in list(difference)[:60]:
        print(clean(line, 200))
    return input(f"{file.path} is there and differs. Overwrite it? [y/N] ").strip().lower() in ("y", "yes")


def _refuse_links(root: Path, path: Path) -> None:
    """A symbolic link on the way could send a file anywhere."""
    for place in (path, *path.parents):
        if place == root:
            return
        if place.is_symlink():
            raise UsageError(f"{place.relative_to(root)} is a symbolic link", "write the files by hand: --print")


def _write(root: Path, file: File) -> str:
    from pytest_blcperf.store.atomic import replacing

    path = root / file.path
    data = file.text.encode()
    try:
        if path.is_file() and path.read_bytes() == data:
            return "unchanged"
        there = path.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as target:
            target.write(data)
        if file.executable:
            path.chmod(0o755)
    except OSError as error:
        raise PermissionDenied(f"{file.path} cannot be written: {error.strerror}", "check the permissions") from None
    return "overwritten" if there else "written"
