"""Unwind tables of stubs, against those that GNU ld and glibc give for the same code."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pytest_blcperf.model.capture import ObjectFile
from pytest_blcperf.symbols.dwarf_expression import Values, evaluate
from pytest_blcperf.symbols.eh_frame import CfiSection, unwind_table
from pytest_blcperf.symbols.elf import ElfFile
from pytest_blcperf.symbols.objects import ANONYMOUS_KIND, FILE_KIND, CodeObject
from pytest_blcperf.symbols.stubs import plt_table, sigreturn_table
from pytest_blcperf.symbols.table_cache import TableCache
from pytest_blcperf.symbols.unwind_machine import AARCH64, X86_64
from pytest_blcperf.symbols.unwind_sources import TableSource
from pytest_blcperf.symbols.unwind_table import BY_EXPRESSION, EXPRESSION, NOT_COVERED, OFFSET, UnwindTable

LIBC = Path("/lib/x86_64-linux-gnu/libc.so.6")
SOURCE = '#include <stdio.h>\n#include <stdlib.h>\nint main(void) { puts(getenv("HOME")); return abs(rand()); }\n'


def described(elf):
    section = elf.section(".eh_frame")
    return unwind_table(CfiSection(elf.data(section), section.address), X86_64)


def cfa(table, address):
    """What a table gives for the CFA with a stack pointer of 0; None where it has no rule."""
    rule = int(table.lookup(np.array([address], np.uint64))[0])
    if rule == NOT_COVERED:
        return None
    rules = table.rules
    assert (rules.how[rule, 16], rules.value[rule, 16]) == (OFFSET, -8)
    if rules.cfa_register[rule] != BY_EXPRESSION:
        assert rules.cfa_register[rule] == 7
        return int(rules.cfa_offset[rule])
    registers = {7: 0, 16: address}
    found = evaluate(
        rules.expressions[rules.cfa_offset[rule]],
        1,
        lambda number: Values(np.array([registers[number]], np.uint64), np.ones(1, np.bool_)),
        lambda _: pytest.fail("reads memory"),
    )
    return int(found.value[0])


@pytest.mark.parametrize(
    "options",
    [("-Wl,-z,lazy",), ("-Wl,-z,lazy,-z,ibtplt", "-fcf-protection"), ("-Wl,-z,now",), ("-fno-plt",)],
    ids=["lazy", "landing pads", "bound at start", "without stubs"],
)
def test_linkage_stubs_as_gnu_ld_describes_them(tmp_path, options):
    if not shutil.which("gcc"):
        pytest.skip("gcc is not installed")
    (tmp_path / "program.c").write_text(SOURCE)
    subprocess.run(["gcc", "-O1", *options, "-o", tmp_path / "program", tmp_path / "program.c"], check=True)
    check_stubs(ElfFile.open(tmp_path / "program"))


def test_linkage_stubs_of_libc():
    if not LIBC.exists():
        pytest.skip(f"{LIBC} is not there")
    check_stubs(ElfFile.open(LIBC))


def check_stubs(elf):
    ours, theirs = plt_table(elf, X86_64), described(elf)
    compared = 0
    for name in (".plt", ".plt.sec", ".plt.got"):
        section = elf.section(name)
        code = elf.data(section) if section else b""
        for offset in range(len(code)):
            # Between stubs, and within instructions, ld's formula holds something that nobody needs.
            if code[offset - offset % 16 :][:2] != b"\xff\x35" and _starts_instruction(code, offset):
                assert cfa(ours, section.address + offset) == cfa(theirs, section.address + offset), (name, hex(offset))
                compared += 1
    assert compared > 0 or not elf.section(".plt.sec")


def _starts_instruction(code, offset):
    """Whether a stub's `endbr64`, `jmp`, `bnd jmp` or `push` begins there."""
    stub = code[offset - offset % 16 :][:16]
    place = offset % 16
    starts, at = [], 0
    while at < len(stub):
        size = {0xFF: 6, 0x68: 5, 0xE9: 5, 0xF3: 4}.get(stub[at], 0)
        size = 1 + (6 if stub[at + 1 : at + 2] == b"\xff" else 5) if stub[at] == 0xF2 else size
        if not size:
            break
        starts.append(at)
        at += size
    return place in starts


def test_what_is_no_stub_is_not_covered():
    if not LIBC.exists():
        pytest.skip(f"{LIBC} is not there")
    elf = ElfFile.open(LIBC)
    table, text = plt_table(elf, X86_64), elf.section(".text")
    assert cfa(table, elf.section(".plt").address - 1) is None
    assert {cfa(table, text.address + offset) for offset in range(0, text.size, 4096)} == {None}


def test_arm_stubs_leave_the_return_address_in_its_register():
    if not LIBC.exists():
        pytest.skip(f"{LIBC} is not there")
    table = plt_table(ElfFile.open(LIBC), AARCH64)
    assert (table.rules.cfa_register[0], table.rules.cfa_offset[0]) == (31, 0)


def test_signal_trampolines_as_glibc_describes_them():
    if not LIBC.exists():
        pytest.skip(f"{LIBC} is not there")
    elf = ElfFile.open(LIBC)
    ours, theirs = sigreturn_table(elf, X86_64), described(elf)
    rows = np.flatnonzero(ours.rule != NOT_COVERED)
    assert len(rows)
    for address in ours.pc[rows].tolist():
        mine, given = (table.rules for table in (ours, theirs))
        one, other = (int(table.lookup(np.array([address], np.uint64))[0]) for table in (ours, theirs))
        assert mine.signal[one]
        assert given.signal[other]
        assert mine.expressions[mine.cfa_offset[one]] == given.expressions[given.cfa_offset[other]]
        for register in range(17):
            assert mine.how[one, register] == given.how[other, register] == EXPRESSION
            assert mine.expressions[mine.value[one, register]] == given.expressions[given.value[other, register]]


def test_tables_of_an_object_are_cached_and_those_to_believe_first_come_first(tmp_path):
    if not LIBC.exists():
        pytest.skip(f"{LIBC} is not there")
    elf = ElfFile.open(LIBC)
    for _ in range(2):
        source = TableSource([CodeObject(FILE_KIND, ObjectFile(str(LIBC)), elf)], X86_64, TableCache(tmp_path))
        found = source.tables(0)
        assert (found[0].pc == described(elf).pc).all()
        assert not source.problems
    assert [path.name for path in tmp_path.iterdir()] == [f"{elf.build_id}.eh_frame"]


def test_objects_without_a_file_or_of_another_machine_have_the_tables_that_are_given():
    given = UnwindTable("x86_64", *(described(ElfFile.open(LIBC)).__dict__[name] for name in ("pc", "rule", "rules")))
    objects = [
        CodeObject(ANONYMOUS_KIND, ObjectFile("//anon")),
        CodeObject(FILE_KIND, ObjectFile("x"), ElfFile.open(LIBC)),
    ]
    source = TableSource(objects, AARCH64, extra=lambda index: [given] if index == 0 else [])
    assert source.tables(0) == [given]
    assert source.tables(1) == []
    assert source.problems == {"x": "code of another machine: x86_64, 64 bits"}
