"""Functions that take known times on a clock of their own, and what the function clock must read. A program too.

python tests/function_clock_cases.py [CASE ...]      prints {case: [[calls, total, self], ...]} as JSON
"""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import sys
import threading
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from pytest_blcperf.capture.activations import ClockCost
from pytest_blcperf.capture.function_clock import FunctionClock, Reading

CASES = {}
"""Name → (function that runs it, code objects to be timed, the readings expected)."""


class Clock:
    """Stands still unless `tick` moves it."""

    now = 1_000

    def __call__(self):
        return self.now


clock = Clock()


def tick(ns):
    clock.now += ns


def case(*timed, expected):
    def add(run):
        CASES[run.__name__] = (run, [getattr(one, "__code__", one) for one in timed], expected)
        return run

    return add


def leaf(ns=5):
    tick(ns)
    return ns


def parent():
    tick(10)
    leaf()
    tick(1)
    leaf(7)
    return leaf


@case(leaf, expected=[(2, 12, 12)])
def one_function():
    parent()


@case(leaf, parent, expected=[(4, 24, 24), (2, 46, 22)])
def nested():
    parent()
    parent()


def grandparent():
    tick(100)
    parent()


@case(leaf, grandparent, expected=[(2, 12, 12), (1, 123, 111)])
def nested_with_an_untimed_one_between():
    grandparent()


@case(leaf, expected=[(0, 0, 0)])
def not_called():
    tick(5)


def recurse(depth):
    tick(1)
    if depth:
        recurse(depth - 1)
    tick(1)


@case(recurse, expected=[(5, 10, 10)])
def recursion_counts_once():
    recurse(4)


def even(number):
    tick(10)
    return number == 0 or odd(number - 1)


def odd(number):
    tick(1)
    return number != 0 and even(number - 1)


@case(even, odd, expected=[(3, 32, 30), (2, 22, 2)])
def mutual_recursion():
    even(4)


def fails(ns):
    tick(ns)
    raise ValueError(ns)


def passes_on():
    tick(1)
    fails(3)


def catches():
    try:
        passes_on()
    except ValueError as error:
        tick(2)
        return error.__traceback__
    finally:
        tick(4)


@case(fails, passes_on, catches, expected=[(1, 3, 3), (1, 4, 1), (1, 10, 6)])
def exceptions_pass():
    traceback = catches()
    lines = []
    while traceback:
        lines.append(
            (traceback.tb_frame.f_code.co_name, traceback.tb_lineno - traceback.tb_frame.f_code.co_firstlineno)
        )
        traceback = traceback.tb_next
    assert lines == [("catches", 2), ("passes_on", 2), ("fails", 2)], lines


def fails_in_a_loop():
    for number in range(3):
        try:
            with Guard():
                fails(number)
        except ValueError:
            try:
                fails(10)
            except ValueError:
                continue
            finally:
                tick(100)


class Guard:
    def __enter__(self):
        tick(1)

    def __exit__(self, *_):
        tick(1)


@case(fails_in_a_loop, fails, Guard.__exit__, expected=[(1, 339, 303), (6, 33, 33), (3, 3, 3)])
def exceptions_are_handled_inside():
    fails_in_a_loop()


def generate(number):
    tick(1)
    for place in range(number):
        yield place
        tick(10)
    return "end"


@case(generate, expected=[(1, 31, 31)])
def generators_are_timed_around_each_resumption():
    for _ in generate(3):
        tick(1000)


@case(generate, expected=[(2, 22, 22)])
def generators_take_turns():
    one, other = generate(1), generate(1)
    next(one)
    tick(1000)
    next(other)
    tick(1000)
    assert list(one) + list(other) == []


@case(generate, expected=[(1, 1, 1)])
def generators_are_dropped_and_never_run():
    generate(3)
    unfinished = generate(3)
    next(unfinished)
    del unfinished
    gc.collect()


def listens():
    got = []
    while True:
        try:
            got.append((yield len(got)))
            tick(1)
        except KeyError as error:
            tick(10)
            got.append(error)
        except LookupError:
            tick(100)
            return got
        finally:
            tick(1000)


@case(listens, expected=[(1, 4112, 4112)])
def generators_are_thrown_into():
    generator = listens()
    assert next(generator) == 0
    tick(50_000)
    assert generator.send("a") == 1
    tick(50_000)
    assert generator.throw(KeyError("b")) == 2
    tick(50_000)
    assert generator.send("c") == 3
    tick(50_000)
    try:
        generator.throw(LookupError())
    except StopIteration as stop:
        assert len(stop.value) == 3


@case(listens, generate, expected=[(1, 1000, 1000), (2, 2, 2)])
def generators_are_closed_and_refuse():
    generator = listens()
    next(generator)
    tick(50_000)
    generator.close()
    tick(50_000)
    assert list(generator) == []
    plain = generate(2)
    next(plain)
    plain.close()
    plain = generate(2)
    next(plain)
    try:
        plain.throw(ValueError("x"))
    except ValueError:
        tick(50_000)


def delegates(number):
    tick(1)
    got = yield from generate(number)
    tick(1)
    return got


@case(delegates, generate, expected=[(1, 33, 2), (1, 31, 31)])
def yield_from():
    for _ in delegates(3):
        tick(1000)


@case(listens, expected=[(1, 2110, 2110)])
def thrown_through_yield_from():
    def outer():
        try:
            return (yield from listens())
        finally:
            tick(1)

    generator = outer()
    next(generator)
    generator.throw(KeyError())
    try:
        generator.throw(LookupError())
    except StopIteration as stop:
        assert len(stop.value) == 1


@case(delegates, expected=[(2, 4, 4)])
def closed_and_thrown_while_delegating():
    generator = delegates(3)
    next(generator)
    generator.close()
    generator = delegates(3)
    next(generator)
    try:
        generator.throw(ValueError())
    except ValueError:
        tick(1)


class Pause:
    def __await__(self):
        tick(3)
        yield
        tick(3)


async def waits(ns):
    tick(ns)
    await Pause()
    tick(ns)
    return ns


async def gathers():
    tick(1)
    return await waits(10) + await waits(20)


@case(waits, gathers, Pause.__await__, expected=[(2, 72, 60), (1, 73, 1), (2, 12, 12)])
def coroutines():
    coroutine = gathers()
    try:
        while True:
            coroutine.send(None)
            tick(10_000)
    except StopIteration as stop:
        assert stop.value == 30


@case(waits, expected=[(3, 78, 78)])
def tasks_take_turns():
    async def main():
        return await asyncio.gather(waits(10), waits(10), waits(10))

    assert asyncio.run(main()) == [10, 10, 10]


async def produces(number):
    tick(1)
    for place in range(number):
        yield place
        tick(10)


async def filters():
    async for place in produces(3):
        tick(100)
        await waits(place)
    async with Resource() as resource:
        tick(resource)


class Resource:
    async def __aenter__(self):
        tick(1000)
        return 7

    async def __aexit__(self, *_):
        tick(1000)


@case(produces, filters, Resource.__aenter__, expected=[(1, 31, 31), (1, 2362, 1331), (1, 1000, 1000)])
def asynchronous_generators_and_blocks():
    asyncio.run(filters())


@case(waits, expected=[(1, 13, 13)])
def a_cancelled_task():
    async def main():
        task = asyncio.ensure_future(waits(10))
        await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            tick(10_000)

    asyncio.run(main())


def makes(ns):
    def inner(times=2, *, more=1):
        tick(ns * times * more)
        return ns

    return inner


made = makes(5)
(_inner_code,) = [constant for constant in makes.__code__.co_consts if hasattr(constant, "co_code")]


@case(_inner_code, expected=[(4, 61, 61)])
def closures_made_before_and_after():
    assert made() == 5
    assert made(3) == 5
    assert made(more=7 - 1, times=1) == 5
    assert makes(1)(6) == 1


class Thing:
    __slots__ = ("ns",)

    def __init__(self, ns):
        self.ns = ns
        tick(1)

    @property
    def value(self):
        tick(self.ns)
        return self.ns

    @classmethod
    def build(cls, ns):
        tick(2)
        return cls(ns)

    @staticmethod
    def plain():
        tick(3)

    def method(self):
        tick(4)
        return super().__repr__()


@case(
    Thing.__init__, Thing.value.fget, Thing.build, Thing.plain, Thing.method,
    expected=[(1, 1, 1), (1, 9, 9), (1, 3, 2), (1, 3, 3), (1, 4, 4)],
)  # fmt: skip
def methods():
    thing = Thing.build(9)
    assert thing.value == 9
    thing.plain()
    assert "Thing" in thing.method()


def decorated(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        tick(1)
        return function(*args, **kwargs)

    return wrapper


@decorated
def dressed(ns):
    tick(ns)


TABLE = {"leaf": leaf, "lambda": lambda: tick(6), "bound": Thing(8).method, "partial": functools.partial(leaf, 50)}


@case(
    dressed, dressed.__wrapped__, leaf, TABLE["lambda"], Thing.method,
    expected=[(1, 10, 1), (1, 9, 9), (2, 55, 55), (1, 6, 6), (1, 4, 4)],
)  # fmt: skip
def held_in_tables_and_decorated():
    dressed(9)
    for function in TABLE.values():
        function()


@case(leaf, recurse, expected=[(4, 20, 20), (12, 24, 24)])
def threads_add_up():
    def work():
        barrier.wait()
        leaf(5)
        recurse(2)

    # One after the other on the clock: it is the same for all.
    lock = threading.Lock()
    barrier = threading.Barrier(1)

    def turn():
        with lock:
            work()

    threads = [threading.Thread(target=turn) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    work()


def long_body(number):
    total = 0
    for place in range(number):
        if place % 2:
            total += place
        elif place > 1_000_000:
            return -1
        while total > 100:
            total -= 100
            if total == 7:
                break
        else:
            total += len([inner for inner in range(3) if inner % 2])
    tick(total)
    return total


exec(
    "def far(flag):\n while flag:\n  flag -= 1\n  if flag == 3:\n   continue\n"
    + "".join(f"  value = {number} + flag\n" for number in range(1000, 1600))
    + "  if value < 0:\n   break\n else:\n  tick(4)\n  return value\n"
)


@case(long_body, far, expected=[(2, 44, 44), (1, 4, 4)])  # noqa: F821
def jumps_stay_right():
    assert (long_body(10), long_body(5)) == (35, 9)
    assert far(5) == 1599  # noqa: F821


def inspects(one, /, two=2, *rest, three, **more):
    frame = sys._getframe()
    return frame.f_code.co_name, frame.f_back.f_code.co_name, frame.f_lineno - frame.f_code.co_firstlineno, locals()


@case(inspects, expected=[(1, 0, 0)])
def frames_and_signatures_stay():
    import inspect

    assert str(inspect.signature(inspects)) == "(one, /, two=2, *rest, three, **more)"
    name, caller, line, names = inspects(1, three=3, four=4)
    assert (name, caller, line) == ("inspects", "frames_and_signatures_stay", 2)
    assert sorted(names) == ["frame", "more", "one", "rest", "three", "two"]


def read(name):
    """Run a case under a clock: what was read, and the names of what could not be timed."""
    run, codes, _ = CASES[name]
    meter = FunctionClock(codes, clock, ClockCost(), None)
    before = [function.__code__ for function in (leaf, parent, generate, waits)]
    meter.open()
    try:
        run()
        readings = meter.take()
    finally:
        meter.close()
    assert [function.__code__ for function in (leaf, parent, generate, waits)] == before
    assert not meter.misplaced
    again = FunctionClock(codes, clock, ClockCost(), None)
    again.open()
    again.close()
    run()
    assert again.take() == [Reading(0, 0, 0)] * len(codes)
    return [(one.calls, one.total_ns, one.self_ns) for one in readings], [code.co_name for code in meter.untimed]


if __name__ == "__main__":
    print(json.dumps({name: read(name) for name in sys.argv[1:] or CASES}))
