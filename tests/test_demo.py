"""The demo's judgement and its edits; `make demo` itself takes minutes and the network."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "demo.py"


@pytest.fixture(scope="module")
def demo():
    specification = importlib.util.spec_from_file_location("demo", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    sys.modules["demo"] = module  # dataclasses look their module up
    try:
        specification.loader.exec_module(module)
        yield module
    finally:
        del sys.modules["demo"]


def benchmark(outcome, *functions, evidence="lockstep time"):
    named = [{"name": name, "outcome": "regressed", "guilty": guilty} for name, guilty in functions]
    return {"id": "test_it", "outcome": outcome, "evidence": evidence, "functions": named}


UNCHANGED = benchmark("unchanged")
IDENTICAL = benchmark("unchanged", evidence="identical code")
SLOWER = benchmark("regressed", ("text", True), ("tokenize", False))


@pytest.mark.parametrize(
    ("branch", "exit_code", "benchmarks", "right"),
    [
        ("slower", 1, [SLOWER, UNCHANGED], True),
        ("slower", 1, [benchmark("regressed", ("parse", False), ("text", True))], True),
        ("slower", 1, [benchmark("regressed", ("parse", True), ("text", True))], False),
        ("slower", 1, [benchmark("regressed")], False),
        ("slower", 0, [UNCHANGED], False),
        ("slower", 0, [SLOWER], False),
        ("slower", 1, [], False),
        ("refactor", 0, [UNCHANGED, benchmark("inconclusive")], True),
        ("refactor", 0, [SLOWER], False),
        ("refactor", 1, [UNCHANGED], False),
        ("refactor", 0, [UNCHANGED, benchmark("not compared")], False),
        ("refactor", 0, [], False),
        ("docs-only", 0, [IDENTICAL, IDENTICAL], True),
        ("docs-only", 0, [IDENTICAL, UNCHANGED], False),
    ],
)
def test_a_branch_is_right_only_when_the_gate_said_what_it_should(demo, branch, exit_code, benchmarks, right):
    wanted = next(one for one in demo.BRANCHES if one.name == branch)
    assert demo.judge(wanted, exit_code, benchmarks, seconds=1.0).right is right


def test_the_summary_marks_what_came_out_wrong(demo):
    slower = next(one for one in demo.BRANCHES if one.name == "slower")
    lines = demo.summary([demo.judge(slower, 1, [SLOWER], 61.2), demo.judge(slower, 0, [UNCHANGED], 1.0)]).splitlines()
    assert [line.endswith(("as it should", "WRONG")) for line in lines] == [False, True, True]
    assert "1 regressed" in lines[1]
    assert "61 s" in lines[1]
    assert lines[2].endswith("WRONG")


@pytest.mark.parametrize("text", ["other = 1\n", "limit = 1\nlimit = 1\n"])
def test_an_edit_that_does_not_fit_exactly_once_is_refused(demo, tmp_path, text):
    (tmp_path / "module.py").write_text(text)
    with pytest.raises(ValueError, match=r"module\.py: expected once"):
        demo.apply(tmp_path, demo.Edit("module.py", "limit = 1", "limit = 2"))
    assert (tmp_path / "module.py").read_text() == text
