"""The perf trampoline of this very process (CPython from 3.12 on), on for profiled rounds and off between them.

With it every call of a Python function goes through a stub of machine code of its own, so that an unwinder sees which
function runs. `sys.activate_stack_trampoline` is called once in a process: a second time makes new stubs for all, fails
after seven times on 3.14 (it leaks code watchers) and after 254 times on 3.12, and has crashed while active.
Afterwards the evaluation function of the interpreter is exchanged instead (PEP 523), which is all that switching does.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import sys
from pathlib import Path
from types import CodeType
from typing import IO

from pytest_blcperf.capture import python_code
from pytest_blcperf.errors import PermissionDenied

STUB_BYTES = 16 if os.uname().machine == "x86_64" else 32
"""How far stubs are apart (Python/asm_trampoline.S). There may be nothing to read behind the last one."""

MAX_MAPPED = 1_000_000
_INDICES = 255


def refusal() -> str | None:
    """One sentence that says why this interpreter has no trampoline to switch, None when it has."""
    if sys.version_info < (3, 12):
        return f"Python {sys.version_info[0]}.{sys.version_info[1]} has no perf trampoline, 3.12 has"
    if not hasattr(sys, "activate_stack_trampoline"):
        return "this Python has no perf trampoline"
    return python_code.why_not_supported()


class Trampoline:
    """Switched by `switch`; use the one that `trampoline()` gives. Raises PermissionDenied where there is none."""

    def __init__(self) -> None:
        why = refusal()
        if why is not None:
            raise PermissionDenied(f"no perf trampoline: {why}", "choose another --blcperf-backend")
        api = ctypes.pythonapi
        self._get_function = api._PyInterpreterState_GetEvalFrameFunc
        self._get_function.restype, self._get_function.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
        self._set_function = api._PyInterpreterState_SetEvalFrameFunc
        self._set_function.restype, self._set_function.argtypes = None, [ctypes.c_void_p, ctypes.c_void_p]
        api.PyInterpreterState_Get.restype = ctypes.c_void_p
        self._interpreter = api.PyInterpreterState_Get()
        self._off = self._get_function(self._interpreter)
        # With -X perf or PYTHONPERFSUPPORT it is on from the start, and stays on.
        self._always_on = bool(sys.is_stack_trampoline_active())  # type: ignore[attr-defined]
        if not self._always_on:
            try:
                sys.activate_stack_trampoline("perf")  # type: ignore[attr-defined]
            except (ValueError, RuntimeError, SystemError) as error:
                raise PermissionDenied(
                    f"the perf trampoline cannot be activated: {error}", "choose another --blcperf-backend"
                ) from error
        self._on = self._get_function(self._interpreter)
        self._index = self._find_index()
        self.switch(False)
        map_path = Path(f"/tmp/perf-{os.getpid()}.map")
        self._map: IO[str] | None = None
        with contextlib.suppress(OSError):
            self._map = map_path.open(encoding="utf-8", errors="replace")
        if not self._always_on:
            # A child would write stubs and a map of its own, which nobody reads.
            os.register_at_fork(after_in_child=lambda: self.switch(False))
            # CPython never removes it. It goes on writing to the file that has no name any more.
            with contextlib.suppress(OSError):
                map_path.unlink()

    def switch(self, on: bool) -> None:
        """Functions called from now on get stubs, or not. Those that are running stay as they were."""
        if not self._always_on:
            self._set_function(self._interpreter, self._on if on else self._off)

    def stub(self, code: CodeType) -> int:
        """The address of the function's stub, 0 when it has none because it has not been called since."""
        assert self._extra is not None
        return self._extra(code, self._index)

    def mapped(self) -> list[tuple[int, str, str]]:
        """(address of the stub, qualified name, file) of every function that ever got one, also of those that are gone;
        MAX_MAPPED at most. From the perf map, where a name may stand for several.
        """
        found: list[tuple[int, str, str]] = []
        if self._map is None:
            return found
        self._map.seek(0)
        for line in itertools.islice(self._map, MAX_MAPPED):
            address, _, rest = line.rstrip("\n").partition(" ")
            _, prefix, text = rest.partition(" py::")
            name, _, file = text.partition(":")
            if prefix:
                with contextlib.suppress(ValueError):
                    found.append((int(address, 16), name, file))
        return found

    def stub_code(self) -> bytes:
        """The machine code of a stub, STUB_BYTES long; it is the same for all."""
        return ctypes.string_at(self._probe_stub, STUB_BYTES)

    def _find_index(self) -> int:
        """Where among the extra data the stubs are. Others may keep data there too, but no addresses of code."""
        namespace: dict[str, object] = {}
        exec("def probe(): pass\nprobe()\n", namespace)
        self._extra = python_code.code_extra()
        assert self._extra is not None
        executable = _anonymous_code()
        for index in range(_INDICES):
            word = self._extra(namespace["probe"].__code__, index)  # type: ignore[attr-defined]
            if any(start <= word < end for start, end in executable):
                self._probe_stub = word
                return index
        raise PermissionDenied(
            "the perf trampoline is active, but functions get no stubs", "choose another --blcperf-backend"
        )


def _anonymous_code() -> list[tuple[int, int]]:
    found = []
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        fields = line.split(maxsplit=5)
        if "x" in fields[1] and len(fields) == 5:
            start, end = fields[0].split("-")
            found.append((int(start, 16), int(end, 16)))
    return found


_process: list[Trampoline] = []


def trampoline() -> Trampoline:
    """The process's trampoline, off when it is made. Raises PermissionDenied where there is none."""
    if not _process:
        _process.append(Trampoline())
    return _process[0]
