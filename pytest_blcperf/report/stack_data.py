"""Functions and stacks as the data of a page: columns of small numbers, which compress well and parse fast."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_blcperf.model.function import KINDS, Function
from pytest_blcperf.model.stack_tree import StackTree
from pytest_blcperf.report.html import name_text

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def name_order(functions: Sequence[Function]) -> list[int]:
    """Indices of the functions sorted by name: the order of siblings in a flame graph, equal on every page."""
    return sorted(range(len(functions)), key=lambda index: (functions[index].name, functions[index].file, index))


def functions_data(functions: Iterable[Function]) -> dict[str, Any]:
    """`{"name": […], "file": [index], "files": […], "line": […], "kind": [index], "kinds": […]}`; names visible."""
    files: dict[str, int] = {}
    names, places, lines, kinds = [], [], [], []
    for function in functions:
        names.append(name_text(function.name))
        places.append(files.setdefault(name_text(function.file), len(files)))
        lines.append(function.line)
        kinds.append(KINDS.index(function.kind) if function.kind in KINDS else 0)
    return {"name": names, "file": places, "files": list(files), "line": lines, "kind": kinds, "kinds": list(KINDS)}


def tree_data(tree: StackTree, place: Ints) -> dict[str, Any]:
    """A tree as `{"parent": [differences], "function": […]}`; `place[f]` is function f's place in `functions_data`."""
    return {"parent": differences(tree.parent), "function": place[tree.function].tolist()}


def differences(column: Ints) -> list[int]:
    """A rising column as differences: mostly 0 and 1."""
    return np.diff(column, prepend=0).tolist() if len(column) else []


def rounded(column: Floats, digits: int = 4) -> list[float]:
    """Numbers with so many significant digits: more are noise, and make the page three times larger."""
    return [int(value) if value == int(value) else value for value in (float(f"{one:.{digits}g}") for one in column)]
