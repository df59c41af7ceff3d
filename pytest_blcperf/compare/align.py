"""Which benchmark, and which function, of one side is which of the other."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from pytest_blcperf.model.function import PYTHON, Function
from pytest_blcperf.model.run import Benchmark, Run
from pytest_blcperf.model.warning import Warning

Item = TypeVar("Item", Benchmark, Function)


class BenchmarkMatch(NamedTuple):
    """Benchmarks of two runs. A pair that was not matched by id carries a warning on its head."""

    pairs: tuple[tuple[Benchmark, Benchmark], ...]
    only_base: tuple[Benchmark, ...]
    only_head: tuple[Benchmark, ...]


class FunctionMatch(NamedTuple):
    """Functions of two sides, each identity once a side."""

    pairs: tuple[tuple[Function, Function], ...]
    only_base: tuple[Function, ...]
    only_head: tuple[Function, ...]


def match_benchmarks(base: Run, head: Run) -> BenchmarkMatch:
    """Benchmarks by id; what is left by code and name, code alone, or name alone, where that is unique on both sides.

    Parameters must agree: the code of `test_sort[10]` is that of `test_sort[1000000]`. Pairs come in the head's order.
    """
    pairs, left_base, left_head = _pair(base.benchmarks, head.benchmarks, lambda benchmark: benchmark.id)
    for word, key in (("code and name", _code_and_name), ("code", _code), ("name", _name)):
        found, left_base, left_head = _pair(left_base, left_head, key)
        pairs += [(old, _warned(new, old, word)) for old, new in found]
    order = {benchmark.id: position for position, benchmark in enumerate(head.benchmarks)}
    pairs.sort(key=lambda pair: order[pair[1].id])
    return BenchmarkMatch(tuple(pairs), tuple(left_base), tuple(left_head))


def match_functions(base: Iterable[Function], head: Iterable[Function]) -> FunctionMatch:
    """Functions by identity; what is left (moved, renamed) by equal fingerprint where that is unique on both sides.

    Then, edited as well, by qualified name (moved to another file), and by file and last name (of a renamed class or
    outer function); again where unique. Functions that are named after their address are the same ones only when their
    code is: another build moves them.
    """
    pairs, left_base, left_head = _pair(merge(base), merge(head), _identity)
    for key in (_fingerprint, _qualified_name, _last_name):
        moved, left_base, left_head = _pair(left_base, left_head, key)
        pairs += moved
    return FunctionMatch(tuple(pairs), tuple(left_base), tuple(left_head))


def merge(functions: Iterable[Function]) -> tuple[Function, ...]:
    """Each identity once, in order of appearance: the first line known, and all its fingerprints as one.

    Two lambdas of one file are one identity; its code is unchanged only when both are.
    """
    merged: dict[Function, list[Function]] = {}
    for function in functions:
        merged.setdefault(function, []).append(function)
    return tuple(_one(same) for same in merged.values())


def _one(same: Sequence[Function]) -> Function:
    if len(same) == 1:
        return same[0]
    line = next((function.line for function in same if function.line), 0)
    fingerprints = sorted({part for function in same for part in function.fingerprint.split("+") if part})
    return replace(same[0], line=line, fingerprint="+".join(fingerprints))


def _pair(
    base: Sequence[Item], head: Sequence[Item], key: Callable[[Item], Hashable | None]
) -> tuple[list[tuple[Item, Item]], list[Item], list[Item]]:
    """Pairs whose key is not None, equal, and unique on both sides; then what is left of either side."""
    known = _unique(base, key)
    wanted = _unique(head, key)
    pairs = [(known[value], item) for value, item in wanted.items() if value in known]
    taken = {id(item) for pair in pairs for item in pair}
    return pairs, [item for item in base if id(item) not in taken], [item for item in head if id(item) not in taken]


def _unique(items: Sequence[Item], key: Callable[[Item], Hashable | None]) -> dict[Hashable, Item]:
    groups: dict[Hashable, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return {value: group[0] for value, group in groups.items() if value is not None and len(group) == 1}


def _fingerprint(function: Function) -> Hashable | None:
    return function.fingerprint or None


def _qualified_name(function: Function) -> Hashable | None:
    """The name of a Python function that somebody named: no lambda, no comprehension."""
    named = function.kind == PYTHON and "<" not in function.name.rpartition(".")[2] and function.name[:3] != "+0x"
    return function.name if named else None


def _last_name(function: Function) -> Hashable | None:
    within, _, last = function.name.rpartition(".")
    return (function.file, last) if within and _qualified_name(function) else None


def _parameters(benchmark: Benchmark) -> str:
    return repr(sorted((name, str(value)) for name, value in benchmark.params.items()))


def _identity(function: Function) -> Hashable | None:
    if not function.name.startswith("+0x"):
        return function
    return (function, function.fingerprint) if function.fingerprint else None


def _code_and_name(benchmark: Benchmark) -> Hashable | None:
    return (benchmark.code, benchmark.name, _parameters(benchmark)) if benchmark.code else None


def _code(benchmark: Benchmark) -> Hashable | None:
    return (benchmark.code, _parameters(benchmark)) if benchmark.code else None


def _name(benchmark: Benchmark) -> Hashable:
    return (benchmark.name, _parameters(benchmark))


def _warned(head: Benchmark, base: Benchmark, word: str) -> Benchmark:
    text = f"matched by {word} with {base.id} of the baseline, which has no benchmark of this id"
    return replace(head, warnings=(*head.warnings, Warning("benchmark-matched", text)))
