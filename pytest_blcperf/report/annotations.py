"""A verdict as GitHub workflow commands, which become annotations at the guilty functions' lines.

Format and escapes: the runner's `ActionCommand` (data: `%`, CR, LF; properties also `:` and `,`).
"""

from __future__ import annotations

from pytest_blcperf.model.verdict import GateVerdict, Outcome
from pytest_blcperf.report import places, words

LEVEL_LIMIT = 10
"""GitHub shows that many annotations of a level from one step and drops the rest without a word."""


def render(verdict: GateVerdict) -> str:
    """One command a line: errors for what fails, warnings for other regressions, a notice for what is in doubt."""
    found = places.remarks(verdict)
    lines = _level("error", [one for one in found if one.fails])
    lines += _level("warning", [one for one in found if not one.fails])
    doubtful = verdict.count(Outcome.INCONCLUSIVE) + verdict.count(Outcome.NOT_COMPARED)
    if not verdict.compared:
        lines.append(command("error", words.summary(verdict), title="blcperf compared nothing"))
    elif doubtful:
        lines.append(command("notice", words.summary(verdict), title="blcperf: not everything was decided"))
    return "".join(line + "\n" for line in lines)


def _level(level: str, found: list[places.Remark]) -> list[str]:
    shown = found if len(found) <= LEVEL_LIMIT else found[: LEVEL_LIMIT - 1]
    lines = [command(level, one.text, title=one.title, file=one.file, line=str(one.line)) for one in shown]
    if len(shown) < len(found):
        more = f"{len(found) - len(shown)} more regressions are in the job summary and in verdict.json"
        lines.append(command(level, more, title="blcperf"))
    return lines


def command(name: str, text: str, **properties: str) -> str:
    """`::NAME key=value,…::TEXT`, escaped so that nothing in it can end the command or begin another."""
    given = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{name} {given}::{_data(text)}" if given else f"::{name}::{_data(text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
