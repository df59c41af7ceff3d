"""Where the code objects of this very process lie in memory, so that addresses seen from outside can be told apart.

CPython only. The bytecode of a code object is the tail of the object from 3.11 on, and a bytes object of its own before
(Include/cpython/code.h). With the perf trampoline active every function that runs gets a stub of machine code, which
the interpreter keeps among the code object's extra data (PEP 523, `PyUnstable_Code_GetExtra`): that names the function
of a stub exactly, where the perf map's `py::qualname:file` may stand for several.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable, Iterable, Iterator
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, FunctionType, GeneratorType

MAX_CODE_OBJECTS = 500_000


def code_objects(more: Iterable[CodeType] = ()) -> list[CodeType]:
    """Every code object that a function, generator, coroutine or running frame leads to, those nested in them, and
    `more`. Distinct by identity, MAX_CODE_OBJECTS at most. Frozen garbage is looked at too, and frozen again.
    """
    found: dict[int, CodeType] = {}
    waiting = [*more, *_running()]
    frozen = gc.get_freeze_count() > 0
    if frozen:
        gc.unfreeze()
    for holder in gc.get_objects():
        code = _code_of(holder)
        if code is not None:
            waiting.append(code)
    if frozen:
        gc.freeze()
    while waiting and len(found) < MAX_CODE_OBJECTS:
        code = waiting.pop()
        if id(code) not in found:
            found[id(code)] = code
            waiting += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return list(found.values())


def _code_of(holder: object) -> CodeType | None:
    # By exact type: isinstance() asks the object's own __class__, which proxies answer with code of their own.
    kind = type(holder)
    if kind is FunctionType:
        return holder.__code__  # type: ignore[attr-defined, no-any-return]
    if kind is GeneratorType:
        return holder.gi_code  # type: ignore[attr-defined, no-any-return]
    if kind is CoroutineType:
        return holder.cr_code  # type: ignore[attr-defined, no-any-return]
    if kind is AsyncGeneratorType:
        return holder.ag_code  # type: ignore[attr-defined, no-any-return]
    return None


def _running() -> Iterator[CodeType]:
    for leaf in sys._current_frames().values():
        frame: FrameType | None = leaf
        while frame is not None:
            yield frame.f_code
            frame = frame.f_back


def bytecode_range(code: CodeType) -> tuple[int, int]:
    """(address, bytes) of the instructions the interpreter runs; from 3.11 on a few bytes more, of the heap's padding.

    `__sizeof__` rather than `len(co_code)`, which makes a copy that each code object keeps.
    """
    if sys.version_info < (3, 11):
        return id(code.co_code) + bytes.__basicsize__ - 1, len(code.co_code)
    return id(code) + CodeType.__basicsize__, code.__sizeof__() - CodeType.__basicsize__


def code_extra() -> Callable[[CodeType, int], int] | None:
    """A function that gives word `index` of a code object's extra data, 0 where there is none; None before 3.12."""
    if sys.version_info < (3, 12):
        return None
    get = ctypes.pythonapi.PyUnstable_Code_GetExtra
    get.restype = ctypes.c_int
    get.argtypes = [ctypes.py_object, ctypes.c_ssize_t, ctypes.POINTER(ctypes.c_void_p)]
    word = ctypes.c_void_p()

    def extra(code: CodeType, index: int) -> int:
        word.value = None
        return (word.value or 0) if get(code, index, ctypes.byref(word)) == 0 else 0

    return extra


def why_not_supported() -> str | None:
    """One sentence when addresses in this interpreter cannot be told apart like this, else None."""
    if sys.implementation.name != "cpython":
        return f"{sys.implementation.name} keeps its functions otherwise than CPython"
    if getattr(sys, "_is_gil_enabled", lambda: True)() is False:
        return "in a free-threaded process every thread runs its own copy of the bytecode"
    if _has_subinterpreter():
        return "a subinterpreter is running, whose functions cannot be listed from here"
    return None


def _has_subinterpreter() -> bool:
    # Only when the program has loaded the module: nothing else makes interpreters, and to import it would cost.
    modules = [sys.modules[name] for name in ("_interpreters", "_xxsubinterpreters") if name in sys.modules]
    return any(len(module.list_all()) > 1 for module in modules)
