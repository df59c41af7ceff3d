"""Damaged and random call frame information, expressions, cache files and stacks for everything that unwinds.

Run from the repository root; the results stand in docs/performance.md:

    PYTHONPATH=.:tests python tests/fuzz/unwinding.py --inputs 100000

Sections are real ones (some kilobytes of libc's, whole ones of small programs) and ones made by hand, changed in some
bytes, cut, doubled. What the parser makes of each is encoded and decoded as a cache file, and stacks with random words
and registers are unwound by it. A parser may refuse with its own error or count what is wrong; anything else ends this
script with the input. Printed: inputs, refusals, the slowest input, and the memory of the process at its highest.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from cfi_sections import PUSHED, Section, uleb

from pytest_blcperf.model.capture import ObjectFile
from pytest_blcperf.model.recording import REGISTERS, Mapping, SampleBatch
from pytest_blcperf.symbols.address_space import AddressSpaces, MappedCode
from pytest_blcperf.symbols.dwarf_expression import ExpressionError, Values, evaluate, parsed
from pytest_blcperf.symbols.eh_frame import CfiError, CfiSection, unwind_table
from pytest_blcperf.symbols.elf import ElfFile
from pytest_blcperf.symbols.objects import ANONYMOUS_KIND, CodeObject
from pytest_blcperf.symbols.table_cache import CacheFileError, decoded, encoded
from pytest_blcperf.symbols.unwind import Unwinder
from pytest_blcperf.symbols.unwind_machine import X86_64
from pytest_blcperf.symbols.unwind_table import UnwindTable

MEMORY_LIMIT = 4 << 30
STACK = 0x7FFE_0000_0000
STACK_WORDS = 64
SAMPLES = 4
REFUSED = (CfiError, ExpressionError, CacheFileError)
PIECES = (PUSHED, b"\x0a", b"\x0b", b"\x41", b"\x04\xff\xff\xff\x7f", b"\x0f\x02\x77\x10", b"\x10\x03\x03\x77\x08\x06")
EXPRESSIONS = (
    bytes([0x77, 8, 0x80, 0, 0x3F, 0x1A, 0x3B, 0x2A, 0x33, 0x24, 0x22]),
    b"\x77\xa0\x01\x06",
    b"\x76\x78\x06",
    b"\x12\x13\x14\x15\x01\x16\x17",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000, help="inputs for each target")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    for name, target in (
        ("call frame information", sections()),
        ("expressions", expressions),
        ("cache files", caches()),
    ):
        run(name, target, arguments.inputs, random.Random(arguments.seed))
    print(f"memory at its highest: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def run(name: str, target: Callable[[random.Random], bytes], inputs: int, rng: random.Random) -> None:
    """Many inputs for one target; the input that fails is printed."""
    refused, slowest, begin = 0, 0.0, time.perf_counter()
    for number in range(inputs):
        state = rng.getstate()
        start = time.perf_counter()
        try:
            target(rng)
        except REFUSED:
            refused += 1
        except BaseException:
            print(f"{name}: input {number} fails, state {hash(state)}", file=sys.stderr)
            raise
        slowest = max(slowest, time.perf_counter() - start)
    seconds = time.perf_counter() - begin
    print(f"{name}: {inputs:,} inputs in {seconds:.0f} s, {refused:,} refused, the slowest took {slowest * 1e3:.0f} ms")


def sections() -> Callable[[random.Random], None]:
    """Damaged sections, read, cached and used."""
    real = [
        cut for path in ("/lib/x86_64-linux-gnu/libc.so.6", "/bin/true", sys.executable) for cut in _pieces_of(path)
    ]

    def target(rng: random.Random) -> None:
        debug = rng.random() < 0.2
        data, address = rng.choice(real) if real and not debug and rng.random() < 0.5 else _made(rng, debug)
        table = unwind_table(CfiSection(_damaged(data, rng), address, debug), X86_64)
        assert (table.pc[1:] > table.pc[:-1]).all()
        assert len(decoded(encoded(table))) == len(table)
        if len(table):
            _use(table, rng)

    return target


def _pieces_of(path: str) -> list[tuple[bytes, int]]:
    """The first kilobytes of a file's section: its CIE and some functions."""
    if not Path(path).exists():
        return []
    elf = ElfFile.open(path)
    section = elf.section(".eh_frame")
    if section is None:
        return []
    data = elf.data(section)
    return [(data[:length], section.address) for length in (200, 1000, 4000) if length < len(data)]


def _made(rng: random.Random, debug: bool) -> tuple[bytes, int]:
    section = Section(debug=debug, wide=rng.random() < 0.1)
    cie = section.cie(program=rng.choice(PIECES) if rng.random() < 0.3 else PUSHED, version=rng.choice([1, 3, 4]))
    for number in range(rng.randrange(20)):
        program = b"".join(_instruction(rng) for _ in range(rng.choice([0, 3, 20, 60])))
        section.fde(cie, 0x5000 + 0x40 * number, rng.choice([0x20, 0x40, 0x1000, 2**40]), program)
    return section.data, 0x1000


def _instruction(rng: random.Random) -> bytes:
    kind = rng.random()
    if kind < 0.3:
        return rng.choice(PIECES)
    if kind < 0.6:
        return bytes([0x40 | rng.randrange(64)])
    if kind < 0.8:
        return bytes([0x80 | rng.randrange(20)]) + uleb(rng.choice([1, 5, 2**40]))
    return rng.randbytes(rng.randrange(1, 4))


def _damaged(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([0, 1, 1, 3, 10])):
        if not changed:
            break
        place = rng.randrange(len(changed))
        kind = rng.random()
        if kind < 0.6:
            changed[place] = rng.choice([0, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        elif kind < 0.75:
            del changed[place : place + rng.randrange(1, 9)]
        elif kind < 0.9:
            changed[place:place] = rng.randbytes(rng.randrange(1, 9))
        else:
            changed[place:place] = changed[place : place + rng.randrange(200)]
    return bytes(changed)


def _use(table: UnwindTable, rng: random.Random) -> None:
    """Unwind stacks of random words, many of them addresses that the table has rules for."""
    places = [place % 2**47 for place in rng.choices(table.pc.tolist(), k=8)]
    mappings = [Mapping(1, 0x1000, 2**47, 0, "//anon")]
    code = MappedCode(
        (CodeObject(ANONYMOUS_KIND, ObjectFile("//anon")),), np.zeros(1, np.int64), np.zeros(1, np.uint64)
    )
    words = [
        rng.choice(
            [rng.choice(places) + rng.randrange(4), STACK + 8 * rng.randrange(STACK_WORDS), 0, rng.getrandbits(64)]
        )
        for _ in range(SAMPLES * STACK_WORDS)
    ]
    registers = np.array([[rng.choice(words) for _ in REGISTERS["x86_64"]] for _ in range(SAMPLES)], np.uint64)
    registers[:, X86_64.sample_column[X86_64.stack_pointer]] = STACK
    registers[:, X86_64.pc_column] = rng.choices(places, k=SAMPLES)
    one = np.ones(SAMPLES, np.int64)
    batch = SampleBatch(
        machine="x86_64",
        **dict.fromkeys(("time", "process", "thread", "cpu", "period", "event"), one),
        mode=np.full(SAMPLES, 2, np.uint8),
        address=registers[:, X86_64.pc_column],
        chain_offsets=np.zeros(SAMPLES + 1, np.int64),
        kernel_depth=0 * one,
        chain=np.zeros(0, np.uint64),
        has_registers=one > 0,
        registers=registers,
        stack_offsets=np.arange(SAMPLES + 1) * 8 * STACK_WORDS,
        stack=np.array(words, np.uint64).view(np.uint8),
    )
    chains = Unwinder("x86_64", AddressSpaces(mappings), code, lambda _: [table]).unwind(batch)
    assert len(chains) == SAMPLES


def expressions(rng: random.Random) -> None:
    """Random and damaged expressions."""
    expression = rng.randbytes(rng.randrange(40)) if rng.random() < 0.5 else _damaged(rng.choice(EXPRESSIONS), rng)
    values = np.array([0, 1, 63, 64, 2**63, 2**64 - 1, STACK, rng.getrandbits(64)], np.uint64)
    known = np.ones(len(values), np.bool_)
    parsed(expression)
    found = evaluate(
        expression,
        len(values),
        lambda number: Values(values + np.uint64(number % 32), known),
        lambda address: Values(address * np.uint64(3), address < np.uint64(2**63)),
        values if rng.random() < 0.5 else None,
    )
    assert found.value.shape == found.known.shape == values.shape
    assert found.value.dtype == np.uint64


def caches() -> Callable[[random.Random], None]:
    """Damaged cache files, some with a checksum that is right."""
    section = Section()
    cie = section.cie()
    for number in range(5):
        section.fde(cie, 0x5000 + 0x40 * number, 0x20, b"\x41\x0e\x10\x86\x02\x41" + PIECES[5] + b"\x41" + PIECES[6])
    whole = encoded(unwind_table(CfiSection(section.data, 0x1000), X86_64))

    def target(rng: random.Random) -> None:
        data = _damaged(whole, rng)
        if rng.random() < 0.7:
            data = _with_checksum(data)
        table = decoded(data)
        if len(table):
            _use(table, rng)

    return target


def _with_checksum(data: bytes) -> bytes:
    import hashlib
    import re

    line, newline, body = data.partition(b"\n")
    line = re.sub(rb'"sha256": "[0-9a-f]*"', b'"sha256": "' + hashlib.sha256(body).hexdigest().encode() + b'"', line)
    return line + newline + body


if __name__ == "__main__":
    main()
