"""Regressions in a package whose version differs between the sides say so."""

from __future__ import annotations

from dataclasses import replace

from measurements import benchmark, chosen, gated

from pytest_blcperf.compare.packages import name_packages
from pytest_blcperf.model.environment import Environment
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.run import Benchmark, Run
from pytest_blcperf.model.verdict import Outcome
from pytest_blcperf.report.terminal import render
from pytest_blcperf.session import compare_runs

OLD = Environment(packages={"numpy": "1.26.4", "pyyaml": "6.0", "python-dateutil": "2.8", "six": "1", "gone": "1"})
NEW = replace(OLD, packages={"numpy": "2.0.1", "pyyaml": "6.1", "python-dateutil": "2.9", "six": "1", "new": "1"})


def inside(one: Benchmark, file: str) -> Benchmark:
    """The benchmark with all of its functions in that file."""
    assert one.profile is not None
    functions = tuple(replace(function, file=file) for function in one.profile.functions)
    return replace(one, profile=replace(one.profile, functions=functions))


def codes(file: str, old: Environment = OLD, new: Environment = NEW) -> list[str]:
    base, head = benchmark({"f < main": 1.0, "g < main": 9.0}), benchmark({"f < main": 3.0, "g < main": 9.0})
    verdict = gated(inside(base, file), inside(head, file))
    assert verdict.outcome is Outcome.REGRESSED
    (named,) = name_packages([verdict], old, new)
    return [one.text for one in named.warnings if one.code == "package-differs"]


def test_the_package_of_a_guilty_function_is_named_with_both_versions() -> None:
    assert codes("<site>/numpy/core/fromnumeric.py") == [
        "f is part of numpy, whose version differs between the sides: 1.26.4 → 2.0.1"
    ]
    assert "pyyaml" in codes("<site>/yaml/loader.py")[0]
    assert "python-dateutil" in codes("<site>/dateutil/parser.py")[0]


def test_others_are_left_alone() -> None:
    assert not codes("<site>/six.py")
    assert not codes("src/numpy/core.py")
    assert not codes("<site>/gone/a.py") and not codes("<site>/new/a.py")
    assert not codes("<site>/numpy/core.py", OLD, OLD)


def test_what_is_not_regressed_has_no_such_warning() -> None:
    same = inside(benchmark({"f < main": 1.0}), "<site>/numpy/core.py")
    verdict = gated(same, same)
    assert name_packages([verdict], OLD, NEW) == (verdict,)


def test_a_bump_stands_in_the_report_of_two_runs() -> None:
    base = inside(benchmark({"f < main": 1.0, "g < main": 9.0}), "<site>/numpy/core.py")
    head = inside(benchmark({"f < main": 3.0, "g < main": 9.0}), "<site>/numpy/core.py")
    created = "2026-11-20T08:00:00+00:00"
    runs = [
        Run(name, created, "ab" * 20, False, where, (one,), pair="same")
        for name, where, one in (("base", OLD, base), ("head", NEW, head))
    ]
    verdict = compare_runs(runs[0], runs[1], chosen())
    text = " ".join(" ".join(render(verdict)).split())
    assert "packages differ: gone 1 removed, new 1 added, numpy 1.26.4 → 2.0.1" in text
    assert "f is part of numpy, whose version differs" in text


def test_functions_are_named_by_folder_or_module() -> None:
    verdict = replace(gated(*[benchmark({"f < main": 1.0})] * 2), outcome=Outcome.REGRESSED)
    changed = replace(verdict, changed_code=(Function("<site>/numpy.py", "f"), Function("<site>/numpy/a.py", "g")))
    (named,) = name_packages([changed], OLD, NEW)
    assert [one.text for one in named.warnings][-1].startswith("f is part of numpy")
    assert len(named.warnings) == len(verdict.warnings) + 1
