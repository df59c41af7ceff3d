"""What workers under callgrind are asked for, and what is made of what they point at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_blcperf.bench.instructions import DUMP_NS, MAX_ITERATIONS, REPEAT, SLOWDOWN, WARM_UP_ITERATIONS, collect
from pytest_blcperf.bench.instructions import count_instructions as count
from pytest_blcperf.bench.lockstep import Plan
from pytest_blcperf.capture.callgrind_output import CallgrindError

PLAN = Plan(rounds=30, delay=None, profile_window=0.0, backend="callgrind", rate=1000, count=False, seconds=60.0)


class FakeSide:
    """Takes `wall` ns of a fake clock for an iteration."""

    def __init__(self, wall: float) -> None:
        self.now, self._wall = 0.0, wall
        self.asked: list[tuple[str, Mapping[str, Any]]] = []

    def request(self, op: str, **arguments: Any) -> Mapping[str, Any]:
        self.asked.append((op, arguments))
        self.now += self._wall / 1e9 if op == "round" else 0.0
        return {"wall": self._wall, "of": op}


def asked(wall: float) -> tuple[FakeSide, Any, int]:
    side = FakeSide(wall)
    (data,), iterations = count([side], PLAN, 0, lambda: side.now)
    return side, data, iterations


def test_a_quick_benchmark_is_warmed_up_and_counted_in_many_iterations() -> None:
    side, data, iterations = asked(1e6)
    assert [op for op, _ in side.asked] == ["round"] * WARM_UP_ITERATIONS + ["freeze", "instructions"]
    assert side.asked[-1][1] == {"iterations": MAX_ITERATIONS, "repeat": REPEAT}
    assert iterations == MAX_ITERATIONS
    assert data.instructions == {"wall": 1e6, "of": "instructions"}


def test_a_slow_one_in_few_and_too_slow_a_one_not_at_all() -> None:
    side, data, iterations = asked(DUMP_NS / SLOWDOWN / 2.5)
    assert (iterations, data.instructions is None) == (2, False)
    side, data, iterations = asked(3e9)
    assert (iterations, data.instructions) == (1, None)
    # Warming up ends in time, too.
    assert len(side.asked) < WARM_UP_ITERATIONS


def answer(**changes: Any) -> dict[str, Any]:
    dumps = [{"name": f"out.{number}", "windows": windows} for number, windows in ((1, 1), (2, 3), (3, 3))]
    return {"dumps": dumps, "iterations": 3, "functions": [], "root": ["run", "/x.py"], "map": "", **changes}


def dump(folder: Path, number: int, work: int, around: int) -> None:
    lines = ["events: Ir", "ob=(1) /lib/libwork.so", "fn=(1) work'main", f"0 {work}", "fn=(2) main", f"0 {around}"]
    (folder / f"out.{number}").write_text("\n".join([*lines, f"totals: {work + around}", ""]))


def test_without_a_perf_map_what_surrounds_the_iterations_is_taken_off(tmp_path: Path) -> None:
    dump(tmp_path, 1, 0, 50)
    dump(tmp_path, 2, 600, 150)
    dump(tmp_path, 3, 660, 150)
    found = collect(answer(), tmp_path)
    assert [(one.iterations, one.instructions) for one in found] == [(3, 600), (3, 660)]
    assert [{stack[0].name: cost for stack, cost in one.stacks.items()} for one in found] == [
        {"work": 600},
        {"work": 660},
    ]


def test_output_that_is_missing_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        collect(answer(), tmp_path)
    for number in (1, 2, 3):
        dump(tmp_path, number, 10, 10)
    (tmp_path / "out.2").write_text("nonsense\n")
    with pytest.raises(CallgrindError):
        collect(answer(), tmp_path)


def test_only_a_perf_map_is_read_and_output_only_from_the_folder(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        dump(tmp_path, number, 10, 0)
    first = collect(answer(map="/etc/hostname"), tmp_path)[0]
    names = {function.name for stack in first.stacks for function in stack}
    assert names <= {"work", "main"}
    outside = answer()
    outside["dumps"][1]["name"] = "../../etc/passwd"
    with pytest.raises(OSError, match="No such file"):
        collect(outside, tmp_path)
