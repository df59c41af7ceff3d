"""Code objects as functions that can be compared between checkouts: where, what it is called, what it does."""

from __future__ import annotations

import hashlib
import linecache
import opcode
import os
import re
import site
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from types import CodeType

_PACKAGES = re.compile(r".*/(?:site|dist)-packages(?=/)")
_NEW_LOCALS = 0x2
_HAS_DOCSTRING = 0x4000000


@dataclass(frozen=True)
class Roots:
    """Directories that file names are made relative to: absolute paths, without the slash at the end, with the prefix
    that stands for each ("" for the checkout, else `<site>/` or `<stdlib>/`).
    """

    prefixes: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, checkout: str) -> Roots:
        """The roots of this interpreter and the side's checkout."""
        paths = sysconfig.get_paths()
        packages = [paths["purelib"], paths["platlib"], site.getusersitepackages()]
        packages += getattr(site, "getsitepackages", list)()
        library = [paths["stdlib"], paths["platstdlib"], os.path.dirname(os.__file__)]  # noqa: PTH120
        named = [(checkout, ""), *((path, "<site>/") for path in packages), *((path, "<stdlib>/") for path in library)]
        return cls(tuple(dict.fromkeys((form, prefix) for path, prefix in named for form in _forms(path))))


Description = tuple[str, str, int, str]
"""A Python function as plain data: file, qualified name, first line, fingerprint, as in `model.function.Function`."""


def describe(code: CodeType, roots: Roots) -> Description:
    """What the code is of."""
    return (
        normal_file(code.co_filename, roots),
        qualified_name(code),
        code.co_firstlineno,
        fingerprint(code),
    )


@cache
def normal_file(filename: str, roots: Roots) -> str:
    """`src/x.py` in the checkout, `<site>/x.py` among installed packages, `<stdlib>/x.py`, else the absolute path.

    The innermost root wins: packages of a virtual environment inside the checkout are `<site>/`. Symbolic links are
    resolved first, unless that leads out of every root. Names that are no files (`<string>`) stay.
    """
    if filename.startswith("<"):
        return filename
    as_given, resolved = _forms(filename)
    return _relative(resolved, roots) or _relative(as_given, roots) or as_given


def _forms(path: str) -> tuple[str, str]:
    return os.path.abspath(path), os.path.realpath(path)  # noqa: PTH100


def _relative(path: str, roots: Roots) -> str:
    """The path below the innermost root, "" when it is below none."""
    found = [(len(root), prefix) for root, prefix in roots.prefixes if path.startswith(root.rstrip("/") + "/")]
    packages = _PACKAGES.match(path)
    if packages:
        found.append((packages.end(), "<site>/"))
    if not found:
        return ""
    length, prefix = max(found)
    return prefix + path[length:].lstrip("/")


def qualified_name(code: CodeType) -> str:
    """`Class.method`, `outer.<locals>.inner`; on Python 3.10 from the source file, the bare name where it is gone."""
    if sys.version_info >= (3, 11):
        return code.co_qualname
    return source_names(code.co_filename).get((code.co_firstlineno, code.co_name), code.co_name)


@cache
def source_names(filename: str) -> dict[tuple[int, str], str]:
    """(first line, name) → qualified name of everything the source file defines; {} when it cannot be compiled.

    The compiler says which line a decorated function begins on and how lambdas and comprehensions are called. Of two
    lambdas on one line the first is taken.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = compile("".join(linecache.getlines(filename)), filename, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    names: dict[tuple[int, str], str] = {}
    for line, name, qualified in _nested_names(module, ""):
        names.setdefault((line, name), qualified)
    return names


def _nested_names(parent: CodeType, prefix: str) -> Iterator[tuple[int, str, str]]:
    for code in parent.co_consts:
        if isinstance(code, CodeType):
            qualified = prefix + code.co_name
            yield code.co_firstlineno, code.co_name, qualified
            inner = ".<locals>." if code.co_flags & _NEW_LOCALS else "."
            yield from _nested_names(code, qualified + inner)


def fingerprint(code: CodeType) -> str:
    """16 hexadecimal digits: equal for code that does the same, wherever it stands and however it is commented.

    Line numbers, file names and the docstrings of functions are left out; names, constants and nested functions are in.
    The values of default arguments are not: they belong to the code around the function. Bytecode differs between
    Python versions, and so do fingerprints.
    """
    return hashlib.blake2b(_behaviour(code).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _behaviour(code: CodeType) -> str:
    parts = (
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_flags & ~_HAS_DOCSTRING,
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        getattr(code, "co_exceptiontable", b""),
    )
    return f"code({parts!r},{','.join(_instructions(code))})"


def _instructions(code: CodeType) -> Iterator[str]:
    """Instructions with constants in place of their indices: a docstring, which none refers to, shifts the indices."""
    extended = 0
    raw = code.co_code
    for offset in range(0, len(raw), 2):
        operation, argument = raw[offset], raw[offset + 1] | extended
        extended = argument << 8 if operation == opcode.EXTENDED_ARG else 0
        if operation in _TAKES_CONSTANT and argument < len(code.co_consts):
            yield f"{operation} {_constant(code.co_consts[argument])}"
        elif not extended:
            yield f"{operation} {argument}"


_TAKES_CONSTANT = frozenset(opcode.hasconst)


def _constant(value: object) -> str:
    """A constant as text that does not depend on the hash seed, on addresses, or on limits for printing integers."""
    if isinstance(value, CodeType):
        return _behaviour(value)
    if isinstance(value, tuple):
        return f"({_joined(map(_constant, value))})"
    if isinstance(value, frozenset):
        return f"frozenset({_joined(sorted(map(_constant, value)))})"
    if isinstance(value, int) and not isinstance(value, bool):
        return hex(value)
    if value is None or isinstance(value, (bool, float, complex, str, bytes, slice, type(...))):
        return repr(value)
    return type(value).__qualname__


def _joined(parts: Iterable[str]) -> str:
    return ",".join(parts)
