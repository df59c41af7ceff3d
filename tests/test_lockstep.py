"""What is asked of which side when: fake sides, a fake clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from pytest_blcperf.bench.lockstep import ROUND_NS, Plan, drive


class FakeSide:
    """Takes `cost` ns of CPU an iteration, and advances the clock by it."""

    def __init__(self, name: str, cost: int, log: list[tuple[str, str, int]], clock: FakeClock) -> None:
        self._name, self._cost, self._log, self._clock = name, cost, log, clock

    def request(self, op: str, **arguments: Any) -> Mapping[str, Any]:
        iterations = arguments.get("iterations", 0)
        kind = "timed" if arguments.get("timed") else op
        self._log.append((self._name, kind, iterations))
        if op.endswith("round"):
            self._clock.now += self._cost * iterations / 1e9
            return {"cpu": self._cost * iterations, "wall": self._cost * iterations + 1}
        return {"op": op, **arguments}


class FakeClock:
    """Seconds; moves when a side works."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def measure(costs: list[int], **changes: Any) -> tuple[list[tuple[str, str, int]], Any, int]:
    clock = FakeClock()
    log: list[tuple[str, str, int]] = []
    sides = [FakeSide(name, cost, log, clock) for name, cost in zip(("base", "head"), costs, strict=False)]
    values: dict[str, Any] = {
        "rounds": 10,
        "delay": None,
        "profile_window": 0.06,
        "backend": "timer",
        "rate": 1000,
        "count": True,
        "seconds": 5.0,
    }
    data, iterations = drive(sides, Plan(**{**values, **changes}), seed=1, clock=clock)
    return log, data, iterations


def test_the_order_is_warm_up_then_timed_then_profiled_then_counted() -> None:
    log, data, _ = measure([1000, 1100])
    kinds = [kind for _, kind, _ in log]
    order = ["round", "freeze", "timed", "profile-open", "profile-round", "profile-close", "count"]
    positions = [kinds.index(kind) for kind in order]
    assert positions == sorted(positions)
    assert "round" not in kinds[kinds.index("timed") :]
    assert [len(side.rounds) for side in data] == [10, 10]


def test_sides_alternate_and_the_order_is_reversed_in_every_other_sweep() -> None:
    log, _, _ = measure([1000, 1000])
    timed = [name for name, kind, _ in log if kind == "timed"]
    sweeps = [timed[index : index + 2] for index in range(0, len(timed), 2)]
    assert all(set(sweep) == {"base", "head"} for sweep in sweeps)
    assert all(first == second[::-1] for first, second in zip(sweeps[::2], sweeps[1::2], strict=True))


@pytest.mark.parametrize("cost", [50, 10_000, 3_000_000])
def test_a_round_is_filled_and_both_sides_get_the_same_iterations(cost: int) -> None:
    log, _, iterations = measure([cost, cost * 2])
    assert {count for _, kind, count in log if kind in ("timed", "profile-round")} == {iterations}
    assert iterations * cost * 2 == pytest.approx(ROUND_NS, rel=0.5)


def test_a_slow_benchmark_runs_one_iteration_a_round_and_fewer_rounds() -> None:
    log, data, iterations = measure([1_000_000_000, 1_000_000_000])
    assert iterations == 1
    assert len(data[0].rounds) == 3
    assert sum(kind == "profile-round" for _, kind, _ in log) == 2


def test_fixed_iterations_are_kept() -> None:
    log, _, iterations = measure([1000, 1000], iterations=7)
    assert iterations == 7
    assert {count for _, kind, count in log if kind == "round"} == {7}


def test_without_a_window_nothing_is_profiled() -> None:
    log, data, _ = measure([1000, 1000], profile_window=0.0, count=False)
    assert not any(kind.startswith("profile") or kind == "count" for _, kind, _ in log)
    assert data[0].profile is None and data[0].counts is None


def test_a_delay_is_waited_for_before_the_first_timed_round() -> None:
    log, _, _ = measure([1_000_000], delay=0.5)
    before = log[: [kind for _, kind, _ in log].index("timed")]
    assert sum(count for _, kind, count in before if kind == "round") >= 500


def test_sides_are_pinned_to_the_same_processor() -> None:
    log, _, _ = measure([1000, 1000], cpus=(1,))
    assert [kind for _, kind, _ in log][:2] == ["pin", "pin"]


class CountingSide(FakeSide):
    """Grows by `growth` bytes a round, and says what its harness adds."""

    growth = 0
    size = 1000

    def request(self, op: str, **arguments: Any) -> Mapping[str, Any]:
        answer = {**super().request(op, **arguments), "overhead": 15.0, "clock_step": 600}
        self.size += self.growth
        return {**answer, "memory": self.size}


def counting(cost: int, growth: int = 0, **changes: Any) -> tuple[list[tuple[str, str, int]], Any]:
    clock = FakeClock()
    log: list[tuple[str, str, int]] = []
    side = CountingSide("head", cost, log, clock)
    side.growth = growth
    plan = Plan(rounds=10, delay=None, profile_window=0.06, backend="timer", rate=1000, count=True, seconds=5.0)
    data, _ = drive([side], replace(plan, **changes), seed=1, clock=clock)
    return log, data[0]


def test_a_call_of_half_a_minute_is_made_three_times_a_launch_and_not_counted() -> None:
    log, data = counting(30_000_000_000)
    assert [kind for _, kind, _ in log if kind.endswith(("round", "timed"))] == ["round", "timed", "profile-round"]
    assert data.counts is None and "count" not in {kind for _, kind, _ in log}


def test_a_schedule_is_kept_to_the_call() -> None:
    log, data = counting(1000, schedule=(2, 4, 3))
    assert [(kind, count) for _, kind, count in log] == [("freeze", 0), *[("round", 3)] * 2, *[("timed", 3)] * 4]
    assert len(data.rounds) == 4 and data.profile is None
    assert [warning.code for warning in data.warnings] == ["scheduled"]


def test_what_leaks_is_stopped() -> None:
    _, data = counting(6_000_000, growth=1 << 20, memory=12 << 20)
    assert 0 < len(data.rounds) < 10 and data.profile is None
    assert [warning.code for warning in data.warnings] == ["memory"]
    _, later = counting(6_000_000, growth=1 << 20, memory=20 << 20)
    assert len(later.rounds) == 10 and [warning.code for warning in later.warnings] == ["memory"]
    _, whole = counting(6_000_000, growth=1 << 10, memory=20 << 20)
    assert len(whole.rounds) == 10 and not whole.warnings


def test_the_harness_own_time_and_the_clocks_step_are_kept() -> None:
    _, data = counting(1000)
    assert data.overhead_ns == 15.0
    assert data.resolution_ns == pytest.approx(600 / data.rounds[0].iterations)


class ClockedSide(FakeSide):
    """One with functions to time; which of them it can find and time is chosen."""

    found = (True, True, True)
    untimed: tuple[int, ...] = ()

    def request(self, op: str, **arguments: Any) -> Mapping[str, Any]:
        answer = super().request(op, **arguments)
        if op == "clock-find":
            return {"found": list(self.found[: len(arguments["functions"])])}
        if op == "clock-open":
            self._chosen = list(arguments["chosen"])
            return {"untimed": list(self.untimed), "between": 1e4 if self._name == "base" else 1e5}
        if op == "clock-round":
            return {**answer, "readings": [[1, 100 + number, 50] for number in self._chosen]}
        return answer


SUSPECTS = tuple((f"{name}.py", name, 1, "") for name in ("one", "two", "three"))


def timed_functions(found: tuple[bool, ...] = (True, True, True), untimed: tuple[int, ...] = ()) -> tuple[Any, Any]:
    clock = FakeClock()
    log: list[tuple[str, str, int]] = []
    sides = [ClockedSide(name, 1000, log, clock) for name in ("base", "head")]
    sides[1].found, sides[0].untimed = found, untimed
    plan = Plan(
        *(10, None, 0.0, "timer", 1000),
        count=False,
        seconds=5.0,
        suspects=(SUSPECTS, SUSPECTS),
    )
    data, _ = drive(sides, plan, seed=1, clock=clock)
    return log, data


def test_suspects_are_timed_in_alternating_rounds_after_the_plain_ones() -> None:
    log, data = timed_functions()
    kinds = [kind for _, kind, _ in log]
    order = ["timed", "clock-find", "clock-open", "clock-fit", "clock-round", "clock-close"]
    assert [kinds.index(kind) for kind in order] == sorted(kinds.index(kind) for kind in order)
    rounds = [name for name, kind, _ in log if kind == "clock-round"]
    assert len(rounds) == 20
    assert all(set(rounds[index : index + 2]) == {"base", "head"} for index in range(0, 20, 2))
    assert [one.clocked.functions for one in data] == [SUSPECTS, SUSPECTS]
    assert data[0].clocked.readings == [[[1, 100, 50], [1, 101, 50], [1, 102, 50]]] * 10


def test_only_what_both_sides_can_time_is_timed() -> None:
    _, data = timed_functions(found=(True, False, True), untimed=(1,))
    assert [one.clocked.functions for one in data] == [SUSPECTS[:1], SUSPECTS[:1]]
    assert data[1].clocked.readings[0] == [[1, 100, 50]]
    log, data = timed_functions(found=(False, False, False))
    assert [one.clocked for one in data] == [None, None]
    assert "clock-open" not in [kind for _, kind, _ in log]


def test_the_rounds_of_a_sweep_share_a_memory_layout_and_each_sweep_has_another() -> None:
    asked: list[tuple[str, Any]] = []

    class Side(FakeSide):
        def request(self, op: str, **arguments: Any) -> Mapping[str, Any]:
            if op in ("clock-round", "round") and (op == "clock-round" or arguments.get("timed")):
                asked.append((op, arguments["layout"]))
            else:
                assert "layout" not in arguments
            return {**super().request(op, **arguments), "found": [True], "untimed": [], "between": 1e6, "readings": []}

    clock = FakeClock()
    function = ("a.py", "f", 1, "")
    plan = Plan(10, None, 0.0, "timer", 1000, count=False, seconds=5.0, suspects=((function,), (function,)))
    drive([Side("base", 1000, [], clock), Side("head", 1000, [], clock)], plan, seed=1, clock=clock)
    assert len(asked) == 40
    assert asked[::2] == asked[1::2]
    assert len(set(asked)) == 20


def test_rounds_with_clocks_end_when_they_took_half_as_long_again_as_the_timed_ones() -> None:
    class Slow(FakeSide):
        """Clocks make its rounds four times as long."""

        def request(self, op: str, **arguments: Any) -> Mapping[str, Any]:
            if op == "clock-round":
                arguments["iterations"] *= 4
            return {**super().request(op, **arguments), "found": [True], "untimed": [], "between": 1e6, "readings": []}

    log: list[tuple[str, str, int]] = []
    clock, function = FakeClock(), ("a.py", "f", 1, "")
    plan = Plan(24, None, 0.0, "timer", 1000, count=False, seconds=5.0, suspects=((function,), (function,)))
    drive([Slow("base", 1000, log, clock), Slow("head", 1000, log, clock)], plan, seed=1, clock=clock)
    kinds = [kind for _, kind, _ in log]
    assert kinds.count("timed") == 48
    assert 2 * 24 * 1.5 / 4 <= kinds.count("clock-round") <= 20
