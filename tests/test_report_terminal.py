"""The terminal report and the text of a failing test."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import report_samples as samples
from hypothesis import given
from hypothesis import strategies as st
from report_samples import HOSTILE, check_golden, gate, is_clean, patient, renamed

from pytest_blcperf.report.terminal import failure_text, render
from pytest_blcperf.report.text import cells, to_ascii

SUMMARY = re.compile(r"blcperf: .*working tree \(3f2a91c\+dirty\) against main \(merge base 9ab31c2\), lockstep$")


@pytest.mark.parametrize("width", [80, 120, 160])
def test_golden(width: int) -> None:
    check_golden(f"terminal-{width}.txt", "\n".join(render(samples.everything(), width=width)) + "\n")


def test_golden_ascii() -> None:
    text = "\n".join(render(samples.everything(), width=80, unicode=False)) + "\n"
    assert text.isascii()
    check_golden("terminal-ascii.txt", text)


def test_golden_failure() -> None:
    texts = [
        failure_text(one, samples.BASE, samples.HEAD) for one in (samples.regressed(), samples.hidden_regression())
    ]
    check_golden("failure.txt", "\n\n\n".join(texts) + "\n")


@pytest.mark.parametrize("width", [80, 100, 120, 160, 250])
@pytest.mark.parametrize("unicode", [True, False])
def test_no_line_is_wider_than_the_terminal_but_the_last(width: int, unicode: bool) -> None:
    lines = render(samples.everything(), width=width, unicode=unicode)
    assert max(cells(line) for line in lines[:-1]) <= width
    assert SUMMARY.match(lines[-1])


@patient
@given(HOSTILE, st.sampled_from([80, 100, 140]), st.booleans())
def test_hostile_names_neither_escape_nor_overflow(name: str, width: int, unicode: bool) -> None:
    lines = render(renamed(name), width=width, unicode=unicode)
    assert all(line.isprintable() for line in lines)
    assert unicode or all(line.isascii() for line in lines)
    assert max(cells(line) for line in lines[:-1]) <= width
    assert "2 regressed (1 of them not failing the gate), 1 inconclusive, 1 not compared" in lines[-1]
    assert sum("REGRESSED" in line for line in lines) >= 1


@patient
@given(HOSTILE)
def test_failure_text_is_clean_whatever_the_names(name: str) -> None:
    text = failure_text(renamed(name).benchmarks[0], name, name)
    assert is_clean(text)
    text.encode("utf-8")


def test_colour_adds_escape_sequences_and_nothing_else() -> None:
    plain, coloured = (render(samples.everything(), color=color) for color in (False, True))
    assert [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in coloured] == plain
    assert coloured[-1].startswith("\x1b[1;31m")
    assert render(gate(samples.unchanged()), color=True)[-1].startswith("\x1b[1;32m")
    assert render(gate(), color=True)[-1].startswith("\x1b[1;33m")


def test_the_failing_benchmarks_stand_last_and_warnings_before_the_last_line() -> None:
    lines = render(samples.everything(), width=160)
    found = [
        next(i for i, line in enumerate(lines) if word in line) for word in ("unchanged ", "inconclusive", "REGRESSED")
    ]
    assert found == sorted(found)
    assert lines.index("warnings") > found[-1]


def test_a_gate_without_benchmarks_is_two_sentences() -> None:
    lines = render(gate())
    assert lines[0].startswith("blcperf: main (merge base 9ab31c2) → working tree")
    assert lines[-1].startswith("blcperf: NOTHING WAS COMPARED: no benchmark ran: ")


def test_many_benchmarks_with_identical_code_share_a_line() -> None:
    lines = render(gate(*(samples.identical(f"t.py::test_{n}") for n in range(200)), samples.regressed()), width=120)
    assert [line for line in lines if "200 benchmarks that load no changed file" in line and "identical code" in line]
    assert not any("test_7" in line for line in lines)


def test_a_tilde_is_explained_where_there_is_one() -> None:
    assert any(
        line.endswith("~ not significant: the 95 % interval contains zero")
        for line in render(gate(samples.unchanged()))
    )
    assert not any("~" in line for line in render(gate(samples.improved())))


def test_many_guilty_functions_are_cut_with_a_count() -> None:
    one = samples.hidden_regression()
    text = failure_text(replace(one, functions=one.functions * 14), samples.BASE, samples.HEAD)
    assert text.count("guilty: ") == 10
    assert "and 4 more guilty functions, all in the JSON report" in text


@pytest.mark.parametrize("unicode", [True, False])
def test_an_explanation_is_broken_and_never_cut(unicode: bool) -> None:
    text = " ".join(" ".join(render(gate(samples.regressed()), width=80, unicode=unicode)).split())
    expected = "called 1.25× as often (+20.7 µs) and dearer per call: +45.6 % (+29.3 µs), 160 → 200 calls per iteration"
    assert (expected if unicode else to_ascii(expected)) in text
