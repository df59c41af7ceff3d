"""Feeds damaged input to every parser that names addresses: an error or less knowledge, never a crash, hang or flood.

    python tests/fuzz/fuzz_symbols.py [PARSER ...] [--inputs 100000] [--seed 1] [--memory 1024]

Inputs are real files (compiled here, or written by the runtimes) with some bytes changed, mostly where the parser looks.
Anything but the documented errors ends the run, with the number of the input that did it; so does one input that takes
longer than `--seconds`, and memory beyond `--memory` MiB of address space, which the kernel refuses.
"""

from __future__ import annotations

import argparse
import lzma
import random
import resource
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pytest_blcperf.symbols import jitdump, kernel, perf_map
from pytest_blcperf.symbols.code_identity import code_identities
from pytest_blcperf.symbols.debug_files import debug_link
from pytest_blcperf.symbols.elf import ElfError, ElfFile
from pytest_blcperf.symbols.elf_symbols import elf_symbols, mini_debug_file
from pytest_blcperf.symbols.function_ranges import function_ranges
from pytest_blcperf.symbols.symbol_table import SymbolTable

Regions = Sequence[tuple[int, int]]
ADDRESSES = np.array([0, 1, 0x1000, 0x1139, 0x2000, 0x401000, 2**47, 2**63, 2**64 - 1], np.uint64)
INTERESTING = (0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
PROGRAM = """
#include <stdio.h>
static __attribute__((noinline)) int hidden(int x) { return x * 7 + 1; }
int shown(int x) { return hidden(x) + puts("x"); }
int main(int argc, char **argv) { return shown(argc) + printf("%s", argv[0]); }
"""


@dataclass(frozen=True)
class Seed:
    """An input, and the parts of it that a parser looks at."""

    data: bytes
    regions: Regions


def damaged(seed: Seed, choose: random.Random) -> bytes:
    """The input with one to eight changes."""
    data = bytearray(seed.data)
    for _ in range(choose.randint(1, 8)):
        if not data:
            break
        first, last = choose.choice(seed.regions) if choose.random() < 0.9 else (0, len(data))
        at = choose.randrange(first, max(first + 1, min(last, len(data)))) if first < len(data) else 0
        what = choose.random()
        if what < 0.35:
            data[at] = choose.randrange(256)
        elif what < 0.5:
            data[at] ^= 1 << choose.randrange(8)
        elif what < 0.85:
            width = choose.choice((2, 4, 8))
            value = choose.choice((*INTERESTING, len(data), choose.randrange(len(data) + 1)))
            at -= at % width if choose.random() < 0.8 else 0
            data[at : at + width] = (value % 256**width).to_bytes(width, choose.choice(("little", "little", "big")))
        elif what < 0.92:
            other = choose.randrange(len(data))
            size = choose.randrange(1, 64)
            data[at : at + size] = data[other : other + size]
        elif what < 0.97:
            del data[at : at + choose.randrange(1, 64)]
        else:
            del data[choose.randrange(len(data)) :]
    return bytes(data)


def search(table: SymbolTable) -> None:
    for index in set(table.find(ADDRESSES).tolist()) - {-1}:
        table.name(index)
    if len(table):
        table.name(0), table.name(len(table) - 1)


def read_elf(data: bytes) -> None:
    elf = ElfFile.of(data)
    _ = elf.build_id
    for section in elf.sections:
        try:
            elf.data(section)
        except ElfError:
            continue
    elf.bias(0x10000, 0x1000)


def read_symbols(data: bytes) -> None:
    search(elf_symbols(ElfFile.of(data)).table)


def read_mini(data: bytes) -> None:
    elf = ElfFile.of(data)
    debug_link(elf)
    mini = mini_debug_file(elf)
    if mini is not None:
        search(elf_symbols(mini).table)


def read_packed(data: bytes) -> None:
    """The mini debug information alone: what is changed is what the unpacker sees."""
    header = struct.pack("<4sBBBBQ", b"\x7fELF", 2, 1, 1, 0, 0) + struct.pack(
        "<HHIQQQIHHHHHH", 3, 62, 1, 0, 0, 64, 0, 64, 0, 0, 64, 3, 2
    )
    names = b"\0.gnu_debugdata\0.names\0"
    start = 64 + 3 * 64
    sections = bytes(64)
    sections += struct.pack("<IIQQQQIIQQ", 1, 1, 0, 0, start + len(names), len(data), 0, 0, 1, 0)
    sections += struct.pack("<IIQQQQIIQQ", 16, 3, 0, 0, start, len(names), 0, 0, 1, 0)
    read_mini(header + sections + names + data)


def read_ranges(data: bytes) -> None:
    begin, end = function_ranges(ElfFile.of(data))
    assert (begin < end).all()
    assert (begin[1:] >= begin[:-1]).all()


def read_code(data: bytes) -> None:
    found = code_identities(ElfFile.of(data))
    found.find(ADDRESSES)


def read_perf_map(data: bytes) -> None:
    search(perf_map.parsed(data)[0])


def read_jitdump(data: bytes) -> None:
    codes, _ = jitdump.parsed(data)
    assert all(one.start < one.end for one in codes)


def read_kallsyms(data: bytes) -> None:
    found = kernel.parsed(data)
    search(found.table)
    assert len(found.object_of) == len(found.table)


PARSERS: dict[str, Callable[[bytes], None]] = {
    "elf": read_elf,
    "symtab": read_symbols,
    "gnu_debugdata": read_mini,
    "xz": read_packed,
    "fde_ranges": read_ranges,
    "code_identity": read_code,
    "perf_map": read_perf_map,
    "jitdump": read_jitdump,
    "kallsyms": read_kallsyms,
}
LOOKS_AT = {
    "elf": (),
    "symtab": (".symtab", ".dynsym", ".rela.plt", ".plt", ".plt.sec", ".strtab"),
    "gnu_debugdata": (".gnu_debugdata", ".gnu_debuglink"),
    "fde_ranges": (".eh_frame_hdr", ".eh_frame"),
    "code_identity": (".text", ".eh_frame_hdr", ".eh_frame", ".rela.plt"),
}


def elf_seed(data: bytes, sections: Sequence[str]) -> Seed:
    elf = ElfFile.of(data)
    table = struct.unpack_from("<Q", data, 40)[0]
    regions = [(16, 64), (64, 64 + 56 * len(elf.segments)), (table, len(data))]
    for name in sections:
        section = elf.section(name)
        if section is not None and section.size:
            regions += [(section.offset, section.offset + section.size)] * 2
    return Seed(data, regions)


def programs(folder: Path) -> list[bytes]:
    """A program as it is, stripped, and stripped with mini debug information and compressed sections."""
    source, plain, stripped, mini, packed = (folder / name for name in ("p.c", "plain", "stripped", "mini", "packed"))
    source.write_text(PROGRAM)
    run = [["gcc", "-O1", "-s", "-o", stripped, source], ["gcc", "-O1", "-g", "-gz", "-o", plain, source]]
    run += [["objcopy", "-S", "--keep-symbol=hidden", plain, mini]]
    for command in run:
        subprocess.run([str(one) for one in command], check=True)
    packed.write_bytes(lzma.compress(mini.read_bytes()))
    full = folder / "full"
    sections = [f"--add-section=.gnu_debugdata={packed}", f"--add-gnu-debuglink={plain}"]
    subprocess.run(["objcopy", *sections, str(stripped), str(full)], check=True)
    return [plain.read_bytes(), stripped.read_bytes(), full.read_bytes()]


def jit_dump() -> bytes:
    data = struct.pack("<IIIIIIQQ", jitdump._MAGIC, 1, 40, 62, 0, 1, 0, 0)
    for number in range(12):
        at = 0x1000 + 64 * (number % 8)
        lines = (
            struct.pack("<QQ", at, 2)
            + struct.pack("<Qii", at, 3, 0)
            + b"a.js\0"
            + struct.pack("<Qii", at + 8, 4, 0)
            + b"\xff\0"
        )
        load = struct.pack("<IIQQQQ", 1, 1, at, at, 64, number) + b"function\0" + bytes(64)
        move = struct.pack("<IIQQQQQ", 1, 1, at, at, at + 4096, 64, number)
        for kind, body in ((2, lines), (0, load), (1, move)):
            data += struct.pack("<IIQ", kind, 16 + len(body), number) + body
    return data


def seeds(parser: str, folder: Path) -> list[Seed]:
    if parser == "perf_map":
        text = "".join(f"{0x1000 + 48 * n:x} {40 + n:x} function_{n} (file.js:{n})\n" for n in range(40))
        return [Seed(text.encode(), [(0, len(text))])]
    if parser == "kallsyms":
        text = "".join(
            f"{0xFFFFFFFF81000000 + 64 * n:016x} {'tTwWdD'[n % 6]} name_{n}{chr(9) + '[ext4]' if n > 30 else ''}\n"
            for n in range(40)
        )
        return [Seed(text.encode(), [(0, len(text))])]
    if parser == "jitdump":
        data = jit_dump()
        return [Seed(data, [(0, 40), (40, len(data))])]
    compiled = programs(folder)
    if parser == "xz":
        data = ElfFile.of(compiled[2]).data_of(".gnu_debugdata")
        return [Seed(data, [(0, 40), (0, len(data)), (len(data) - 40, len(data))])]
    return [elf_seed(data, LOOKS_AT[parser]) for data in compiled]


def fuzz(parser: str, inputs: int, seed: int, seconds: float) -> tuple[int, float, float]:
    """(inputs that were refused with an error, the longest time of one in s, inputs a second)."""
    choose = random.Random(f"{parser} {seed}")
    refused, longest = 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        sources = seeds(parser, Path(folder))
    begun = time.perf_counter()
    for number in range(inputs):
        data = damaged(choose.choice(sources), choose)
        start = time.process_time()
        try:
            PARSERS[parser](data)
        except ElfError:
            refused += 1
        except Exception as error:
            raise AssertionError(f"{parser}: input {number} of seed {seed}: {error!r}") from error
        taken = time.process_time() - start
        longest = max(longest, taken)
        if taken > seconds:
            raise AssertionError(f"{parser}: input {number} of seed {seed} took {taken:.1f} s")
    return refused, longest, inputs / max(1e-9, time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parsers", nargs="*", choices=[*PARSERS, []], help=", ".join(PARSERS))
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--memory", type=int, default=2048, help="MiB of address space")
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (arguments.memory << 20,) * 2)
    for name in arguments.parsers or PARSERS:
        refused, longest, rate = fuzz(name, arguments.inputs, arguments.seed, arguments.seconds)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(
            f"{name}: {arguments.inputs} inputs, {refused} refused, the others read; longest {1000 * longest:.0f} ms, "
            f"peak memory so far {peak} MiB, {rate:.0f} inputs/s"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
