"""What compiled files tell a profiler, on real ones."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import compiled, needed

from pytest_blcperf.target.capabilities_objects import EXPORTED, FULL, NONE, ObjectFacts, inspect
from pytest_blcperf.target.capabilities_target import code_sizes

SOURCE = "#include <stdio.h>\n" + "\n".join(
    f"""__attribute__((noinline)) int work{number}(int x) {{
    int sum = 0;
    for (int i = 0; i < x; i++) {{ sum += x / (i + {number + 1}); if (sum & 1) printf("%d\\n", sum); else puts("even"); }}
    return sum;
}}"""
    for number in range(8)
)
SOURCE += (
    "\nint main(int argc, char **argv) { return " + " + ".join(f"work{number}(argc)" for number in range(8)) + "; }\n"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("objects")


@pytest.fixture(scope="module")
def program(folder: Path) -> Path:
    return compiled(folder, "program", SOURCE, "-O2", "-g", "-Wl,--build-id")


def facts(path: Path, *roots: Path) -> ObjectFacts:
    return inspect(str(path), [path], roots)


def test_a_program_with_everything(program: Path) -> None:
    found = facts(program)
    assert (found.symbols, found.debug_file, found.unwind_tables) == (FULL, str(program), True)
    assert not found.stripped
    assert len(found.build_id) == 40


def test_a_stripped_program_and_its_separate_debug_file(program: Path, folder: Path) -> None:
    stripped = folder / "stripped"
    subprocess.run([needed("strip", "binutils"), str(program), "-o", str(stripped)], check=True)
    found = facts(stripped, folder)
    assert (found.symbols, found.debug_file, found.stripped) == (EXPORTED, "", True)
    debug = folder / "usr/lib/debug/.build-id" / found.build_id[:2] / f"{found.build_id[2:]}.debug"
    debug.parent.mkdir(parents=True)
    shutil.copy(program, debug)
    beside = facts(stripped, folder)
    assert (beside.debug_file, beside.stripped) == (f"/{debug.relative_to(folder)}", False)


def test_a_debug_file_by_its_link(program: Path, tmp_path: Path) -> None:
    objcopy = needed("objcopy", "binutils")
    linked = tmp_path / "linked"
    (tmp_path / ".debug").mkdir()
    debug = tmp_path / ".debug/linked.debug"
    subprocess.run([objcopy, "--only-keep-debug", str(program), str(debug)], check=True)
    remove = ["--strip-all", "--remove-section=.note.gnu.build-id", f"--add-gnu-debuglink={debug}"]
    subprocess.run([objcopy, *remove, str(program), str(linked)], check=True)
    found = inspect("/linked", [linked], [tmp_path])
    assert (found.build_id, found.debug_file, found.stripped) == ("", "/.debug/linked.debug", False)


@pytest.mark.parametrize(("option", "kept"), [("-fno-omit-frame-pointer", True), ("-fomit-frame-pointer", False)])
def test_frame_pointers_show_in_how_functions_begin(option: str, kept: bool, folder: Path) -> None:
    for level in ("-O1", "-O2"):
        found = facts(compiled(folder, f"fp{option}{level}", SOURCE, level, "-fcf-protection", option))
        assert found.frame_pointers is kept


def test_too_few_functions_tell_nothing_of_frame_pointers(folder: Path) -> None:
    assert facts(compiled(folder, "tiny", "int main(void) { return 0; }", "-s", "-O2")).frame_pointers is None


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("this is no program at all")
    assert facts(text).problem == "not an ELF file"
    assert facts(tmp_path / "missing").problem == "No such file or directory"
    assert inspect("x", [], []).problem
    found = facts(text)
    assert (found.symbols, found.build_id, found.frame_pointers) == (NONE, "", None)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_files_are_a_problem_or_facts_and_never_an_error(program: Path, data: st.DataObject) -> None:
    raw = bytearray(program.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(
            st.integers(0, len(raw) - 1) | st.integers(0, 200) | st.integers(len(raw) - 2500, len(raw) - 1)
        )
        raw[place] = data.draw(st.integers(0, 255))
    damaged = program.parent / "damaged"
    damaged.write_bytes(raw[: data.draw(st.integers(0, len(raw)) | st.just(len(raw)))])
    assert isinstance(facts(damaged, program.parent), ObjectFacts)


def test_code_is_counted_by_file() -> None:
    maps = (
        "55d0-55d8 r--p 00000000 08:01 1 /bin/a b\n"
        "1000-3000 r-xp 00000000 08:01 1 /bin/a b\n"
        "5000-6000 r-xp 00000000 08:01 1 /bin/a b\n"
        "7000-7800 r-xp 00000000 08:01 2 /lib/c.so (deleted)\n"
        "8000-9000 r-xp 00000000 00:00 0 \n"
        "9000-a000 r-xp 00000000 00:00 0 [vdso]\n"
        "zz-yy r-xp 00000000 00:00 0 /broken\n"
        "\n"
    )
    assert code_sizes(maps) == {"/bin/a b": 0x3000, "/lib/c.so (deleted)": 0x800}


@given(st.text())
def test_any_text_can_be_maps(text: str) -> None:
    code_sizes(text)
