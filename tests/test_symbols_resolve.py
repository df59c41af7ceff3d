"""Frames of every kind get their function: files with and without symbols, the kernel, JITs, nothing at all."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from programs import WAITING, compiled, needed

from pytest_blcperf.model.recording import Mapping
from pytest_blcperf.symbols.address_space import mapped_code
from pytest_blcperf.symbols.elf import ElfFile
from pytest_blcperf.symbols.elf_symbols import elf_symbols
from pytest_blcperf.symbols.objects import Objects
from pytest_blcperf.symbols.resolve import FrameNames, Resolver

KERNEL, NOTHING = -2, -1
PID = 4711


@dataclass(frozen=True)
class Frames:
    object: npt.NDArray[np.int32]
    address: npt.NDArray[np.uint64]
    caller: npt.NDArray[np.bool_]


def frames(*rows: tuple[int, int, bool]) -> Frames:
    item, address, caller = zip(*rows, strict=True)
    return Frames(np.array(item, np.int32), np.array(address, np.uint64), np.array(caller, np.bool_))


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A procfs with one process and a kernel of two functions."""
    (tmp_path / f"{PID}/root/tmp").mkdir(parents=True)
    (tmp_path / f"{PID}/status").write_text(f"Uid:\t0\t{os.geteuid()}\t0\t0\nNSpid:\t{PID}\n")
    (tmp_path / "kallsyms").write_text(
        "ffffffff81000000 T _text\nffffffff81000100 t do_work\nffffffffc0001000 t run\t[ext4]\n"
    )
    return tmp_path


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("resolve"), "program", WAITING, "-O1", "-fno-inline")


def resolve(proc: Path, paths: Sequence[str], *rows: tuple[int, int, bool], live: bool = True) -> FrameNames:
    """The names of frames in objects at these paths, each mapped at its place."""
    mappings = [Mapping(PID, 0x10000 * n, 0x10000 * (n + 1), 0, path) for n, path in enumerate(paths, 1)]
    with Objects(live=False) as objects:
        return Resolver(live=live, proc=proc).resolve(frames(*rows), mapped_code(mappings, objects), mappings)


def shown(names: FrameNames) -> list[tuple[str, str, str]]:
    functions = [names.functions[index] for index in names.function.tolist()]
    return [(one.kind, one.file, one.name) for one in functions]


def address_of(program: Path, name: str) -> int:
    table = elf_symbols(ElfFile.open(program)).table
    return next(int(table.start[index]) for index in range(len(table)) if table.name(index) == name)


def test_a_return_address_belongs_to_the_call_before_it(proc: Path, program: Path) -> None:
    begin = address_of(program, "main")
    table = elf_symbols(ElfFile.open(program)).table
    before = table.name(int(table.find(np.array([begin - 1], np.uint64))[0]))
    names = resolve(proc, [str(program)], (0, begin, False), (0, begin, True), (0, begin + 4, True))
    assert shown(names) == [("native", "program", name) for name in ("main", before, "main")]
    assert names.place_address.tolist() == [begin, begin - 1, begin + 3]
    assert [names.objects[index].path for index in names.place_object] == [str(program)] * 3
    assert not names.unknown.any()


def test_the_kernel_and_its_modules(proc: Path) -> None:
    rows = [(KERNEL, 0xFFFFFFFF81000110, False), (KERNEL, 0xFFFFFFFFC0001001, True), (KERNEL, 0xFFFFFFFFD0000000, True)]
    names = resolve(proc, [], *rows)
    assert shown(names) == [
        ("kernel", "[kernel]", "do_work"),
        ("kernel", "[ext4]", "run"),
        ("kernel", "[kernel]", "[unknown]"),
    ]
    assert names.unknown.tolist() == [False, False, True]
    assert names.place_address.tolist()[:2] == [0x110, 0]
    assert [names.objects[index].path for index in names.place_object[:2]] == ["[kernel]", "[ext4]"]


def test_hidden_kernel_addresses_are_said_with_the_remedy(proc: Path) -> None:
    (proc / "kallsyms").write_text("0000000000000000 T _text\n")
    names = resolve(proc, [], (KERNEL, 0xFFFFFFFF81000110, False))
    assert shown(names) == [("kernel", "[kernel]", "[unknown]")]
    assert "sudo sysctl kernel.kptr_restrict=0" in names.warnings[0].text
    names = resolve(proc, [], (KERNEL, 0xFFFFFFFF81000110, False), live=False)
    assert "of another kernel" in names.warnings[0].text


def test_functions_of_a_stripped_program_are_named_after_where_they_begin(proc: Path, program: Path) -> None:
    stripped = Path(shutil.copy(program, program.with_name("stripped")))
    subprocess.run([needed("strip", "binutils"), stripped], check=True)
    begin = address_of(program, "shown")
    names = resolve(proc, [str(stripped)], (0, begin + 3, False), (0, 0x9000, False))
    assert shown(names) == [("native", "stripped", f"+{begin:#x}"), ("native", "stripped", "+0x9000")]
    assert names.functions[names.function[0]].fingerprint
    assert names.unknown.tolist() == [False, True]
    assert [one.code for one in names.warnings] == ["no-symbols"]
    assert str(stripped) in names.warnings[0].text


def test_fingerprints_of_named_functions_are_given_on_request(proc: Path, program: Path) -> None:
    mappings = [Mapping(PID, 0x10000, 0x20000, 0, str(program))]
    with Objects(live=False) as objects:
        code = mapped_code(mappings, objects)
        for wanted in (True, False):
            names = Resolver(fingerprints=wanted, proc=proc).resolve(
                frames((0, address_of(program, "main"), False)), code, mappings
            )
            assert bool(names.functions[0].fingerprint) == wanted


def test_an_address_in_no_mapping_is_unknown(proc: Path) -> None:
    names = resolve(proc, [], (NOTHING, 0x1234, False))
    assert shown(names) == [("native", "[unknown]", "[unknown]")]
    assert (names.unknown.tolist(), names.place_object.tolist()) == ([True], [-1])


def test_a_file_that_cannot_be_read_is_said(proc: Path) -> None:
    names = resolve(proc, ["/gone/libx.so"], (0, 0x10010, False))
    assert shown(names) == [("native", "libx.so", "[unknown]")]
    assert "/gone/libx.so have no names: No such file" in names.warnings[0].text


def test_code_of_a_jit_by_its_perf_map(proc: Path) -> None:
    (proc / f"{PID}/root/tmp/perf-{PID}.map").write_text("10100 20 _ZN2js3runEi\n")
    names = resolve(proc, ["//anon"], (0, 0x10110, False), (0, 0x10200, False))
    assert shown(names) == [("jit", "[jit]", "js::run(int)"), ("jit", "[jit]", "[unknown]")]
    assert names.unknown.tolist() == [False, True]
    assert "run it with python -X perf" in names.warnings[0].text


def test_code_that_a_jit_replaced_is_named_by_the_time(proc: Path) -> None:
    def load(time: int, name: bytes) -> bytes:
        body = struct.pack("<IIQQQQ", PID, PID, 0x10100, 0x10100, 0x20, 0) + name + b"\0"
        return struct.pack("<IIQ", 0, 16 + len(body), time) + body

    dump = proc / f"{PID}/root/tmp/jit-{PID}.dump"
    header = struct.pack("<IIIIIIQQ", 0x4A695444, 1, 40, 62, 0, PID, 0, 0)
    dump.write_bytes(header + load(100, b"before") + load(200, b"after"))
    names = resolve(proc, ["//anon", f"/tmp/{dump.name}"], (0, 0x10110, False))
    assert names.replaced.tolist() == [True]
    assert shown(names) == [("jit", "[jit]", "after")]
    found = names.functions_at(np.array([0, 0, 0]), np.array([50, 150, 250]))
    assert [names.functions[index].name for index in found] == ["after", "before", "after"]


def test_other_functions_may_be_added(proc: Path) -> None:
    names = resolve(proc, [], (NOTHING, 0x1234, False))
    more = names.with_functions([names.functions[0]])
    assert more.function.tolist() == [0, 1]
    assert more.place_object.tolist() == [-1, -1]
