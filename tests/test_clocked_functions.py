"""What a side answers about functions under clocks, with real functions and a real clock."""

from __future__ import annotations

from typing import Any

from pytest_blcperf.bench.job import Job
from pytest_blcperf.bench.target import Target
from pytest_blcperf.capture.functions import Roots, describe

ROOTS = Roots(())


def numbers():
    yield from range(2000)


def consume() -> int:
    return sum(numbers())


def few():
    total = 0
    for number in range(20_000):
        total += number
    yield total
    yield total


def work() -> None:
    consume()
    list(few())


def asked(target: Target, op: str, **arguments: Any) -> dict[str, Any]:
    return target.answer({"op": op, **arguments})


def opened(*functions: Any) -> tuple[Target, dict[str, Any]]:
    target = Target(Job(work, "work"), ROOTS)
    found = asked(target, "clock-find", functions=[describe(one.__code__, ROOTS) for one in functions])
    assert found["found"] == [True] * len(functions)
    return target, asked(target, "clock-open", chosen=list(range(len(functions))), iterations=1)


def test_a_generator_that_is_resumed_all_the_time_is_left_out() -> None:
    target, answer = opened(numbers, consume, few)
    assert answer["untimed"] == [0]
    asked(target, "clock-fit", between=answer["between"], iterations=1, untimed=answer["untimed"])
    (numbers_read, consume_read, few_read) = asked(target, "clock-round", iterations=3)["readings"]
    assert numbers_read == [0, 0, 0]
    assert consume_read[0] == few_read[0] == 3
    assert consume_read[1] > 0 and few_read[1] > 0
    target.close()


def test_what_the_other_side_cannot_time_is_left_out_too() -> None:
    target, answer = opened(consume, few)
    assert answer["untimed"] == []
    asked(target, "clock-fit", between=answer["between"], iterations=1, untimed=[1])
    consume_read, few_read = asked(target, "clock-round", iterations=1)["readings"]
    assert consume_read[0] == 1 and few_read == [0, 0, 0]
    target.close()


def test_nothing_left_to_time() -> None:
    target, answer = opened(numbers)
    asked(target, "clock-fit", between=answer["between"], iterations=1, untimed=answer["untimed"])
    assert asked(target, "clock-round", iterations=1)["readings"] == []
    target.close()
