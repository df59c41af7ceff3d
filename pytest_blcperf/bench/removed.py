"""Benchmarks that only the base has: the head took them out, and the report says so."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

from pytest_blcperf.bench.repository import ADDED, Difference

_PARSE_LIMIT = 1 << 20

Read = Callable[[str], "bytes | None"]


def removed_benchmarks(differences: Sequence[Difference], read_base: Read, read_head: Read) -> tuple[str, ...]:
    """Ids of test functions with a `benchmark` argument that the base's files have and the head's have no more.

    Read from the source, so nothing is imported. A function of that name in another changed file was moved there.
    """
    changed = [difference for difference in differences if _may_hold_tests(difference.path)]
    now = {name for difference in changed for name in _benchmarks(read_head(difference.path))}
    return tuple(
        f"{difference.path}::{name}"
        for difference in changed
        if difference.kind != ADDED
        for name in _benchmarks(read_base(difference.path))
        if name not in now
    )


def _may_hold_tests(path: str) -> bool:
    name = PurePosixPath(path).name
    return name.endswith(".py") and ("test" in name or "bench" in name)


def _benchmarks(source: bytes | None) -> list[str]:
    """Names such as `test_sort` and `TestSort::test_reverse`, in order."""
    if source is None or len(source) > _PARSE_LIMIT:
        return []
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return []
    return [name for node in tree.body for name in _names(node, "")]


def _names(node: ast.stmt, prefix: str) -> list[str]:
    if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
        return [name for child in node.body for name in _names(child, f"{prefix}{node.name}::")]
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test"):
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        if any(argument.arg == "benchmark" for argument in arguments):
            return [prefix + node.name]
    return []
