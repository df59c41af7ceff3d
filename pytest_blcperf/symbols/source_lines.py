"""Source files, lines and inlined functions of addresses, from a tool that stays open for as long as it is asked.

`llvm-symbolizer` where it is installed (one process for all files), else `addr2line` (one for each file). Asked only
for what a report shows: reading debug information takes seconds for a large program.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_blcperf.model.warning import Warning

ANSWER_S = 30
"""For one address. The first of a file takes longest: its debug information is read."""
MISSING = (
    "source lines are not shown: neither llvm-symbolizer nor addr2line is installed: sudo apt-get install llvm "
    "(dnf install llvm, apk add llvm)"
)

_MAX_ANSWER = 1 << 20
_MAX_INLINED = 256
_MAX_NAME = 4096
_FAILURES = 3
_LLVM = ("llvm-symbolizer", *(f"llvm-symbolizer-{version}" for version in range(22, 13, -1)))
_END = "0xffffffffffffffff"


@dataclass(frozen=True)
class SourceFrame:
    """A function at an address: the innermost inlined one comes first, the one whose code it is last. `file` and
    `function` are "" and `line` 0 where unknown.
    """

    function: str
    file: str
    line: int


class SourceLines:
    """See the module. Close it, or use it in a `with` block. `warnings` say what could not be had, each once."""

    def __init__(self, seconds: float = ANSWER_S, tools: Sequence[str] | None = None) -> None:
        self._seconds = seconds
        names = (*_LLVM, "addr2line") if tools is None else tools
        self._tool = next((path for name in names if (path := shutil.which(name))), "")
        self._is_llvm = "llvm-symbolizer" in self._tool.rsplit("/", 1)[-1]
        self._open: dict[str, _Tool] = {}
        self._failures = 0
        self._known: dict[tuple[str, int], tuple[SourceFrame, ...]] = {}
        self.warnings: tuple[Warning, ...] = () if self._tool else (Warning("no-source-lines", MISSING),)

    def at(self, path: str, addresses: Iterable[int]) -> list[tuple[SourceFrame, ...]]:
        """By link address in the file at `path`, its frames; none where nothing is known."""
        return [self._at(path, address) for address in addresses]

    def close(self) -> None:
        """End the tools."""
        for tool in self._open.values():
            tool.close()
        self._open.clear()

    def __enter__(self) -> SourceLines:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _at(self, path: str, address: int) -> tuple[SourceFrame, ...]:
        # A path stands in a line of the protocol, between quotes.
        if not self._tool or not path.isprintable() or '"' in path or not 0 <= address < 2**64 - 1:
            return ()
        if (path, address) not in self._known and self._failures < _FAILURES:
            self._known[path, address] = self._asked(path, address)
        return self._known.get((path, address), ())

    def _asked(self, path: str, address: int) -> tuple[SourceFrame, ...]:
        key = "" if self._is_llvm else path
        try:
            if key not in self._open:
                self._open[key] = _Tool(self._command(path))
            tool = self._open[key]
            deadline = time.monotonic() + self._seconds
            if self._is_llvm:
                tool.write(f'"{path}" {address:#x}\n')
                return tuple(_frames_of_json(tool.line(deadline)))
            # addr2line does not say where an answer ends: the one for an impossible address follows it.
            tool.write(f"{address:#x}\n{_END}\n")
            return tuple(_frames_of_text(_until_end(tool, deadline)))
        except (OSError, ValueError) as error:
            self._failed(key, path, str(error))
            return ()

    def _command(self, path: str) -> list[str]:
        if self._is_llvm:
            return [self._tool, "--output-style=JSON", "--inlines", "--demangle"]
        return [self._tool, "-a", "-i", "-f", "-C", "-e", path]

    def _failed(self, key: str, path: str, why: str) -> None:
        """End the tool; the next question starts it again, until it has failed too often."""
        self._failures += 1
        tool = self._open.pop(key, None)
        if tool is not None:
            tool.close()
        text = f"source lines of {printable(path)} are not shown: {self._tool}: {printable(why)}"
        if self._failures >= _FAILURES:
            text += ", and it is not asked again"
        self.warnings = (*self.warnings, Warning("source-lines", text))


class _Tool:
    """A process that answers lines with lines."""

    def __init__(self, command: list[str]) -> None:
        # It would ask debuginfod servers by itself, without our limits.
        environment = {**os.environ, "DEBUGINFOD_URLS": "", "LC_ALL": "C.UTF-8"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )
        self._rest = b""

    def write(self, text: str) -> None:
        """Raises OSError when the process is gone."""
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode())
        self._process.stdin.flush()

    def line(self, deadline: float) -> str:
        """The next line that is not empty. Raises OSError when none comes in time, ValueError for one without end."""
        while True:
            line, newline, rest = self._rest.partition(b"\n")
            if newline:
                self._rest = rest
                if line.strip():
                    return line.decode("utf-8", "backslashreplace").strip()
                continue
            if len(self._rest) > _MAX_ANSWER:
                raise ValueError(f"an answer has more than {_MAX_ANSWER} bytes")
            self._rest += self._more(deadline)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    # What it was asked last was still in the buffer.
                    continue

    def _more(self, deadline: float) -> bytes:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError("it did not answer in time")
        data = os.read(descriptor, 1 << 16)
        if not data:
            raise BrokenPipeError("it ended")
        return data


def _frames_of_json(line: str) -> Iterator[SourceFrame]:
    """Raises ValueError for what is no answer of llvm-symbolizer."""
    try:
        answer: Any = json.loads(line)
        symbols: Any = answer.get("Symbol", [])
        for one in symbols[:_MAX_INLINED]:
            frame = SourceFrame(_text(one["FunctionName"]), _text(one["FileName"]), int(one["Line"]))
            if frame.function or frame.file:
                yield frame
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"an answer cannot be read: {error}") from None


def _until_end(tool: _Tool, deadline: float) -> list[str]:
    """The lines before the answer for `_END`: its address, then pairs of function and `file:line`."""
    lines: list[str] = []
    while (line := tool.line(deadline)) != _END:
        if len(lines) > 2 * _MAX_INLINED:
            raise ValueError("an answer has too many lines")
        lines.append(line)
    tool.line(deadline), tool.line(deadline)
    return lines[1:]


def _frames_of_text(lines: Sequence[str]) -> Iterator[SourceFrame]:
    for function, place in zip(lines[::2], lines[1::2], strict=False):
        file, _, number = place.partition(" (discriminator")[0].rpartition(":")
        frame = SourceFrame(
            "" if function == "??" else _text(function),
            "" if file == "??" else _text(file),
            int(number) if number.isascii() and number.isdigit() else 0,
        )
        if frame.function or frame.file:
            yield frame


def _text(value: object) -> str:
    return printable(str(value))[:_MAX_NAME]


def printable(text: str) -> str:
    """The text with control characters, which a terminal would obey, written as escapes."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
