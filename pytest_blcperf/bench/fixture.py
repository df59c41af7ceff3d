"""The `benchmark` fixture's object: pytest-benchmark's surface over a measuring function that is handed in."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pytest_blcperf.bench.job import Arguments, Job, Measure, Rounds, Schedule
from pytest_blcperf.bench.stats import Stats

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    import pytest


class FixtureAlreadyUsed(RuntimeError):
    """A second use within one test; pytest-benchmark's error has the same name and words."""


class MeasuringCalls:
    """`benchmark(f, *args, **kwargs)` and `benchmark.pedantic(…)`, once in a test.

    A mixin: `BenchmarkFixture` below is the fixture where pytest-benchmark is absent; where it is installed, a subclass
    of its own fixture takes these methods (see `compat_benchmark.py`). `_mode` is the name both use.
    """

    _measure: Measure
    _mode: str | None = None
    _loop: AbstractEventLoop | None = None
    _already_used: type[Exception] = FixtureAlreadyUsed
    _job_options: Mapping[str, Any] = {}
    has_error = False

    @property
    def used(self) -> bool:
        """Whether the test has called it."""
        return self._mode is not None

    def __call__(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Measure `function(*args, **kwargs)`; gives the result of one more call."""
        self._begin("benchmark(...)")
        call = self._synchronous(function)
        return self._run(Job(partial(call, *args, **kwargs) if args or kwargs else call, _name(function)))

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
        `warmup_rounds` and `iterations` are what the test can rely on: the gate makes more calls where the test does
        not mind, and exactly these where it does (see `measure.py`).
        """
        self._begin("benchmark.pedantic(...)")
        try:
            schedule = _schedule(rounds, warmup_rounds, iterations, setup)
        except ValueError:
            self.has_error = True
            raise
        fixed = tuple(args), dict(kwargs or {})
        call = self._synchronous(target)
        if setup is None and teardown is None:
            ready = partial(call, *fixed[0], **fixed[1]) if args or kwargs else call
            return self._run(Job(ready, _name(target), schedule=schedule))

        def prepare() -> Arguments:
            made = setup() if setup is not None else None
            if not made:
                return fixed
            if args or kwargs:
                raise TypeError("Can't use `args` or `kwargs` if `setup` returns the arguments.")
            return tuple(made[0]), dict(made[1])

        return self._run(Job(call, _name(target), prepare, teardown, schedule))

    def measure_job(self, job: Job) -> Any:
        """Measure what another collector has prepared (`asv.py`)."""
        self._begin("measure_job")
        return self._run(job)

    def weave(self, target: Any, **kwargs: Any) -> None:
        """Measure the next call of `target` (a function or its dotted name) wherever it comes from; needs aspectlib."""
        try:
            import aspectlib
        except ImportError as error:
            raise ImportError(f"{error}: benchmark.weave needs it (pip install aspectlib)") from error

        def aspect(function: Callable[..., Any]) -> Callable[..., Any]:
            def wrapper(*args: Any, **named: Any) -> Any:
                return self(function, *args, **named)

            return wrapper

        self._cleanup_callbacks.append(aspectlib.weave(target, aspect, **kwargs).rollback)

    patch = weave
    _cleanup_callbacks: list[Callable[[], object]]

    def _begin(self, how: str) -> None:
        if self._mode:
            self.has_error = True
            raise self._already_used(f"Fixture can only be used once. Previously it was used in {self._mode} mode.")
        self._mode = how

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
            self.has_error = True
            raise RuntimeError(
                "benchmark(coroutine_function) inside a running event loop: make the test a plain function, "
                "and the benchmark runs the coroutine on a loop of its own"
            )

        def run_coroutine(*args: Any, **kwargs: Any) -> Any:
            return loop.run_until_complete(function(*args, **kwargs))

        return run_coroutine

    def _run(self, job: Job) -> object:
        if self._job_options:
            from dataclasses import replace

            job = replace(job, **self._job_options)
        try:
            result, rounds = self._measure(job)
        except BaseException:
            self.has_error = True
            raise
        finally:
            if self._loop is not None:
                self._loop.close()
        self._keep(rounds)
        return result

    def _keep(self, rounds: Rounds) -> None:
        """Make `stats` of the timed rounds."""
        raise NotImplementedError


class BenchmarkFixture(MeasuringCalls):
    """The fixture of a test where pytest-benchmark is not installed."""

    def __init__(
        self, request: pytest.FixtureRequest, measure: Measure, enabled: bool, disable_gc: bool = False
    ) -> None:
        node = request.node
        marker = node.get_closest_marker("benchmark")
        callspec = getattr(node, "callspec", None)
        self._measure = measure
        self._job_options = {"disable_gc": True} if disable_gc else {}
        self._cleanup_callbacks = []
        self.enabled = enabled
        self.name: str = node.name
        self.fullname: str = node.nodeid
        self.group: str | None = marker.kwargs.get("group") if marker is not None else None
        self.params: dict[str, Any] | None = dict(callspec.params) if callspec is not None else None
        self.param: str | None = callspec.id if callspec is not None else None
        self.extra_info: dict[str, Any] = {}
        self.stats: Stats | None = None
        self.skipped = False

    @property
    def disabled(self) -> bool:
        """Whether the target runs once and nothing is measured."""
        return not self.enabled

    def clean_up(self) -> None:
        """Take back what `weave` has replaced."""
        while self._cleanup_callbacks:
            self._cleanup_callbacks.pop()()

    def _keep(self, rounds: Rounds) -> None:
        self.stats = Stats(rounds, self)


def _schedule(rounds: Any, warmup_rounds: Any, iterations: Any, setup: object) -> Schedule:
    if not isinstance(iterations, int) or iterations < 1:
        raise ValueError(f"benchmark.pedantic: `iterations` must be a positive int, not {iterations!r}")
    if not isinstance(rounds, int) or rounds < 1:
        raise ValueError(f"benchmark.pedantic: `rounds` must be a positive int, not {rounds!r}")
    if not isinstance(warmup_rounds, int) or warmup_rounds < 0:
        raise ValueError(f"benchmark.pedantic: `warmup_rounds` must be an int of zero or more, not {warmup_rounds!r}")
    if iterations > 1 and setup:
        raise ValueError(f"benchmark.pedantic: setup runs before every call, so iterations={iterations} must be 1")
    return Schedule(warmup_rounds, rounds, iterations)


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
