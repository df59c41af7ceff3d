"""Functions given other code for a while, wherever they are held. Standard library only.

A function object is what dispatch tables, closures, methods and decorators hold, so its code is exchanged, not its
name. Found are all function objects that the garbage collector knows, those whose code is wanted and those whose code
makes functions of wanted code when it runs: there the constant is exchanged.

Not reached: code that runs or is suspended already, what it makes, and code that is run by itself (`exec`).
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from types import AsyncGeneratorType, CodeType, CoroutineType, FunctionType, GeneratorType

from pytest_blcperf.capture.activations import Hooks
from pytest_blcperf.capture.timed_code import timed_code


class ExchangedCode:
    """The functions of some code objects, with calls of hooks in them while it is open."""

    def __init__(self, codes: Sequence[CodeType], hooks: Hooks) -> None:
        self.untimed: list[CodeType] = []
        """Code that cannot be rewritten, that no function has or makes, or that is suspended somewhere."""
        self._codes = codes
        self._hooks = hooks
        self._before: list[tuple[FunctionType, CodeType, CodeType]] = []

    def open(self) -> None:
        rewritten = {id(code): timed_code(code, self._hooks) for code in self._codes}
        functions, suspended = _living()
        for code in self._codes:
            if id(code) in suspended:
                rewritten[id(code)] = None
        exchange = _Exchange({key: code for key, code in rewritten.items() if code is not None})
        for function in functions:
            before = function.__code__
            after = exchange.exchanged(before)
            if after is not before:
                self._before.append((function, before, after))
                function.__code__ = after
        self.untimed = [code for code in self._codes if id(code) not in exchange.reached]

    def close(self) -> None:
        exchanged, self._before = self._before, []
        for function, before, after in exchanged:
            if function.__code__ is after:
                function.__code__ = before


def _living() -> tuple[list[FunctionType], set[int]]:
    """All function objects, and the identities of the code objects that generators and coroutines are suspended in."""
    # What is frozen is not listed.
    frozen = gc.get_freeze_count()
    if frozen:
        gc.unfreeze()
    functions, suspended = [], set()
    for one in gc.get_objects():
        kind = type(one)
        if kind is FunctionType:
            functions.append(one)
        elif kind is GeneratorType:
            suspended |= {id(one.gi_code)} if one.gi_frame is not None else set()
        elif kind is CoroutineType:
            suspended |= {id(one.cr_code)} if one.cr_frame is not None else set()
        elif kind is AsyncGeneratorType:
            suspended |= {id(one.ag_code)} if one.ag_frame is not None else set()
    if frozen:
        gc.freeze()
    return functions, suspended


class _Exchange:
    """Code objects with the wanted ones among their constants exchanged, at any depth."""

    def __init__(self, wanted: dict[int, CodeType]) -> None:
        self.reached: set[int] = set()
        self._wanted = wanted
        self._known: dict[int, tuple[CodeType, CodeType]] = {}

    def exchanged(self, code: CodeType) -> CodeType:
        """The code itself where nothing in it is wanted."""
        if id(code) not in self._known:
            self._known[id(code)] = (code, self._make(code))
        return self._known[id(code)][1]

    def _make(self, code: CodeType) -> CodeType:
        after = code
        if id(code) in self._wanted:
            self.reached.add(id(code))
            after = self._wanted[id(code)]
        constants = tuple(
            self.exchanged(constant) if isinstance(constant, CodeType) and constant is not code else constant
            for constant in after.co_consts
        )
        if all(new is old for new, old in zip(constants, after.co_consts, strict=True)):
            return after
        return after.replace(co_consts=constants)
