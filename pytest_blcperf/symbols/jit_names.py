"""The names of one process's JIT code, from its jitdump or its perf map."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pytest_blcperf.model.recording import Mapping
from pytest_blcperf.symbols import jitdump
from pytest_blcperf.symbols.address_space import AddressSpaces
from pytest_blcperf.symbols.jitdump import JitCode
from pytest_blcperf.symbols.perf_map import latest, perf_map
from pytest_blcperf.symbols.symbol_table import SymbolTable

JIT = "[jit]"


@dataclass(frozen=True, eq=False)
class JitNames:
    """`table` names addresses as they were in the end. Where `replaced` is true, code was put where other code had been
    before, and `codes` tell when; `advice` is what to say of code without a name.
    """

    process: int
    table: SymbolTable
    codes: tuple[JitCode, ...] = ()
    replaced: bool = False
    problems: tuple[str, ...] = ()

    @property
    def advice(self) -> str:
        return (
            f"code made at run time by process {self.process} has no names: run it with python -X perf, "
            f"node --perf-basic-prof, or, of a Java process that still runs: jcmd {self.process} Compiler.perfmap"
        )

    def spaces(self) -> AddressSpaces:
        """Which of `codes` was where, and when: its index is that of a mapping of process 0."""
        return AddressSpaces([Mapping(0, one.start, one.end, 0, one.name, time=one.time) for one in self.codes])


def jit_names(process: int, mappings: Sequence[Mapping], live: bool, proc: Path) -> JitNames:
    """The names of a process's JIT code. Its jitdump tells more than a perf map, and is taken where there is one."""
    problems: list[str] = []
    for path in dict.fromkeys(one.path for one in mappings if one.process == process and jitdump.is_jitdump(one.path)):
        for place in (Path(f"{proc}/{process}/root{path}"), Path(path)) if live else (Path(path),):
            codes, said = _read_dump(place)
            problems += [f"{one}: {path}" for one in said]
            if codes:
                return JitNames(process, _as_in_the_end(codes), codes, _overlap(codes), tuple(problems))
    table, said = perf_map(process, proc) if live else (None, ())
    problems += said
    return JitNames(process, table or latest([], [], []), problems=tuple(problems))


def _read_dump(path: Path) -> tuple[tuple[JitCode, ...], tuple[str, ...]]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return (), ("not a regular file",)
            return jitdump.parsed(file.read(jitdump.MAX_BYTES))
    except (OSError, ValueError):
        return (), ()


def _as_in_the_end(codes: Sequence[JitCode]) -> SymbolTable:
    return latest([one.start for one in codes], [one.end for one in codes], [one.name for one in codes])


def _overlap(codes: Sequence[JitCode]) -> bool:
    start = np.array([one.start for one in codes], np.uint64)
    end = np.array([one.end for one in codes], np.uint64)
    order = np.argsort(start, kind="stable")
    return bool((start[order][1:] < np.maximum.accumulate(end[order])[:-1]).any())
