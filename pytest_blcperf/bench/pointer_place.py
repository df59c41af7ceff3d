"""A place where an interpreter may keep its bytecode pointer, relative to the frame that evaluates Python code."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_blcperf.model.recording import REGISTERS
from pytest_blcperf.symbols.unwind_history import At, History
from pytest_blcperf.symbols.unwind_machine import Machine

SLOTS = 64
_WORD = 8


@dataclass(frozen=True)
class PointerPlace:
    """A register, by its name in `model.recording.REGISTERS`; or a slot: words from the stack pointer upwards."""

    register: str = ""
    slot: int = -1
    hits: float = 0.0
    """The smallest share of right samples in any phase of a calibration."""

    def __str__(self) -> str:
        return self.register or f"slot {self.slot}"

    def read(self, history: History, at: At) -> npt.NDArray[np.uint64]:
        """What it holds in these frames, 0 where that is not known."""
        machine = history.machine
        if self.register:
            column = REGISTERS[machine.name].index(self.register)
            found = history.register(machine.sample_column.index(column), at)
        else:
            pointer = history.register(machine.stack_pointer, at)
            found = history.memory.read(pointer.value + np.uint64(_WORD * self.slot), at.row)
        return np.where(found.known, found.value, np.uint64(0))


def places(machine: Machine) -> list[PointerPlace]:
    """Every place to look at: registers first, which are nearer to the truth when both are right."""
    names = [REGISTERS[machine.name][column] for column in machine.sample_column]
    registers = [name for name in names if name not in ("sp", "ip", "pc")]
    return [PointerPlace(register=name) for name in registers] + [PointerPlace(slot=slot) for slot in range(SLOTS)]
