"""The changed lines that most likely made a function dearer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from gate_runs import run_gate, slower, src_repo
from gitrepo import GitRepo
from measurements import FILE, Stacks, benchmark, function, gated
from report_pages import SLOWER_TEXT_RULE, TEXT_FILE, TEXT_RULE, compared, runs

from pytest_blcperf.bench.repository import find
from pytest_blcperf.changes import with_changed_lines
from pytest_blcperf.compare.changed_lines import (
    HUNKS_LISTED,
    LINES_LISTED,
    Modules,
    Program,
    changed_lines,
    hunks,
)
from pytest_blcperf.compare.spans import parse
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.run import Benchmark, Run
from pytest_blcperf.model.verdict import CALLED, CALLER, MODULE, OWN, RUN, ChangedLines, Outcome
from pytest_blcperf.report import annotations, html_comparison, words
from pytest_blcperf.session import compare_runs
from pytest_blcperf.settings import resolve

PLAIN = {"token < parse < run < test": 100, "parse < run < test": 330, "load < test": 400}
SLOW = {**PLAIN, "parse < run < test": 480}
CALLS = {"token": 20.0, "parse": 10.0, "run": 1.0, "load": 1.0}
TEXT = '''\
"""A library."""

LIMIT = 10


def token(text):
    return text[:1]


def parse(text):
    """Parse."""
    found = []
    for char in text:
        found.append(token(char))
    return found[:LIMIT]


def run(lines):
    return [parse(line) for line in lines]


def load():
    return "x"
'''


def in_memory(files: Mapping[str, str]) -> Modules:
    return lambda path: parse(files.get(path))


def caused(
    head_text: str,
    *edited: str,
    stacks: Stacks = SLOW,
    calls: Mapping[str, float] = CALLS,
    base_text: str = TEXT,
) -> list[ChangedLines]:
    """The changed lines behind the first guilty function."""
    base = benchmark(PLAIN, calls=CALLS)
    head = benchmark(stacks, calls=calls, edited=dict.fromkeys(edited, "edited"))
    return found_in(base, head, base_text, head_text)


def found_in(base: Benchmark, head: Benchmark, base_text: str, head_text: str) -> list[ChangedLines]:
    verdict = gated(base, head)
    sides = in_memory({FILE: base_text}), in_memory({FILE: head_text})
    return list(changed_lines(verdict, verdict.guilty[0], Program(base, head), *sides))


def shown(found: list[ChangedLines]) -> list[tuple[str, str, int, int]]:
    return [(one.function.name, one.relation, one.first, one.last) for one in found]


def test_the_guilty_functions_own_lines_come_first_and_those_in_loops_before_others() -> None:
    head = TEXT.replace("    found = []", "    found = list()").replace(
        "append(token(char))", "append(token(char) + '')"
    )
    found = caused(head, "parse")
    assert shown(found) == [("parse", OWN, 14, 14), ("parse", OWN, 12, 12)]
    assert found[0].text == ("-        found.append(token(char))", "+        found.append(token(char) + '')")


def test_callees_that_changed_stand_behind_and_unchanged_functions_are_not_named() -> None:
    head = TEXT.replace("text[:1]", "text[:1] * 1").replace("append(", "append(0 or ").replace('"x"', '"y"')
    assert shown(caused(head, "parse", "token", "load")) == [("parse", OWN, 14, 14), ("token", CALLED, 7, 7)]
    # AND a function whose fingerprint is the same has no changed lines, whatever its file says
    assert shown(caused(head, "parse")) == [("parse", OWN, 14, 14)]


def test_a_callee_without_a_sample_is_known_by_its_name_in_the_code() -> None:
    few = {"parse < run < test": 430, "load < test": 400}
    base, head = benchmark(few, calls=CALLS), benchmark({**few, "parse < run < test": 600}, calls=CALLS)
    assert head.counts is not None
    counts = tuple(
        replace(one, function=function("token", "edited")) if one.function.name == "token" else one
        for one in head.counts.calls
    )
    head = replace(head, counts=replace(head.counts, calls=counts))
    found = found_in(base, head, TEXT, TEXT.replace("text[:1]", "text[:1] * 1"))
    assert shown(found) == [("token", CALLED, 7, 7)]


def test_of_callees_the_one_that_is_called_more_often_comes_first() -> None:
    base_text = TEXT + "\n\ndef scan(text):\n    return 1\n"
    head_text = base_text.replace("text[:1]", "text[:1] * 1").replace("return 1\n", "return 2\n")
    stacks = {**PLAIN, "scan < parse < run < test": 50}
    base = benchmark(stacks, calls={**CALLS, "scan": 5})
    for more, first in (("token", "token"), ("scan", "scan")):
        calls = {**CALLS, "scan": 5.0}
        head = benchmark(
            {**stacks, "parse < run < test": 480},
            calls={**calls, more: calls[more] + 1},
            edited={"token": "edited", "scan": "edited"},
        )
        assert found_in(base, head, base_text, head_text)[0].function.name == first


def test_called_more_often_puts_the_callers_in_front_whose_code_changed() -> None:
    head = TEXT.replace("[parse(line) for", "[parse(line) or parse(line) for").replace('"x"', '"y"')
    twice = {**PLAIN, "parse < run < test": 660, "token < parse < run < test": 200}
    found = caused(head, "run", "load", stacks=twice, calls={**CALLS, "parse": 20.0, "token": 40.0})
    assert shown(found) == [("run", CALLER, 19, 19)]
    # AND callers that call as often as before are named only where nothing else changed
    assert shown(caused(head, "run")) == [("run", CALLER, 19, 19)]
    both = head.replace("found = []", "found = list()")
    assert shown(caused(both, "run", "parse")) == [("parse", OWN, 12, 12)]


def test_a_constant_that_the_function_names_is_a_cause() -> None:
    head = TEXT.replace("LIMIT = 10", "LIMIT = 1000\nOTHER = 3")
    (found,) = caused(head)
    assert shown([found]) == [("<module>", MODULE, 3, 4)]
    assert found.text == ("-LIMIT = 10", "+LIMIT = 1000", "+OTHER = 3")
    assert caused(TEXT.replace("LIMIT = 10", "LIMIT = 10\nOTHER = 3")) == []


@pytest.mark.parametrize(
    "edit",
    [
        ('"""Parse."""', '"""Parse the text."""'),
        ("    found = []", "    # a list\n    found = []"),
        ("    found = []", "\n    found = []"),
    ],
)
def test_comments_and_docstrings_are_no_cause(edit: tuple[str, str]) -> None:
    assert caused(TEXT.replace(*edit), "parse") == []


def test_lines_taken_away_are_shown_where_they_were() -> None:
    base = TEXT.replace("    found = []", "    text = text.strip()\n    found = []")
    (found,) = caused(TEXT, "parse", base_text=base)
    assert (found.first, found.last, found.line) == (12, 11, 11)
    assert found.text == ("-    text = text.strip()",)


@pytest.mark.parametrize(("file", "name"), [("src/new.py", "parse"), (FILE, "parse_text")])
def test_a_moved_function_is_compared_with_what_it_was(file: str, name: str) -> None:
    # GIVEN a function that got another file and other code, or another name and the code it had
    base, head = benchmark(PLAIN, calls=CALLS), benchmark(SLOW, calls=CALLS)
    code = "edited" if file != FILE else "code of parse"
    moved = Function(file, name, 1, code)
    assert head.profile is not None and head.counts is not None
    functions = tuple(moved if one.name == "parse" else one for one in head.profile.functions)
    counts = tuple(
        replace(one, function=moved if one.function.name == "parse" else one.function) for one in head.counts.calls
    )
    head = replace(head, profile=replace(head.profile, functions=functions), counts=replace(head.counts, calls=counts))
    verdict = gated(base, head)
    first = next(one for one in verdict.functions if one.comparison.function == moved)
    program = Program(base, head)
    assert program.before[moved] == function("parse")
    assert program.changed(moved) == (code == "edited")
    # THEN only the lines that differ are named
    after = TEXT.replace("found = []", "found = list()").replace("def parse(", f"def {name}(")
    sides = in_memory({FILE: TEXT}), in_memory({file: after})
    found = changed_lines(verdict, first, program, *sides)
    assert shown(list(found)) == ([(name, OWN, 12, 12)] if code == "edited" else [])


def test_a_new_function_is_all_changed_and_its_lines_are_bounded() -> None:
    body = "".join(f"    x{number} = {number}\n" for number in range(40))
    head = TEXT.replace("    return text[:1]", "    return fresh(text)") + f"\n\ndef fresh(text):\n{body}"
    stacks = {**PLAIN, "fresh < token < parse < run < test": 300}
    found = caused(head, "token", stacks=stacks, calls={**CALLS, "fresh": 20.0})
    assert found[0].function.name == "fresh"
    assert (len(found[0].text), found[0].hidden) == (LINES_LISTED, 41 - LINES_LISTED)
    assert found[0].text[0] == "+def fresh(text):"


def test_a_long_removal_does_not_hide_what_came_instead() -> None:
    body = "".join(f"    x{number} = {number}\n" for number in range(40))
    base = TEXT.replace("    found = []\n", body)
    (found,) = caused(TEXT, "parse", base_text=base)
    assert found.text[-1] == "+    found = []"
    assert len(found.text) == LINES_LISTED and found.hidden == 41 - LINES_LISTED


def test_no_more_hunks_than_anybody_reads() -> None:
    lines = [f"    x{number} = {number}\n    y = 0\n" for number in range(20)]
    base = TEXT.replace("    found = []\n", "".join(lines) + "    found = []\n")
    assert len(caused(base.replace(" = 1", " = 2"), "parse", base_text=base)) == HUNKS_LISTED


@pytest.mark.parametrize("text", ["", "def parse(:", "\0", "x = 1\n", "def other(): pass\n"])
def test_what_cannot_be_read_names_no_lines(text: str) -> None:
    assert caused(text, "parse") == []
    assert caused(TEXT.replace("found = []", "found = list()"), "parse", base_text=text) == []


def test_functions_from_elsewhere_have_no_lines() -> None:
    base, head = benchmark(PLAIN), benchmark(SLOW, edited={"parse": "edited"})

    def elsewhere(side: Benchmark) -> Benchmark:
        assert side.profile is not None
        functions = tuple(replace(one, file="<stdlib>/lib.py") for one in side.profile.functions)
        return replace(side, profile=replace(side.profile, functions=functions))

    base, head = elsewhere(base), elsewhere(head)
    verdict = gated(base, head)

    def read(path: str) -> Any:
        raise AssertionError(f"{path} was read")

    assert not any(Program(base, head).changed(one) for one in head.profile.functions if head.profile)
    found = changed_lines(verdict, verdict.guilty[0], Program(base, head), lambda _: None, lambda _: None)
    assert found == ()


def test_hunks_are_those_of_git() -> None:
    old, new = (1, ["a", "b", "c"]), (10, ["a", "x", "y", "c", "d"])
    assert list(hunks(old, new)) == [(11, 12, ("b",), ("x", "y")), (14, 14, (), ("d",))]


def test_functions_of_the_same_name_are_told_apart_by_their_lines_and_comprehensions_belong_to_what_is_around() -> None:
    module = parse(
        dedent("""\
        if x:
            def f():
                return 1
        else:
            def f():
                return [g(y) for y in x]
        """)
    )
    assert module is not None
    assert module.lines_of(Function("a.py", "f", 2)) == (2, ("    def f():", "        return 1"))
    inner = module.span(Function("a.py", "f.<locals>.<listcomp>", 6))
    assert inner is not None and (inner.first, inner.last) == (5, 6)
    assert module.names_in(inner) == {"g", "y", "x"}
    assert module.span(Function("a.py", "<lambda>", 1)) is None


class TestInARepository:
    """From real commits and from disk."""

    def regression(self, tmp_path: Path, dirty: bool) -> tuple[GitRepo, Run, Run]:
        repo = GitRepo(tmp_path / "repo").write({TEXT_FILE: TEXT_RULE}).commit("base")
        base, head = (replace(run, commit=repo.head) for run in runs())
        repo.write({TEXT_FILE: SLOWER_TEXT_RULE})
        if not dirty:
            repo.commit("head")
        return repo, base, replace(head, commit=repo.head, dirty=dirty)

    @pytest.mark.parametrize("dirty", [False, True])
    def test_the_head_is_read_from_its_commit_or_with_changes_from_disk(self, tmp_path: Path, dirty: bool) -> None:
        repo, base, head = self.regression(tmp_path, dirty)
        if not dirty:
            repo.write({TEXT_FILE: "nothing\n"})
        verdict = compare_runs(base, head, resolve({}, {}, {}, {}))
        explained = with_changed_lines(verdict, base, head, find(repo.path))
        (lines,) = explained.benchmarks[0].guilty[0].changed_lines
        assert (lines.function.name, lines.first, lines.last, lines.relation) == ("text", 9, 9, OWN)
        assert "line=9" in annotations.render(explained)
        assert "line=6" in annotations.render(verdict)

    def test_a_regression_that_no_function_explains_has_the_changed_lines_of_all_it_runs(self, tmp_path: Path) -> None:
        repo, base, head = self.regression(tmp_path, dirty=False)
        # Without counts nobody is named by elimination either.
        base, head = (
            replace(run, benchmarks=tuple(replace(one, counts=None) for one in run.benchmarks)) for run in (base, head)
        )
        settings = resolve({"min_share": "100%"}, {}, {}, {})
        verdict = compare_runs(base, head, settings)
        (first,) = (one for one in verdict.benchmarks if one.outcome is Outcome.REGRESSED)
        assert not first.guilty
        explained = with_changed_lines(verdict, base, head, find(repo.path))
        found = next(one for one in explained.benchmarks if one.outcome is Outcome.REGRESSED)
        assert shown(list(found.changed_lines)) == [("text", RUN, 9, 9)]
        said = f"changed code that it runs: text ({TEXT_FILE}:9)"
        assert any(remark.startswith(said) for remark in words.remarks(found))
        assert f"changed: {TEXT_FILE}:9" in annotations.render(explained).replace("%3A", ":")

    def test_a_base_whose_text_is_gone_names_no_lines(self, tmp_path: Path) -> None:
        repo, base, head = self.regression(tmp_path, dirty=False)
        verdict = compare_runs(base, head, resolve({}, {}, {}, {}))
        for lost in (replace(base, dirty=True), replace(base, commit=""), replace(base, commit="a" * 40)):
            explained = with_changed_lines(verdict, lost, head, find(repo.path))
            assert explained.benchmarks[0].guilty[0].changed_lines == ()
        assert with_changed_lines(verdict, base, head, None) == verdict

    def test_the_page_names_the_line_beside_the_source(self, tmp_path: Path) -> None:
        page = compared(tmp_path / "repo")
        base, head = (
            replace(run, commit=commit) for run, commit in zip(runs(), commits(tmp_path / "repo"), strict=True)
        )
        verdict = with_changed_lines(page.verdict, base, head, find(tmp_path / "repo"))
        first = replace(page.benchmarks[0], verdict=verdict.benchmarks[0])
        drawn = html_comparison.render(replace(page, verdict=verdict, benchmarks=(first, *page.benchmarks[1:])))
        assert f"<bdi>{TEXT_FILE}:9 changed</bdi>" in drawn


def commits(path: Path) -> list[str]:
    return GitRepo(path).git("log", "--format=%H", "--reverse").split()


def test_a_gate_names_the_changed_lines_in_every_report(tmp_path: Path) -> None:
    # GIVEN a change of the working tree that makes `square` several times dearer
    repo = src_repo(tmp_path / "repo").write({"src/lib/core.py": slower()})
    reports = ("--blcperf-junit=j.xml", "--blcperf-markdown=m.md", "--blcperf-sarif=s.json", "--blcperf-html=h.html")
    # Ten times as dear: two launches and a generous error rate show it on any machine.
    run = run_gate(repo, *reports, "--blcperf-launches=2", "--blcperf-alpha=20%", "--blcperf-profile-window=100ms")
    # THEN the changed lines are those of `square`, whether it is guilty or the profile was too short to say so
    found = run.benchmark("test_total")
    lines = [hunk for one in found["functions"] for hunk in one["changed_lines"]] or found["changed_lines"]
    assert lines, run.output
    assert (lines[0]["name"], lines[0]["first"], lines[0]["last"]) == ("square", 9, 10)
    assert lines[0]["text"][0] == "+    for _ in range(20):"
    # AND every report says so
    place = "src/lib/core.py:9-10"
    assert place in run.output
    for name in ("j.xml", "m.md", "h.html", "s.json"):
        assert place in (repo.path / name).read_text(), name


def test_a_module_too_deep_to_be_gone_through_has_no_lines() -> None:
    deep = "def f(x):\n    if x == 0: pass\n" + "".join(f"    elif x == {n}: pass\n" for n in range(3000))
    module = parse(deep)
    assert module is None or module.span(Function("x.py", "f", 1)) is not None
    long_sum = parse("X = " + " + ".join(["1"] * 2000) + "\ndef g():\n    pass\n")
    assert long_sum is None or long_sum.lines_of(Function("x.py", "g", 2)) == (2, ("def g():", "    pass"))


def test_lines_are_counted_as_the_interpreter_does() -> None:
    module = parse('A = "\u2028"\n\f\ndef g():\n    return 1\n')
    assert module is not None
    assert module.lines_of(Function("x.py", "g", 3)) == (3, ("def g():", "    return 1"))
