"""Names of JIT code: perf maps and jitdump files, honest, broken and hostile; of real Pythons too."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from programs import needed, running

from pytest_blcperf.symbols import jitdump, perf_map
from pytest_blcperf.symbols.symbol_table import SymbolTable


def name_at(table: SymbolTable, address: int) -> str:
    index = int(table.find(np.array([address], np.uint64))[0])
    return table.name(index) if index >= 0 else ""


def test_lines_of_a_perf_map() -> None:
    table, said = perf_map.parsed(b"1000 20 first(int) const\n0x2000 10 second\n1010 8 replaced\n\n")
    assert said == ()
    assert name_at(table, 0x1001) == "first(int) const"
    assert name_at(table, 0x2001) == "second"
    assert name_at(table, 0x1010) == "replaced"
    assert name_at(table, 0x1018) == "first(int) const"
    assert name_at(table, 0x3000) == ""


@pytest.mark.parametrize(
    "line",
    [
        b"what",
        b"1000 zz name",
        b"1000 20",
        b"-5 20 name",
        b"1000 0 name",
        b"ffffffffffffffff 20 name",
        b"1000 -1 x",
        b"\xff\xfe",
    ],
)
def test_bad_lines_are_counted(line: bytes) -> None:
    table, said = perf_map.parsed(b"1000 20 good\n" + line)
    assert len(table) == 1
    assert said == ("1 lines of the perf map cannot be read",)


def test_a_perf_map_of_too_many_lines_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perf_map, "MAX_LINES", 2)
    table, said = perf_map.parsed(b"1000 1 a\n2000 1 b\n3000 1 c\n4000 1 d")
    assert len(table) == 2
    assert said == ("the perf map has more than 2 lines",)


def a_process(folder: Path, number: int, inside: int, user: int = 0) -> Path:
    """A procfs with one process, whose `/tmp` is a folder of its own."""
    process = folder / str(number)
    (process / "root/tmp").mkdir(parents=True)
    (process / "status").write_text(f"Name:\tx\nUid:\t{user}\t{user}\t{user}\t{user}\nNSpid:\t{number}\t{inside}\n")
    return process / "root/tmp"


def test_the_map_of_a_container_is_found_under_its_own_number(tmp_path: Path) -> None:
    place = a_process(tmp_path, 4711, inside=7)
    (place / "perf-7.map").write_bytes(b"1000 20 inside")
    table, said = perf_map.perf_map(4711, tmp_path)
    assert (table is not None, said) == (True, ())


def test_a_link_is_not_followed_and_a_pipe_not_waited_for(tmp_path: Path) -> None:
    place = a_process(tmp_path, 4711, inside=7)
    (place / "target").write_bytes(b"1000 20 name")
    (place / "perf-7.map").symlink_to(place / "target")
    table, said = perf_map.perf_map(4711, tmp_path)
    assert table is None
    assert "symbolic links" in said[0]
    (place / "perf-7.map").unlink()
    os.mkfifo(place / "perf-7.map")
    table, said = perf_map.perf_map(4711, tmp_path)
    assert table is None
    assert "belongs to another user" in said[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_map_of_another_user_is_not_believed(tmp_path: Path) -> None:
    place = a_process(tmp_path, 4711, inside=7, user=1000)
    path = place / "perf-7.map"
    path.write_bytes(b"1000 20 name")
    for user, believed in ((1000, True), (0, True), (1001, False)):
        os.chown(path, user, user)
        table, said = perf_map.perf_map(4711, tmp_path)
        assert (table is not None) == believed
        assert bool(said) != believed


def dump(*records: tuple[int, int, bytes], flags: int = 0, order: str = "<") -> bytes:
    header = struct.pack(order + "IIIIIIQQ", 0x4A695444, 1, 40, 62, 0, 1, 0, flags)
    return header + b"".join(
        struct.pack(order + "IIQ", kind, 16 + len(body), time) + body for kind, time, body in records
    )


def load(address: int, size: int, name: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "IIQQQQ", 1, 1, address, address, size, 0) + name + b"\0" + bytes(min(size, 64))


def move(old: int, new: int, size: int) -> bytes:
    return struct.pack("<IIQQQQQ", 1, 1, new, old, new, size, 0)


@pytest.mark.parametrize("order", ["<", ">"])
def test_code_that_is_loaded_moved_and_replaced(order: str) -> None:
    data = dump((0, 10, load(0x1000, 32, b"first", order)), order=order)
    if order == "<":
        data += dump((1, 20, move(0x1000, 0x2000, 32)), (0, 30, load(0x1000, 8, b"second")))[40:]
    codes, said = jitdump.parsed(data)
    assert said == ()
    expected = [(0x1000, 0x1020, 10, "first"), (0x2000, 0x2020, 20, "first"), (0x1000, 0x1008, 30, "second")]
    assert [(one.start, one.end, one.time, one.name) for one in codes] == expected[: len(codes)]
    assert len(codes) == (3 if order == "<" else 1)


def test_lines_belong_to_the_code_that_follows_and_move_with_it() -> None:
    entries = [(0x1000, 5, b"a.py\0"), (0x1010, 6, b"\xff\0"), (0x9000, 7, b"elsewhere\0")]
    body = struct.pack("<QQ", 0x1000, 3) + b"".join(
        struct.pack("<Qii", at, line, 0) + name for at, line, name in entries
    )
    codes, _ = jitdump.parsed(dump((2, 1, body), (0, 1, load(0x1000, 32, b"f")), (1, 2, move(0x1000, 0x5000, 32))))
    assert codes[0].lines == ((0x1000, "a.py", 5), (0x1010, "a.py", 6))
    assert codes[1].lines == ((0x5000, "a.py", 5), (0x5010, "a.py", 6))


def test_what_is_wrong_with_a_jitdump_is_said() -> None:
    good = dump((0, 10, load(0x1000, 32, b"first")))
    assert jitdump.parsed(b"") == ((), ("not a jitdump file",))
    assert jitdump.parsed(bytes(100)) == ((), ("not a jitdump file",))
    assert jitdump.parsed(good + good[40:-5])[1] == ("the jitdump ends within a record",)
    assert len(jitdump.parsed(good + good[40:-5])[0]) == 1
    assert jitdump.parsed(dump((0, 1, b"short"), (1, 1, b"short"), (1, 1, move(1, 2, 3))))[1] == (
        "a record of the jitdump cannot be read",
    )
    codes, said = jitdump.parsed(dump((0, 10, load(0x1000, 32, b"first")), flags=1))
    assert codes[0].time == 0
    assert "processor cycles" in said[0]
    assert jitdump.parsed(dump((0, 1, load(2**64 - 1, 2**64 - 1, b"x"))))[0] == ()


SPIN = "import sys\ndef fast_path(n):\n    return sum(range(n))\nfor _ in range(2000): fast_path(3)\nprint('ready', flush=True)\nsys.stdin.read()"


def python_with(*options: str) -> Path:
    """A Python that takes these options; skips without one."""
    found = [sys.executable, *sorted(Path("~/.pyenv/versions").expanduser().glob("3.1[3-9]*/bin/python3"))]
    for python in found:
        done = subprocess.run(
            [python, *options, "-c", "import sys; sys.exit(sys.version_info < (3, 13))"],
            capture_output=True,
            check=False,
        )
        if done.returncode == 0 and not done.stderr:
            return Path(python)
    pytest.skip("no Python 3.13 or newer, which can write perf maps and jitdump files")


@pytest.mark.live
def test_the_perf_map_of_a_real_python() -> None:
    with running(python_with("-X", "perf"), "-X", "perf", "-c", SPIN) as process:
        table, said = perf_map.perf_map(process.pid)
    Path(f"/tmp/perf-{process.pid}.map").unlink()
    assert said == ()
    assert table is not None
    assert "py::fast_path:<string>" in {table.name(index) for index in range(len(table))}


@pytest.mark.live
def test_the_jitdump_of_a_real_python() -> None:
    with running(python_with("-X", "perf_jit"), "-X", "perf_jit", "-c", SPIN) as process:
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        path = next(line.split()[-1] for line in maps.splitlines() if jitdump.is_jitdump(line))
        # CPython writes what it has gathered when it ends.
        process.stdin.close()
        process.wait(10)
    data = Path(path).read_bytes()
    Path(path).unlink()
    codes, _said = jitdump.parsed(data)
    assert "py::fast_path:<string>" in {one.name for one in codes}
    assert all(one.time > 0 for one in codes)


@pytest.mark.live
def test_the_perf_map_in_another_mount_and_process_namespace() -> None:
    python = python_with("-X", "perf")
    command = [needed("unshare", "util-linux"), "--mount", "--pid", "--fork"]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("unshare --mount --pid is refused: it needs CAP_SYS_ADMIN")
    shell = f'mount -t tmpfs none /tmp && exec {python} -X perf -c "$0"'
    with running(*command, "sh", "-c", shell, SPIN) as process:
        child = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
        table, said = perf_map.perf_map(child)
        process.stdin.close()
        process.wait(10)
    assert said == ()
    assert table is not None
    assert "py::fast_path:<string>" in {table.name(index) for index in range(len(table))}
