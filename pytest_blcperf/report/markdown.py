"""A verdict as Markdown for a job summary or a pull-request comment (GitHub, GitLab).

Untrusted text is escaped by construction: whatever the template prints goes through `prose` unless it is already
`Safe`. Names stand in `<code>`, where neither mentions nor references become links, their special characters as
entities: those have no Markdown meaning and, unlike a backslash in a code span, cannot break a table row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from pytest_blcperf.model.verdict import BenchmarkVerdict, Evidence, FunctionVerdict, GateVerdict, Outcome
from pytest_blcperf.report import words
from pytest_blcperf.report.text import clean, delta, interval, share

if TYPE_CHECKING:
    from jinja2 import Template

_ORDER = (Outcome.REGRESSED, Outcome.INCONCLUSIVE, Outcome.NOT_COMPARED, Outcome.IMPROVED, Outcome.UNCHANGED)
_SMALLEST = 4_000
_GUILTY_LISTED = 10
_LINES = 5
_CHANGED_LINES = 12
_CHANGED_PLACES = 4
# An underscore inside a word means nothing; `://` and `www.` would become links.
_MEANINGFUL = re.compile(
    r"""[&<>"'\\`*\[\]|~@#$!]|_(?![A-Za-z0-9])|(?<![A-Za-z0-9])_|:(?=//)|(?<=www)\.""", re.IGNORECASE
)
_LEADING = re.compile(r"^(?:[-+=]|\d(?=\d*[.)]))")  # would begin a list or underline a heading
_LINKING = re.compile("&#(?:64|35|33|126);")  # @ # ! ~ begin mentions and references on GitHub and GitLab
_INVISIBLE = "&#8203;"


class Safe(str):
    """Text that is Markdown already; everything else is escaped when the template prints it."""

    __slots__ = ()


def prose(text: str) -> str:
    """A sentence without any Markdown or HTML meaning; mentions and references are broken by an invisible space."""
    escaped = _LINKING.sub(lambda match: match[0] + _INVISIBLE, _entities(clean(text, 1000).strip()))
    return _LEADING.sub(_entity, escaped)


def code(text: str, limit: int = 200) -> Safe:
    """A name as inline code."""
    return Safe(f"<code>{_entities(clean(text, limit))}</code>") if text else Safe("")


def _entities(text: str) -> str:
    return _MEANINGFUL.sub(_entity, text)


def _entity(match: re.Match[str]) -> str:
    return f"&#{ord(match[0])};"


def cell(text: str) -> Safe:
    """Numbers in a table cell, kept on one line by no-break spaces."""
    return Safe(_entities(clean(text)).replace(" ", "\N{NO-BREAK SPACE}"))


def render(verdict: GateVerdict, limit: int = 60_000) -> str:
    """The Markdown text in at most `limit` bytes of UTF-8; GitHub takes 65,536 in a comment. Below 4,000 it is 4,000.

    What is too long loses whole blocks of details first, then whole table rows, then sentences, and says so.
    """
    template, limit = _template(), max(limit, _SMALLEST)
    ordered = sorted(verdict.benchmarks, key=lambda one: (_ORDER.index(one.outcome), not one.fails))
    everything = (verdict.count(Outcome.REGRESSED), len(ordered), _LINES)
    kept = list(everything)

    def draw(sizes: Sequence[int]) -> str:
        return template.render(_content(verdict, ordered, *sizes)).strip() + "\n"

    def fits(place: int, count: int) -> bool:
        return len(draw([0] * place + [count, *everything[place + 1 :]]).encode("utf-8")) <= limit

    for place, count in enumerate(everything):
        kept[place] = _most(count, partial(fits, place))
        if kept[place]:
            break
    return draw(kept)


def _most(count: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to `count` that fits, by bisection; 0 when none does."""
    if fits(count):
        return count
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    def escaped(value: Any) -> str:
        return value if isinstance(value, Safe) else prose(str(value))

    loader = PackageLoader("pytest_blcperf", "report/templates")
    environment = Environment(
        loader=loader, finalize=escaped, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("verdict.md.j2")


# ---- what the template prints


@dataclass(frozen=True)
class _Row:
    """One benchmark in the table."""

    name: Safe
    times: Safe
    change: Safe
    interval: Safe
    verdict: Safe
    evidence: str
    remarks: list[str]

    @classmethod
    def of(cls, verdict: BenchmarkVerdict) -> _Row:
        comparison = verdict.judged
        numbers = (Safe("–"),) * 3
        if comparison is not None:
            times = words.values(comparison)
            numbers = (cell(times), cell(delta(comparison.shown)), cell(interval(comparison.shown)))
        word = verdict.outcome.value.replace(" ", "\N{NO-BREAK SPACE}")
        rests_on = "–" if verdict.evidence is Evidence.NONE else words.evidence(verdict.evidence)
        outcome = Safe(f"**{word}**") if verdict.outcome is Outcome.REGRESSED else Safe(word)
        return cls(code(verdict.id, 160), *numbers, outcome, rests_on, words.remarks(verdict))


@dataclass(frozen=True)
class _Guilty:
    """One guilty function in a benchmark's details."""

    name: Safe
    location: Safe
    mark: str
    times: Safe
    whose: str
    change: Safe
    impact: Safe
    why: str
    certainty: str
    callers: list[str]
    causes: list[_Cause]

    @classmethod
    def of(cls, verdict: FunctionVerdict, benchmark: BenchmarkVerdict) -> _Guilty:
        function = verdict.comparison.function
        return cls(
            code(function.name, 120),
            code(function.location, 160),
            words.code_mark(verdict),
            cell(words.cost(verdict)),
            words.whose_time(verdict),
            cell(words.change(verdict)),
            cell(f"+{share(verdict.comparison.impact)}"),
            ", ".join(phrase for phrase in (words.explanation(verdict), words.calls(verdict)) if phrase),
            words.certainty(verdict),
            words.followers(words.callers(benchmark, verdict)),
            [_Cause.of(one) for one in words.causes(verdict, _CHANGED_LINES)[:_CHANGED_PLACES]],
        )


@dataclass(frozen=True)
class _Cause:
    """Changed lines behind a guilty function."""

    where: str
    lines: Safe

    @classmethod
    def of(cls, cause: words.Cause) -> _Cause:
        # Lines of a fenced block: they are clean and begin with a sign, so none ends it.
        return cls(cause.where, Safe("\n".join(cause.lines)))


@dataclass(frozen=True)
class _Block:
    """The details of one regressed benchmark."""

    name: Safe
    measured: str
    guilty: list[_Guilty]
    hidden: int
    nobody: str
    steps: Safe

    @classmethod
    def of(cls, verdict: BenchmarkVerdict, base: str) -> _Block:
        listed = verdict.guilty[:_GUILTY_LISTED]
        return cls(
            code(verdict.id),
            ", ".join(words.measured(verdict)),
            [_Guilty.of(one, verdict) for one in listed],
            len(verdict.guilty) - len(listed),
            words.nobody_to_blame(verdict),
            # Lines of a fenced block: they are clean, none begins with a fence, and nothing in them has a meaning.
            Safe("\n\n".join(f"# {purpose}\n{command}" for purpose, command in words.next_steps(verdict, base))),
        )


def _content(
    verdict: GateVerdict, ordered: list[BenchmarkVerdict], blocks: int, rows: int, lines: int
) -> dict[str, Any]:
    """What the template needs: that many blocks of details, table rows, and sentences of each kind."""
    regressed = [one for one in ordered if one.outcome is Outcome.REGRESSED]
    notes = words.notes(verdict)
    return {
        "icon": Safe(_icon(verdict)),
        "outcome": words.outcome_line(verdict),
        "head": code(words.label(verdict.head)),
        "base": code(words.label(verdict.base)),
        "method": ", ".join(words.method(verdict)),
        "headlines": [words.headline(one) for one in regressed[:lines]],
        "hidden_headlines": max(len(regressed) - lines, 0),
        "rows": [_Row.of(one) for one in ordered[:rows]],
        "hidden_rows": len(ordered) - rows,
        "what": words.per_iteration(verdict),
        "blocks": [_Block.of(one, verdict.base) for one in regressed[:blocks]],
        "hidden_blocks": len(regressed) - blocks,
        "notes": [note.text for note in notes[: 2 * lines]],
        "hidden_notes": max(len(notes) - 2 * lines, 0),
    }


def _icon(verdict: GateVerdict) -> str:
    """✅ only when everything was compared and nothing is in doubt."""
    doubtful = (Outcome.REGRESSED, Outcome.INCONCLUSIVE, Outcome.NOT_COMPARED)
    if verdict.failed:
        return "❌"
    return "⚠️" if not verdict.compared or any(verdict.count(outcome) for outcome in doubtful) else "✅"
