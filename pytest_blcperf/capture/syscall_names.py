"""Names of system call numbers, by machine. Tables from the kernel's asm/unistd_64.h and asm-generic/unistd.h."""

from __future__ import annotations

import functools
from pathlib import Path

_TABLES = {machine: Path(__file__).with_name(f"syscalls_{machine}.txt") for machine in ("x86_64", "aarch64")}


def name_of(number: int, machine: str) -> str:
    """`futex`, `read`; `syscall 999` for a number that is not in the table."""
    return _table(machine).get(number, f"syscall {number}")


@functools.lru_cache(maxsize=2)
def _table(machine: str) -> dict[int, str]:
    """The file has runs of consecutive numbers: the first number, and from there on the names."""
    names: dict[int, str] = {}
    number = 0
    for word in _TABLES[machine].read_text("ascii").split() if machine in _TABLES else ():
        if word.isdigit():
            number = int(word)
        else:
            names[number] = word
            number += 1
    return names
