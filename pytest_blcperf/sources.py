"""The source of a function on both sides, read from git or from disk and laid side by side.

File names come from run files, which may be anybody's: a name that leads out of the repository is not read.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path

from pytest_blcperf.bench.repository import Repository, run_git
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.run import Run
from pytest_blcperf.report.comparison_page import FunctionSource, SourceLine

Reader = Callable[[str], str | None]
"""A path relative to the repository → the file's text, None where there is none."""
Numbered = tuple[int, Sequence[str]]
"""The number of the first line, and the lines."""

_FILE_LIMIT = 2 << 20
_LINES_LIMIT = 1_000
_Scope = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def reader(repository: Repository, run: Run) -> tuple[Reader, str]:
    """How a run's sources are read, and what they are called: from its commit, or from disk when it had changes."""
    if run.commit and not run.dirty:
        return lambda path: _from_commit(repository, run.commit, path), run.commit[:9]
    return lambda path: _from_disk(repository, path), "on disk now"


def function_source(function: Function, base: tuple[Reader, str], head: tuple[Reader, str]) -> FunctionSource | None:
    """A Python function of the repository on both sides; None where neither side has it."""
    if function.kind != "python" or function.file.startswith("<"):
        return None
    found = [_function_lines(read(function.file), function) for read, _ in (base, head)]
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


def _function_lines(text: str | None, function: Function) -> Numbered | None:
    """The lines of a function, decorators included; of several of that name, the one nearest to its line."""
    if text is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    scopes = [(start, end) for name, start, end in _scopes(tree, "") if name == function.name]
    if not scopes:
        return None
    start, end = min(scopes, key=lambda scope: abs(scope[0] - function.line))
    return start, tuple(text.splitlines()[start - 1 : min(end, start - 1 + _LINES_LIMIT)])


def _scopes(node: ast.AST, prefix: str) -> Iterator[tuple[str, int, int]]:
    """(qualified name, first line, last line) of every function, named as the interpreter does."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, _Scope):
            yield from _scopes(child, prefix)
            continue
        name = prefix + child.name
        if isinstance(child, ast.ClassDef):
            yield from _scopes(child, name + ".")
            continue
        start = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
        yield name, start, child.end_lineno or child.lineno
        yield from _scopes(child, name + ".<locals>.")


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
    except (OSError, ValueError):
        return None


def root_of(start: Path) -> Repository | None:
    """The repository `start` lies in, or None."""
    from pytest_blcperf.bench.repository import find
    from pytest_blcperf.errors import UsageError

    try:
        return find(start)
    except UsageError:
        return None
