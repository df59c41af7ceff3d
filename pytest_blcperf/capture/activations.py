"""What the timed functions did: hooks that note when each begins and ends, and the sums that follow from the notes.

A hook is called at every entry and exit, so what it does is what timing costs: it writes the code object and the time
into its thread's log, two appends. Who was inside whom is worked out later, when the readings are taken or a log has
become long; the time that this takes inside a run is measured itself and left out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from types import CodeType
from typing import Any, NamedTuple

LONGEST_LOG = 30_000
"""Notes of a thread before they are summed up: about a megabyte."""

SHORTEST_ABSENCE_NS = 50_000

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
        self.activations = self.calls.copy()
        """Calls, and resumptions of what was suspended."""
        self.outermost: dict[int, float] = dict.fromkeys(self.calls, 0.0)
        """ns of the activations that are in no other one of the same function."""
        self.innermost = self.outermost.copy()
        """ns in which no other timed function was running inside."""
        self.misplaced = 0
        self.stamp: tuple[int, int] | None = None
        """Clock and CPU clock when the present stretch began; None: time without the CPU is not left out."""
        self._depths = self.calls.copy()
        self._rest: list[Any] = []
        self._hidden = 0.0
        """The clock's own time so far; beginnings are readings less this."""
        self._stack: list[Any] = []
        """Of each activation: when it began, what timed functions inside it took, its code object."""

    def settle(self, cost: ClockCost, end: tuple[int, int] | None = None) -> None:
        """Add the notes to the sums. What another thread has half written waits for the next time.

        `end`: clock and CPU clock at the end of the stretch, in the thread itself.
        """
        count = len(self.log)
        notes = self._rest + self.log[:count]
        del self.log[:count]
        if end is not None and self.stamp is not None:
            notes = without_absence(notes, self.stamp, end)
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
                    key = id(code)
                    self.calls[key] += first is code
                    self.activations[key] += 1
                    depths[key] += 1
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


def without_absence(notes: list[Any], begin: tuple[int, int], end: tuple[int, int]) -> list[Any]:
    """The notes of a stretch, those of our own time added for the time in which the thread had no CPU.

    `begin`, `end`: clock and CPU clock. How long the thread was away is known for the stretch, not where in it. It is
    away for a millisecond or more at a time, and functions that are worth this clock begin and end in microseconds: so
    it is cut off the longest times between two notes, which are cut down to one and the same length.
    """
    absent = (end[0] - begin[0]) - (end[1] - begin[1])
    if absent < SHORTEST_ABSENCE_NS:
        return notes
    timed = [(place, ns) for place, ns in _times(notes) if begin[0] <= ns <= end[0]]
    gaps = [after - before for before, after in pairwise([begin[0], *(ns for _, ns in timed), end[0]])]
    level = _level(gaps, absent)
    result: list[Any] = []
    done = 0
    for (place, _), gap in zip(timed, gaps, strict=False):
        if gap > level:
            result += [*notes[done:place], gap - level]
            done = place
    return result + notes[done:]


def _times(notes: list[Any]) -> Iterator[tuple[int, int]]:
    """Where each whole note of a beginning or an end stands, and its time."""
    place = 0
    while place < len(notes):
        first = notes[place]
        length, at = 2, 1
        if type(first) is int:
            at = 0
        elif first is _RESUMED:
            length, at = 3, 2
        elif first is _PASSED or type(first) is float:
            length, at = 1, -1
        if at >= 0 and place + length <= len(notes):
            yield place, notes[place + at]
        place += length


def _level(gaps: list[int], excess: int) -> float:
    """The length that the longest are cut down to, so that `excess` is cut off altogether; 0 where there is no more."""
    cut = 0
    for count, (gap, following) in enumerate(pairwise([*sorted(gaps, reverse=True), 0]), 1):
        cut += gap
        if cut - excess >= count * following:
            return max(0.0, (cut - excess) / count)
    return 0.0


class Activations:
    """Logs of all threads, and the hooks that write them."""

    def __init__(
        self,
        codes: Sequence[CodeType],
        clock: Callable[[], int],
        cost: ClockCost,
        cpu_clock: Callable[[], int] | None = None,
    ) -> None:
        self.cost = cost
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._codes = list(codes)
        self._threads: dict[int, _Thread] = {}
        self.hooks = self._make_hooks(clock)

    @property
    def misplaced(self) -> int:
        """Functions that ended without being innermost: stacks were switched (greenlets), readings are wrong."""
        return sum(thread.misplaced for thread in list(self._threads.values()))

    def begin(self) -> None:
        """A stretch begins, in this thread."""
        thread = self._threads.get(threading.get_ident()) or self._new_thread()
        thread.stamp = self.now()

    def now(self) -> tuple[int, int] | None:
        """Clock and CPU clock of this thread, for the end of a stretch."""
        return (self._clock(), self._cpu_clock()) if self._cpu_clock is not None else None

    def sums(self, end: tuple[int, int] | None = None) -> list[tuple[int, float, float]]:
        """Calls, total and self ns so far, in the order of the code objects, all threads together.

        `end`: what `now` gave when the stretch ended that `begin` began.
        """
        for thread in list(self._threads.values()):
            with thread.lock:
                thread.settle(self.cost, end if thread is self._threads.get(threading.get_ident()) else None)
        threads = list(self._threads.values())
        return [
            (
                sum(thread.calls[id(code)] for thread in threads),
                sum(thread.outermost[id(code)] for thread in threads),
                sum(thread.innermost[id(code)] for thread in threads),
            )
            for code in self._codes
        ]

    @property
    def counts(self) -> list[int]:
        """How often each was entered or resumed, as far as that was summed up, all threads together."""
        threads = list(self._threads.values())
        return [sum(thread.activations[id(code)] for thread in threads) for code in self._codes]

    def _new_thread(self) -> _Thread:
        return self._threads.setdefault(threading.get_ident(), _Thread(self._codes))

    def _shorten(self) -> None:
        """Sum up this thread's log, and note how long that took."""
        thread = self._threads[threading.get_ident()]
        end = self.now() if thread.stamp is not None else None
        # Not waited for: the lock may be held further down this very stack, by what a signal interrupted.
        if thread.lock.acquire(blocking=False):
            began = end[0] if end is not None else self._clock()
            try:
                thread.settle(self.cost, end)
            finally:
                thread.lock.release()
            thread.stamp = self.now() if end is not None else None
            thread.log.append(float((thread.stamp[0] if thread.stamp is not None else self._clock()) - began))

    def _make_hooks(self, clock: Callable[[], int]) -> Hooks:
        get_ident, new_thread, shorten = threading.get_ident, self._new_thread, self._shorten
        logs: dict[int, list[Any]] = {}

        def start(code: CodeType, _offset: int = 0) -> None:
            try:
                log = logs[get_ident()]
            except KeyError:
                log = logs[get_ident()] = new_thread().log
            log.append(code)
            log.append(clock())

        def resume(code: CodeType, _offset: int = 0, _error: object = None) -> None:
            try:
                log = logs[get_ident()]
            except KeyError:
                log = logs[get_ident()] = new_thread().log
            log.append(_RESUMED)
            log.append(code)
            log.append(clock())

        def leave(code: CodeType, _offset: int = 0, _value: object = None) -> None:
            now = clock()
            try:
                log = logs[get_ident()]
            except KeyError:
                log = logs[get_ident()] = new_thread().log
            log.append(now)
            log.append(code)
            if len(log) > LONGEST_LOG:
                shorten()

        def passed() -> None:
            log = logs.get(get_ident())
            if log is not None:
                log.append(_PASSED)

        return Hooks(start, resume, leave, passed)
