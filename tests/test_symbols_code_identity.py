"""Functions without symbols in two builds of one program."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import numpy as np
import pytest
from programs import compiled, needed

from pytest_blcperf.symbols.code_identity import CodeIdentities, code_identities
from pytest_blcperf.symbols.elf import ElfFile
from pytest_blcperf.symbols.elf_symbols import elf_symbols

NUMBER = 50


def program_source(changed: int = -1, added: bool = False) -> str:
    """A program of 50 functions that call each other, use data, strings, jump tables and the C library."""
    choose = random.Random(7)
    lines = ["#include <stdio.h>", "#include <string.h>", "#include <stdlib.h>", "static long table[4096];"]
    if added:
        lines += [
            "__attribute__((noinline,used)) static double added(double x) { for (int i = 0; i < 9; i++) x = x * 1.5 + i; return x; }"
        ]
    for number in range(NUMBER):
        called = choose.randrange(number) if number else None
        constant = choose.randrange(1, 1 << 20) + (number == changed)
        lines.append(f"__attribute__((noinline)) static long function_{number}(long x) {{")
        lines.append(f"  for (long i = 0; i < (x & {constant}); i += {choose.randrange(1, 9)}) {{")
        lines.append(f"    table[i & 4095] += x * {choose.randrange(3, 999)} ^ i;")
        if choose.random() < 0.5:
            cases = "".join(f" case {case}: x += {choose.randrange(1 << 16)}; break;" for case in range(12))
            lines.append(f"    switch (x % 16) {{{cases} default: x--; }}")
        lines.append("  }")
        if choose.random() < 0.3:
            lines.append(f'  if (x == {constant}) printf("number {number} of %ld\\n", x);')
        if choose.random() < 0.2:
            lines.append("  if (x == 77) { char *p = malloc(x); memset(p, 1, x); x += p[3]; free(p); }")
        lines.append(f"  return x + {f'function_{called}(x - 1)' if called is not None else '1'};\n}}")
    lines += [
        # Alike but for what they use: the same code, other data or another callee.
        '__attribute__((noinline)) static const char *first_text(void) { return "first"; }',
        '__attribute__((noinline)) static const char *second_text(void) { return "second"; }',
        "__attribute__((noinline)) static long calls_last(long x) { return 2 * function_49(x); }",
        "__attribute__((noinline)) static long calls_other(long x) { return 2 * function_48(x); }",
        '__attribute__((noinline)) static long alike_1(long x) { __asm__ volatile(""); return x + 1; }',
        '__attribute__((noinline)) static long alike_2(long x) { __asm__ volatile(""); return x + 1; }',
        "int main(int argc, char **argv) { long sum = calls_last(argc) + calls_other(argc) + alike_1(argc) + alike_2(argc);",
        *(f"  sum += function_{number}(argc);" for number in range(NUMBER)),
        '  puts(first_text()); puts(second_text()); return printf("%ld\\n", sum); }',
    ]
    return "\n".join(lines)


def identities(folder: Path, name: str, source: str, *options: str) -> dict[str, str]:
    """By fingerprint of the stripped program, the name that the function had."""
    program = compiled(folder, name, source, "-O2", "-fno-ipa-icf", *options)
    table = elf_symbols(ElfFile.open(program)).table
    subprocess.run([needed("strip", "binutils"), program], check=True)
    found = code_identities(ElfFile.open(program))
    indices = table.find(found.begin).tolist()
    return {key: table.name(index) for key, index in zip(found.fingerprints, indices, strict=True) if index >= 0}


@pytest.mark.parametrize("options", [("-fcf-protection",), ("-no-pie",)], ids=["pie", "no-pie"])
def test_functions_are_found_again_in_another_build(tmp_path: Path, options: tuple[str, ...]) -> None:
    before = identities(tmp_path, "before", program_source(), *options)
    after = identities(tmp_path, "after", program_source(changed=30, added=True), *options)
    pairs = [(before[key], after[key]) for key in before.keys() & after.keys()]
    assert [pair for pair in pairs if pair[0] != pair[1]] == []
    assert before == identities(tmp_path, "again", program_source(), *options)
    found = {old for old, _ in pairs}
    unchanged = {f"function_{number}" for number in range(NUMBER)} - {"function_30"}
    assert "function_30" not in found
    assert len(unchanged & found) >= 0.95 * len(unchanged)
    assert {"first_text", "second_text", "calls_last", "calls_other"} <= found
    assert {key.partition("@")[1] for key, name in before.items() if name.startswith("alike")} == {"@"}


@pytest.mark.live
def test_on_arm(tmp_path: Path) -> None:
    compiler = needed("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu")
    found = []
    for name, source in (("before", program_source()), ("after", program_source(changed=30, added=True))):
        (tmp_path / f"{name}.c").write_text(source)
        program = tmp_path / name
        subprocess.run([compiler, "-O2", "-fno-ipa-icf", tmp_path / f"{name}.c", "-o", program], check=True)
        table = elf_symbols(ElfFile.open(program)).table
        keys = code_identities(ElfFile.open(program))
        found.append(
            {
                key: table.name(index)
                for key, index in zip(keys.fingerprints, table.find(keys.begin).tolist(), strict=True)
                if index >= 0
            }
        )
    pairs = [(found[0][key], found[1][key]) for key in found[0].keys() & found[1].keys()]
    assert [pair for pair in pairs if pair[0] != pair[1]] == []
    assert sum(old.startswith("function_") for old, _ in pairs) >= 0.95 * (NUMBER - 1)
    assert "function_30" not in {old for old, _ in pairs}


def test_an_address_belongs_to_its_function() -> None:
    found = CodeIdentities(np.array([16, 32], np.uint64), np.array([20, 40], np.uint64), ("a", "b"))
    assert found.find(np.array([15, 16, 19, 20, 39, 40], np.uint64)).tolist() == [-1, 0, 0, -1, 1, -1]
