"""Functions implemented in C as the functions of a count: whose they are, and what they are called.

They have no code object. What Python tells of them is the class or the module they belong to, and their name.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from types import BuiltinFunctionType, ClassMethodDescriptorType, MethodDescriptorType, ModuleType
from typing import Any, NamedTuple

from pytest_blcperf.capture.functions import Roots, normal_file
from pytest_blcperf.model.function import NATIVE

BUILTIN = "<builtin>"
"""The file of what the interpreter itself holds, or whose extension module Python does not tell."""

C_FUNCTION_TYPES = frozenset({BuiltinFunctionType, type(re.compile("").match), MethodDescriptorType})
"""Functions and methods of C as `sys.setprofile` knows them in every version. Classes, and callables of types of their
own (`functools.partial`, numpy's ufuncs, functions of Cython), are not among them. The second is `builtin_method`, a
method that is told its class; `types` has no name for it."""

_ABI_TAG = re.compile(r"\.(?:cpython-[^./]+|abi3)(?=\.so$)")
_KEPT = (type, ModuleType)
_METHODS = (MethodDescriptorType, ClassMethodDescriptorType, BuiltinFunctionType, staticmethod)


class CFunction(NamedTuple):
    """A function in C: the class or module it belongs to (itself, where it belongs to neither), and its name."""

    owner: Any
    name: str

    def describe(self, roots: Roots) -> tuple[str, str, int, str, str]:
        """(file, qualified name, 0, "", "native"), as in `model.function.Function`: C code has no line or fingerprint.

        `math.sqrt` of `<stdlib>/lib-dynload/math.so`, `list.append` and `collections.deque.append` of `<builtin>`: the
        module is part of the name, the tag of the interpreter no part of the file.
        """
        owner = self.owner
        if issubclass(type(owner), type):
            defining = _defining_class(owner, self.name)
            module, name = str(defining.__module__), f"{defining.__qualname__}.{self.name}"
            home = sys.modules.get(module)
        elif issubclass(type(owner), ModuleType):
            module, name, home = str(owner.__name__), self.name, owner
        else:
            module, name = str(owner.__module__ or "builtins"), self.name
            home = sys.modules.get(module)
        return _file(home, roots), name if module == "builtins" else f"{module}.{name}", 0, "", NATIVE


def owner_of(function: Callable[..., object]) -> Any:
    """The owner of one of `C_FUNCTION_TYPES`: `list` for `[].append` as for `list.append`.

    Never the object a method is bound to, which must not be kept alive; and nothing here may run Python code.
    """
    if type(function) is MethodDescriptorType:
        return function.__objclass__
    owner = function.__self__  # type: ignore[attr-defined]
    if owner is None:
        return function
    kind = type(owner)
    return owner if issubclass(kind, _KEPT) else kind


def _defining_class(owner: type, name: str) -> type:
    """The class a method was inherited from: a profiler is told of `Subclass.append`, a monitor of `list.append`."""
    return next((one for one in owner.__mro__ if isinstance(vars(one).get(name), _METHODS)), owner)


def _file(module: object, roots: Roots) -> str:
    file = vars(module).get("__file__") if isinstance(module, ModuleType) else None
    if not isinstance(file, str) or not file.endswith(".so"):
        return BUILTIN
    return _ABI_TAG.sub("", normal_file(file, roots))
