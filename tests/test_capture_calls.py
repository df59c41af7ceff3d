"""Exact call counts: the same numbers in every Python version."""

import asyncio
import cProfile
import functools
import sys
import threading

import pytest

from pytest_blcperf.capture.call_counts import count_calls


def leaf():
    return 1


def generate(number):
    for _ in range(number):
        yield leaf()


async def pause():
    leaf()


async def main():
    for _ in range(3):
        await pause()


def recurse(depth):
    return recurse(depth - 1) if depth else leaf()


def delegate(number):
    yield from generate(number)
    yield from generate(number)


class Thing:
    def __init__(self):
        leaf()

    @property
    def value(self):
        return leaf()


def work():
    sum(generate(5))
    list(delegate(3))
    next(iter(generate(9)))
    generate(4)  # made, never run
    recurse(4)
    Thing().value  # noqa: B018
    sorted([3, 1, 2], key=lambda number: -number)
    list(map(functools.partial(pow, 2), range(3)))
    coroutine = main()
    with pytest.raises(StopIteration):
        coroutine.send(None)
    try:
        leaf(1)
    except TypeError:
        leaf()


EXPECTED = {
    "work": 1,
    "generate": 4,
    "delegate": 1,
    "leaf": 5 + 6 + 1 + 1 + 2 + 3 + 1,
    "recurse": 5,
    "__init__": 1,
    "value": 1,
    "<lambda>": 3,
    "main": 1,
    "pause": 3,
}


def root(function, times=1):
    for _ in range(times):
        function()


def here(counts):
    """Calls of this file's functions by name."""
    return {code.co_name: calls for code, calls in counts.items() if code.co_filename == __file__}


def test_counts_are_exact():
    assert here(count_calls(lambda: root(work), root.__code__)) == EXPECTED


def test_counts_without_a_free_monitoring_tool_are_the_same():
    if sys.version_info < (3, 12):
        pytest.skip("sys.monitoring is there from Python 3.12 on")
    taken = [tool for tool in range(6) if sys.monitoring.get_tool(tool) is None]
    for tool in taken:
        sys.monitoring.use_tool_id(tool, "test")
    try:
        assert here(count_calls(lambda: root(work), root.__code__)) == EXPECTED
    finally:
        for tool in taken:
            sys.monitoring.free_tool_id(tool)
    assert sys.getprofile() is None


def test_only_calls_inside_the_root_count():
    def run():
        leaf()
        root(leaf, 2)
        leaf()
        root(leaf, 3)

    assert here(count_calls(run, root.__code__)) == {"leaf": 5}


def test_a_root_left_by_an_exception_is_left():
    def fail():
        raise ValueError

    def run():
        with pytest.raises(ValueError):
            root(fail)
        leaf()

    assert here(count_calls(run, root.__code__)) == {"fail": 1}


def test_without_a_root_everything_counts():
    assert here(count_calls(leaf, None)) == {"leaf": 1}
    assert here(count_calls(functools.partial(root, leaf, 2), None)) == {"root": 1, "leaf": 2}


def test_functions_that_compare_equal_are_counted_apart():
    namespaces: list[dict] = [{}, {}]
    for namespace, file in zip(namespaces, ("a.py", "b.py"), strict=True):
        exec(compile("def twin():\n    return 1\n", file, "exec"), namespace)
    one, other = (namespace["twin"] for namespace in namespaces)
    counts = count_calls(lambda: (root(one, 2), root(other, 3)), root.__code__)
    assert {code.co_filename: calls for code, calls in counts.items()} == {"a.py": 2, "b.py": 3}
    assert (counts[one.__code__], counts[other.__code__], len(counts)) == (2, 3, 2)


def test_an_exception_passes_and_leaves_nothing_behind():
    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        count_calls(lambda: root(fail), root.__code__)
    assert here(count_calls(lambda: root(leaf), root.__code__)) == {"leaf": 1}


def test_threads_started_during_the_run_count_and_others_do_not():
    stop, ready = threading.Event(), threading.Event()

    def bystander():
        ready.set()
        while not stop.is_set():
            recurse(1)

    def target():
        recurse(2)

    def start():
        threads = [threading.Thread(target=target), threading.Thread(target=target), threading.Thread(target=target)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    other = threading.Thread(target=bystander)
    other.start()
    ready.wait()
    try:
        counts = count_calls(lambda: root(start), root.__code__)
    finally:
        stop.set()
        other.join()
    assert here(counts) == {"start": 1, "target": 3, "recurse": 9, "leaf": 3}
    runs = [calls for code, calls in counts.items() if (code.co_name, code.co_filename) == ("run", threading.__file__)]
    assert runs == [3]
    assert threading.getprofile() is None


def test_a_profiler_in_force_is_in_force_again():
    def hook(_frame, event, _argument):
        seen.append(event)

    seen: list[str] = []
    before = sys.getprofile()
    sys.setprofile(hook)
    try:
        counts = count_calls(lambda: root(leaf), root.__code__)
        after = sys.getprofile()
    finally:
        sys.setprofile(before)
    assert after is hook
    assert here(counts) == {"leaf": 1}


def test_cprofile_goes_on_afterwards():
    profiler = cProfile.Profile()
    profiler.enable()
    try:
        counts = count_calls(lambda: root(leaf), root.__code__)
        recurse(1)
    finally:
        profiler.disable()
    assert here(counts) == {"leaf": 1}
    assert "recurse" in {getattr(entry.code, "co_name", "") for entry in profiler.getstats()}


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring is there from Python 3.12 on")
def test_another_monitoring_tool_goes_on():
    seen = []
    tool = 3
    sys.monitoring.use_tool_id(tool, "test")
    try:
        sys.monitoring.register_callback(
            tool, sys.monitoring.events.PY_START, lambda code, _offset: seen.append(code.co_name)
        )
        sys.monitoring.set_events(tool, sys.monitoring.events.PY_START)
        counts = count_calls(lambda: root(leaf), root.__code__)
        recurse(0)
    finally:
        sys.monitoring.set_events(tool, 0)
        sys.monitoring.register_callback(tool, sys.monitoring.events.PY_START, None)
        sys.monitoring.free_tool_id(tool)
    assert here(counts) == {"leaf": 1}
    assert seen.count("leaf") == 2


def test_tracing_goes_on():
    traced = set()

    def trace(frame, _event, _argument):
        traced.add(frame.f_code.co_name)

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        counts = count_calls(lambda: root(leaf), root.__code__)
    finally:
        sys.settrace(before)
    assert here(counts) == {"leaf": 1}
    assert "leaf" in traced


def test_event_loops_count_coroutines_once():
    counts = count_calls(lambda: root(lambda: asyncio.run(main())), root.__code__)
    assert {name: here(counts)[name] for name in ("main", "pause", "leaf")} == {"main": 1, "pause": 3, "leaf": 3}
