"""Unwind tables against GNU readelf, and sections made by hand."""

import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from cfi_sections import PUSHED, Section, uleb
from hypothesis import given, settings
from hypothesis import strategies as st
from readelf_frames import differences, interpreted_rows

from pytest_blcperf.symbols import eh_frame, unwind_program
from pytest_blcperf.symbols.eh_frame import CfiError, CfiSection, unwind_table
from pytest_blcperf.symbols.elf import ElfFile
from pytest_blcperf.symbols.table_cache import decoded, encoded
from pytest_blcperf.symbols.unwind_machine import X86_64
from pytest_blcperf.symbols.unwind_table import (
    EXPRESSION,
    NOT_COVERED,
    OFFSET,
    REGISTER,
    SAME,
    UNDEFINED,
    VALUE_EXPRESSION,
    VALUE_OFFSET,
)

C_SOURCE = """
#include <alloca.h>
#include <string.h>
int noinline_(char *p) __attribute__((noinline));
int noinline_(char *p) { return p[0] + p[1]; }
int on_the_stack(int n) { char *p = alloca(n); memset(p, n, n); return noinline_(p); }
int aligned(int n) { char p[64] __attribute__((aligned(64))); memset(p, n, 64); return noinline_(p); }
int early(int n) { char p[4000]; if (n == 3) return 4; memset(p, n, n); if (n == 5) return noinline_(p); return p[n]; }
int main(int argc, char **argv) { return on_the_stack(argc + 2) + aligned(argc) + early(argc); }
"""


def section_of(path, name, debug=False):
    elf = ElfFile.open(path)
    section = elf.section(name)
    return CfiSection(elf.data(section), section.address, debug)


def compile_c(folder, *options):
    if not shutil.which("gcc") or not shutil.which("readelf"):
        pytest.skip("gcc or readelf is not installed (sudo apt-get install gcc binutils)")
    source = folder / "program.c"
    source.write_text(C_SOURCE)
    subprocess.run(["gcc", *options, "-o", folder / "program", source], check=True)
    return folder / "program"


@pytest.mark.parametrize(
    "options", [("-O2",), ("-O0",), ("-O2", "-fno-omit-frame-pointer"), ("-Os", "-static")], ids=" ".join
)
def test_tables_of_a_c_program_are_those_of_readelf(tmp_path, options):
    path = compile_c(tmp_path, *options)
    wrong, compared = differences(
        unwind_table(section_of(path, ".eh_frame"), X86_64), interpreted_rows(path, ".eh_frame")
    )
    assert not wrong
    assert compared > 10


def test_debug_frame_is_read_as_well(tmp_path):
    path = compile_c(tmp_path, "-O2", "-g", "-fno-asynchronous-unwind-tables")
    table = unwind_table(section_of(path, ".debug_frame", debug=True), X86_64)
    wrong, compared = differences(table, interpreted_rows(path, ".debug_frame"))
    assert not wrong
    assert compared > 10


def test_tables_of_libc_are_those_of_readelf():
    path = Path("/lib/x86_64-linux-gnu/libc.so.6")
    if not path.exists() or not shutil.which("readelf"):
        pytest.skip(f"{path} or readelf is not there")
    table = unwind_table(section_of(path, ".eh_frame"), X86_64)
    wrong, compared = differences(table, interpreted_rows(path, ".eh_frame"))
    assert not wrong
    assert compared > 10_000
    assert not table.problems


def table_of(section):
    return unwind_table(CfiSection(section.data, section.address, section.debug), X86_64)


def rule_at(table, address):
    """(CFA register, CFA offset), {register: (how, value)} at an address; None where it is not covered."""
    rule = int(table.lookup(np.array([address], np.uint64))[0])
    if rule == NOT_COVERED:
        return None
    rules = table.rules
    said = {
        register: (int(rules.how[rule, register]), int(rules.value[rule, register]))
        for register in range(X86_64.registers)
        if rules.how[rule, register] != SAME
    }
    return (int(rules.cfa_register[rule]), int(rules.cfa_offset[rule])), said


RETURN = {16: (OFFSET, -8)}


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("wide", [False, True])
def test_rows_of_a_function(debug, wide):
    section = Section(debug=debug, wide=wide)
    # push %rbp; mov %rsp, %rbp; …; leave
    program = b"\x41\x0e\x10\x86\x02" + b"\x43\x0d\x06" + b"\x02\x40\x0c\x07\x08\xc6"
    section.fde(section.cie(), 0x5000, 0x60, program)
    table = table_of(section)
    assert rule_at(table, 0x4FFF) is None
    assert rule_at(table, 0x5000) == ((7, 8), RETURN)
    assert rule_at(table, 0x5001) == ((7, 16), RETURN | {6: (OFFSET, -16)})
    assert rule_at(table, 0x5004) == ((6, 16), RETURN | {6: (OFFSET, -16)})
    assert rule_at(table, 0x5043) == ((6, 16), RETURN | {6: (OFFSET, -16)})
    assert rule_at(table, 0x5044) == ((7, 8), RETURN)
    assert rule_at(table, 0x505F) == ((7, 8), RETURN)
    assert rule_at(table, 0x5060) is None
    assert not table.problems


def test_remembered_states_come_back_within_each_other():
    section = Section()
    program = b"\x0a\x0e\x10\x0a\x0e\x20\x41\x0b\x41\x0b"
    section.fde(section.cie(), 0x5000, 0x10, program)
    table = table_of(section)
    assert [rule_at(table, 0x5000 + offset)[0][1] for offset in range(3)] == [0x20, 0x10, 8]


def test_every_way_to_say_where_a_register_is():
    section = Section()
    program = (
        b"\x05\x03\x02"  # offset_extended rbx
        b"\x11\x06\x7e"  # offset_extended_sf rbp -2
        b"\x14\x0c\x03"  # val_offset r12
        b"\x15\x0d\x7d"  # val_offset_sf r13 -3
        b"\x09\x0e\x0f"  # register r14 in r15
        b"\x07\x0f"  # undefined r15
        b"\x10\x00\x02\x77\x10"  # expression rax: rsp + 16
        b"\x16\x01\x02\x77\x18"  # val_expression rdx: rsp + 24
        b"\x2f\x02\x04"  # negative_offset_extended rcx
        b"\x2e\x10"  # args_size
        b"\x05\x11\x02"  # a vector register
        b"\x13\x7d"  # def_cfa_offset_sf -3
    )
    section.fde(section.cie(), 0x5000, 0x10, program)
    table = table_of(section)
    assert rule_at(table, 0x5000) == (
        (7, 24),
        RETURN
        | {
            **{3: (OFFSET, -16), 6: (OFFSET, 16), 12: (VALUE_OFFSET, -24), 13: (VALUE_OFFSET, 24)},
            **{14: (REGISTER, 15), 15: (UNDEFINED, 0), 0: (EXPRESSION, 0), 1: (VALUE_EXPRESSION, 1), 2: (OFFSET, 32)},
        },
    )
    assert table.rules.expressions == (b"\x77\x10", b"\x77\x18")


def test_addresses_relative_to_their_place():
    section = Section(address=0x8000)
    cie = section.cie(encoding=0x1B)
    body = (
        struct.pack("<Iii", len(section.data) + 4 - cie, 0x5000 - (0x8000 + len(section.data) + 8), 0x20) + b"\0\0\0\0"
    )
    section.data += struct.pack("<I", len(body)) + body
    assert rule_at(table_of(section), 0x501F) == ((7, 8), RETURN)


def test_signal_frames_are_told():
    section = Section()
    section.fde(section.cie(augmentation="zRS"), 0x5000, 0x10)
    section.fde(section.cie(), 0x6000, 0x10)
    table = table_of(section)
    assert table.rules.signal[table.lookup(np.array([0x5000, 0x6000], np.uint64))].tolist() == [True, False]


def test_of_functions_that_overlap_the_earlier_one_is_cut():
    section = Section()
    cie = section.cie()
    section.fde(cie, 0x5000, 0x100, b"\x41\x0e\x10\x02\x80\x0e\x18")
    section.fde(cie, 0x5010, 0x10, b"\x0e\x20")
    table = table_of(section)
    assert [rule_at(table, address) for address in (0x500F, 0x5010, 0x501F, 0x5020, 0x5090)] == [
        ((7, 16), RETURN),
        ((7, 32), RETURN),
        ((7, 32), RETURN),
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        (b"\x0b", "instructions that make no sense"),  # restore_state without remember_state
        (b"\x0a" * 100, "instructions that make no sense"),
        (b"\x01\0\0\0\0\0\0\0\0", "instructions that make no sense"),  # set_loc
        (b"\x0c\x60\x08", "instructions that make no sense"),  # the CFA in a register that does not exist
        (b"\x0e\xff\xff\xff\xff\xff\xff\xff\x7f", "instructions that make no sense"),
        (b"\x0f\x85\x86\x80\x80\x00", "instructions that make no sense"),  # a block longer than the function
    ],
)
def test_functions_that_make_no_sense_are_counted_and_the_others_kept(program, problem):
    section = Section()
    cie = section.cie()
    section.fde(cie, 0x5000, 0x10, b"\x41" + program)
    section.fde(cie, 0x6000, 0x10)
    table = table_of(section)
    assert table.problems == {problem: 1}
    assert rule_at(table, 0x5001) is None
    assert rule_at(table, 0x6000) == ((7, 8), RETURN)


@pytest.mark.parametrize(
    ("cie", "problem"),
    [
        ({"version": 2}, "CIE: version 2"),
        ({"augmentation": "armcc+"}, "CIE: augmentation of another compiler"),
        ({"return_address": 30}, "CIE: return address in register 30"),
        ({"factors": (0, -8)}, "CIE: factors out of range"),
        ({"program": b"\x0b"}, "CIE: its instructions make no sense"),
        ({"program": b"\0" * 5000}, "CIE: too long"),
    ],
)
def test_common_entries_that_cannot_be_used_are_counted(cie, problem):
    section = Section()
    section.fde(section.cie(**cie), 0x5000, 0x10, augmented="augmentation" not in cie)
    table = table_of(section)
    assert table.problems == {problem: 1, "function without a usable CIE": 1}
    assert not len(table)


def test_a_section_is_read_up_to_what_is_cut_off():
    section = Section()
    cie = section.cie()
    section.fde(cie, 0x5000, 0x10)
    whole = len(section.data)
    section.fde(cie, 0x6000, 0x10)
    for length in range(whole, len(section.data)):
        table = unwind_table(CfiSection(section.data[:length], section.address), X86_64)
        assert rule_at(table, 0x5000) is not None
        assert rule_at(table, 0x6000) is None


def test_what_is_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(eh_frame, "MAX_SECTION_BYTES", 10)
    with pytest.raises(CfiError, match="more than 10"):
        unwind_table(CfiSection(b"\0" * 11, 0), X86_64)


def test_limits_end_in_what_was_read_so_far(monkeypatch):
    section = Section()
    cie = section.cie()
    for number in range(100):
        section.fde(cie, 0x5000 + 0x100 * number, 0x10, b"\x41\x0e" + uleb(8 * number) + b"\x41\x0e\x08" * 20)
    everything = table_of(section)
    assert not everything.problems
    monkeypatch.setattr(eh_frame, "MAX_FUNCTIONS", 10)
    assert table_of(section).problems == {"more functions than are read": 1}
    monkeypatch.undo()
    monkeypatch.setattr(eh_frame, "MAX_ROWS", 10)
    assert table_of(section).problems == {"more rows than are kept": 1}
    monkeypatch.undo()
    for limit in ("MAX_STATES", "MAX_TRANSITIONS"):
        monkeypatch.setattr(unwind_program, limit, 10)
        assert table_of(section).problems["instructions that make no sense"] > 80
        monkeypatch.undo()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_sections_are_read_without_a_crash(data):
    section = Section(debug=data.draw(st.booleans()))
    cie = section.cie(program=data.draw(st.one_of(st.just(PUSHED), st.binary(max_size=12))))
    for number in range(data.draw(st.integers(0, 4))):
        section.fde(cie, 0x5000 + 0x40 * number, data.draw(st.integers(0, 0x80)), data.draw(st.binary(max_size=40)))
    damaged = bytearray(section.data)
    for place, byte in data.draw(
        st.lists(st.tuples(st.integers(0, len(damaged) - 1), st.integers(0, 255)), max_size=3)
    ):
        damaged[place] = byte
    table = unwind_table(CfiSection(bytes(damaged), 0x1000, section.debug), X86_64)
    assert (table.pc[1:] > table.pc[:-1]).all()
    # What the cache would refuse must not come out of the parser either.
    assert len(decoded(encoded(table))) == len(table)
