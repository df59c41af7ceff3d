"""Unwind tables against GNU readelf, and sections made by hand."""

import shutil
import subprocess
from pathlib import Path

import pytest
from readelf_frames import differences, interpreted_rows

from pytest_blcperf.symbols.eh_frame import CfiSection, unwind_table
from pytest_blcperf.symbols.elf import ElfFile
from pytest_blcperf.symbols.unwind_machine import X86_64

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
