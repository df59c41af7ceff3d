"""Delays, triggers, durations, repetitions: told the time, the schedule says where it is."""

from __future__ import annotations

from pytest_blcperf.window.schedule import Plan, Schedule, State


def states(plan: Plan, *moments: tuple[float, bool]) -> list[State]:
    """The state at each (time, whether the trigger is true), from time 0 on."""
    schedule = Schedule(plan, 0.0)
    return [schedule.observe(now, fired) for now, fired in moments]


def test_a_delay_then_a_window() -> None:
    plan = Plan(duration=10, delay=30)
    assert states(plan, (29.9, False), (30, False), (39.9, False), (40, False)) == [
        State.DELAY,
        State.OPEN,
        State.OPEN,
        State.DONE,
    ]


def test_a_trigger_counts_only_after_the_delay() -> None:
    plan = Plan(duration=1, delay=5, triggered=True)
    assert states(plan, (1, True), (5, False), (6, True), (7, False)) == [
        State.DELAY,
        State.WAITING,
        State.OPEN,
        State.DONE,
    ]


def test_waiting_has_an_end() -> None:
    schedule = Schedule(Plan(duration=1, delay=2, triggered=True, max_wait=10), 0.0)
    assert schedule.observe(3.0) is State.WAITING
    assert schedule.observe(12.9) is State.WAITING
    assert schedule.observe(13.0) is State.DONE
    assert schedule.gave_up


def test_windows_repeat_from_opening_to_opening() -> None:
    schedule = Schedule(Plan(duration=2, repeat=3, every=10), 0.0)
    for tenth in range(400):
        schedule.observe(tenth / 10)
    assert schedule.opened == [0.0, 10.0, 20.0]
    assert schedule.state is State.DONE


def test_without_a_pause_windows_follow_each_other() -> None:
    schedule = Schedule(Plan(duration=2, repeat=2), 0.0)
    for now in (0.0, 1.9, 2.0, 4.0):
        schedule.observe(now)
    assert schedule.opened == [0.0, 2.0]
    assert schedule.state is State.DONE


def test_a_window_can_be_closed_before_its_time() -> None:
    schedule = Schedule(Plan(triggered=True, repeat=2), 0.0)
    assert schedule.observe(1.0, fired=True) is State.OPEN
    schedule.close()
    assert schedule.observe(2.0) is State.WAITING
    schedule.close()
    assert schedule.observe(3.0, fired=True) is State.OPEN
    schedule.close()
    assert schedule.state is State.DONE


def test_an_open_end_is_closed_by_stopping() -> None:
    schedule = Schedule(Plan(), 0.0)
    assert schedule.observe(10**6) is State.OPEN
    schedule.stop()
    assert schedule.observe(10**6 + 1) is State.DONE
    assert not schedule.gave_up
