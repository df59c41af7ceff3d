"""The Markdown report, read back by a Markdown parser."""

from __future__ import annotations

import re

import pytest
import report_samples as samples
from hypothesis import given
from markdown_it import MarkdownIt
from report_samples import HOSTILE, check_golden, gate, is_clean, patient, renamed

from pytest_blcperf.model.verdict import GateVerdict
from pytest_blcperf.report.markdown import render

OUR_TAGS = "h3 h4 p ul li code table thead tbody tr th td strong sub details summary pre br"


def html(text: str) -> str:
    """What a GitHub-like renderer makes of it."""
    return str(MarkdownIt("commonmark", {"html": True, "linkify": False}).enable("table").render(text))


def rows(text: str) -> list[str]:
    """The rows of all its tables."""
    return [line for line in text.splitlines() if line.startswith("| ")]


def test_golden() -> None:
    check_golden("verdict.md", render(samples.everything()))


@pytest.mark.parametrize(
    ("verdict", "start"),
    [
        (gate(samples.regressed()), "### ❌ blcperf: 1 regressed"),
        (gate(samples.unchanged(), samples.identical(), samples.improved()), "### ✅ blcperf: 1 improved, 2 unchanged"),
        (gate(samples.unchanged(), samples.inconclusive()), "### ⚠️ blcperf: 1 unchanged, 1 inconclusive"),
        (gate(samples.tolerated()), "### ⚠️ blcperf: 1 regressed (1 of them not failing the gate)"),
        (gate(samples.not_compared()), "### ⚠️ blcperf: NOTHING WAS COMPARED: 1 not compared"),
        (gate(), "### ⚠️ blcperf: NOTHING WAS COMPARED: no benchmark ran"),
    ],
)
def test_the_headline_comes_first_and_is_green_only_without_doubt(verdict: GateVerdict, start: str) -> None:
    assert render(verdict).startswith(start)


@patient
@given(HOSTILE)
def test_hostile_names_have_no_meaning(name: str) -> None:
    text = render(renamed(name))
    assert is_clean(text)
    assert "@me" not in re.sub(r"(?ms)^```(diff)?$.*?^```$", "", text)
    shown = html(text)
    assert set(re.findall(r"<\s*/?\s*([a-zA-Z0-9!]+)", re.sub(r"(?s)<pre>.*?</pre>", "", shown))) <= set(
        OUR_TAGS.split()
    )
    assert "<!--" not in shown
    assert shown.count("<tr>") == (1 + 4) + (1 + 1)
    assert shown.count("<td ") == 4 * 6 + 1 * 6
    assert shown.count("<h3>") == 1
    assert shown.count("<details>") == shown.count("</details>") == 1


def test_mentions_are_broken_even_outside_code() -> None:
    shown = html(render(renamed("@me #12")))
    assert "@me" in shown.replace("\u200b", "")
    assert "@me" not in re.sub(r"(?s)<(code|pre)>.*?</\1>", "", shown)


@pytest.mark.parametrize("count", [1, 20, 200])
@pytest.mark.parametrize("limit", [4_000, 20_000, 60_000])
def test_a_long_report_loses_whole_rows_and_says_so(count: int, limit: int) -> None:
    text = render(gate(*[samples.regressed()] * count, *[samples.unchanged()] * count), limit)
    assert len(text.encode()) <= limit
    assert all(row.endswith(" |") and row.count("|") == 7 for row in rows(text))
    hidden = re.search(r"(\d+) more benchmarks are left out", text)
    blocks = re.search(r"details of (\d+) regressed", text)
    shown = sum(row.endswith("| lockstep time |") for row in rows(text))
    assert shown + int(hidden[1] if hidden else 0) == 2 * count
    assert text.count("#### ") + int(blocks[1] if blocks else 0) == count
    assert html(text).count("<details>") == html(text).count("</details>")


@patient
@given(HOSTILE)
def test_no_name_breaks_the_limit(name: str) -> None:
    assert len(render(renamed(name * 20), 4_000).encode()) <= 4_000
