"""Exact calls of every function, by `sys.monitoring` from Python 3.12 on and by `sys.setprofile` before.

What counts: the start of a Python function, lambda, class body or generator, and the call of a C function by Python
code. Resuming a generator or coroutine is not a call; starting it is, so one that is made and never run counts nothing.
Comprehensions are functions of their own up to Python 3.11 (`<listcomp>`) and part of their function from 3.12 on, with
that exception the numbers are the same in all versions. Threads that are started through `threading` during the run
count as well, from their first Python function after the start-up code; threads that were there before do not.

C functions are those of `c_functions.C_FUNCTION_TYPES`, so `list(x)`, `partial(f)()` and ufuncs count nothing, though
`sys.monitoring` would tell of them: no older version does. Nor does any tell of what C calls in C: `map(len, lines)`
counts no `len`, `benchmark(sorted, data)` no `sorted` (a `functools.partial` calls it), `with lock:` no `__enter__`. A
call that raises counts.
"""

from __future__ import annotations

import inspect
import itertools
import opcode
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, FrameType
from typing import Any

from pytest_blcperf.capture.c_functions import C_FUNCTION_TYPES, CFunction, owner_of

_SUSPENDABLE = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_TOOL = "pytest-blcperf"


class CallCounts(Mapping[CodeType, int]):
    """Calls by code object, by identity: `CodeType.__eq__` ignores the file name, so a dict would mix functions up.

    `c_calls` are those of C functions; a method may stand there more than once, for a class and its subclasses.
    """

    def __init__(
        self, calls: dict[int, int], codes: dict[int, CodeType], c_calls: tuple[tuple[CFunction, int], ...] = ()
    ) -> None:
        self._calls = calls
        self._codes = codes
        self.c_calls = c_calls

    def __getitem__(self, code: CodeType) -> int:
        return self._calls[id(code)]

    def __iter__(self) -> Iterator[CodeType]:
        return iter(self._codes.values())

    def __len__(self) -> int:
        return len(self._codes)


class _Counter:
    """Calls while `root` is running (None: always), in any thread that reports them."""

    def __init__(self, root: CodeType | None) -> None:
        self.root = root
        self.depth = int(root is None)
        self._calls: dict[int, Iterator[int]] = {}
        self._codes: dict[int, CodeType] = {}
        self._c_calls: dict[tuple[int, str], Iterator[int]] = {}
        self._c_functions: dict[tuple[int, str], CFunction] = {}

    def start(self, code: CodeType) -> None:
        if code is self.root:
            self.depth += 1
        elif self.depth:
            identity = id(code)
            self._codes.setdefault(identity, code)
            # next() of a count is atomic, adding one to a value in a dict is not: threads would lose calls.
            next(self._calls.setdefault(identity, itertools.count()))

    def call(self, caller: CodeType, callee: Any) -> None:
        if self.depth and type(callee) in C_FUNCTION_TYPES and id(caller) not in _OWN:
            owner = owner_of(callee)
            # By identity, of the owner: classes may define what equals them, in Python.
            key = id(owner), callee.__name__
            calls = self._c_calls.get(key)
            if calls is None:
                self._c_functions.setdefault(key, CFunction(owner, callee.__name__))
                calls = self._c_calls.setdefault(key, itertools.count())
            next(calls)

    def leave(self, code: CodeType) -> None:
        self.depth -= code is self.root

    def result(self) -> CallCounts:
        self.depth = 0
        c_calls = tuple((function, next(self._c_calls[key])) for key, function in self._c_functions.items())
        return CallCounts({identity: next(calls) for identity, calls in self._calls.items()}, self._codes, c_calls)


def count_calls(run: Callable[[], object], root: CodeType | None) -> CallCounts:
    """Calls that `run()` makes while `root` runs; `root` itself is not one (None: all, with `run`).

    `root` is an ordinary function. An exception of `run` passes through. Profilers, tracers and monitoring tools in
    force before are in force again afterwards; a `sys.setprofile` profiler sees nothing of the run below Python 3.12.
    """
    counter = _Counter(root)
    if sys.version_info >= (3, 12):
        tool = free_tool()
        if tool is not None:
            _run_monitored(run, counter, tool)
            return counter.result()
    _run_profiled(run, counter)
    return counter.result()


def _run_profiled(run: Callable[[], object], counter: _Counter) -> None:
    done = False
    is_start = _resume_test() if sys.version_info >= (3, 11) else None
    entered: set[FrameType] = set()

    def hook(frame: FrameType, event: str, argument: object) -> None:
        if done:
            sys.setprofile(None)
        elif event == "call":
            code = frame.f_code
            if not code.co_flags & _SUSPENDABLE or (is_start and is_start(frame)):
                counter.start(code)
            elif not is_start and frame.f_lasti == -1:
                entered.add(frame)
        elif event == "c_call":
            counter.call(frame.f_code, argument)
        elif event == "return":
            counter.leave(frame.f_code)
            # Python 3.10 enters a generator that is closed before it ran, and leaves it where it was.
            if frame in entered:
                entered.remove(frame)
                if frame.f_lasti != -1:
                    counter.start(frame.f_code)

    before, before_threads = sys.getprofile(), threading.getprofile()
    threading.setprofile(hook)
    sys.setprofile(hook)
    try:
        run()
    finally:
        sys.setprofile(None)
        threading.setprofile(before_threads)
        done = True
        _restore_profiler(before)


def _resume_test() -> Callable[[FrameType], bool]:
    """Tells the "call" event of a generator or coroutine that starts from one that is resumed or closed (from 3.11).

    A start comes at a RESUME instruction with the argument 0; other arguments stand behind a yield or an await.
    """
    resume = opcode.opmap["RESUME"]
    known: dict[tuple[int, int], tuple[bool, CodeType]] = {}

    def is_start(frame: FrameType) -> bool:
        code, place = frame.f_code, frame.f_lasti
        if (id(code), place) not in known:
            operation, argument = code.co_code[place : place + 2]
            # The code is kept so that its identity stays its own.
            known[id(code), place] = (operation == resume and argument & 3 == 0, code)
        return known[id(code), place][0]

    return is_start


def _restore_profiler(before: Any) -> None:
    """Set what `sys.getprofile` gave; for a profiler in C (cProfile) that is an object to be enabled."""
    if before is None or callable(before):
        sys.setprofile(before)
    elif hasattr(before, "enable"):
        before.enable()


if sys.version_info >= (3, 12):

    def free_tool() -> int | None:
        """A number of `sys.monitoring` that no tool has, None when all are taken."""
        # 3 and 4 belong to nobody, the others to debuggers, coverage, profilers and optimizers by convention.
        return next((tool for tool in (3, 4, 5, 2, 1, 0) if sys.monitoring.get_tool(tool) is None), None)

    def _run_monitored(run: Callable[[], object], counter: _Counter, tool: int) -> None:
        monitoring = sys.monitoring
        events = monitoring.events
        threads = {threading.get_ident()}
        before_threads = threading.getprofile()

        def started(code: CodeType, _offset: int) -> None:
            if threading.get_ident() in threads:
                counter.start(code)

        def called(code: CodeType, _offset: int, callee: object, _first: object) -> None:
            if threading.get_ident() in threads:
                counter.call(code, callee)

        def left(code: CodeType, _offset: int, _value: object) -> None:
            if threading.get_ident() in threads:
                counter.leave(code)

        def adopt(_frame: FrameType, _event: str, _argument: object) -> None:
            # The first event in a new thread; where that is a call, `started` is told of it after this.
            sys.setprofile(before_threads)
            threads.add(threading.get_ident())

        callbacks: dict[int, Callable[..., object]] = {
            events.PY_START: started,
            events.CALL: called,
            events.PY_RETURN: left,
            events.PY_UNWIND: left,
        }
        monitoring.use_tool_id(tool, _TOOL)
        try:
            for event, callback in callbacks.items():
                monitoring.register_callback(tool, event, callback)
            threading.setprofile(adopt)
            monitoring.set_events(tool, events.PY_START | events.CALL | events.PY_UNWIND)
            if counter.root is not None:
                monitoring.set_local_events(tool, counter.root, events.PY_RETURN)
            run()
        finally:
            monitoring.set_events(tool, 0)
            threading.setprofile(before_threads)
            if counter.root is not None:
                monitoring.set_local_events(tool, counter.root, 0)
            for event in callbacks:
                monitoring.register_callback(tool, event, None)
            monitoring.free_tool_id(tool)


_OWN = {id(_run_profiled.__code__)}
"""Code whose calls of C functions measure and are not measured: it switches the counting off."""
if sys.version_info >= (3, 12):
    _OWN.add(id(_run_monitored.__code__))
