"""Where code objects lie in memory: read back from there."""

import asyncio
import ctypes
import gc
import opcode
import subprocess
import sys

import pytest

from pytest_blcperf.capture import python_code
from pytest_blcperf.capture.observed import Observed
from pytest_blcperf.errors import UsageError


def made(source):
    """A function that has never run, so that the interpreter has not rewritten its instructions."""
    namespace = {}
    exec(source, namespace)
    return namespace["f"]


@pytest.mark.parametrize("source", ["def f(): return 1", "def f(a, b):\n" + "    a = (a * 3 + b) & 1023\n" * 200])
def test_the_range_of_a_function_holds_its_instructions(source):
    code = made(source).__code__
    address, size = python_code.bytecode_range(code)
    assert len(code.co_code) <= size <= len(code.co_code) + 64
    memory = ctypes.string_at(address, len(code.co_code))
    # From 3.11 on inline caches may be initialised; the operations themselves are the same.
    operations = [offset for offset in range(0, len(memory), 2) if code.co_code[offset] != opcode.opmap.get("CACHE")]
    assert [memory[offset] for offset in operations[:4]] == [code.co_code[offset] for offset in operations[:4]]


def test_ranges_of_different_functions_do_not_overlap():
    ranges = sorted(python_code.bytecode_range(code) for code in python_code.code_objects())
    heads = [address for address, _ in ranges]
    assert len(set(heads)) == len(heads)
    if sys.version_info >= (3, 11):
        # Of extra data a few words are counted in, never another object's instructions.
        assert all(
            address + size <= following + 64 for (address, size), following in zip(ranges, heads[1:], strict=False)
        )


def test_functions_are_found_wherever_they_are_held():
    function = made("def f():\n    def inner():\n        return lambda: 0\n    return inner")
    inner = function.__code__.co_consts
    generator = made("def f():\n    yield 1")()
    coroutine = made("async def f():\n    return 1")()
    found = {id(code) for code in python_code.code_objects()}
    assert id(function.__code__) in found
    nested = [constant for constant in inner if hasattr(constant, "co_code")]
    assert nested and all(id(code) in found for code in nested)
    assert id(generator.gi_code) in found
    assert id(coroutine.cr_code) in found
    assert id(sys._getframe().f_code) in found
    asyncio.run(coroutine)


def test_functions_in_frozen_garbage_are_found_and_stay_frozen():
    function = made("def f(): return 1")
    gc.collect()
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        assert id(function.__code__) in {id(code) for code in python_code.code_objects()}
        assert gc.get_freeze_count() >= frozen
    finally:
        gc.unfreeze()


def test_objects_that_pretend_to_be_functions_run_no_code():
    class Proxy:
        @property
        def __class__(self):
            raise AssertionError("asked")

    holder = [Proxy()]
    assert python_code.code_objects()
    assert holder


def test_other_backends_do_not_look_from_outside():
    with pytest.raises(UsageError, match="timer does not look from outside"):
        Observed("timer", made("def f(): return 1").__code__)


def test_this_interpreter_is_supported():
    done = subprocess.run(
        [sys.executable, "-c", "from pytest_blcperf.capture.python_code import *; print(why_not_supported())"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "None"
