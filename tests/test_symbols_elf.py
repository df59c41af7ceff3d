"""ELF files: what the reader finds in real ones, and what it says of broken and hostile ones."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from programs import WAITING, compiled, needed

from pytest_blcperf.symbols import elf
from pytest_blcperf.symbols.elf import ElfError, ElfFile


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = ("-g", "-gz", "-Wl,--build-id=0x0123456789abcdef0123")
    return compiled(tmp_path_factory.mktemp("elf"), "waiting", WAITING, *options)


def file_of(sections: list[tuple[str, int, int, bytes]], byte_order: str = "<", bits: int = 64) -> bytes:
    """An ELF file of these (name, type, flags, bytes) and nothing else."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name, *_ in sections) + b".names\0"
    contents = [*sections, (".names", 3, 0, names)]
    size = 64 if bits == 64 else 52
    header = struct.Struct(byte_order + ("IIQQQQIIQQ" if bits == 64 else "IIIIIIIIII"))
    body, headers = b"", bytes(header.size)
    for name, kind, flags, data in contents:
        start = names.index(b"\0" + name.encode() + b"\0") + 1
        headers += header.pack(start, kind, flags, 0, size + len(body), len(data), 0, 0, 1, 0)
        body += data
    identity = b"\x7fELF" + bytes([bits // 32, 1 if byte_order == "<" else 2, 1]) + bytes(9)
    rest = struct.pack(byte_order + ("HHIQQQIHHHHHH" if bits == 64 else "HHIIIIIHHHHHH"),
                       3, 62, 1, 0, 0, size + len(body), 0, size, 0, 0, header.size, len(contents) + 1, len(contents))  # fmt: skip
    return identity + rest + body + headers


def test_what_a_compiler_made_is_read(program: Path) -> None:
    found = ElfFile.open(program)
    assert (found.bits, found.byte_order, found.machine, found.kind) == (64, "<", "x86_64", "ET_DYN")
    assert found.build_id == "0123456789abcdef0123"
    listed = subprocess.run([needed("readelf", "binutils"), "-SW", program], capture_output=True, text=True, check=True)
    for section in found.sections[1:]:
        assert f"] {section.name}" in listed.stdout
    assert b".text\0" in found.data_of(".shstrtab")
    assert found.data_of(".nothing") == b""
    assert found.section(".bss") is not None
    assert found.data_of(".bss") == b""


def test_a_compressed_section_is_decompressed(program: Path) -> None:
    found = ElfFile.open(program)
    section = found.section(".debug_str") or found.section(".debug_info")
    assert section is not None
    plain = program.with_name("plain")
    subprocess.run([needed("objcopy", "binutils"), "--decompress-debug-sections", program, plain], check=True)
    for name in (".debug_info", ".debug_line", ".debug_str"):
        assert found.data_of(name) == ElfFile.open(plain).data_of(name)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_both_word_sizes_and_byte_orders(byte_order: str, bits: int) -> None:
    note = struct.pack(byte_order + "III", 4, 4, 3) + b"GNU\0" + b"\1\2\3\4"
    found = ElfFile.of(file_of([(".text", 1, 6, b"code"), (".note", 7, 0, note)], byte_order, bits))
    assert found.data_of(".text") == b"code"
    assert found.build_id == "01020304"


def test_a_mapping_tells_the_address_in_the_file(program: Path) -> None:
    found = ElfFile.open(program)
    segment = next(one for one in found.segments if one.type == "PT_LOAD" and one.executable)
    start = 0x5555_0000_0000
    bias = found.bias(start, segment.offset & ~0xFFF)
    assert start + 0x10 - bias == (segment.address & ~0xFFF) + 0x10
    with pytest.raises(ElfError, match="no segment of the file lies at offset 0x7fff0000"):
        found.bias(start, 0x7FFF0000)


def test_a_section_compressed_with_zstandard() -> None:
    zstd = pytest.importorskip("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    assert ElfFile.of(grown(999, zstd.compress(b"x" * 999), method=2)).data_of(".debug_str") == b"x" * 999
    for size, data in ((998, zstd.compress(b"x" * 999)), (1000, zstd.compress(b"x" * 999)), (999, b"nonsense" * 8)):
        with pytest.raises(ElfError, match="does not decompress"):
            ElfFile.of(grown(size, data, method=2)).data_of(".debug_str")


def grown(size: int, data: bytes, method: int = 1) -> bytes:
    return file_of([(".debug_str", 1, 1 << 11, struct.pack("<IIQQ", method, 0, size, 1) + data)])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (grown(1 << 40, zlib.compress(b"x" * 999)), "claims to grow"),
        (grown(999_999, zlib.compress(bytes(999_999))), "claims to grow"),
        (grown(998, zlib.compress(b"x" * 999)), "does not decompress to its 998 bytes"),
        (grown(1000, zlib.compress(b"x" * 999)), "does not decompress to its 1000 bytes"),
        (grown(999, b"nonsense" * 8), "does not decompress"),
        (grown(999, b"nonsense" * 8, method=7), "compressed by method 7"),
        (file_of([(".debug_str", 1, 1 << 11, b"short")]), "is compressed and has 5 bytes"),
    ],
)
def test_a_section_grows_to_what_it_says_and_not_without_end(data: bytes, message: str) -> None:
    found = ElfFile.of(data)
    with pytest.raises(ElfError, match=message):
        found.data_of(".debug_str")


def test_a_claim_beyond_the_file_is_an_error(program: Path) -> None:
    whole = bytearray(program.read_bytes())
    with pytest.raises(ElfError, match="not an ELF file"):
        ElfFile.of(b"MZ" + bytes(100))
    with pytest.raises(ElfError, match="outside the file"):
        ElfFile.of(b"\x7fELF")
    with pytest.raises(ElfError, match="outside the file"):
        ElfFile.of(bytes(whole[:-100]))
    many = whole.copy()
    struct.pack_into("<H", many, 60, 0)
    start = struct.unpack_from("<Q", many, 40)[0]
    struct.pack_into("<Q", many, start + 32, 1 << 60)
    with pytest.raises(ElfError, match="1152921504606846976 headers"):
        ElfFile.of(bytes(many))
    struct.pack_into("<H", whole, 58, 3)
    with pytest.raises(ElfError, match="headers of 3 bytes"):
        ElfFile.of(bytes(whole))


def test_a_section_too_large_is_not_read(tmp_path: Path) -> None:
    sparse = tmp_path / "sparse"
    data = bytearray(file_of([(".symtab", 2, 0, b"")]))
    table = struct.unpack_from("<Q", data, 40)[0]
    struct.pack_into("<Q", data, table + 64 + 32, elf.MAX_SECTION_BYTES + 1)
    with sparse.open("wb") as file:
        file.write(data)
        file.truncate(1 << 40)
    with pytest.raises(ElfError, match="more than"):
        ElfFile.open(sparse).data_of(".symtab")


def test_a_file_that_shrinks_or_changes_while_it_is_read_is_an_error(program: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.write_bytes(program.read_bytes())
    found = ElfFile.open(copy)
    section = found.section(".symtab")
    assert section is not None
    before = found.data(section)
    found.release()
    assert found.data(section) == before
    with copy.open("r+b") as file:
        file.truncate(section.offset + 1)
    with pytest.raises(ElfError, match="truncated"):
        found.data(section)
    found.release()
    with pytest.raises(ElfError, match="replaced while it was read"):
        found.data(section)


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/null")):
        with pytest.raises(ElfError, match="not a regular file"):
            ElfFile.open(path)
