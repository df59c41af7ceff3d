"""The measured process's half of the backends that look at it from outside: it tells what only it can know.

    open      what to look at: process, thread, the signal it listens to
    begin_round, add_window, end_round
    finish    where its functions lie in memory, and the Python stacks it has noted itself
    describe  file, name, line and fingerprint of those that were seen

The other half is `bench/outside.py`. Plain data goes between them. Standard library only.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from types import CodeType
from typing import Any

from pytest_blcperf.capture import noted_stacks, python_code, stacks
from pytest_blcperf.capture.backends import BYTECODE, OUTSIDE, TRAMPOLINE
from pytest_blcperf.capture.functions import Description, Roots, describe, normal_file
from pytest_blcperf.capture.noted_stacks import NotedStacks
from pytest_blcperf.capture.python_trampoline import Trampoline, trampoline
from pytest_blcperf.errors import PermissionDenied, UsageError

MAX_DESCRIBED = 100_000
_OWN_FILES = {noted_stacks.__file__, stacks.__file__}

Data = dict[str, Any]


class Observed:
    """One profile of this process. Raises UsageError for backends that do not look from outside, PermissionDenied
    where this interpreter cannot be looked at like this.
    """

    def __init__(self, backend: str, root: CodeType) -> None:
        if backend not in OUTSIDE:
            raise UsageError(f"{backend} does not look from outside", f"choose one of {', '.join(OUTSIDE)}")
        self._backend = backend
        self._root = root
        self._codes: list[CodeType] = []
        self._gone: list[tuple[str, str]] = []
        """(file, name) of functions that had a stub and are no more; their indices follow those of the others."""
        self._windows: list[tuple[int, int]] = []
        self._cpu_ns = 0
        self._cpu_mark = 0
        self._notes: NotedStacks | None = None
        self._trampoline: Trampoline | None = None
        if backend == BYTECODE:
            why = python_code.why_not_supported()
            if why is not None:
                raise PermissionDenied(f"{backend} does not work here: {why}", "choose another --blcperf-backend")
            self._notes = NotedStacks(backend, root)
        elif backend == TRAMPOLINE:
            self._trampoline = trampoline()

    def facts(self) -> Data:
        """What the other half needs to begin."""
        return {
            "backend": self._backend,
            "process": os.getpid(),
            "thread": threading.get_native_id(),
            "signal": self._notes.signal if self._notes else 0,
            "version": list(sys.version_info[:2]),
        }

    def begin_round(self) -> None:
        """What follows is to be looked at."""
        self._cpu_mark = time.process_time_ns()
        if self._trampoline is not None:
            self._trampoline.switch(True)

    def add_window(self, start_ns: int, end_ns: int) -> None:
        """Count what is seen from `start_ns` to `end_ns` of `time.perf_counter_ns`."""
        self._windows.append((start_ns, end_ns))
        if self._notes is not None:
            self._notes.add_window(start_ns, end_ns)

    def end_round(self) -> list[tuple[int, int]]:
        """The windows since `begin_round`."""
        if self._trampoline is not None:
            self._trampoline.switch(False)
        self._cpu_ns += time.process_time_ns() - self._cpu_mark
        windows, self._windows = self._windows, []
        return windows

    def close(self, silent: bool) -> None:
        """Leave the process as it was. `silent` when nobody sends signals any more. Again: nothing."""
        if self._trampoline is not None:
            self._trampoline.switch(False)
        if self._notes is not None:
            self._notes.close(silent)

    def finish(self) -> Data:
        """Where the functions are. `functions` counts them, for `describe`; rows of the other columns are in their
        order, or name them by their index. Times in ns.

        `root`: the root. `bytecode`: (address, bytes) of each; `calls`: (time, stack); `stacks`: each a list of
        functions, leaf first, cut at the root; `own`: the functions that take the profile. `stubs`: the address of
        each function's stub; `stub_code`: hexadecimal. `places`: (file, first line, name) of each.
        """
        self.close(silent=True)
        data: Data = {"warnings": [], "cpu": self._cpu_ns, "version": list(sys.version_info[:2])}
        if self._notes is not None:
            noted, seen = self._notes.table.noted()
            self._codes = list({id(code): code for code in [*noted, *python_code.code_objects()]}.values())
            data["bytecode"] = [python_code.bytecode_range(code) for code in self._codes]
            data["calls"] = self._notes.calls()
            data["stacks"] = seen
            data["warnings"] = self._notes.warnings()
            data["own"] = [index for index, code in enumerate(self._codes) if code.co_filename in _OWN_FILES]
        elif self._trampoline is not None:
            stubs = [(self._trampoline.stub(code), code) for code in python_code.code_objects([self._root])]
            called = [(stub, code) for stub, code in stubs if stub]
            self._codes = [code for _, code in called]
            here = {stub for stub, _ in called}
            gone = {stub: (file, name) for stub, name, file in self._trampoline.mapped() if stub not in here}
            self._gone = list(gone.values())
            data["stubs"] = [*(stub for stub, _ in called), *gone]
            data["stub_code"] = self._trampoline.stub_code().hex()
        else:
            self._codes = python_code.code_objects([self._root])
            data["places"] = [[code.co_filename, code.co_firstlineno, code.co_name] for code in self._codes]
        data["root"] = next((index for index, code in enumerate(self._codes) if code is self._root), -1)
        data["functions"] = len(self._codes) + len(self._gone)
        return data

    def index(self, function: Callable[..., object]) -> int:
        """The index of a Python function among those of `finish`, -1 when it is not there."""
        code = getattr(function, "__code__", None)
        return next((index for index, one in enumerate(self._codes) if one is code), -1)

    def describe(self, indices: Iterable[int], roots: Roots) -> list[Description]:
        """(file, qualified name, first line, fingerprint) of functions of `finish`, MAX_DESCRIBED at most."""
        first_gone = len(self._codes)
        found = []
        for index in list(indices)[:MAX_DESCRIBED]:
            if 0 <= index < first_gone:
                found.append(describe(self._codes[index], roots))
            elif 0 <= index - first_gone < len(self._gone):
                file, name = self._gone[index - first_gone]
                found.append((normal_file(file, roots), name, 0, ""))
        return found
