"""Verdicts built by hand, for the tests of the renderers."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st

from pytest_blcperf.model.comparison import SELF, TOTAL, BenchmarkComparison, Estimate, FunctionComparison
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.verdict import (
    CALLED,
    CALLER,
    MODULE,
    RUN,
    BenchmarkVerdict,
    ChangedLines,
    Evidence,
    Explanation,
    FunctionVerdict,
    GateVerdict,
    Outcome,
)
from pytest_blcperf.model.warning import Warning

BASE = "main (merge base 9ab31c2)"
HEAD = "working tree (3f2a91c+dirty)"
RENDERING = "tests/perf/test_markdown.py::test_markdown_rendering[large document]"

TOKENIZE = Function("src/markdown_it/parser_inline.py", "ParserInline.tokenize", 42, "f1")
PUSH = Function("src/markdown_it/rules_inline/state_inline.py", "StateInline.push", 107, "f2")
PARSE = Function("src/markdown_it/parser_block.py", "ParserBlock.parse", 88, "f3")
RENDER = Function("src/markdown_it/main.py", "MarkdownIt.render", 301, "f4")


def ratio(change: float, error: float = 0.004, freedom: int = 11) -> Estimate:
    """An estimate of that relative change."""
    return Estimate(math.log1p(change), error, freedom)


def function(
    which: Function, base_ns: float, change: float, *, impact: float, kind: str = SELF, **more: object
) -> FunctionComparison:
    """A function whose cost grew by `change`; the keywords are fields of FunctionComparison."""
    values: dict[str, object] = {
        "function": which,
        "kind": kind,
        "share_base": 0.37,
        "share_head": 0.49,
        "cost_base_ns": base_ns,
        "cost_head_ns": base_ns * (1 + change),
        "ratio": ratio(change, 0.008),
        "impact": impact,
        "samples_base": 4211,
        "samples_head": 6480,
    }
    return FunctionComparison(**{**values, **more})  # type: ignore[arg-type]


def comparison(
    identifier: str, base_ns: float, change: float, error: float = 0.004, **more: object
) -> BenchmarkComparison:
    """A benchmark measured in 12 paired launches; the keywords are fields of BenchmarkComparison."""
    values: dict[str, object] = {
        "id": identifier,
        "base_ns": base_ns,
        "head_ns": base_ns * (1 + change),
        "ratio": ratio(change, error),
        "functions": (),
        "launches": 12,
        "paired": True,
        "base_wall_ns": base_ns * 1.01,
        "head_wall_ns": base_ns * (1 + change) * 1.01,
        "backend": "perf-signal",
    }
    return BenchmarkComparison(**{**values, **more})  # type: ignore[arg-type]


def regressed() -> BenchmarkVerdict:
    """20 % slower: one function called twice as often, one both more often and dearer, two callers that follow."""
    tokenize = FunctionVerdict(
        function(
            TOKENIZE, 455_000, 0.598, impact=0.221, calls_base=36, calls_head=72, counts_exact=True, code_changed=False
        ),
        Outcome.REGRESSED,
        Evidence.LOCKSTEP,
        p=2.1e-9,
        detectable=0.021,
        explanation=Explanation(272_000, 0),
        changed_lines=(
            ChangedLines(
                PARSE,
                97,
                98,
                ("-        tokenize(line)", "+        if tokenize(line):", "+            again(line)"),
                0,
                CALLER,
            ),
            ChangedLines(RENDER, 310, 309, ("-        seen = {}",), 0, CALLER),
        ),
    )
    push = FunctionVerdict(
        function(
            PUSH, 61_000, 0.82, impact=0.041, calls_base=160, calls_head=200, counts_exact=True, code_changed=True
        ),
        Outcome.REGRESSED,
        Evidence.PROFILE,
        p=0.00012,
        detectable=0.11,
        explanation=Explanation(20_700, 29_300),
        changed_lines=(
            ChangedLines(
                PUSH, 112, 119, ("-\tself.tokens.append(token)", *(f"+\tself.add({number})" for number in range(8))), 0
            ),
            ChangedLines(replace(PUSH, name="<module>", line=0), 12, 12, ("-LEVELS = 2", "+LEVELS = 20"), 0, MODULE),
            ChangedLines(RENDER, 340, 347, (), 9, CALLED),
        ),
    )
    parse = FunctionVerdict(
        function(PARSE, 1_100_000, 0.215, impact=0.19, kind=TOTAL),
        Outcome.REGRESSED,
        Evidence.LOCKSTEP,
        follows_from=TOKENIZE,
    )
    render = FunctionVerdict(
        function(RENDER, 1_210_000, 0.203, impact=0.2, kind=TOTAL),
        Outcome.REGRESSED,
        Evidence.LOCKSTEP,
        follows_from=PARSE,
    )
    return BenchmarkVerdict(
        RENDERING,
        Outcome.REGRESSED,
        Evidence.LOCKSTEP,
        comparison=comparison(RENDERING, 1_230_000, 0.201),
        functions=(tokenize, push, parse, render),
        p=1e-12,
        detectable=0.016,
        threshold=0.05,
    )


def tolerated() -> BenchmarkVerdict:
    """Slower, but its gate only warns, and no function stands out."""
    identifier = "tests/perf/test_links.py::test_linkify"
    return BenchmarkVerdict(
        identifier,
        Outcome.REGRESSED,
        Evidence.LOCKSTEP,
        comparison=comparison(identifier, 88_000, 0.093),
        functions=(FunctionVerdict(function(PARSE, 9_000, 0.02, impact=0.002), Outcome.UNCHANGED, Evidence.PROFILE),),
        p=0.0002,
        threshold=0.05,
        gate="warn",
        changed_lines=(ChangedLines(PARSE, 97, 97, ("+        log(line)",), 0, RUN),),
    )


def hidden_regression() -> BenchmarkVerdict:
    """A function got dearer inside a benchmark that became faster as a whole."""
    identifier = "tests/perf/test_markdown.py::test_tables"
    guilty = FunctionVerdict(
        function(TOKENIZE, 455_000, 0.142, impact=0.053, code_changed=True),
        Outcome.REGRESSED,
        Evidence.LOCKSTEP,
        p=1e-5,
    )
    return BenchmarkVerdict(
        identifier,
        Outcome.REGRESSED,
        Evidence.LOCKSTEP,
        comparison=comparison(identifier, 1_230_000, -0.047),
        functions=(guilty,),
        threshold=0.05,
    )


def inconclusive() -> BenchmarkVerdict:
    """Too noisy to decide, and mostly waiting."""
    identifier = "tests/perf/test_cache.py::TestCache::test_reload[cold-redis]"
    return BenchmarkVerdict(
        identifier,
        Outcome.INCONCLUSIVE,
        Evidence.LOCKSTEP,
        reason="the launches scatter by 4.1 %, and the time budget of 120 s was used up",
        comparison=comparison(
            identifier, 3_210_000, 0.031, 0.016, base_wall_ns=14_800_000, head_wall_ns=15_100_000, backend="timer"
        ),
        detectable=0.063,
        threshold=0.05,
        warnings=(Warning("timer-backend", "perf_event_paranoid is 3: profiles hold inclusive time only"),),
    )


def unchanged(identifier: str = "tests/perf/test_markdown.py::test_plain_text") -> BenchmarkVerdict:
    """Measured, and no different."""
    return BenchmarkVerdict(
        identifier,
        Outcome.UNCHANGED,
        Evidence.LOCKSTEP,
        comparison=comparison(identifier, 45_200, 0.001),
        detectable=0.017,
        threshold=0.05,
    )


def identical(identifier: str = "tests/perf/test_utils.py::test_escape") -> BenchmarkVerdict:
    """Not measured, since no code it loads differs."""
    return BenchmarkVerdict(identifier, Outcome.UNCHANGED, Evidence.IDENTICAL, reason="no file it loads differs")


def improved() -> BenchmarkVerdict:
    """Faster."""
    identifier = "tests/perf/test_links.py::test_normalize_url"
    return BenchmarkVerdict(
        identifier, Outcome.IMPROVED, Evidence.LOCKSTEP, comparison=comparison(identifier, 712, -0.312), threshold=0.05
    )


def not_compared() -> BenchmarkVerdict:
    """New in the head."""
    return BenchmarkVerdict(
        "tests/perf/test_footnotes.py::test_footnotes",
        Outcome.NOT_COMPARED,
        Evidence.NONE,
        reason="it fails on the base: ModuleNotFoundError: No module named 'markdown_it.footnotes'",
    )


def gate(*benchmarks: BenchmarkVerdict, **more: object) -> GateVerdict:
    """A gate over those benchmarks; the keywords are fields of GateVerdict."""
    values: dict[str, object] = {"base": BASE, "head": HEAD, "mode": "lockstep", "alpha": 0.001, "seconds": 184.2}
    return GateVerdict(**{**values, "benchmarks": benchmarks, **more})  # type: ignore[arg-type]


def everything() -> GateVerdict:
    """One of each kind, with warnings."""
    return gate(
        regressed(),
        unchanged(),
        identical(),
        inconclusive(),
        tolerated(),
        not_compared(),
        improved(),
        hidden_regression(),
        warnings=(Warning("cpu-frequency", "the CPU frequency is not fixed on this machine"),),
    )


def renamed(name: str) -> GateVerdict:
    """A gate in which everything that comes from outside is called `name`."""
    hostile = Function(name, name, 7, name)
    other = Function(name + "/other", name, 8, name)
    guilty = FunctionVerdict(
        function(hostile, 455_000, 0.6, impact=0.2, code_changed=True),
        Outcome.REGRESSED,
        Evidence.LOCKSTEP,
        p=1e-9,
        changed_lines=(
            ChangedLines(other, 3, 4, (f"-{name}", f"+{name}"), 1, CALLER),
            ChangedLines(hostile, 9, 8, ("-" + name,), 0),
        ),
    )
    caller = FunctionVerdict(
        function(other, 9e5, 0.3, impact=0.2), Outcome.REGRESSED, Evidence.LOCKSTEP, follows_from=hostile
    )
    warnings = (Warning(name, name),)
    measured = comparison(name, 1e6, 0.2, backend=name, warnings=warnings)
    slower = BenchmarkVerdict(
        name, Outcome.REGRESSED, Evidence.LOCKSTEP, name, measured, (guilty, caller), 1e-9, None, 0.05
    )
    others = [
        BenchmarkVerdict(name, outcome, Evidence.NONE, name, measured, gate=name, warnings=warnings)
        for outcome in (Outcome.NOT_COMPARED, Outcome.INCONCLUSIVE, Outcome.REGRESSED)
    ]
    return GateVerdict(name, name, name, (slower, *others), 0.001, warnings=warnings)


SNIPPETS = (
    *("\x1b[31m", "\x1b]0;title\x07", "\x00", "\x9b2J", "\r\n", "\u202e", "\u2066", "\u200b", "\ud800", "\ufffe"),
    *("|", "`", "```", "\\", "\\|", "<script>", "</details>", "<!--", "-->", "]]>", "&amp;", "@me", "#12", "**"),
    *("[x](http://e.example)", "![i](u)", "www.example.com", "__init__", "::", "/", ".py", "ä", "漢字", "e\u0301"),
    *(" ", "    ", "- ", "1. ", "::error::", "$(id)", "'", '"'),
)
HOSTILE = st.one_of(
    st.text(st.characters(), max_size=80), st.lists(st.sampled_from(SNIPPETS), max_size=80).map("".join)
)
"""Names as an attacker, or an unlucky parametrisation, would choose them."""

# No deadline: the machines are shared.
patient = settings(deadline=None, max_examples=40)

GOLDEN = Path(__file__).parent / "golden"


def check_golden(name: str, text: str) -> None:
    """Compares with `tests/golden/NAME`; with BLCPERF_UPDATE_GOLDEN=1 in the environment writes it instead."""
    if os.environ.get("BLCPERF_UPDATE_GOLDEN") == "1":
        (GOLDEN / name).write_text(text, encoding="utf-8")
    assert text == (GOLDEN / name).read_text(encoding="utf-8")


def is_clean(text: str) -> bool:
    """Whether every character is printable, or a line end, or the no-break space that Markdown cells use."""
    return all(char.isprintable() or char in "\n\N{NO-BREAK SPACE}" for char in text)
