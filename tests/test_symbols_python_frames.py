"""Which frames of a Python program's native stacks stay."""

import numpy as np
import pytest

from pytest_blcperf.symbols.python_frames import (
    INTERPRETER,
    NOTHING,
    OTHER,
    PYTHON,
    SYSTEM,
    sort_of_object,
    visible,
)

P, I, S, O, N = PYTHON, INTERPRETER, SYSTEM, OTHER, NOTHING  # noqa: E741


@pytest.mark.parametrize(
    ("path", "sort"),
    [
        ("/usr/bin/python3.14", I),
        ("/usr/bin/python3", I),
        ("/opt/lib/libpython3.12.so.1.0", I),
        ("/opt/lib/libpython3.13t.so.1.0", I),
        ("/usr/lib/x86_64-linux-gnu/libc.so.6", S),
        ("/lib/libc-2.31.so", S),
        ("/lib64/ld-linux-x86-64.so.2", S),
        ("/lib/ld-musl-x86_64.so.1", S),
        ("libm.so.6", S),
        ("[vdso]", S),
        ("/opt/lib/python3.12/lib-dynload/_json.cpython-312-x86_64-linux-gnu.so", O),
        ("/usr/lib/libcrypto.so.3", O),
        ("/usr/lib/libmagic.so.1", O),
        ("/usr/bin/pythonic-tool", O),
        ("//anon", O),
        ("", O),
    ],
)
def test_objects_are_told_by_their_names(path, sort):
    assert sort_of_object(path) == sort


@pytest.mark.parametrize(
    ("stack", "kept"),
    [
        # The interpreter works for the function: its helpers, the C library it calls, and what called the program.
        ([S, I, I, P, I, P, I, S], [0, 0, 0, 1, 0, 1, 0, 0]),
        # An extension module and the C library it calls stay; so does Python code it calls back.
        ([S, O, I, P], [1, 1, 0, 1]),
        ([P, I, O, I, P], [1, 0, 1, 0, 1]),
        # The extension calls the interpreter, which allocates memory: for the extension, but not by it.
        ([S, I, O, I, P], [0, 0, 1, 0, 1]),
        # A stack without Python keeps everything.
        ([S, I, S], [1, 1, 1]),
        ([P], [1]),
    ],
)
def test_what_the_interpreter_does_for_a_function_is_hidden_behind_it(stack, kept):
    padded = np.array([[*stack, N, N]])
    assert visible(padded)[0].tolist() == [*map(bool, kept), False, False]


def test_many_stacks_at_once():
    assert visible(np.array([[I, P, N], [O, I, P], [N, N, N]])).tolist() == [
        [False, True, False],
        [True, False, True],
        [False, False, False],
    ]
