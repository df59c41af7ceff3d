"""The right file for a mapping: deleted, replaced, in another mount namespace, in memory only."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from programs import WAITING, compiled, executable_mappings, needed, running

from pytest_blcperf.model.recording import Mapping
from pytest_blcperf.symbols import objects
from pytest_blcperf.symbols.elf import ElfFile
from pytest_blcperf.symbols.objects import Objects


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("objects"), "waiting", WAITING, "-Wl,--build-id=0xaa00")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("objects"), "other", WAITING, "-O2", "-Wl,--build-id=0xbb00")


def mapped(process: int, name: str) -> Mapping:
    return next(one for one in executable_mappings(process) if Path(one.path).name.startswith(name))


def test_a_file_is_found_and_shared_by_its_mappings(program: Path) -> None:
    with running(program) as process, running(program) as second, Objects() as known:
        mapping = mapped(process.pid, "waiting")
        found = known.of(mapping)
        assert (found.kind, found.file.path, found.file.build_id, found.problem) == ("file", str(program), "aa00", "")
        assert known.of(mapped(second.pid, "waiting")) is found
        libc = known.of(mapped(process.pid, "libc"))
        assert libc.elf is not None
        assert libc.elf.section(".dynsym") is not None


def test_a_deleted_file_is_read_through_its_process(program: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(program, tmp_path / "waiting"))
    with running(copy) as process, Objects() as known:
        before = mapped(process.pid, "waiting")
        copy.unlink()
        after = mapped(process.pid, "waiting")
        assert after.path.endswith(" (deleted)")
        for mapping in (before, after):
            found = known.of(mapping)
            assert (found.file.path, found.file.build_id) == (str(copy), "aa00")


def test_a_replaced_file_is_not_taken_for_the_mapped_one(program: Path, other: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(program, tmp_path / "waiting"))
    with running(copy) as process:
        before = mapped(process.pid, "waiting")
        os.replace(shutil.copy(other, tmp_path / "new"), copy)  # noqa: PTH105
        with Objects() as known:
            assert known.of(before).file.build_id == "aa00"
    with Objects() as known:
        gone = known.of(before)
        assert gone.elf is None
        assert gone.problem == "the file was replaced: its inode is another"


def test_a_build_id_decides_when_it_is_known(program: Path) -> None:
    with Objects(live=False) as known:
        good = Mapping(4711, 0x1000, 0x2000, 0, str(program), build_id="aa00")
        assert known.of(good).elf is not None
        bad = known.of(replace(good, build_id="cc00"))
        assert (bad.elf, bad.problem) == (None, "the file was replaced: its build-id is another")


def test_a_copy_that_perf_kept_is_found_by_build_id(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    kept = tmp_path / ".debug/.build-id/aa/00"
    kept.mkdir(parents=True)
    shutil.copy(program, kept / "elf")
    with Objects(live=False) as known:
        found = known.of(Mapping(1, 0x1000, 0x2000, 0, "/gone/waiting", build_id="aa00"))
        assert found.elf is not None
        assert found.file.path == "/gone/waiting"


@pytest.mark.live
def test_another_mount_namespace_is_looked_into(program: Path, other: Path, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    shutil.copy(other, inside / "waiting")
    place = tmp_path / "place"
    place.mkdir()
    shutil.copy(program, place / "waiting")
    command = [
        needed("unshare", "util-linux"),
        "--mount",
        "sh",
        "-c",
        f"mount --bind {inside} {place} && exec {place}/waiting",
    ]
    if subprocess.run([*command[:2], "true"], capture_output=True, check=False).returncode:
        pytest.skip("unshare --mount is refused: it needs CAP_SYS_ADMIN")
    with running(*command) as process, Objects() as known:
        mapping = mapped(process.pid, "waiting")
        assert mapping.path == str(place / "waiting")
        assert known.of(mapping).file.build_id == "bb00"
        assert ElfFile.open(mapping.path).build_id == "aa00"


def test_a_file_in_memory_only_is_read_through_its_process(program: Path) -> None:
    script = (
        "import os, sys\n"
        "fd = os.memfd_create('code', 0)\n"
        "os.write(fd, open(sys.argv[1], 'rb').read())\n"
        "os.execve(fd, ['code'], {})"
    )
    with running(needed("python3", "python3"), "-c", script, program) as process, Objects() as known:
        mapping = mapped(process.pid, "memfd:code")
        found = known.of(mapping)
        assert (found.file.path, found.file.build_id, found.problem) == ("/memfd:code", "aa00", "")


def test_the_vdso_is_read_from_memory_also_when_its_process_is_gone() -> None:
    own = next(one for one in executable_mappings(os.getpid()) if one.path == "[vdso]")
    with Objects() as known:
        found = known.of(own)
        assert found.elf is not None
        assert "clock_gettime" in found.elf.data_of(".dynstr").decode()
        assert known.of(replace(own, process=2**22 + 1)).elf is not None
    with Objects(live=False) as known:
        assert "recorded process" in known.of(own).problem


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("[kernel.kallsyms]_text", "kernel"),
        ("//anon", "anonymous"),
        ("[heap]", "anonymous"),
        ("[vsyscall]", "anonymous"),
        ("/dev/zero (deleted)", "anonymous"),
        ("", "anonymous"),
        ("/usr/bin/env", "file"),
    ],
)
def test_what_a_path_stands_for(path: str, kind: str) -> None:
    assert objects.kind_of(path) == kind
    assert Objects().of(Mapping(os.getpid(), 0x1000, 0x2000, 0, path)).kind == kind


def test_more_files_than_may_be_open(monkeypatch: pytest.MonkeyPatch, program: Path) -> None:
    monkeypatch.setattr(objects, "MAX_OPEN", 1)
    with running(program) as process, Objects() as known:
        found = [known.of(one) for one in executable_mappings(process.pid)]
        files = [one.elf for one in found if one.elf is not None]
        assert len(files) >= 3
        assert all(file.data_of(".dynsym") for file in files)


@pytest.mark.parametrize("path", ["/", "/proc/self/mem", "/\0", "/dev/full", "/nowhere", "/etc/passwd", "/x" * 5000])
def test_no_path_is_too_bad(path: str) -> None:
    found = Objects().of(Mapping(os.getpid(), 0x1000, 0x2000, 0, path))
    assert found.elf is None
    assert found.problem
