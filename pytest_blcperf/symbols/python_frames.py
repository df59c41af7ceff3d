"""Python and native frames as one logical stack: what the interpreter does for a function counts as that function.

A frame above which the stub of a Python function lies is the interpreter evaluating it, and is hidden behind it. So are
its helpers and the C library as far as the interpreter calls it (`list.sort`, `malloc`). Frames of extension modules,
of the libraries they call, of the kernel and of JITs stay.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

NOTHING, PYTHON, INTERPRETER, SYSTEM, OTHER = range(5)
"""What a frame is: none (padding), a Python function, the interpreter's own code, the C library or vDSO, other code."""

EVALUATION = "_PyEval_EvalFrameDefault"
"""The function that runs Python code, in every CPython from 3.6 on; exported, so that stripped builds have it too."""

_INTERPRETER = re.compile(r"(lib)?python\d(\.\d+)?[a-z]*(\.so[.\d]*)?(-dbg)?")
_SYSTEM = re.compile(r"(lib(c|m|dl|rt|pthread|util)|ld(-linux[^.]*|-musl[^.]*)?)[-.].*|\[vdso\]|\[vsyscall\]")


def sort_of_object(path: str) -> int:
    """INTERPRETER, SYSTEM or OTHER, from the path of an object file. `python3.12` and `libpython3.12.so.1.0` are the
    interpreter, whatever folder they are in.
    """
    name = path.rsplit("/", 1)[-1]
    if _INTERPRETER.fullmatch(name):
        return INTERPRETER
    return SYSTEM if _SYSTEM.fullmatch(name) else OTHER


def visible(sort: Ints) -> Flags:
    """Which frames of n stacks stay: `sort` is n × depth, leaf first, padded with NOTHING at the end.

    Stacks without a Python frame keep all their frames: there is none to hide them behind.
    """
    keep = np.zeros(sort.shape, np.bool_)
    has_python = (sort == PYTHON).any(axis=1)
    # From the root on: whether the nearest frame that is not the C library is one that stays by itself.
    foreign = ~has_python
    for column in range(sort.shape[1] - 1, -1, -1):
        here = sort[:, column]
        keep[:, column] = (here == PYTHON) | (here == OTHER) | ((here == SYSTEM) & foreign)
        foreign = np.where(here == OTHER, True, np.where((here == PYTHON) | (here == INTERPRETER), False, foreign))
    keep[~has_python] = sort[~has_python] != NOTHING
    return keep
