"""What the timed functions did: hooks that note when each begins and ends, and the sums that follow from the notes.

A hook is called at every entry and exit, so what it does is what timing costs: it writes the code object and the time
into its thread's log, two appends. Who was inside whom is worked out later, when the readings are taken or a log has
become long; the time that this takes inside a run is measured itself and left out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any, NamedTuple

LONGEST_LOG = 30_000
"""Notes of a thread before they are summed up: about a megabyte."""

_RESUMED = None
_PASSED = True

Hook = Callable[..., None]


class ClockCost(NamedTuple):
    """What the clock adds, ns: to a function's own reading per activation, around it, and per exception that leaves a
    function which is not timed (the interpreter tells of all or none).
    """

    inside_ns: float = 0.0
    outside_ns: float = 0.0
    unwind_ns: float = 0.0


class Hooks(NamedTuple):
    """To be called with the code object that starts, goes on after a suspension, or is left or suspended; `passed` is
    told of exceptions that leave other code. Further arguments are ignored.
    """

    start: Hook
    resume: Hook
    leave: Hook
    passed: Hook


class _Thread:
    """One thread's log and what became of it. An activation is on the stack while it runs, not while suspended."""

    def __init__(self, codes: Sequence[CodeType]) -> None:
        self.log: list[Any] = []
        """Notes: code, ns: started; None, code, ns: resumed; ns, code: left; True: an exception left other code;
        float: so many ns were ours.
        """
        self.lock = threading.Lock()
        self.calls = {id(code): 0 for code in codes}
        self.outermost: dict[int, float] = dict.fromkeys(self.calls, 0.0)
        """ns of the activations that are in no other one of the same function."""
        self.innermost = self.outermost.copy()
        """ns in which no other timed function was running inside."""
        self.misplaced = 0
        self._depths = self.calls.copy()
        self._rest: list[Any] = []
        self._hidden = 0.0
        """The clock's own time so far; beginnings are readings less this."""
        self._stack: list[Any] = []
        """Of each activation: when it began, what timed functions inside it took, its code object."""

    def settle(self, cost: ClockCost) -> None:
        """Add the notes to the sums. What another thread has half written waits for the next time."""
        count = len(self.log)
        notes = self._rest + self.log[:count]
        del self.log[:count]
        stack, hidden, depths = self._stack, self._hidden, self._depths
        inside, both = cost.inside_ns, cost.inside_ns + cost.outside_ns
        remaining = iter(notes)
        self._rest = []
        # One loop without calls of ours: in a long round it runs inside it, for every activation.
        try:
            for first in remaining:
                if type(first) is int:
                    code = next(remaining)
                    if (stack and stack[-1] is code) or self._on_top(code):
                        key = id(code)
                        took = first - hidden - stack[-3] - inside
                        self.innermost[key] += took - stack[-2]
                        del stack[-3:]
                        hidden += both
                        depths[key] -= 1
                        if not depths[key]:
                            self.outermost[key] += took
                        if stack:
                            stack[-2] += took
                elif first is _PASSED:
                    hidden += cost.unwind_ns
                elif type(first) is float:
                    hidden += first
                else:
                    code = next(remaining) if first is _RESUMED else first
                    stack += (next(remaining) - hidden, 0.0, code)
                    self.calls[id(code)] += first is code
                    depths[id(code)] += 1
        except StopIteration:
            self._rest = notes[-2:] if notes[-2:-1] == [_RESUMED] else notes[-1:]
        self._hidden = hidden

    def _on_top(self, code: CodeType) -> bool:
        """Bring what ends on top of the stack, though something else is there; False when it is nowhere.

        Nowhere is what began before the clock did. Above is what another stack has (greenlets): readings are wrong.
        """
        if not any(place is code for place in self._stack[2::3]):
            return False
        self.misplaced += 1
        while self._stack[-1] is not code:
            self._depths[id(self._stack[-1])] -= 1
            del self._stack[-3:]
        return True


class Activations:
    """Logs of all threads, and the hooks that write them."""

    def __init__(self, codes: Sequence[CodeType], clock: Callable[[], int], cost: ClockCost) -> None:
        self.cost = cost
        self._codes = list(codes)
        self._threads: dict[int, _Thread] = {}
        self.hooks = self._make_hooks(clock)

    @property
    def misplaced(self) -> int:
        """Functions that ended without being innermost: stacks were switched (greenlets), readings are wrong."""
        return sum(thread.misplaced for thread in list(self._threads.values()))

    def sums(self) -> list[tuple[int, float, float]]:
        """Calls, total and self ns so far, in the order of the code objects, all threads together."""
        threads = list(self._threads.values())
        for thread in threads:
            with thread.lock:
                thread.settle(self.cost)
        return [
            (
                sum(thread.calls[id(code)] for thread in threads),
                sum(thread.outermost[id(code)] for thread in threads),
                sum(thread.innermost[id(code)] for thread in threads),
            )
            for code in self._codes
        ]

    def _new_log(self) -> list[Any]:
        thread = _Thread(self._codes)
        self._threads[threading.get_ident()] = thread
        return thread.log

    def _shorten(self, clock: Callable[[], int]) -> None:
        """Sum up this thread's log, and note how long that took."""
        thread = self._threads[threading.get_ident()]
        # Not waited for: the lock may be held further down this very stack, by what a signal interrupted.
        if thread.lock.acquire(blocking=False):
            began = clock()
            try:
                thread.settle(self.cost)
            finally:
                thread.lock.release()
            thread.log.append(float(clock() - began))

    def _make_hooks(self, clock: Callable[[], int]) -> Hooks:
        get_ident, new_log, shorten = threading.get_ident, self._new_log, self._shorten
        logs: dict[int, list[Any]] = {}

        def start(code: CodeType, _offset: int = 0) -> None:
            try:
                log = logs[get_ident()]
            except KeyError:
                log = logs[get_ident()] = new_log()
            log.append(code)
            log.append(clock())

        def resume(code: CodeType, _offset: int = 0, _error: object = None) -> None:
            try:
                log = logs[get_ident()]
            except KeyError:
                log = logs[get_ident()] = new_log()
            log.append(_RESUMED)
            log.append(code)
            log.append(clock())

        def leave(code: CodeType, _offset: int = 0, _value: object = None) -> None:
            now = clock()
            try:
                log = logs[get_ident()]
            except KeyError:
                log = logs[get_ident()] = new_log()
            log.append(now)
            log.append(code)
            if len(log) > LONGEST_LOG:
                shorten(clock)

        def passed() -> None:
            log = logs.get(get_ident())
            if log is not None:
                log.append(_PASSED)

        return Hooks(start, resume, leave, passed)
