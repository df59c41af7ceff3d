"""When windows open and close: a delay, a trigger, a duration, repetitions. Pure: time is told, not asked for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True)
class Plan:
    """All in seconds. Without `triggered` a window opens after `delay`; with it, when the trigger has fired after that.

    `duration` None: to the end of the target. `every` is from the opening of one window to that of the next, at least
    the duration. `max_wait` bounds the wait for a trigger, from the end of the delay on.
    """

    duration: float | None = None
    delay: float = 0.0
    triggered: bool = False
    max_wait: float | None = None
    repeat: int = 1
    every: float = 0.0


class State(Enum):
    """Where the schedule is."""

    DELAY = "delay"
    WAITING = "waiting for the trigger"
    OPEN = "open"
    BETWEEN = "between two windows"
    DONE = "done"


class Schedule:
    """Advances with `observe`; `state` and `until` say what is being waited for.

    Nothing here is asynchronous: whoever calls `observe` acts on a changed state, such as opening the recorder.
    """

    def __init__(self, plan: Plan, now: float) -> None:
        self._plan = plan
        self.state = State.DELAY
        self.until: float | None = now + plan.delay
        """When the state ends by itself; None when only an event ends it."""
        self.opened: list[float] = []
        """Opening times of the windows so far."""
        self.gave_up = False
        """The trigger did not fire in time."""

    @property
    def done(self) -> bool:
        """Whether nothing more will happen."""
        return self.state is State.DONE

    def observe(self, now: float, fired: bool = False) -> State:
        """Where the schedule is at `now`; `fired` says whether the trigger is true at this moment."""
        before = None
        while before is not self.state:
            before = self.state
            self._step(now, fired)
        return self.state

    def reopen(self, now: float) -> None:
        """The open window begins now: getting ready for it took a while."""
        if self.state is State.OPEN:
            self.opened[-1] = now
            self.until = None if self._plan.duration is None else now + self._plan.duration

    def close(self) -> None:
        """End an open window before its time; the next one, if any, is waited for as after any other."""
        if self.state is State.OPEN:
            self._close()

    def stop(self) -> None:
        """No further window, and this one is over: the target has ended, or somebody has had enough."""
        self.state, self.until = State.DONE, None

    def _step(self, now: float, fired: bool) -> None:
        over = self.until is not None and now >= self.until
        if self.state in (State.DELAY, State.BETWEEN) and over:
            self._wait_or_open(now)
        elif self.state is State.WAITING and fired:
            self._open(now)
        elif self.state is State.WAITING and over:
            self.gave_up = True
            self.stop()
        elif self.state is State.OPEN and over:
            self._close()

    def _wait_or_open(self, now: float) -> None:
        if self._plan.triggered:
            self.state = State.WAITING
            self.until = None if self._plan.max_wait is None else now + self._plan.max_wait
        else:
            self._open(now)

    def _open(self, now: float) -> None:
        self.opened.append(now)
        self.state = State.OPEN
        self.until = None if self._plan.duration is None else now + self._plan.duration

    def _close(self) -> None:
        if len(self.opened) >= self._plan.repeat:
            self.stop()
        else:
            self.state = State.BETWEEN
            self.until = self.opened[-1] + max(self._plan.every, self._plan.duration or 0.0)
