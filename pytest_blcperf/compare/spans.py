"""Where functions stand in the text of a module: by its syntax tree, named as the interpreter names them."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from pytest_blcperf.model.function import Function

LINES_LIMIT = 1_000
"""Lines of one function that are looked at."""
Numbered = tuple[int, Sequence[str]]
"""The number of the first line, and the lines."""

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_LOOPS = (ast.For, ast.AsyncFor, ast.While, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True)
class Span:
    """A function in a module's text: its qualified name, its first and last line (1-based), decorators included."""

    name: str
    first: int
    last: int


class Module:
    """The text of a module with what its syntax tree tells of lines."""

    def __init__(self, lines: Sequence[str], tree: ast.Module) -> None:
        self.lines, self._tree = lines, tree

    @cached_property
    def spans(self) -> tuple[Span, ...]:
        """Every function, nested ones after those around them."""
        return tuple(_spans(self._tree, ""))

    def span(self, function: Function) -> Span | None:
        """Where a function stands, of several of that name the one nearest to its line; None where it does not.

        Comprehensions and lambda functions have no text of their own: theirs is that of the function around them.
        """
        found = [one for one in self.spans if one.name == _with_text(function.name)]
        return min(found, key=lambda one: abs(one.first - function.line)) if found else None

    def lines_of(self, function: Function) -> Numbered | None:
        """The lines of a function, at most LINES_LIMIT; None where it is not there."""
        span = self.span(function)
        if span is None:
            return None
        return span.first, tuple(self.lines[span.first - 1 : min(span.last, span.first - 1 + LINES_LIMIT)])

    def outside(self) -> list[tuple[int, str]]:
        """The lines of no function, with their numbers: constants, imports, attributes of classes."""
        inside = {line for span in self.spans for line in range(span.first, span.last + 1)}
        return [(number, line) for number, line in enumerate(self.lines, 1) if number not in inside]

    def names_in(self, span: Span) -> frozenset[str]:
        """The names and attributes that the code between two lines speaks of."""
        return frozenset(name for line, name in self._names if span.first <= line <= span.last)

    @cached_property
    def _names(self) -> list[tuple[int, str]]:
        nodes = (node for node in ast.walk(self._tree) if isinstance(node, (ast.Name, ast.Attribute)))
        return [(node.lineno, node.id if isinstance(node, ast.Name) else node.attr) for node in nodes]

    @cached_property
    def loop_depth(self) -> dict[int, int]:
        """Line → how many loops of its function are around it; lines in no loop are missing."""
        depth: dict[int, int] = {}
        for node in ast.walk(self._tree):
            if isinstance(node, _LOOPS):
                for line in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                    depth[line] = depth.get(line, 0) + 1
        return depth

    @cached_property
    def documentation(self) -> frozenset[int]:
        """The lines of strings that are statements: docstrings."""
        return frozenset(
            line
            for node in ast.walk(self._tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
            for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
        )


def parse(text: str | None) -> Module | None:
    """The module, None where there is no text or it is no Python that this interpreter reads."""
    if text is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = Module(_lines(text), ast.parse(text))
            # Here, since a tree that could be parsed can still be too deep to be gone through.
            _ = module.spans
            return module
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _lines(text: str) -> list[str]:
    """The lines as the interpreter counts them: unlike `splitlines`, form feeds and Unicode separators end none."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _with_text(name: str) -> str:
    while ".<locals>." in name and name.rpartition(".<locals>.")[2].startswith("<"):
        name = name.rpartition(".<locals>.")[0]
    return name


def _spans(node: ast.AST, prefix: str) -> Iterator[Span]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from _spans(child, f"{prefix}{child.name}.")
        elif isinstance(child, _Function):
            name = prefix + child.name
            first = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
            yield Span(name, first, child.end_lineno or child.lineno)
            yield from _spans(child, f"{name}.<locals>.")
        elif not isinstance(child, ast.expr):
            yield from _spans(child, prefix)
