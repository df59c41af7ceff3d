"""Counting instructions from inside a process that runs under valgrind's callgrind, and how one is started.

Callgrind counts between two requests that the process makes itself: instructions that do nothing on a processor, and
that valgrind knows (valgrind.h, callgrind.h). They are put into an executable page and called through ctypes, so
nothing has to be compiled. Standard library only: this runs in the measured process.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import mmap
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any

from pytest_blcperf.capture.call_counts import count_calls
from pytest_blcperf.capture.functions import Roots, describe, qualified_name

FOLDER_VARIABLE = "BLCPERF_CALLGRIND_FOLDER"
OUTPUT = "out"
"""The name of callgrind's output; each dump adds `.1`, `.2` and so on."""
CONTEXT = 100
"""Callers that callgrind tells apart: with the trampoline a Python call is five native ones, so 20 of Python."""

_SMALL, _LARGE = ((2000, 8000), (2, 480)), ((100, 400), (500, 6000))
"""How many blocks of how many bytes are made, a random half of which is kept."""

_CODE = {
    # mov %rdi,%rax; mov %rsi,%rdx; rol $3, $13, $61, $51,%rdi; xchg %rbx,%rbx; mov %rdx,%rax; ret
    "x86_64": "4889f8 4889f2 48c1c703 48c1c70d 48c1c73d 48c1c733 4887db 4889d0 c3",
}
_TOOL = ord("C") << 24 | ord("T") << 16
_RUNNING_ON_VALGRIND = 0x1001
_ZERO, _DUMP, _START, _STOP = _TOOL + 1, _TOOL, _TOOL + 4, _TOOL + 5


def command(folder: Path) -> tuple[str, ...]:
    """What a worker's command line begins with; `folder` gets the output."""
    return (
        "valgrind",
        "--tool=callgrind",
        "--quiet",
        "--instr-atstart=no",
        f"--separate-callers={CONTEXT}",
        "--demangle=no",
        "--dump-line=no",
        f"--callgrind-out-file={folder / OUTPUT}",
        f"--log-file={folder / 'valgrind.log'}",
    )


class Valgrind:
    """Requests to the valgrind that runs this process. Raises OSError where there is none, or none is possible."""

    def __init__(self) -> None:
        machine = os.uname().machine
        if machine not in _CODE:
            raise OSError(f"callgrind's requests are not known for {machine}")
        self._page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._page.write(bytes.fromhex(_CODE[machine]))
        place = ctypes.addressof(ctypes.c_char.from_buffer(self._page))
        # The page stays mapped for ever: a view of it cannot be given back while the function may be called.
        self._call = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64)(place)
        self._arguments = (ctypes.c_uint64 * 6)()
        if not self.request(_RUNNING_ON_VALGRIND):
            raise OSError("this process does not run under valgrind")

    def request(self, code: int) -> int:
        """One client request; 0 on a bare processor."""
        self._arguments[0] = code
        return int(self._call(ctypes.addressof(self._arguments), 0))


class InstructionCounter:
    """Counts the instructions between `start` and `stop`, into dumps in the folder that the environment names.

    Each dump is made with another heap around it, for what a program executes depends on that: pools that are emptied
    and filled in every iteration made 6 % of one benchmark, and each process would repeat its own number for ever.
    """

    def __init__(self, roots: Roots) -> None:
        self._valgrind = Valgrind()
        self._roots = roots
        self._folder = Path(os.environ[FOLDER_VARIABLE])
        self._ballast: list[bytes] = []

    def start(self) -> None:
        """Count from here."""
        self._valgrind.request(_START)

    def stop(self) -> None:
        """Count no more; what `start` counts later is added."""
        self._valgrind.request(_STOP)

    def count(self, run: Callable[[int], int], root: CodeType, iterations: int, repeat: int) -> dict[str, Any]:
        """Dumps of `run(0)`, for what lies around it, and of `run(iterations)`, `repeat` times.

        `run` calls `start` and `stop` and says how often; what it measures it does inside the function with the code
        `root`. Gives the dumps' names, and what the Python functions that ran are called in the perf map and in a
        profile; `map` is "" where there is none, before Python 3.12.
        """
        _activate_trampoline()
        codes = count_calls(lambda: run(1), root)
        # Machine code is made for a function at its first call after that: once more, with all of it there.
        run(1)
        dumps = [self._dump(run, number) for number in (0, *[iterations] * repeat)]
        names = [[qualified_name(code), code.co_filename, *describe(code, self._roots)] for code in codes]
        return {
            "dumps": dumps,
            "iterations": iterations,
            "functions": names,
            "root": [qualified_name(root), root.co_filename],
            "map": f"/tmp/perf-{os.getpid()}.map" if _trampoline_is_active() else "",
        }

    def _dump(self, run: Callable[[int], int], iterations: int) -> dict[str, Any]:
        before = self._outputs()
        self._shake()
        # A collection's turn comes by the number of allocations since the last: it must not differ between dumps.
        gc.collect()
        self._valgrind.request(_ZERO)
        windows = run(iterations)
        self._valgrind.request(_DUMP)
        (name,) = self._outputs() - before
        return {"name": name, "windows": windows}

    def _shake(self) -> None:
        """Leave other holes in the heap: where a list can grow in place, and which pool has room, is up to them.

        Small blocks are for the pools of Python's own allocator (up to 512 bytes), large ones for the C library's.
        """
        self._ballast.clear()
        for number, size in (_SMALL, _LARGE):
            blocks = [bytes(random.randrange(*size)) for _ in range(random.randrange(*number))]
            random.shuffle(blocks)
            self._ballast += blocks[: len(blocks) // 2]

    def _outputs(self) -> set[str]:
        return {path.name for path in self._folder.iterdir() if path.name.startswith(OUTPUT)}


def _trampoline_is_active() -> bool:
    return sys.version_info >= (3, 12) and bool(sys.is_stack_trampoline_active())


def _activate_trampoline() -> None:
    """Gives each Python function machine code of its own from 3.12 on, where the build can; not twice: that crashes."""
    if sys.version_info >= (3, 12) and not sys.is_stack_trampoline_active():
        with contextlib.suppress(ValueError):
            sys.activate_stack_trampoline("perf")
