"""The sentences all renderers share."""

from __future__ import annotations

import re
import sys
from dataclasses import replace

import pytest
import report_samples as samples
from report_samples import PARSE, PUSH, RENDER, TOKENIZE, function, gate, is_clean

from pytest_blcperf.model.function import Function
from pytest_blcperf.model.verdict import (
    BenchmarkVerdict,
    CallChange,
    Evidence,
    Explanation,
    FunctionVerdict,
    Outcome,
)
from pytest_blcperf.model.warning import Warning
from pytest_blcperf.options import share as parse_share
from pytest_blcperf.report import words
from pytest_blcperf.settings import FunctionRule

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def judged(calls_base: float | None, calls_head: float | None, more: float, dearer: float) -> FunctionVerdict:
    """A function that grew from 100 to 160 µs, with that explanation."""
    compared = function(
        TOKENIZE,
        1e5,
        0.6,
        impact=0.1,
        calls_base=calls_base,
        calls_head=calls_head,
        counts_exact=calls_base is not None,
    )
    return FunctionVerdict(compared, Outcome.REGRESSED, Evidence.LOCKSTEP, explanation=Explanation(more, dearer))


@pytest.mark.parametrize(
    ("verdict", "text"),
    [
        (judged(36, 72, 60_000, 0), "called 2.0× as often"),
        (judged(36, 37, 2_000, 58_000), "dearer per call: +55.7 %"),
        (judged(36, 36, 0, 60_000), "dearer per call: +60.0 %"),
        (judged(36, 45, 35_000, 25_000), "called 1.25× as often (+35.0 µs) and dearer per call: +28.0 % (+25.0 µs)"),
        (judged(36, 18, -60_000, 120_000), "called 0.50× as often (-60.0 µs) but dearer per call: +220.0 % (+120 µs)"),
        (judged(36, 144, 90_000, -30_000), "called 4.0× as often (+90.0 µs) but cheaper per call: -60.0 % (-30.0 µs)"),
        (judged(0, 36, 60_000, 0), "new: the base does not call it"),
        (judged(None, None, 60_000, 0), ""),
        (judged(36, 36, 0, 0), ""),
    ],
)
def test_an_explanation_says_more_calls_or_dearer_calls_or_both(verdict: FunctionVerdict, text: str) -> None:
    assert words.explanation(verdict) == text


def test_calls_are_shown_only_when_exact() -> None:
    exact = judged(36, 72, 1, 0)
    assert words.calls(exact) == "36 → 72 calls per iteration"
    assert words.calls(replace(exact, comparison=replace(exact.comparison, counts_exact=False))) == ""
    assert words.calls(judged(36, 36, 0, 1)) == "36 calls per iteration on both sides"


def test_callers_are_traced_to_the_function_at_the_root() -> None:
    verdict = samples.regressed()
    first, second = verdict.guilty
    assert [one.comparison.function for one in words.callers(verdict, first)] == [PARSE, RENDER]
    assert words.callers(verdict, second) == ()


def test_functions_that_follow_each_other_do_not_hang() -> None:
    circle = tuple(
        FunctionVerdict(function(one, 1e5, 0.1, impact=0.1), Outcome.REGRESSED, Evidence.LOCKSTEP, follows_from=other)
        for one, other in ((PARSE, RENDER), (RENDER, PARSE))
    )
    guilty = judged(1, 1, 0, 1)
    verdict = BenchmarkVerdict("t", Outcome.REGRESSED, Evidence.LOCKSTEP, functions=(guilty, *circle))
    assert words.callers(verdict, guilty) == ()


@pytest.mark.parametrize(
    ("identifier", "text"),
    [
        (samples.RENDERING, "markdown rendering[large document]"),
        ("tests/t.py::TestX::test_y[a::b_c]", "y[a::b_c]"),
        ("tests/t.py::test_", "test_"),
        ("", "benchmark"),
    ],
)
def test_a_benchmark_has_a_readable_title(identifier: str, text: str) -> None:
    assert words.title(identifier) == text


def test_headlines() -> None:
    assert words.headline(samples.regressed()) == (
        "markdown rendering[large document] got 20.1 % slower [+19.0, +21.2]; "
        "guilty: ParserInline.tokenize (src/markdown_it/parser_inline.py:42) +59.8 % and 1 more"
    )
    assert words.headline(samples.hidden_regression()) == (
        "tables: ParserInline.tokenize (src/markdown_it/parser_inline.py:42) got 14.2 % dearer [+12.2, +16.2]; "
        "the benchmark as a whole got 4.7 % faster [-5.5, -3.9]"
    )
    assert words.headline(samples.tolerated()).endswith("slower [+8.3, +10.3]; no single function is to blame")
    unmeasured = BenchmarkVerdict("t.py::test_x", Outcome.REGRESSED, Evidence.COUNTS, "it makes 4 calls instead of 2")
    assert words.headline(unmeasured) == "x regressed: it makes 4 calls instead of 2"


def test_the_summary_counts_and_says_what_was_compared() -> None:
    assert words.summary(gate(samples.regressed(), samples.unchanged(), samples.inconclusive())) == (
        "blcperf: 1 regressed, 1 unchanged, 1 inconclusive: "
        "working tree (3f2a91c+dirty) against main (merge base 9ab31c2), lockstep"
    )
    assert "2 regressed (1 of them not failing the gate)" in words.summary(
        gate(samples.regressed(), samples.tolerated())
    )


@pytest.mark.parametrize("benchmarks", [(), (samples.not_compared(),)])
def test_a_gate_without_a_comparison_says_so_loudly(benchmarks: tuple[BenchmarkVerdict, ...]) -> None:
    assert words.summary(gate(*benchmarks)).startswith("blcperf: NOTHING WAS COMPARED: ")
    assert "no base" in words.summary(gate(*benchmarks, base=""))


def test_identical_code_counts_as_compared() -> None:
    assert "NOTHING" not in words.summary(gate(samples.identical()))


def test_equal_warnings_are_told_once() -> None:
    noisy = Warning("noisy", "the machine is busy")
    one, two = (replace(samples.unchanged(name), warnings=(noisy, noisy)) for name in ("a", "b"))
    run_wide = Warning("zzz", "about the run")
    notes = words.notes(gate(one, two, warnings=(run_wide,)))
    assert [note.text for note in notes] == ["zzz: about the run", "noisy: the machine is busy (2 benchmarks)"]


def test_an_inconclusive_benchmark_says_what_it_would_take() -> None:
    verdict = samples.inconclusive()
    # (log 1.063 / log 1.05)² · 12 launches = 18.8
    assert "5 % takes about 19 launches a side" in " ".join(words.remarks(verdict))
    assert "more than 200 launches" in " ".join(words.remarks(replace(verdict, detectable=0.9)))
    assert "takes" not in " ".join(words.remarks(replace(verdict, detectable=0.04)))


def test_the_suggested_threshold_of_the_benchmark_covers_all_that_regressed() -> None:
    steps = dict(words.next_steps(samples.regressed(), samples.BASE))
    marker = steps["accept the cost in this benchmark"]
    given = dict(re.findall(r'(\w+)="([^"]+)"', marker))
    assert list(given) == ["threshold", "benchmark_threshold"]
    assert parse_share(given["threshold"]) > 0.82
    assert 0.212 < parse_share(given["benchmark_threshold"]) <= 0.3
    assert not any("this function only" in purpose for purpose in steps)


def test_the_suggested_threshold_is_not_lowered_to_what_carries_the_slowdown() -> None:
    verdict = samples.regressed()
    carried = tuple(replace(one, carrier=True) for one in verdict.functions)
    steps = dict(words.next_steps(replace(verdict, functions=carried), samples.BASE))
    marker = steps["accept the cost in this benchmark"]
    assert re.findall(r"(\w+)=", marker) == ["benchmark_threshold"]


def test_the_suggested_rule_fits_the_function_and_no_other() -> None:
    verdict = replace(samples.hidden_regression(), id=samples.RENDERING)
    steps = dict(words.next_steps(verdict, samples.BASE))
    text = steps["or accept it in this function only (pyproject.toml)"]
    (rule,) = tomllib.loads(text)["tool"]["blcperf"]["functions"]
    assert parse_share(rule.pop("threshold")) > 0.142
    assert FunctionRule(**rule).applies(verdict.id, TOKENIZE.file, TOKENIZE.name)
    assert not FunctionRule(**rule).applies(verdict.id, PUSH.file, PUSH.name)
    assert not FunctionRule(**rule).applies("tests/other.py::test_x", TOKENIZE.file, TOKENIZE.name)


def test_the_next_steps_begin_with_the_change_itself_where_the_code_changed() -> None:
    steps = words.next_steps(samples.hidden_regression(), samples.BASE)
    assert steps[0] == ("see what changed in it", "git diff 9ab31c2 -- src/markdown_it/parser_inline.py")
    commands = [command for _, command in words.next_steps(samples.regressed(), samples.BASE)]
    assert commands[0] == f"pytest --blcperf --blcperf-baseline=main '{samples.RENDERING}'"


def test_changed_code_is_named_when_no_guilty_function_was_changed_itself() -> None:
    unchanged = replace(
        judged(36, 36, 0, 60_000), comparison=function(TOKENIZE, 1e5, 0.6, impact=0.1, code_changed=False)
    )
    verdict = replace(samples.regressed(), functions=(unchanged,), changed_code=(PARSE, PUSH))
    assert any(PARSE.name in remark and PUSH.location in remark for remark in words.remarks(verdict))
    # A guilty function that was changed needs no further suspects.
    changed = replace(unchanged, comparison=replace(unchanged.comparison, code_changed=True))
    assert not any(PARSE.name in remark for remark in words.remarks(replace(verdict, functions=(changed,))))


def test_calls_that_changed_are_named_of_what_needs_explaining() -> None:
    names = ("list.append", "len", "re.Pattern.match", "evil\n")
    changes = tuple(CallChange(Function("<builtin>", name), 10, 20 + number) for number, name in enumerate(names))
    verdict = replace(samples.regressed(), changed_calls=(CallChange(TOKENIZE, 36, 72), *changes))
    told = "calls per iteration that changed: list.append 10 → 20, len 10 → 21, re.Pattern.match 10 → 22, 1 more"
    assert told in words.remarks(verdict)
    assert told not in words.remarks(replace(verdict, outcome=Outcome.UNCHANGED))


def test_changed_lines_lose_their_common_indent_and_share_a_limit() -> None:
    tokenize, push = samples.regressed().guilty
    first, second = words.causes(tokenize, 6)
    assert first.lines == ("-tokenize(line)", "+if tokenize(line):", "+    again(line)")
    assert second.where == "src/markdown_it/main.py:309 changed in MarkdownIt.render, which calls it"
    shown = words.causes(push, 3)
    assert shown[0].lines == ("-self.tokens.append(token)", "+self.add(0)", "+self.add(1)", "… 6 more lines")
    assert [one.lines for one in shown[1:]] == [(), ()]
    assert all(
        is_clean(line) for line in words.causes(samples.renamed("a\x1b[31m\t\n").benchmarks[0].guilty[0], 9)[0].lines
    )
