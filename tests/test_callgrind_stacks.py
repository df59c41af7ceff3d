"""Callgrind's stacks become those of Python's and extension modules' functions."""

from __future__ import annotations

from pytest_blcperf.capture.callgrind import CONTEXT
from pytest_blcperf.capture.callgrind_output import InstructionCounts
from pytest_blcperf.capture.callgrind_stacks import PythonFunctions, fold, without
from pytest_blcperf.model.function import NATIVE, Function

ROOT, WORK, INNER, OTHER = "0x1000", "0x2000", "0x3000", "0x4000"
EVAL = "_PyEval_EvalFrameDefault"
OBJECTS = {
    EVAL: "/usr/lib/libpython3.12.so.1.0",
    "list_append": "/usr/lib/libpython3.12.so.1.0",
    "py_trampoline_evaluator": "/usr/lib/libpython3.12.so.1.0",
    "memcpy": "/usr/lib/x86_64-linux-gnu/libc.so.6",
    "scan_once": "/usr/lib/python3.12/lib-dynload/_json.cpython-312-x86_64-linux-gnu.so",
}
NAMES = {
    0x1000: ("run_iterations", "/x/bench/target.py"),
    0x2000: ("work", "/repo/src/lib.py"),
    0x3000: ("Thing.inner", "/repo/src/lib.py"),
    0x4000: ("late", "/repo/src/late.py"),
}
KNOWN = {
    ("work", "/repo/src/lib.py"): Function("src/lib.py", "work", 3, "abc"),
    ("Thing.inner", "/repo/src/lib.py"): Function("src/lib.py", "Thing.inner", 9, "def"),
}
SCAN = Function("_json.cpython-312-x86_64-linux-gnu.so", "scan_once", kind=NATIVE)
WORK_FUNCTION, INNER_FUNCTION = KNOWN.values()


def folded(*stacks: tuple[str, int], python: bool = True) -> dict[tuple[Function, ...], int]:
    """Of stacks such as `leaf < caller`."""
    counts = InstructionCounts(0, {tuple(text.split(" < ")): cost for text, cost in stacks}, OBJECTS)
    return fold(counts, PythonFunctions(NAMES if python else {}, KNOWN, NAMES[0x1000]))


INSIDE = f"{EVAL} < {ROOT} < py_trampoline_evaluator < outside"


def test_the_interpreter_works_for_the_python_function_that_it_runs() -> None:
    assert folded(
        (f"{EVAL} < {WORK} < py_trampoline_evaluator < {INSIDE}", 10),
        (f"{WORK} < py_trampoline_evaluator < {INSIDE}", 3),
        (f"memcpy < list_append < {EVAL} < {WORK} < {INSIDE}", 5),
        (f"{EVAL} < {INNER} < {EVAL} < {WORK} < {INSIDE}", 7),
    ) == {(WORK_FUNCTION,): 18, (INNER_FUNCTION, WORK_FUNCTION): 7}


def test_functions_of_extension_modules_stay() -> None:
    found = folded((f"memcpy < scan_once < {EVAL} < {WORK} < {INSIDE}", 4), (f"scan_once < {EVAL} < {INSIDE}", 2))
    assert found == {(SCAN, WORK_FUNCTION): 4, (SCAN,): 2}
    assert next(iter(found))[0].kind == NATIVE


def test_what_the_round_itself_does_is_the_benchmark_and_what_is_outside_is_nothing() -> None:
    assert folded((INSIDE, 6), (f"{EVAL} < outside", 100), ("memcpy < nowhere", 9), (f"{EVAL} < {WORK} < x", 0)) == {
        (): 6
    }


def test_a_stack_that_was_cut_short_is_inside() -> None:
    deep = " < ".join([EVAL, INNER, *[EVAL] * (CONTEXT - 1)])
    assert folded((deep, 5)) == {(INNER_FUNCTION,): 5}


def test_a_function_that_was_not_described_and_addresses_that_are_nothing() -> None:
    assert folded((f"{EVAL} < {OTHER} < 0x9999 < 0xnonsense < {INSIDE}", 5)) == {
        (Function("/repo/src/late.py", "late"),): 5
    }


def test_without_a_perf_map_every_native_function_counts() -> None:
    found = folded((f"memcpy < list_append < {EVAL} < outside", 5), python=False)
    names = [function.name for (stack, _) in found.items() for function in stack]
    assert names == ["memcpy", "list_append", EVAL, "outside"]
    assert {function.kind for stack in found for function in stack} == {NATIVE}


def test_what_lies_around_the_iterations_is_taken_off() -> None:
    one, two = (WORK_FUNCTION,), (INNER_FUNCTION,)
    assert without({one: 100, two: 6}, {one: 10, two: 4}, 2) == {one: 80}
