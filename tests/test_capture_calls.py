"""Exact call counts: the same numbers in every Python version."""

import array
import asyncio
import collections
import cProfile
import functools
import json
import math
import re
import sys
import threading
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from pytest_blcperf.bench.harvest import merge_counts
from pytest_blcperf.bench.job import Job
from pytest_blcperf.bench.target import Target
from pytest_blcperf.capture.c_functions import BUILTIN, CFunction
from pytest_blcperf.capture.call_counts import CallCounts, count_calls
from pytest_blcperf.capture.functions import Roots
from pytest_blcperf.model.function import NATIVE, PYTHON


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


# ---- C functions


class Rows(list):
    """A subclass: its `append` is that of `list`."""

    def extend(self, rows):
        super().extend(rows)


WORD = re.compile("[a-z]+")


def call_c(times=1):
    rows = Rows()
    for number in range(times):
        rows.append(number)
        list.append(rows, number)
        bound = rows.append
        bound(number)
    rows.extend([1])
    len(rows), max(*rows), sorted([2, 1], key=abs), [abs(number) for number in (1, -2)]
    dict.fromkeys("ab"), "".join("a"), str.join(*["a", ["b"]]), rows.sort(**{"key": abs})
    match = WORD.match
    match("a"), WORD.match("b")
    collections.deque().append(1)
    math.sqrt(4), array.array("b").append(1)
    next(iter([1])), next(generate(1))
    list(map(len, "ab")), functools.partial(len, "a")(), Rows(), Counter
    try:
        len(1)
    except TypeError:
        len("")


EXPECTED_C = {
    "list.append": 9,
    "list.extend": 1,
    "list.sort": 1,
    "len": 3,
    "max": 1,
    "sorted": 1,
    "abs": 2,
    "dict.fromkeys": 1,
    "str.join": 2,
    "re.Pattern.match": 2,
    "collections.deque.append": 1,
    "math.sqrt": 1,
    "array.array.append": 1,
    "iter": 1,
    "next": 2,
}


def c_calls(counts: CallCounts) -> dict[str, int]:
    """Calls of C functions by name."""
    found = Counter()
    for function, calls in counts.c_calls:
        found[function.describe(Roots(()))[1]] += calls
    return dict(found)


def test_c_functions_are_counted_alike_in_every_version():
    assert c_calls(count_calls(lambda: root(functools.partial(call_c, 3)), root.__code__)) == EXPECTED_C


def test_c_functions_are_the_same_without_a_free_monitoring_tool():
    if sys.version_info < (3, 12):
        pytest.skip("sys.monitoring is there from Python 3.12 on")
    taken = [tool for tool in range(6) if sys.monitoring.get_tool(tool) is None]
    for tool in taken:
        sys.monitoring.use_tool_id(tool, "test")
    try:
        counts = count_calls(lambda: root(functools.partial(call_c, 3)), root.__code__)
    finally:
        for tool in taken:
            sys.monitoring.free_tool_id(tool)
    assert c_calls(counts) == EXPECTED_C


def test_c_functions_outside_the_root_do_not_count():
    def run():
        len("")
        root(call_c)
        abs(1)

    counts = c_calls(count_calls(run, root.__code__))
    assert (counts["len"], counts["abs"]) == (3, 2)


def test_counting_does_not_count_itself():
    counts = count_calls(lambda: len(""), None)
    assert c_calls(counts) == {"len": 1}


def test_c_functions_of_threads_count():
    def target():
        math.cos(1.0)

    def start():
        threads = [threading.Thread(target=target) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert c_calls(count_calls(lambda: root(start), root.__code__))["math.cos"] == 3


def test_objects_are_not_kept_alive_by_their_methods():
    gone = []

    class Noisy(list):
        def __del__(self):
            gone.append(len(gone))

    def run():
        Noisy().append(1)
        gone.append("after")

    count_calls(lambda: root(run), root.__code__)
    assert gone == [0, "after"]


def test_names_of_c_functions_hold_the_module_and_files_no_interpreter():
    roots = Roots((("/py/lib/python3.12/site-packages", "<site>/"), ("/py/lib/python3.12", "<stdlib>/")))
    module = ModuleType("fast.speedups")
    module.__file__ = "/py/lib/python3.12/site-packages/fast/speedups.cpython-312-x86_64-linux-gnu.so"
    stable = ModuleType("stable")
    stable.__file__ = "/py/lib/python3.12/site-packages/stable.abi3.so"
    source = ModuleType("source")
    source.__file__ = "/py/lib/python3.12/source.py"
    strange = ModuleType("strange")
    strange.__file__ = 5
    described = [CFunction(owner, "scan").describe(roots) for owner in (module, stable, source, strange)]
    assert described == [
        ("<site>/fast/speedups.so", "fast.speedups.scan", 0, "", NATIVE),
        ("<site>/stable.so", "stable.scan", 0, "", NATIVE),
        (BUILTIN, "source.scan", 0, "", NATIVE),
        (BUILTIN, "strange.scan", 0, "", NATIVE),
    ]
    assert CFunction(Rows, "append").describe(roots) == (BUILTIN, "list.append", 0, "", NATIVE)
    assert CFunction(len, "len").describe(roots) == (BUILTIN, "len", 0, "", NATIVE)


def test_a_target_counts_both_kinds_twice_and_names_them():
    data = Target(Job(call_c, "call_c"), Roots.of(str(Path(__file__).parents[1]))).answer({"op": "count", "repeat": 2})
    counts = merge_counts([json.loads(json.dumps(data))])
    assert counts is not None
    assert counts.deterministic
    calls = {(count.function.file, count.function.name): count.calls for count in counts.calls}
    assert calls["tests/test_capture_calls.py", "call_c"] == 1
    assert calls[BUILTIN, "list.append"] == 3
    assert calls[BUILTIN, "re.Pattern.match"] == 2
    kinds = {count.function.name: count.function.kind for count in counts.calls}
    assert (kinds["call_c"], kinds["list.append"]) == (PYTHON, NATIVE)
