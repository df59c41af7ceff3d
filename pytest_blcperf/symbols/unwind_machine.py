"""What unwinding must know of a processor: its DWARF register numbers, and where the kernel puts those registers."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_blcperf.model.recording import REGISTERS


@dataclass(frozen=True)
class Machine:
    """DWARF register numbers of a machine. Registers are tracked up to `registers`; others (vectors) are ignored.

    `sample_column[r]` is the column of `SampleBatch.registers` that holds DWARF register r, `pc_column` that of
    the program counter. `stores_return_address`: a
    call pushes it, so that there is no caller without it in memory.
    """

    name: str
    registers: int
    stack_pointer: int
    frame_pointer: int
    return_address: int
    stores_return_address: bool
    sample_column: tuple[int, ...]
    pc_column: int
    address_bits: int
    """Of user addresses. Return addresses may carry a signature above (ARM pointer authentication)."""


def _columns(machine: str, names: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(REGISTERS[machine].index(name) for name in names)


X86_64 = Machine(
    name="x86_64",
    registers=17,
    stack_pointer=7,
    frame_pointer=6,
    return_address=16,
    stores_return_address=True,
    # System V ABI, AMD64 supplement, figure 3.36.
    sample_column=_columns(
        "x86_64", ("ax", "dx", "cx", "bx", "si", "di", "bp", "sp", *(f"r{number}" for number in range(8, 16)), "ip")
    ),
    pc_column=REGISTERS["x86_64"].index("ip"),
    address_bits=56,
)

AARCH64 = Machine(
    name="aarch64",
    registers=32,
    stack_pointer=31,
    frame_pointer=29,
    return_address=30,
    stores_return_address=False,
    # DWARF for the ARM 64-bit architecture, 4.1. The program counter has no number; 30 is the link register.
    sample_column=_columns("aarch64", (*(f"x{number}" for number in range(30)), "lr", "sp")),
    pc_column=REGISTERS["aarch64"].index("pc"),
    address_bits=48,
)

MACHINES = {machine.name: machine for machine in (X86_64, AARCH64)}
