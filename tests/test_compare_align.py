"""Which benchmark and which function is which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_blcperf.compare.align import match_benchmarks, match_functions, merge
from pytest_blcperf.model.environment import Environment
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.run import Benchmark, Run


def run(*benchmarks: Benchmark) -> Run:
    return Run("run", "", "", False, Environment(), benchmarks)


def bench(id_: str, code: str = "", **params: Any) -> Benchmark:
    file, name = id_.split("::")
    return Benchmark(id_, name, file, 1, (), code=code, params=params)


def ids(pairs: Sequence[tuple[Benchmark, Benchmark]]) -> list[tuple[str, str]]:
    return [(base.id, head.id) for base, head in pairs]


def test_benchmarks_of_equal_id_match_whatever_their_code() -> None:
    match = match_benchmarks(run(bench("a.py::one", "x"), bench("a.py::two")), run(bench("a.py::one", "y")))
    assert ids(match.pairs) == [("a.py::one", "a.py::one")]
    assert match.pairs[0][1].warnings == ()
    assert [left.id for left in match.only_base] == ["a.py::two"]


def test_a_moved_benchmark_is_found_by_its_name_with_a_warning() -> None:
    match = match_benchmarks(run(bench("old.py::one")), run(bench("new.py::one"), bench("new.py::two")))
    assert ids(match.pairs) == [("old.py::one", "new.py::one")]
    (warning,) = match.pairs[0][1].warnings
    assert "matched by name with old.py::one" in warning.text
    assert [left.id for left in match.only_head] == ["new.py::two"]


def test_a_renamed_benchmark_is_found_by_its_code() -> None:
    match = match_benchmarks(run(bench("a.py::one", "same")), run(bench("b.py::two", "same")))
    assert ids(match.pairs) == [("a.py::one", "b.py::two")]
    assert "matched by code" in match.pairs[0][1].warnings[0].text


def test_code_and_name_together_win_over_either() -> None:
    base = run(bench("a.py::one", "same"), bench("a.py::two", "same"))
    head = run(bench("b.py::two", "same"), bench("b.py::one", "same"))
    assert ids(match_benchmarks(base, head).pairs) == [("a.py::two", "b.py::two"), ("a.py::one", "b.py::one")]


def test_an_ambiguous_name_matches_nothing() -> None:
    base = run(bench("a.py::one"), bench("b.py::one"))
    match = match_benchmarks(base, run(bench("c.py::one")))
    assert match.pairs == ()
    assert len(match.only_base) == 2


def test_other_parameters_are_another_benchmark() -> None:
    small, large = bench("a.py::sort[10]", "same", size=10), bench("a.py::sort[99]", "same", size=99)
    assert match_benchmarks(run(small), run(large)).pairs == ()


def test_functions_by_identity_then_by_fingerprint() -> None:
    base = [Function("a.py", "f", 1, "1"), Function("a.py", "old", 5, "2"), Function("a.py", "gone", 9, "3")]
    head = [Function("a.py", "f", 3, "9"), Function("b.py", "new", 7, "2"), Function("b.py", "extra", 9, "4")]
    match = match_functions(base, head)
    assert match.pairs == ((base[0], head[0]), (base[1], head[1]))
    assert (match.only_base, match.only_head) == ((base[2],), (head[2],))


def test_unknown_or_common_fingerprints_match_nothing() -> None:
    base = [Function("a.py", "f"), Function("a.py", "g", 1, "1"), Function("a.py", "h", 2, "1")]
    head = [Function("b.py", "e"), Function("b.py", "i", 1, "1")]
    assert match_functions(base, head).pairs == ()


def test_functions_named_after_their_address_are_told_by_their_code() -> None:
    base = [Function("lib.so", "+0x10", 0, "1"), Function("lib.so", "+0x20", 0, "2"), Function("lib.so", "+0x30")]
    head = [Function("lib.so", "+0x10", 0, "2"), Function("lib.so", "+0x20", 0, "3"), Function("lib.so", "+0x30")]
    match = match_functions(base, head)
    assert match.pairs == ((base[1], head[0]),)
    assert [function.name for function in match.only_base] == ["+0x10", "+0x30"]
    same = [Function("lib.so", "+0x40", 0, "4")]
    assert match_functions(same, same).pairs == ((same[0], same[0]),)


def test_one_identity_is_merged_with_all_its_code() -> None:
    first, second = Function("a.py", "<lambda>", 0, "y"), Function("a.py", "<lambda>", 4, "x")
    (merged,) = merge([first, second, first])
    assert (merged.line, merged.fingerprint) == (4, "x+y")
    assert merge([merged, second])[0].fingerprint == "x+y"


def test_an_edited_function_is_found_in_another_file_or_a_renamed_class() -> None:
    base = [
        Function("a.py", "Parser.feed", 1, "x"),
        Function("a.py", "Old.add", 9, "y"),
        Function("a.py", "Old.run", 2),
    ]
    head = [
        Function("b.py", "Parser.feed", 1, "z"),
        Function("a.py", "_New.add", 9, "w"),
        Function("c.py", "New.run", 2),
    ]
    match = match_functions(base, head)
    assert [(old.name, new.location) for old, new in match.pairs] == [("Parser.feed", "b.py:1"), ("Old.add", "a.py:9")]
    assert [one.name for one in match.only_head] == ["New.run"]


def test_lambdas_and_names_that_are_there_twice_are_not_matched_by_name() -> None:
    base = [Function("a.py", "f.<locals>.<lambda>", 1, "x"), Function("a.py", "A.run"), Function("a.py", "B.run")]
    head = [Function("b.py", "f.<locals>.<lambda>", 1, "y"), Function("a.py", "C.run")]
    assert match_functions(base, head).pairs == ()
