"""Edits of source code whose effect is known: a cost planted in a function, and refactorings of equal cost."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass

Files = Mapping[str, str]
"""A package: text by file name inside it."""


@dataclass(frozen=True)
class Replace:
    """`old` becomes `new`, once; with an empty `old`, `new` is appended."""

    file: str
    old: str
    new: str

    def apply(self, files: Files) -> dict[str, str]:
        """The files afterwards. Raises ValueError when `old` is not there."""
        text = files[self.file]
        if not self.old:
            return {**files, self.file: text + self.new}
        if self.old not in text:
            raise ValueError(f"{self.file}: not found: {self.old!r}")
        return {**files, self.file: text.replace(self.old, self.new, 1)}


@dataclass(frozen=True)
class Rename:
    """A name becomes another one, everywhere in the package."""

    old: str
    new: str

    def apply(self, files: Files) -> dict[str, str]:
        """The files afterwards. Raises ValueError when no file has the name."""
        renamed = {name: re.sub(rf"\b{self.old}\b", self.new, text) for name, text in files.items()}
        if renamed == dict(files):
            raise ValueError(f"no file has {self.old!r}")
        return renamed


@dataclass(frozen=True)
class Reorder:
    """A function goes to the end of its class, or of its module."""

    file: str
    function: str

    def apply(self, files: Files) -> dict[str, str]:
        """The files afterwards. Raises ValueError when there is no such function."""
        text = files[self.file]
        function, container = _find(text, self.function)
        lines = text.splitlines(keepends=True)
        first = min([function.lineno, *(one.lineno for one in function.decorator_list)]) - 1
        moved = lines[first : function.end_lineno]
        end = container.end_lineno if isinstance(container, ast.ClassDef) else len(lines)
        assert end is not None
        changed = [*lines[:first], *lines[function.end_lineno : end], "\n", *moved, *lines[end:]]
        return {**files, self.file: "".join(changed)}


@dataclass(frozen=True)
class Move:
    """A function of a module goes to another, new one, which begins with `needs`; `back` imports it again."""

    file: str
    function: str
    to: str
    back: str
    needs: str

    def apply(self, files: Files) -> dict[str, str]:
        """The files afterwards. Raises ValueError when there is no such function."""
        text = files[self.file]
        function, _ = _find(text, self.function)
        lines = text.splitlines(keepends=True)
        body = "".join(lines[function.lineno - 1 : function.end_lineno])
        rest = [*lines[: function.lineno - 1], self.back, *lines[function.end_lineno :]]
        head = "from json.decoder import JSONDecodeError\n" if "JSONDecodeError" in body else ""
        return {**files, self.file: "".join(rest), self.to: f"{head}{self.needs}\n\n{body}"}


@dataclass(frozen=True)
class Dose:
    """A cost: statements that store a constant (some 2 ns each), and turns of one empty loop (some 10 ns each).

    What they cost where they are is measured, not assumed (`repositories.dosage`).
    """

    statements: int = 0
    turns: int = 0

    def times(self, factor: float) -> Dose:
        """So many times that dose; at least one of what it has."""
        return Dose(*(max(int(one > 0), round(one * factor)) for one in (self.statements, self.turns)))


@dataclass(frozen=True)
class Plant:
    """A cost at the start of a function, worth `effect` of the benchmark's total; `base`: on the base instead."""

    place: str
    effect: float
    base: bool = False

    def dosed(self, files: Files, dose: Dose) -> dict[str, str]:
        """The files with that cost in the function."""
        file, _, function = self.place.partition("::")
        if file.endswith(".c"):
            return {**files, file: planted_c(files[file], function, dose.turns)}
        return {**files, file: planted(files[file], function, dose)}


Edit = Replace | Rename | Reorder | Move


def planted(source: str, function: str, dose: Dose) -> str:
    """The source with that cost at the start of the function's body."""
    found, _ = _find(source, function)
    first = next((one for one in found.body if not _is_docstring(one)), found.body[-1])
    lines = source.splitlines(keepends=True)
    indent = " " * first.col_offset
    code = f"{indent}_planted = None\n" * dose.statements
    if dose.turns:
        code += f"{indent}for _planted in range({dose.turns}):\n{indent}    pass\n"
    lines.insert(first.lineno - 1, code)
    return "".join(lines)


def planted_c(source: str, function: str, turns: int) -> str:
    """The same for C: turns of a loop that the compiler may not remove."""
    match = re.search(rf"^[^\n;]*\b{function}\([^)]*\)\s*\{{\n", source, re.M)
    if match is None:
        raise ValueError(f"no function {function!r}")
    code = f"    for (volatile int planted = 0; planted < {turns}; planted++) {{ }}\n"
    return source[: match.end()] + code + source[match.end() :]


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


Definition = ast.FunctionDef | ast.AsyncFunctionDef


def _find(source: str, function: str) -> tuple[Definition, ast.Module | ast.ClassDef]:
    """A function by its qualified name, and what it stands in. Raises ValueError when there is none."""
    *classes, name = function.split(".")
    container: ast.Module | ast.ClassDef = ast.parse(source)
    for wanted in classes:
        inner = [node for node in container.body if isinstance(node, ast.ClassDef) and node.name == wanted]
        if not inner:
            raise ValueError(f"no class {wanted!r}")
        container = inner[0]
    for node in container.body:
        if isinstance(node, Definition) and node.name == name:
            return node, container
    raise ValueError(f"no function {function!r}")
