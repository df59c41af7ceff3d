"""What callgrind counted as stacks of the functions that people write: Python's by the perf map, others by name.

With a perf map (Python 3.12 and newer) the interpreter's own functions, and those of the C library, stand for the
Python function that runs them; functions of extension modules stay. Without one native functions are all there is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pytest_blcperf.capture.callgrind import CONTEXT
from pytest_blcperf.capture.callgrind_output import InstructionCounts, hexadecimal
from pytest_blcperf.model.function import NATIVE, Function

_EVALUATOR = "_PyEval_EvalFrameDefault"
_RUNTIME = ("libc.", "libc-", "libm.", "libm-", "ld-", "libpthread", "libdl", "libffi", "vgpreload", "???")
_UNKNOWN = "0x"

Stacks = dict[tuple[Function, ...], int]


@dataclass(frozen=True)
class PythonFunctions:
    """By address the (qualified name, file name) from the perf map, by those the functions as profiles have them.

    `root` is the (qualified name, file name) of the function in which all that counts happens.
    """

    by_address: Mapping[int, tuple[str, str]]
    known: Mapping[tuple[str, str], Function]
    root: tuple[str, str]

    @property
    def there(self) -> bool:
        """Whether there is a perf map."""
        return bool(self.by_address)


def fold(counts: InstructionCounts, python: PythonFunctions) -> Stacks:
    """Instructions by stack, leaf first; with a perf map only of what happened inside the root, which is left out."""
    folder = _Folder(counts, python)
    stacks: Stacks = {}
    for frames, cost in counts.stacks.items():
        stack = folder.fold(frames) if cost else None
        if stack is not None:
            stacks[stack] = stacks.get(stack, 0) + cost
    return stacks


def without(stacks: Stacks, around: Stacks, times: int) -> Stacks:
    """The stacks less what `times` windows without any iteration cost."""
    left = {stack: cost - around.get(stack, 0) * times for stack, cost in stacks.items()}
    return {stack: cost for stack, cost in left.items() if cost > 0}


class _Folder:
    """Frames by name, each looked at once."""

    def __init__(self, counts: InstructionCounts, python: PythonFunctions) -> None:
        self._python = python
        self._objects = counts.objects
        self._interpreter = counts.objects.get(_EVALUATOR, "")
        self._functions: dict[str, Function | None] = {}

    def fold(self, frames: Sequence[str]) -> tuple[Function, ...] | None:
        """The stack above the root, None when it is not inside it. One that was cut short is taken to be inside."""
        found: list[Function] = []
        for frame in frames:
            if self._is_root(frame):
                return tuple(found)
            function = self._function(frame)
            if function is not None:
                found.append(function)
        return tuple(found) if not self._python.there or len(frames) >= CONTEXT else None

    def _is_root(self, frame: str) -> bool:
        return self._address(frame) == self._python.root

    def _address(self, frame: str) -> tuple[str, str] | None:
        address = hexadecimal(frame) if frame.startswith(_UNKNOWN) else None
        return None if address is None else self._python.by_address.get(address)

    def _function(self, frame: str) -> Function | None:
        if frame not in self._functions:
            self._functions[frame] = self._find(frame)
        return self._functions[frame]

    def _find(self, frame: str) -> Function | None:
        if frame.startswith(_UNKNOWN):
            place = self._address(frame)
            return None if place is None else self._python.known.get(place) or Function(place[1], place[0])
        path = self._objects.get(frame, "")
        name = PurePosixPath(path).name
        if self._python.there and (not path or path == self._interpreter or name.startswith(_RUNTIME)):
            return None
        return Function(name or "[unknown]", frame, kind=NATIVE)
