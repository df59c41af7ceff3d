"""Callgrind's output, read within bounds: the instructions of each function in each calling context.

The format is that of the valgrind manual, chapter "Callgrind Format Specification", version 1, as `callgrind.command`
has it written: one event (Ir), names compressed, contexts in the names of functions (`leaf'caller'its caller`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from pytest_blcperf.errors import BlcperfError

MAX_LINES = 20_000_000
MAX_FUNCTIONS = 1_000_000
MAX_NAME = 100_000
MAX_FRAMES = 2_000
MAX_COST = 1 << 62

_COMPRESSED = re.compile(r"\((\d{1,9})\)(?: (.*))?", re.DOTALL)
_COST = re.compile(r"(?:[+-]?\d{1,20}|\*|0x[0-9a-fA-F]{1,16}) +(\d{1,20})\s*")
_HEADER = re.compile(r"([a-zA-Z]+):")
_RECURSION = re.compile(r"\d{1,4}")


class CallgrindError(BlcperfError):
    """The output is not what callgrind writes. `message` says where."""


@dataclass
class InstructionCounts:
    """Self instructions by stack. A frame is a function's name, the leaf first; `objects` has the file of each name.

    `total` is what callgrind says it collected; the stacks add up to it.
    """

    total: int = 0
    stacks: dict[tuple[str, ...], int] = field(default_factory=dict)
    objects: dict[str, str] = field(default_factory=dict)


def read_dump(lines: Iterable[str]) -> InstructionCounts:
    """The counts of one dump. Raises CallgrindError."""
    reader = _Reader()
    for number, line in enumerate(lines, 1):
        if number > MAX_LINES or len(line) > MAX_NAME:
            raise CallgrindError(f"line {number}: longer than any that callgrind writes")
        try:
            reader.take(line.rstrip("\n"))
        except _BadLineError as error:
            raise CallgrindError(f"line {number}: {error}: {line[:80]!r}") from None
    return reader.result()


def split_context(name: str) -> tuple[str, ...]:
    """The frames of a function in its context, the leaf first; a recursion level after the leaf is left out.

    Raises CallgrindError when there are too many. Names of C++ and Rust hold no apostrophes: they are not demangled.
    """
    frames = name.split("'", MAX_FRAMES + 1)
    if len(frames) > MAX_FRAMES:
        raise CallgrindError(f"a context of more than {MAX_FRAMES} callers")
    leaf, *callers = frames
    return (leaf, *(frame for frame in callers if not _RECURSION.fullmatch(frame)))


def read_perf_map(lines: Iterable[str]) -> dict[int, tuple[str, str]]:
    """Start address → (qualified name, file name) of the Python functions in a perf map, nothing of other lines."""
    found: dict[int, tuple[str, str]] = {}
    for line in lines:
        fields = line.rstrip("\n").split(" ", 2)
        if len(fields) < 3 or not fields[2].startswith("py::") or len(found) >= MAX_FUNCTIONS:
            continue
        # Neither a qualified name nor `<frozen x>` holds a colon; a file name may.
        name, colon, file = fields[2].removeprefix("py::").partition(":")
        address = hexadecimal(fields[0])
        if colon and address is not None:
            found[address] = (name, file)
    return found


def hexadecimal(text: str) -> int | None:
    """The number that a text of at most 18 hexadecimal digits, `0x` among them, stands for."""
    try:
        return int(text, 16) if 0 < len(text) <= 18 else None
    except ValueError:
        return None


class _BadLineError(Exception):
    """What is wrong with a line."""


class _Reader:
    """Reads line by line; names are known by number once they have been told."""

    def __init__(self) -> None:
        self._names: dict[str, dict[str, str]] = {"fn": {}, "ob": {}}
        self._object = self._called_object = ""
        self._function: tuple[str, ...] | None = None
        self._frames: dict[str, tuple[str, ...]] = {}
        self._after_calls = False
        self._totals: int | None = None
        self._summary: int | None = None
        self._counts = InstructionCounts()

    def take(self, line: str) -> None:
        if self._after_calls:
            # What the call cost with all it called in turn: theirs, not the caller's.
            self._cost(line)
            self._after_calls = False
        elif line[:1] in "+-*0123456789" and line:
            self._add(self._cost(line))
        elif "=" in line:
            self._position(*line.split("=", 1))
        elif line and not line.startswith("#"):
            self._header(line)

    def result(self) -> InstructionCounts:
        if self._after_calls:
            raise CallgrindError("it ends inside a call")
        collected = sum(self._counts.stacks.values())
        totals = self._totals if self._totals is not None else self._summary
        if totals is None:
            raise CallgrindError("it has no totals: callgrind was ended while it wrote")
        if totals != collected:
            raise CallgrindError(f"its functions have {collected} instructions, its totals say {totals}")
        self._counts.total = collected
        return self._counts

    def _header(self, line: str) -> None:
        match = _HEADER.match(line)
        if match is None:
            raise _BadLineError("neither a header, a position nor a cost")
        key, value = match.group(1), line[match.end() :].strip()
        if key == "version" and value != "1":
            raise _BadLineError("another version of the format")
        if key == "events" and value != "Ir":
            raise _BadLineError("other events than instructions")
        if key == "positions" and value not in ("line", "instr"):
            raise _BadLineError("more than one position a line")
        if key in ("totals", "summary"):
            if not value.isascii() or not value.isdigit() or len(value) > 20:
                raise _BadLineError("not a number")
            setattr(self, f"_{key}", int(value))

    def _position(self, key: str, value: str) -> None:
        if key in ("fn", "cfn"):
            name = self._name("fn", value)
            self._counts.objects.setdefault(self._stack(name)[0], self._called_object if key == "cfn" else self._object)
            if key == "fn":
                self._function = self._stack(name)
        elif key == "ob":
            self._object = self._called_object = self._name("ob", value)
        elif key == "cob":
            self._called_object = self._name("ob", value)
        elif key == "calls":
            if self._function is None:
                raise _BadLineError("a call by no function")
            self._after_calls = True
            self._called_object = self._object
        elif key not in ("fl", "fi", "fe", "cfl", "cfi"):
            raise _BadLineError("an unknown position")

    def _name(self, kind: str, value: str) -> str:
        match = _COMPRESSED.fullmatch(value)
        if match is None:
            return value
        known, number, name = self._names[kind], match.group(1), match.group(2)
        if name is not None:
            if len(known) >= MAX_FUNCTIONS:
                raise _BadLineError(f"more than {MAX_FUNCTIONS} names")
            known[number] = name
        if number not in known:
            raise _BadLineError("a name that was never told")
        return known[number]

    def _stack(self, name: str) -> tuple[str, ...]:
        if name not in self._frames:
            self._frames[name] = split_context(name)
        return self._frames[name]

    def _cost(self, line: str) -> int:
        match = _COST.fullmatch(line)
        if match is None:
            raise _BadLineError("not a position and a cost")
        return int(match.group(1))

    def _add(self, cost: int) -> None:
        if self._function is None:
            raise _BadLineError("a cost of no function")
        stacks = self._counts.stacks
        total = stacks.get(self._function, 0) + cost
        if total > MAX_COST:
            raise _BadLineError("more instructions than a processor executes")
        stacks[self._function] = total
