"""The source of a function on both sides, read from git or from disk and laid side by side.

File names come from run files, which may be anybody's: a name that leads out of the repository is not read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import SequenceMatcher
from pathlib import Path

from pytest_blcperf.bench.repository import Repository, run_git
from pytest_blcperf.compare.spans import Numbered, parse
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.run import Run
from pytest_blcperf.report.comparison_page import FunctionSource, SourceLine

Reader = Callable[[str], str | None]
"""A path relative to the repository → the file's text, None where there is none."""

_FILE_LIMIT = 2 << 20


def reader(repository: Repository, run: Run) -> tuple[Reader, str]:
    """How a run's sources are read, and what they are called: from its commit, or from disk when it had changes."""
    if run.commit and not run.dirty:
        return lambda path: _from_commit(repository, run.commit, path), run.commit[:9]
    return lambda path: _from_disk(repository, path), "on disk now"


def function_source(function: Function, base: tuple[Reader, str], head: tuple[Reader, str]) -> FunctionSource | None:
    """A Python function of the repository on both sides; None where neither side has it."""
    if function.kind != "python" or function.file.startswith("<"):
        return None
    modules = [parse(read(function.file)) for read, _ in (base, head)]
    found = [module and module.lines_of(function) for module in modules]
    if found == [None, None]:
        return None
    names = [f"{function.file} ({name})" for _, name in (base, head)]
    return FunctionSource(function, side_by_side(found[0] or (0, ()), found[1] or (0, ())), *names)


def side_by_side(base: Numbered, head: Numbered) -> tuple[SourceLine, ...]:
    """The lines of both sides in one column, equal lines once."""
    (base_first, old), (head_first, new) = base, head
    lines: list[SourceLine] = []
    for step, i, i_end, j, j_end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if step == "equal":
            lines += [SourceLine(base_first + i + n, head_first + j + n, old[i + n]) for n in range(i_end - i)]
            continue
        lines += [SourceLine(base_first + n, None, old[n]) for n in range(i, i_end)]
        lines += [SourceLine(None, head_first + n, new[n]) for n in range(j, j_end)]
    return tuple(lines)


def _from_commit(repository: Repository, commit: str, path: str) -> str | None:
    if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", commit) or "\0" in path:
        return None
    name = f"{commit}:{path}"
    size = run_git(repository.root, "cat-file", "-s", name)
    if size.code or not size.line.isdigit() or int(size.line) > _FILE_LIMIT:
        return None
    answer = run_git(repository.root, "cat-file", "blob", name)
    return None if answer.code else answer.output.decode("utf-8", "replace")


def _from_disk(repository: Repository, path: str) -> str | None:
    try:
        target = (repository.root / path).resolve()
        inside = target.is_relative_to(repository.root.resolve()) and target.is_file()
        if not inside or target.stat().st_size > _FILE_LIMIT:
            return None
        return target.read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError, RuntimeError):  # RuntimeError: a loop of symbolic links
        return None


def root_of(start: Path) -> Repository | None:
    """The repository `start` lies in, or None."""
    from pytest_blcperf.bench.repository import find
    from pytest_blcperf.errors import UsageError

    try:
        return find(start)
    except UsageError:
        return None
