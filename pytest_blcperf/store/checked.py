"""JSON from somebody else, read with a type and a range for every value.

The limits of the format `blcperf.run/1` stand here: what is written keeps them, what is read must.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import reprlib
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

TEXT_LIMIT = 10_000
"""Characters of any string."""
DEPTH_LIMIT = 20
"""Levels of free-form values (`params`, `extra_info`, `settings`)."""
CONTAINER_LIMIT = 1_000_000
"""Objects and arrays in one document: an empty one costs 3 bytes of JSON and 60 to 200 bytes of memory."""
NUMBER_LIMIT = 40
"""Characters of a number: converting an integer takes time quadratic in its digits."""

T = TypeVar("T")


class MalformedError(ValueError):
    """A value is not what the format says; the message is one line that names the place and shows the value."""


def show(value: object) -> str:
    """A value in an error message: one line, at most 60 characters, no control characters."""
    text = ascii(value) if isinstance(value, (str, int, float, bool, type(None))) else reprlib.repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def bounded(text: str) -> str:
    """The text, or where it is too long for a run file its beginning and a hash of the whole, so it stays unique."""
    if len(text) <= TEXT_LIMIT:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]
    return f"{text[: TEXT_LIMIT - 100]}…{digest}"


def sound(text: str) -> str:
    """The text without lone surrogates (undecodable file names), which strict readers of UTF-8 and JSON reject."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def loads(data: bytes) -> Any:
    """Parses a JSON document. Raises MalformedError for anything that is not plain JSON within the limits.

    Duplicate keys, NaN and infinities are refused: readers in other languages disagree about them.
    """
    if data.count(b"{") + data.count(b"[") > CONTAINER_LIMIT:
        raise MalformedError(f"more than {CONTAINER_LIMIT:,} JSON objects and arrays")
    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique_keys,
            parse_int=_integer,
            parse_float=_finite,
            parse_constant=_no_constant,
        )
    except MalformedError:
        raise
    except RecursionError:
        raise MalformedError("the JSON is nested too deeply") from None
    except UnicodeDecodeError:
        raise MalformedError("the JSON is not UTF-8") from None
    except ValueError as error:
        raise MalformedError(f"not JSON: {show(str(error))}") from None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise MalformedError(f"an object has a key twice, among {show([key for key, _ in pairs])}")
    return table


def _integer(text: str) -> int:
    if len(text) > NUMBER_LIMIT:
        raise MalformedError(f"a number of {len(text):,} digits")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise MalformedError(f"a number out of range: {show(text)}")
    return value


def _no_constant(text: str) -> float:
    raise MalformedError(f"{text} is not a JSON number")


def unique(values: Iterable[T], where: str) -> None:
    """Raises MalformedError when two of the values are equal."""
    seen: set[T] = set()
    for value in values:
        if value in seen:
            raise MalformedError(f"{where}: {show(value)} stands there twice")
        seen.add(value)


class Fields:
    """A JSON object whose members are read one by one; every method raises MalformedError, naming the place."""

    def __init__(self, value: object, where: str) -> None:
        if type(value) is not dict:
            raise MalformedError(f"{where}: expected an object, not {show(value)}")
        self._value: dict[str, Any] = value
        self.where = where

    def place(self, key: str) -> str:
        """How messages call a member; tables are keyed by what a stranger wrote."""
        name = key if key.isprintable() and len(key) <= 60 else show(key)
        return f"{self.where}.{name}" if self.where else name

    def get(self, key: str) -> Any:
        """The raw value."""
        try:
            return self._value[key]
        except KeyError:
            raise MalformedError(f"{self.place(key)} is missing") from None

    def has(self, key: str) -> bool:
        """Whether the member is there: those that came later within a version may be missing."""
        return key in self._value

    def text(self, key: str, pattern: str | None = None, limit: int = TEXT_LIMIT) -> str:
        """A string of at most `limit` characters that matches `pattern` as a whole."""
        value = _text(self.get(key), self.place(key), limit)
        if pattern is not None and not re.fullmatch(pattern, value):
            raise MalformedError(f"{self.place(key)}: {show(value)} does not match {pattern}")
        return value

    def optional_text(self, key: str) -> str | None:
        """A string or null."""
        return None if self.get(key) is None else self.text(key)

    def integer(self, key: str, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        return _integer_between(self.get(key), low, high, self.place(key))

    def optional_integer(self, key: str, low: int, high: int) -> int | None:
        """A whole number or null."""
        return None if self.get(key) is None else self.integer(key, low, high)

    def given(self, key: str) -> bool:
        """Whether a member that older files lack is there and not null."""
        return self._value.get(key) is not None

    def added_number(self, key: str, low: float, high: float) -> float | None:
        """A finite number from `low` to `high`; None where it is null, or missing as in older files."""
        return Fields({"it": [self.get(key)]}, self.place(key)).numbers("it", low, high)[0] if self.given(key) else None

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self.get(key)
        if type(value) is not bool:
            raise MalformedError(f"{self.place(key)}: expected true or false, not {show(value)}")
        return value

    def fields(self, key: str) -> Fields:
        """An object."""
        return Fields(self.get(key), self.place(key))

    def optional_fields(self, key: str) -> Fields | None:
        """An object or null."""
        return None if self.get(key) is None else self.fields(key)

    def array(self, key: str) -> list[Any]:
        """An array of anything."""
        value = self.get(key)
        if type(value) is not list:
            raise MalformedError(f"{self.place(key)}: expected an array, not {show(value)}")
        return value

    def objects(self, key: str) -> list[Fields]:
        """An array of objects."""
        return [Fields(item, f"{self.place(key)}[{index}]") for index, item in enumerate(self.array(key))]

    def texts(self, key: str) -> list[str]:
        """An array of strings."""
        place = self.place(key)
        return [_text(item, place, TEXT_LIMIT) for item in self.array(key)]

    def integers(self, key: str, low: int, high: int) -> list[int]:
        """An array of whole numbers from `low` to `high`."""
        column = self.array(key)
        if set(map(type, column)) - {int} or (column and not low <= min(column) <= max(column) <= high):
            wrong = next(item for item in column if type(item) is not int or not low <= item <= high)
            _integer_between(wrong, low, high, self.place(key))
        return column

    def numbers(self, key: str, low: float, high: float) -> list[float]:
        """An array of finite numbers from `low` to `high`."""
        column = self.array(key)
        for item in column:
            if type(item) not in (int, float) or not low <= item <= high:  # NaN fails the comparison
                raise MalformedError(f"{self.place(key)}: expected a number from {low:g} to {high:g}, not {show(item)}")
        return [float(item) for item in column]

    def number(self, key: str, low: float = -1e18, high: float = 1e18) -> float:
        """A finite number from `low` to `high`."""
        value = self.get(key)
        if type(value) not in (int, float) or not low <= value <= high:
            raise MalformedError(f"{self.place(key)}: expected a number, not {show(value)}")
        return float(value)

    def text_table(self, key: str, most: int) -> dict[str, str]:
        """An object of at most `most` strings."""
        table = self.fields(key)
        if len(table._value) > most:
            raise MalformedError(f"{self.place(key)}: more than {most:,} members")
        return {_text(name, table.where, TEXT_LIMIT): table.text(name) for name in table._value}

    def number_table(self, key: str, most: int) -> dict[str, float]:
        """An object of at most `most` finite numbers."""
        table = self.fields(key)
        if len(table._value) > most:
            raise MalformedError(f"{self.place(key)}: more than {most:,} members")
        return {_text(name, table.where, TEXT_LIMIT): table.number(name) for name in table._value}

    def free(self, key: str) -> dict[str, Any]:
        """An object of any JSON values, at most `DEPTH_LIMIT` levels deep."""
        table: dict[str, Any] = self.fields(key)._value
        _check_free(table, DEPTH_LIMIT, self.place(key))
        return table


def _text(value: object, where: str, limit: int) -> str:
    if type(value) is not str:
        raise MalformedError(f"{where}: expected a string, not {show(value)}")
    if len(value) > limit:
        raise MalformedError(f"{where}: a string of {len(value):,} characters, more than {limit:,}")
    return value


def _integer_between(value: object, low: int, high: int, where: str) -> int:
    if type(value) is not int or not low <= value <= high:
        raise MalformedError(f"{where}: expected a whole number from {low} to {high}, not {show(value)}")
    return value


def _check_free(value: object, depth: int, where: str) -> None:
    if depth == 0:
        raise MalformedError(f"{where}: nested too deeply")
    if isinstance(value, str):
        _text(value, where, TEXT_LIMIT)
    elif isinstance(value, dict):
        for key, item in value.items():
            _text(key, where, TEXT_LIMIT)
            _check_free(item, depth - 1, where)
    elif isinstance(value, list):
        for item in value:
            _check_free(item, depth - 1, where)


def same_length(where: str, *columns: Sequence[Any]) -> None:
    """Raises MalformedError unless the columns are equally long."""
    lengths = [len(column) for column in columns]
    if len(set(lengths)) > 1:
        raise MalformedError(f"{where}: columns of different lengths: {', '.join(map(str, lengths))}")
