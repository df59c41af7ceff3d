"""The `benchmark` fixture's object: pytest-benchmark's surface over a measuring function that is handed in."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from pytest_blcperf.bench.stats import Stats

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    import pytest

    from pytest_blcperf.bench.target import Arguments


class Call(Protocol):
    """What a fixture hands over to be measured; `target.Target` takes the same arguments."""

    def __call__(
        self,
        call: Callable[..., object],
        name: str,
        setup: Callable[[], Arguments] | None,
        teardown: Callable[..., object] | None,
    ) -> tuple[object, Sequence[tuple[int, int, int]]]:
        """Measure; gives the result of one call and the timed rounds (iterations, CPU ns, wall ns)."""


def call_once(
    call: Callable[..., object],
    name: str,
    setup: Callable[[], Arguments] | None,
    teardown: Callable[..., object] | None,
) -> tuple[object, Sequence[tuple[int, int, int]]]:
    """What `benchmark(f)` does without --blcperf: one call, timed, so that `stats` has something to show."""
    import time

    del name
    args, kwargs = setup() if setup is not None else ((), {})
    wall, cpu = time.perf_counter_ns(), time.process_time_ns()
    try:
        result = call(*args, **kwargs)
        cpu, wall = time.process_time_ns() - cpu, time.perf_counter_ns() - wall
    finally:
        if teardown is not None:
            teardown(*args, **kwargs)
    return result, [(1, cpu, wall)]


class BenchmarkFixture:
    """`benchmark(f, *args, **kwargs)` and `benchmark.pedantic(…)`; usable once in a test."""

    def __init__(self, request: pytest.FixtureRequest, measure: Call, enabled: bool) -> None:
        node = request.node
        marker = node.get_closest_marker("benchmark")
        callspec = getattr(node, "callspec", None)
        self._measure = measure
        self._used: str | None = None
        self._loop: AbstractEventLoop | None = None
        self.enabled = enabled
        self.name: str = node.name
        self.fullname: str = node.nodeid
        self.group: str | None = marker.kwargs.get("group") if marker is not None else None
        self.params: dict[str, Any] | None = dict(callspec.params) if callspec is not None else None
        self.param: str | None = callspec.id if callspec is not None else None
        self.extra_info: dict[str, Any] = {}
        self.stats: Stats | None = None
        self.has_error = False

    @property
    def used(self) -> bool:
        """Whether the test has called it."""
        return self._used is not None

    @property
    def disabled(self) -> bool:
        """Whether the target runs once and nothing is measured."""
        return not self.enabled

    def __call__(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Measure `function(*args, **kwargs)`; gives the result of one more call."""
        self._begin("benchmark(...)")
        name = _name(function)
        call = self._synchronous(function)
        return self._run(partial(call, *args, **kwargs) if args or kwargs else call, name)

    def pedantic(  # noqa: PLR0917 - pytest-benchmark's signature
        self,
        target: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        setup: Callable[[], Arguments | None] | None = None,
        teardown: Callable[..., object] | None = None,
        rounds: int = 1,
        warmup_rounds: int = 0,
        iterations: int = 1,
    ) -> Any:
        """Measure `target` with pytest-benchmark's fine control.

        `setup` runs untimed before every call and may return `(args, kwargs)`; `teardown` after it. `rounds`,
        `warmup_rounds` and `iterations` are checked and otherwise left to the gate, which decides how many calls its
        statistics need.
        """
        self._begin("benchmark.pedantic(...)")
        if rounds < 1 or iterations < 1 or warmup_rounds < 0:
            raise ValueError(
                f"benchmark.pedantic: rounds={rounds}, iterations={iterations}, warmup_rounds={warmup_rounds}: "
                "rounds and iterations must be at least 1, warmup_rounds at least 0"
            )
        if setup is not None and iterations != 1:
            raise ValueError(f"benchmark.pedantic: setup runs before every call, so iterations={iterations} must be 1")
        call = self._synchronous(target)
        fixed = tuple(args), dict(kwargs or {})
        if setup is None and teardown is None:
            ready = partial(call, *fixed[0], **fixed[1]) if args or kwargs else call
            return self._run(ready, _name(target))

        def prepare() -> Arguments:
            made = setup() if setup is not None else None
            if made is None:
                return fixed
            if args or kwargs:
                raise TypeError("benchmark.pedantic: args/kwargs cannot be given when setup returns them")
            return tuple(made[0]), dict(made[1])

        return self._run(call, _name(target), setup=prepare, teardown=teardown)

    def _begin(self, how: str) -> None:
        if self._used:
            self.has_error = True
            raise RuntimeError(f"the benchmark fixture was used already, by {self._used}; use it once in a test")
        self._used = how

    def _synchronous(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function itself; for a coroutine function, one that runs it to its end on one persistent event loop."""
        if not _is_coroutine_function(function):
            return function
        import asyncio

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self._loop = loop = asyncio.new_event_loop()
        else:
            raise RuntimeError(
                "benchmark(coroutine_function) inside a running event loop: make the test a plain function, "
                "and the benchmark runs the coroutine on a loop of its own"
            )

        def run_coroutine(*args: Any, **kwargs: Any) -> Any:
            return loop.run_until_complete(function(*args, **kwargs))

        return run_coroutine

    def _run(
        self,
        call: Callable[..., object],
        name: str,
        setup: Callable[[], Arguments] | None = None,
        teardown: Callable[..., object] | None = None,
    ) -> object:
        try:
            result, rounds = self._measure(call, name, setup, teardown)
        except BaseException:
            self.has_error = True
            raise
        finally:
            if self._loop is not None:
                self._loop.close()
        self.stats = Stats(rounds)
        return result


def _name(function: Callable[..., Any]) -> str:
    return str(
        getattr(function, "__qualname__", None) or getattr(function, "__name__", None) or type(function).__name__
    )


def _is_coroutine_function(function: Callable[..., Any]) -> bool:
    while isinstance(function, partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(type(function), "__call__", None)  # noqa: B004
    )
