"""The kernel's symbols: of a text, and of the kernel that runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pytest_blcperf.symbols import kernel
from pytest_blcperf.symbols.kernel import KernelSymbols

TEXT = b"""\
ffffffff81000000 T _text
ffffffff81000040 t do_one_initcall
ffffffff81000100 D not_code
ffffffff81000100 t __x64_sys_read
ffffffff81000100 T sys_read_alias
ffffffff81000200 W weak
ffffffffc0203000 t ext4_first\t[ext4]
ffffffffc0203010 t ext4_last\t[ext4]
ffffffffc0300000 t jbd2\t[jbd2]
nonsense
zz t x
"""


def at(found: KernelSymbols, *addresses: int) -> list[tuple[str, str]]:
    indices = found.table.find(np.array(addresses, np.uint64)).tolist()
    return [("", "") if one < 0 else (found.objects[found.object_of[one]], found.table.name(one)) for one in indices]


def test_functions_of_the_kernel_and_of_modules() -> None:
    found = kernel.parsed(TEXT)
    assert at(found, 0xFFFFFFFF81000041, 0xFFFFFFFF81000110, 0xFFFFFFFF810001FF) == [
        ("[kernel]", "do_one_initcall"),
        ("[kernel]", "sys_read_alias"),
        ("[kernel]", "sys_read_alias"),
    ]
    assert at(found, 0xFFFFFFFFC0203004, 0xFFFFFFFFC0203011, 0xFFFFFFFFC0300001) == [
        ("[ext4]", "ext4_first"),
        ("[ext4]", "ext4_last"),
        ("[jbd2]", "jbd2"),
    ]
    bases = dict(zip(found.objects, found.base.tolist(), strict=True))
    assert bases == {"[kernel]": 0xFFFFFFFF81000000, "[ext4]": 0xFFFFFFFFC0203000, "[jbd2]": 0xFFFFFFFFC0300000}


def test_the_last_function_of_the_kernel_does_not_reach_to_the_modules() -> None:
    found = kernel.parsed(TEXT)
    assert at(found, 0xFFFFFFFF81000FFF, 0xFFFFFFFF81001000, 0xFFFFFFFFC0203FFF, 0xFFFFFFFFC0204000) == [
        ("[kernel]", "weak"),
        ("", ""),
        ("[ext4]", "ext4_last"),
        ("", ""),
    ]


def test_hidden_and_unreadable_symbols_are_said(tmp_path: Path) -> None:
    found = kernel.parsed(b"0000000000000000 T _text\n0000000000000000 t do_one_initcall\n")
    assert len(found.table) == 0
    assert "sudo sysctl kernel.kptr_restrict=0" in found.problem
    assert "cannot be read" in kernel.kernel_symbols(tmp_path).problem


@pytest.mark.live
def test_the_kernel_that_runs() -> None:
    found = kernel.kernel_symbols()
    if found.problem:
        pytest.skip(found.problem)
    names = {found.table.name(index) for index in range(len(found.table))}
    assert {"schedule", "do_sys_openat2"} <= names
