"""A verdict as plain lines for a terminal or a log, and as the text of a failing test.

No cursor control and no width beyond what is asked for, except the last line: it stays in one piece so that it can be
found in a log. What failed stands last, because a log is read from its end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_blcperf.model.verdict import BenchmarkVerdict, Evidence, FunctionVerdict, GateVerdict, Outcome
from pytest_blcperf.report import words
from pytest_blcperf.report.text import (
    NOT_SIGNIFICANT,
    cells,
    clean,
    cut_middle,
    delta,
    interval,
    share,
    to_ascii,
)

FAILURE_WIDTH = 100
_HEADER = ("benchmark", "base → head", "change", "95 % interval", "verdict", "evidence")
_RIGHT = (1, 2)
_NARROWEST = 80
_NAME_ROOM = 40
_IDENTICAL_LISTED = 5
_GUILTY_LISTED = 10
_CHANGED_LINES = 6
_CHANGED_PLACES = 3
_INDENT = 4
_ORDER = (Outcome.UNCHANGED, Outcome.IMPROVED, Outcome.NOT_COMPARED, Outcome.INCONCLUSIVE, Outcome.REGRESSED)
_COLORS = {
    Outcome.REGRESSED: "1;31",
    Outcome.IMPROVED: "32",
    Outcome.INCONCLUSIVE: "33",
    Outcome.NOT_COMPARED: "33",
}


@dataclass(frozen=True)
class _Page:
    """The properties of the terminal that is written to."""

    width: int
    color: bool = False
    unicode: bool = True

    @property
    def ellipsis(self) -> str:
        return "…" if self.unicode else "..."

    def show(self, text: str) -> str:
        """The text in characters this terminal has; done before anything is measured or padded."""
        return text if self.unicode else to_ascii(text)

    def paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.color and code else text

    def cut(self, text: str, width: int) -> str:
        return cut_middle(text, width, self.ellipsis)

    def fill(self, parts: Iterable[str], separator: str, first: str, rest: str) -> list[str]:
        """The parts joined and broken into lines, only between parts; a part wider than a line loses its middle."""
        lines: list[str] = []
        room = self.width - len(separator.strip())  # a broken line ends in the separator
        line, empty = self.show(first), True
        for part in (self.show(part) for part in parts if part):
            joined = line + part if empty else line + separator + part
            if not empty and cells(joined) > room:
                lines.append((line + separator).rstrip())
                joined = rest + part
            line, empty = joined, False
            if cells(line) > room:
                start = line.removesuffix(part)
                line = start + self.cut(part, max(room - cells(start), 8))
        return lines if empty else [*lines, line]

    def prose(self, text: str, first: str, rest: str) -> list[str]:
        return self.fill(text.split(" "), " ", first, rest)


@dataclass(frozen=True)
class _Row:
    """A line of the table: six texts, the outcome it is coloured by, and the details that follow it."""

    texts: tuple[str, ...]
    outcome: Outcome
    details: tuple[str, ...] = ()


def render(verdict: GateVerdict, *, width: int = 100, color: bool = False, unicode: bool = True) -> list[str]:
    """The lines of the report, without line ends. Every untrusted name in them is escaped.

    `width` in columns (at least 80 is used); `color` adds ANSI colours and nothing else; without `unicode` every
    character is ASCII.
    """
    page = _Page(max(width, _NARROWEST), color, unicode)
    lines = _opening(page, verdict)
    rows = _rows(page, verdict)
    if rows:
        lines += ["", *_table(page, rows)]
    lines += _legend(page, rows, words.per_iteration(verdict))
    lines += _warnings(page, verdict)
    return [*lines, "", _closing(page, verdict)]


def failure_text(verdict: BenchmarkVerdict, base: str, head: str) -> str:
    """The text of a failing test: one sentence, then what was measured, the guilty functions, and what to do next.

    `base` and `head` are the labels of the two sides. Stands alone: nothing else needs to be read to understand it.
    """
    page = _Page(FAILURE_WIDTH)
    lines = [words.headline(verdict), "", clean(verdict.id, 300)]
    lines += page.fill([f"{words.label(head)} against {words.label(base)}"], "", "  ", "  ")
    lines += page.fill(words.measured(verdict), ", ", "  ", "  ")
    lines += [*_details(page, verdict, "  "), "", "what to do next"]
    for purpose, command in words.next_steps(verdict, base):
        lines += [f"  {purpose}:", *(f"      {line}" for line in command.split("\n"))]
    lines.append("  (once this is merged it is the new base, and a raised threshold can go again)")
    return "\n".join(lines)


# ---- first and last lines


def _opening(page: _Page, verdict: GateVerdict) -> list[str]:
    what = f"{words.label(verdict.base) or 'no base'} → {words.label(verdict.head)}"
    return page.fill([what, *words.method(verdict)], ", ", "blcperf: ", " " * 9)


def _closing(page: _Page, verdict: GateVerdict) -> str:
    doubtful = (Outcome.REGRESSED, Outcome.INCONCLUSIVE, Outcome.NOT_COMPARED)
    uncertain = not verdict.compared or any(verdict.count(outcome) for outcome in doubtful)
    code = "1;31" if verdict.failed else "1;33" if uncertain else "1;32"
    return page.paint(page.show(words.summary(verdict)), code)


def _legend(page: _Page, rows: Sequence[_Row], what: str) -> list[str]:
    columns = list(zip(*(row.texts for row in rows), strict=True))
    explained = (
        [f"base → head: {what}" if "instructions" in what else f"times: {what}"] if columns and any(columns[1]) else []
    )
    if columns and NOT_SIGNIFICANT in columns[2]:
        explained.append(f"{NOT_SIGNIFICANT} not significant: the 95 % interval contains zero")
    lines = page.fill(explained, "; ", "", "")
    return ["", *lines] if lines else []


def _warnings(page: _Page, verdict: GateVerdict) -> list[str]:
    notes = words.notes(verdict)
    if not notes:
        return []
    lines = ["", page.paint("warnings", "33")]
    for note in notes:
        lines += page.prose(note.text, "  ", " " * _INDENT)
    return lines


# ---- the table


def _rows(page: _Page, verdict: GateVerdict) -> list[_Row]:
    ordered = sorted(verdict.benchmarks, key=lambda one: (_ORDER.index(one.outcome), one.fails))
    identical = [one for one in ordered if one.evidence is Evidence.IDENTICAL and one.comparison is None]
    if len(identical) <= _IDENTICAL_LISTED:
        return [_row(page, one) for one in ordered]
    name = f"{len(identical)} benchmarks that load no changed file"
    together = _Row((name, "", "", "", identical[0].outcome.value, Evidence.IDENTICAL.value), identical[0].outcome)
    return [together, *(_row(page, one) for one in ordered if one not in identical)]


def _row(page: _Page, verdict: BenchmarkVerdict) -> _Row:
    comparison = verdict.judged
    numbers = ("", "", "")
    if comparison is not None:
        times = words.values(comparison)
        numbers = (times, delta(comparison.shown), interval(comparison.shown))
    evidence = "" if verdict.evidence is Evidence.NONE else words.evidence(verdict.evidence)
    texts = (clean(verdict.id, 400), *numbers, words.verdict_word(verdict), evidence)
    details = _details(page, verdict, " " * _INDENT)
    return _Row(tuple(page.show(text) for text in texts), verdict.outcome, tuple(details))


def _table(page: _Page, rows: Sequence[_Row]) -> list[str]:
    """One line a benchmark where the names find room, else the name on a line of its own above its numbers."""
    header = [page.show(title) for title in _HEADER]
    widths = [max(cells(texts[i]) for texts in [header, *(row.texts for row in rows)]) for i in range(len(header))]
    room = page.width - sum(widths[1:]) - 2 * (len(widths) - 1)
    narrow = room < min(widths[0], _NAME_ROOM)
    widths[0] = page.width if narrow else min(widths[0], room)
    widths[-1] = min(widths[-1], max(page.width - _INDENT - sum(widths[1:-1]) - 8, 8)) if narrow else widths[-1]
    lines = _line(page, header, widths, narrow, "1" if page.color else "")
    for before, row in zip([None, *rows], rows, strict=False):
        if before is not None and (before.details or row.details):
            lines.append("")
        lines += [*_line(page, row.texts, widths, narrow, _COLORS.get(row.outcome, "")), *row.details]
    return lines


def _line(page: _Page, texts: Sequence[str], widths: Sequence[int], narrow: bool, code: str) -> list[str]:
    padded = []
    for index, text in enumerate(texts):
        fitted = page.cut(text, widths[index])
        space = " " * (widths[index] - cells(fitted))
        painted = page.paint(fitted, code) if index == 4 else fitted
        padded.append(space + painted if index in _RIGHT else painted + space)
    if narrow:
        return [padded[0].rstrip(), (" " * _INDENT + "  ".join(padded[1:])).rstrip()]
    return ["  ".join(padded).rstrip()]


# ---- details under a benchmark


def _details(page: _Page, verdict: BenchmarkVerdict, indent: str) -> list[str]:
    lines = [line for remark in words.remarks(verdict) for line in page.prose(remark, indent, indent + "  ")]
    if verdict.outcome is not Outcome.REGRESSED:
        return lines
    if not verdict.guilty:
        return [*lines, *page.prose(words.nobody_to_blame(verdict), indent, indent + "  ")]
    for guilty in verdict.guilty[:_GUILTY_LISTED]:
        lines += _function(page, verdict, guilty, indent)
    hidden = len(verdict.guilty) - _GUILTY_LISTED
    return lines if hidden <= 0 else [*lines, f"{indent}and {hidden} more guilty functions, all in the JSON report"]


def _function(page: _Page, verdict: BenchmarkVerdict, guilty: FunctionVerdict, indent: str) -> list[str]:
    function = guilty.comparison.function
    inner = indent + " " * _INDENT
    named = [clean(function.name), clean(function.location), words.code_mark(guilty)]
    numbers = [
        f"{words.whose_time(guilty)} {words.cost(guilty)} per iteration",
        words.change(guilty),
        f"adds {share(guilty.comparison.impact)} to the benchmark",
    ]
    lines = page.fill(named, "  ", f"{indent}guilty: ", inner)
    lines += page.fill(numbers, ", ", inner, inner)
    why = ", ".join(part for part in (words.explanation(guilty), words.calls(guilty)) if part)
    lines += page.fill(re.split(r" (?=and |but )|(?<=,) ", why), " ", inner, inner)
    lines += page.fill([words.certainty(guilty)], "", inner, inner)
    lines += _causes(page, guilty, inner)
    grown = words.followers(words.callers(verdict, guilty))
    return [*lines, *page.fill(grown, ", ", f"{inner}its callers grew with it: ", inner + "  ")]


def _causes(page: _Page, guilty: FunctionVerdict, indent: str) -> list[str]:
    """Where the cause most likely is, with a few lines of the difference."""
    causes = words.causes(guilty, _CHANGED_LINES)
    if not causes:
        return []
    first, *others = causes
    inner = indent + " " * _INDENT
    lines = page.prose(first.where, f"{indent}likely cause: ", inner)
    lines += [inner + page.cut(page.show(line), page.width - len(inner)) for line in first.lines]
    named = [one.where for one in others[:_CHANGED_PLACES]]
    more = len(others) - len(named)
    return [*lines, *page.prose("; ".join([*named, *[f"{more} more"][: more > 0]]), f"{indent}also ", inner)]
