"""Triggers: conditions that say when a window opens, such as `cpu > 80% for 5s and not file:/tmp/off`.

    expression = all { "or" all }        all = one { "and" one }        one = "not" one | "(" expression ")" | condition
    condition  = source [":" argument] [("<" | "<=" | ">" | ">=" | "==") value] ["for" duration]

An argument with spaces or parentheses is quoted: `log:"/var/log/app.log:deadlock found"`. Three-valued: a source that
cannot be read, or not yet, makes its condition unknown, and unknown opens no window, nor does its opposite.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from pytest_blcperf.errors import UsageError

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<bracket>[()])
      | (?P<compare><=|>=|==|<|>)
      | (?P<word>[^\s()<>=:"']+(?::(?:"[^"]*"|'[^']*'|[^\s()]+))?)
    )""",
    re.VERBOSE,
)
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}
_FACTORS = {
    "": 1.0,
    "%": 1.0,
    **{unit: 1024.0**power for power, unit in enumerate(("KIB", "MIB", "GIB", "TIB"), 1)},
    **{unit: 1000.0**power for power, unit in enumerate(("KB", "MB", "GB", "TB"), 1)},
    "B": 1.0,
}
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_DEPTH_LIMIT = 50
_HINT = "for example --trigger 'cpu > 80% for 5s and not file:/tmp/quiet'; `blcperf record --help` lists the sources"

LEVELS = ("cpu", "rss", "threads", "io", "psi.cpu", "psi.memory", "psi.io")
"""Sources that need a comparison: percent of one CPU, bytes, threads, bytes a second, percent of time stalled."""
EVENTS = ("log", "http", "signal")
"""Sources whose condition, once true, stays true until the window has opened."""
STATES = ("file", "probe", "command")
"""Sources that are true or false at any moment; a command's output can be compared, too."""


@dataclass(frozen=True)
class Condition:
    """One condition. `compare` is "" where being true is enough; `hold` the seconds for which it must be true."""

    source: str
    argument: str
    compare: str
    value: float
    hold: float
    text: str


@dataclass(frozen=True)
class Not:
    """The opposite."""

    operand: Expression


@dataclass(frozen=True)
class AllOf:
    """Both and every one."""

    operands: tuple[Expression, ...]


@dataclass(frozen=True)
class AnyOf:
    """At least one."""

    operands: tuple[Expression, ...]


Expression = Condition | Not | AllOf | AnyOf
Reading = float | bool | None
"""What a source says now; None: nothing yet."""


def parse(text: str) -> Expression:
    """The expression in `text`. Raises UsageError, which shows where it stops making sense."""
    return _Parser(text).expression_to_the_end()


def conditions(expression: Expression) -> Iterator[Condition]:
    """Every condition in it, from left to right."""
    if isinstance(expression, Condition):
        yield expression
    elif isinstance(expression, Not):
        yield from conditions(expression.operand)
    else:
        for operand in expression.operands:
            yield from conditions(operand)


class Trigger:
    """Watches an expression over time: conditions that must hold for a while, events that are remembered."""

    def __init__(self, expression: Expression) -> None:
        self.expression = expression
        self.conditions = tuple(dict.fromkeys(conditions(expression)))
        self._since: dict[Condition, float] = {}
        self._seen: set[Condition] = set()

    def observe(self, readings: Mapping[Condition, Reading], now: float) -> str | None:
        """What fired, in words, or None. `readings` are the sources' values at `now`, in seconds of any clock."""
        met = {one: self._met(one, readings.get(one), now) for one in self.conditions}
        if _truth(self.expression, met) is not True:
            return None
        return " and ".join(one.text for one in self.conditions if met[one] is True) or "no condition holds"

    def forget(self) -> None:
        """Start over: events that have been seen, and holding, count anew."""
        self._since.clear()
        self._seen.clear()

    def _met(self, condition: Condition, reading: Reading, now: float) -> bool | None:
        if condition in self._seen:
            return True
        holds = _holds(condition, reading)
        if holds is not True:
            self._since.pop(condition, None)
            return holds
        if now - self._since.setdefault(condition, now) < condition.hold:
            return False
        if condition.source in EVENTS:
            self._seen.add(condition)
        return True


def _holds(condition: Condition, reading: Reading) -> bool | None:
    if reading is None:
        return None
    if not condition.compare:
        return bool(reading)
    return _COMPARE[condition.compare](float(reading), condition.value)


def _truth(expression: Expression, met: Mapping[Condition, bool | None]) -> bool | None:
    """Kleene's three-valued logic."""
    if isinstance(expression, Condition):
        return met[expression]
    if isinstance(expression, Not):
        inner = _truth(expression.operand, met)
        return None if inner is None else not inner
    decisive = isinstance(expression, AnyOf)
    found = [_truth(operand, met) for operand in expression.operands]
    if decisive in found:
        return decisive
    return None if None in found else not decisive


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._split())
        self._next = 0
        self._depth = 0

    def _split(self) -> Iterator[tuple[str, str, int]]:
        position = 0
        while self._text[position:].strip():
            match = _TOKEN.match(self._text, position)
            if match is None:
                raise self._error(
                    "cannot be read", position + len(self._text[position:]) - len(self._text[position:].lstrip())
                )
            kind = match.lastgroup or ""
            yield kind, match.group(kind), match.start(kind)
            position = match.end()

    def expression_to_the_end(self) -> Expression:
        expression = self._any()
        if self._next < len(self._tokens):
            raise self._error("expected `and` or `or`", self._place())
        return expression

    def _any(self) -> Expression:
        operands = [self._all()]
        while self._take("or"):
            operands.append(self._all())
        return operands[0] if len(operands) == 1 else AnyOf(tuple(operands))

    def _all(self) -> Expression:
        operands = [self._one()]
        while self._take("and"):
            operands.append(self._one())
        return operands[0] if len(operands) == 1 else AllOf(tuple(operands))

    def _one(self) -> Expression:
        self._depth += 1
        if self._depth > _DEPTH_LIMIT:
            raise self._error("nested too deeply", self._place())
        try:
            if self._take("not"):
                return Not(self._one())
            if self._take("("):
                inner = self._any()
                if not self._take(")"):
                    raise self._error("expected `)`", self._place())
                return inner
            return self._condition()
        finally:
            self._depth -= 1

    def _condition(self) -> Condition:
        start = self._place()
        kind, word, _ = self._token()
        if kind != "word" or word in ("and", "or", "for"):
            raise self._error("expected a condition", start)
        source, _, argument = word.partition(":")
        self._check_source(source, argument, start)
        self._next += 1
        compare, value = "", 0.0
        if self._token()[0] == "compare":
            compare = self._token()[1]
            self._next += 1
            value = self._number(source)
        elif source in LEVELS:
            raise self._error(f"expected a comparison with {source}, such as {source} > 10", self._place())
        hold = self._duration() if self._take("for") else 0.0
        text = self._text[start : self._place()].strip()
        return Condition(source, _unquoted(argument), compare, value, hold, text)

    def _check_source(self, source: str, argument: str, start: int) -> None:
        if source not in (*LEVELS, *EVENTS, *STATES):
            raise self._error(f"unknown source {source!r}: {', '.join((*LEVELS, *EVENTS, *STATES))}", start)
        if source in LEVELS and argument:
            raise self._error(f"{source} takes no argument", start)
        if source not in LEVELS and not _unquoted(argument):
            raise self._error(f"{source} needs an argument: {source}:…", start)

    def _number(self, source: str) -> float:
        place = self._place()
        kind, word, _ = self._token()
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(%|[A-Za-z]*)(?:/s)?", word) if kind == "word" else None
        if match is None or match[2].upper() not in _FACTORS:
            raise self._error(f"expected a number to compare {source} with, such as 80%, 100 or 2GB", place)
        self._next += 1
        return float(match[1]) * _FACTORS[match[2].upper()]

    def _duration(self) -> float:
        place = self._place()
        kind, word, _ = self._token()
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|min|h)", word) if kind == "word" else None
        if match is None:
            raise self._error("expected a duration after `for`, such as 5s", place)
        self._next += 1
        return float(match[1]) * _SECONDS[match[2]]

    def _token(self) -> tuple[str, str, int]:
        return self._tokens[self._next] if self._next < len(self._tokens) else ("", "", len(self._text))

    def _place(self) -> int:
        return self._token()[2]

    def _take(self, word: str) -> bool:
        found = self._token()[1] == word
        self._next += found
        return found

    def _error(self, what: str, place: int) -> UsageError:
        shown = f"{self._text[:place]}⟶{self._text[place:]}" if self._text.strip() else "an empty text"
        return UsageError(f"trigger: {what}: {shown}", _HINT)


def _unquoted(argument: str) -> str:
    return argument[1:-1] if argument[:1] in ("'", '"') and argument[-1:] == argument[:1] else argument
