"""asv's benchmarks collected as tests: `time_*` functions, and methods of classes, in the folder `blcperf_asv_dir`.

After asv's own documentation (writing benchmarks): `params`, `setup`, `teardown` and `setup_cache` of function, class
and module, `timeout`, `number`. asv runs `setup` before each sample, which is a round here, or before each call where
`number = 1`. A `setup` that raises NotImplementedError skips that combination of parameters. Standard library only.
"""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pytest_blcperf.bench.job import Job

NAME = re.compile(r"Time[A-Z_].+|time_.+")
TIMEOUT = 60.0
"""asv's own, in seconds."""
COMBINATIONS = 10_000
"""Parameter combinations of one benchmark that are collected at most."""


class AsvFolder:
    """The pytest plugin that collects one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        """A file of benchmarks, unless its name says that it is private or pytest's own."""
        wanted = file_path.suffix == ".py" and not file_path.name.startswith(("_", "test_", "conftest"))
        if not wanted or not file_path.is_relative_to(self._folder):
            return None
        collector: pytest.Collector = AsvModule.from_parent(parent, path=file_path)
        return collector


class AsvModule(pytest.Module):
    """One file: a function item for every benchmark and combination of its parameters."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """The items, in the order of the file."""
        module = self.obj
        for owner, name, function in _benchmarks(module):
            label = name if owner is None else f"{owner.__name__}.{name}"
            sources = [function, *([owner] if owner is not None else []), module]
            for params, identifier in _combinations(_attribute(sources, "params", [])):
                test = _test(module, owner, name, function, params)
                item = pytest.Function.from_parent(self, name=label + identifier, callobj=test)
                seconds = float(_attribute(sources, "timeout", TIMEOUT))
                item.add_marker(pytest.mark.blcperf(timeout=f"{seconds}s"))
                yield item


def _benchmarks(module: ModuleType) -> Iterator[tuple[type | None, str, Callable[..., Any]]]:
    """(class or None, name, function) of what the module itself offers; imported classes are their own module's."""
    for name, value in list(vars(module).items()):
        if inspect.isclass(value) and not name.startswith("_"):
            if value.__module__ == module.__name__:
                for method, function in inspect.getmembers(value, inspect.isfunction):
                    if NAME.fullmatch(method):
                        yield value, method, function
        elif inspect.isfunction(value) and NAME.fullmatch(name) and value.__module__ == module.__name__:
            yield None, name, value


def _attribute(sources: Iterable[Any], name: str, default: Any) -> Any:
    return next((getattr(source, name) for source in sources if hasattr(source, name)), default)


def _combinations(params: Any) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Every combination with its part of the item's name; one empty one without parameters."""
    lists = list(params)
    if not lists:
        yield (), ""
        return
    if not all(isinstance(one, (list, tuple)) for one in lists):
        lists = [lists]
    seen: dict[str, int] = {}
    for combination in itertools.islice(itertools.product(*lists), COMBINATIONS):
        identifier = "-".join(_shown(value) for value in combination)
        number = seen[identifier] = seen.get(identifier, -1) + 1
        yield combination, f"[{identifier}{f'#{number}' if number else ''}]"


def _shown(value: Any) -> str:
    if isinstance(value, str):
        text = value
    else:
        text = getattr(value, "__qualname__", None) or repr(value)
        # An address would give every process another name.
        text = re.sub(r" at 0x[0-9a-f]+", "", text)
    return re.sub(r"[^ -~]|[\[\]:/]", "_", text)[:60]


def _test(
    module: ModuleType, owner: type | None, name: str, function: Callable[..., Any], params: tuple[Any, ...]
) -> Callable[..., None]:
    """A test that measures one combination with the benchmark fixture."""

    def test(benchmark: Any) -> None:
        instance = owner() if owner is not None else None
        call = function if instance is None else getattr(instance, name)
        sources = [function, *([instance] if instance is not None else []), module]
        # asv's order: the module's setup first, the function's last; teardowns the other way round.
        setups = [source.setup for source in reversed(sources) if hasattr(source, "setup")]
        teardowns = [source.teardown for source in sources if hasattr(source, "teardown")]
        cache = _attribute(sources, "setup_cache", None)
        arguments = (*([cache()] if cache is not None else []), *params)

        def set_up() -> tuple[tuple[Any, ...], dict[str, Any]]:
            for setup in setups:
                setup(*arguments)
            return arguments, {}

        def tear_down(*_arguments: Any) -> None:
            for teardown in teardowns:
                teardown(*arguments)

        try:
            set_up()
        except NotImplementedError as error:
            pytest.skip(f"setup raised NotImplementedError {error}".rstrip())
        tear_down()
        if _attribute(sources, "number", 0) == 1:
            benchmark.measure_job(Job(call, name, set_up, tear_down))
        else:
            benchmark.measure_job(Job(_with(call, arguments), name, before_round=set_up, after_round=tear_down))

    # The benchmark's own code is what is reported and fingerprinted; the signature is what pytest reads fixtures from.
    test.__signature__ = inspect.signature(test)  # type: ignore[attr-defined]
    test.__wrapped__ = function  # type: ignore[attr-defined]
    return test


def _with(call: Callable[..., Any], arguments: tuple[Any, ...]) -> Callable[[], Any]:
    return partial(call, *arguments) if arguments else call
