"""The functions of real programs: against nm and objdump, stripped, with mini debug information, with a PLT."""

from __future__ import annotations

import lzma
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from programs import compiled, needed

from pytest_blcperf.symbols import elf_symbols as module
from pytest_blcperf.symbols.elf import ElfFile
from pytest_blcperf.symbols.elf_symbols import ElfSymbols, elf_symbols

SOURCE = """
#include <stdio.h>
#include <math.h>
#include <string.h>
static __attribute__((noinline)) int hidden(int x) { return x * 7 + 1; }
__attribute__((noinline)) int shown(int x) { return hidden(x) + 2; }
extern __typeof(shown) other_name_of_shown __attribute__((alias("shown")));
__attribute__((weak, noinline)) int weak_one(int x) { return x; }
static int chosen(int x) { return x; }
static void *choose(void) { return chosen; }
int indirect(int) __attribute__((ifunc("choose")));
__asm__(".text\\n.globl bare\\nbare: nop\\n.Lnot_a_function: nop\\n ret\\n");
int bare(void);
int main(int argc, char **argv) {
    printf("%f\\n", cos(argc)); bare();
    return shown(argc) + weak_one(argc) + indirect(argc) + (int)strlen(argv[0]);
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("symbols")
    return compiled(folder, "program", SOURCE, "-O1", "-rdynamic", "-fno-builtin", "-lm", "-Wl,-z,lazy")


def strip(program: Path, *options: str) -> Path:
    copy = Path(shutil.copy(program, program.with_name("stripped")))
    subprocess.run([needed("strip", "binutils"), *options, copy], check=True)
    return copy


def listed(program: Path, *options: str) -> dict[str, int]:
    text = subprocess.run([needed("nm", "binutils"), *options, program], capture_output=True, text=True, check=True)
    found = re.findall(r"^([0-9a-f]+) [tTiwW] (.+)$", text.stdout, re.M)
    return {name: int(address, 16) for address, name in found}


def name_at(found: ElfSymbols, address: int) -> str:
    index = int(found.table.find(np.array([address], np.uint64))[0])
    return found.table.name(index) if index >= 0 else ""


def test_every_function_that_nm_lists_has_its_name(program: Path) -> None:
    found = elf_symbols(ElfFile.open(program))
    addresses = listed(program)
    assert found.problems == ()
    for name in ("hidden", "weak_one", "main", "bare", "chosen", "_start"):
        assert name_at(found, addresses[name]) == name
        assert name_at(found, addresses[name] + 1) == name
    assert name_at(found, addresses["shown"]) == "other_name_of_shown"
    assert name_at(found, addresses["bare"] + 2) == "bare"


def test_a_stripped_program_keeps_what_it_exports(program: Path) -> None:
    addresses = listed(program)
    found = elf_symbols(ElfFile.open(strip(program)))
    assert name_at(found, addresses["main"]) == "main"
    assert name_at(found, addresses["hidden"]) == ""


def test_mini_debug_information_adds_what_is_not_exported(program: Path) -> None:
    addresses = listed(program)
    stripped = strip(program)
    objcopy = needed("objcopy", "binutils")
    keep = program.with_name("keep")
    keep.write_text("hidden\n")
    mini = program.with_name("mini")
    subprocess.run([objcopy, "-S", "--remove-section=.comment", f"--keep-symbols={keep}", program, mini], check=True)
    packed = program.with_name("packed")
    packed.write_bytes(lzma.compress(mini.read_bytes()))
    subprocess.run([objcopy, f"--add-section=.gnu_debugdata={packed}", stripped], check=True)
    found = elf_symbols(ElfFile.open(stripped))
    assert (name_at(found, addresses["hidden"]), name_at(found, addresses["main"])) == ("hidden", "main")
    assert found.problems == ()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"not xz at all", "cannot be unpacked"),
        (lzma.compress(b"x" * 100)[:-9], "is incomplete"),
        (lzma.compress(bytes(3000)), "more than 2000 bytes"),
        (lzma.compress(b"no ELF file, but 20 bytes"), "not an ELF file"),
    ],
    ids=["other", "cut", "bomb", "text"],
)
def test_bad_mini_debug_information_is_said(
    program: Path, data: bytes, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_MINI_BYTES", 2000)
    stripped = strip(program)
    packed = program.with_name("packed")
    packed.write_bytes(data)
    objcopy = needed("objcopy", "binutils")
    subprocess.run([objcopy, f"--add-section=.gnu_debugdata={packed}", stripped], check=True)
    found = elf_symbols(ElfFile.open(stripped))
    assert problem in found.problems[0]
    assert name_at(found, listed(program)["main"]) == "main"


@pytest.mark.parametrize("options", [(), ("-Wl,-z,now",), ("-fcf-protection", "-Wl,-z,ibtplt"), ("-fno-plt",)])
def test_stubs_are_named_as_objdump_names_them(options: tuple[str, ...], tmp_path: Path) -> None:
    program = compiled(tmp_path, "program", SOURCE, "-O1", "-fno-builtin", "-lm", *options)
    text = subprocess.run([needed("objdump", "binutils"), "-d", program], capture_output=True, text=True, check=True)
    stubs = re.findall(r"^([0-9a-f]+) <(\w+@plt)>:$", text.stdout, re.M)
    assert stubs
    found = elf_symbols(ElfFile.open(program))
    for address, name in stubs:
        assert name_at(found, int(address, 16)) == name


def test_a_stub_of_an_indirect_function_is_named_after_it() -> None:
    """The C library calls its own string functions through stubs."""
    found = elf_symbols(ElfFile.open(next(Path("/usr/lib").glob("*-linux-gnu/libc.so.6"))))
    stubs = [found.table.name(index) for index in range(len(found.table))]
    assert any(re.fullmatch(r"_*(mem|str)\w+@plt", name) for name in stubs)


@pytest.mark.live
def test_code_for_arm_without_its_marks_and_with_its_stubs(tmp_path: Path) -> None:
    compiler = needed("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu")
    code = tmp_path / "program.c"
    code.write_text(SOURCE.replace("nop", "nop; .word 0"))
    program = tmp_path / "program"
    subprocess.run([compiler, "-O1", "-fno-builtin", str(code), "-o", str(program), "-lm"], check=True)
    found = elf_symbols(ElfFile.open(program))
    every = {found.table.name(index) for index in range(len(found.table))}
    assert {"main", "hidden", "printf@plt", "cos@plt", "strlen@plt"} <= every
    assert not [name for name in every if name.startswith("$")]
    objdump = needed("aarch64-linux-gnu-objdump", "binutils-aarch64-linux-gnu")
    text = subprocess.run([objdump, "-d", program], capture_output=True, text=True, check=True).stdout
    for address, name in re.findall(r"^([0-9a-f]+) <(\w+@plt)>:$", text, re.M):
        assert name_at(found, int(address, 16)) == name
