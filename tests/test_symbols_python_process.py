"""Python functions of a process that knows nothing of us, from what /proc and its perf map tell."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_blcperf.model.function import Function
from pytest_blcperf.model.recording import Mapping
from pytest_blcperf.symbols.python_frames import INTERPRETER, OTHER, PYTHON, SYSTEM
from pytest_blcperf.symbols.python_process import folded, python_process, short_file, stub_places
from pytest_blcperf.symbols.python_source import lines_of
from pytest_blcperf.symbols.python_stubs import stub_layout
from pytest_blcperf.symbols.unwind import Chains

STUB = bytes.fromhex("4883ec08ffd14883c408c34883ec08ff")
INTERPRETER_PATH = "/opt/lib/libpython3.13.so.1.0"


def mapping(path=INTERPRETER_PATH, process=7):
    return Mapping(process, 0x400000, 0x500000, 0, path)


def proc(folder: Path, perf_map: str | None, memory: bytes = b"") -> Path:
    """A procfs with process 7, whose memory begins with `memory`."""
    process = folder / "7"
    (process / "root/tmp").mkdir(parents=True)
    (process / "root/srv").mkdir()
    (process / "status").write_text(f"Uid:\t{os.geteuid()}\t{os.geteuid()}\t0\t0\nNSpid:\t7\n")
    (process / "mem").write_bytes(memory)
    (process / "root/srv/app.py").write_text("import os\n\n@cache\ndef main():\n    pass\n")
    if perf_map is not None:
        (process / "root/tmp/perf-7.map").write_text(perf_map)
    return folder


def test_stubs_stand_for_the_functions_of_the_perf_map(tmp_path):
    text = (
        "0 b py::main:/srv/app.py\n"
        "10 b py::A.m:/opt/lib/python3.13/site-packages/lib/a.py\n"
        "20 b py::<lambda>:/opt/lib/python3.13/json/decoder.py\n"
        "1000 20 node_function\n"
    )
    found = python_process(7, [mapping()], "x86_64", proc(tmp_path, text, STUB * 3))
    assert (found.version, found.free_threaded, found.hint) == ((3, 13), False, "")
    assert found.functions == {
        0: Function("/srv/app.py", "main"),
        1: Function("<site>/lib/a.py", "A.m"),
        2: Function("<stdlib>/json/decoder.py", "<lambda>"),
    }
    assert [function.line for function in found.functions.values()] == [3, 0, 0]
    assert found.stubs.called(np.array([6, 0x16, 0x26, 0x1006], np.uint64)).tolist() == [0, 1, 2, -1]


def test_stubs_that_will_be_made_have_their_places_already(tmp_path):
    arena = Mapping(7, 0x1000, 0x2000, 0, "//anon")
    other = Mapping(7, 0x9000, 0xA000, 0, "//anon")
    text = "1020 b py::main:/srv/app.py\n1040 b py::A.m:/srv/app.py\n"
    found = python_process(7, [mapping(), arena, other], "x86_64", proc(tmp_path, text, bytes(0x1020) + STUB))
    assert found.stubs.start.tolist() == list(range(0x1020, 0x2000, 16))
    assert {number: function.name for number, function in found.functions.items()} == {0: "main", 2: "A.m"}


def test_places_are_bounded():
    layout = stub_layout(STUB, "x86_64")
    assert stub_places([0x1000], layout, [(0, 1 << 40)]) == [0x1000]
    assert stub_places([0x1000], layout, [(0x1000, 0x1010), (0x1000, 0x1000)]) == [0x1000]


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/usr/bin/python3.12", "process 7 (Python 3.12) shows no Python functions: start it with python -X perf"),
        ("/usr/bin/python3.11", "process 7 (Python 3.11) shows no Python functions: Python 3.12 can"),
        ("/usr/bin/python3", "process 7 (Python) shows no Python functions: start it with python -X perf"),
    ],
)
def test_without_a_map_there_is_a_hint(tmp_path, path, hint):
    found = python_process(7, [mapping(path)], "x86_64", proc(tmp_path, None))
    assert found.stubs is None
    assert found.hint.startswith(hint)


def test_a_map_of_something_else_is_no_trampoline(tmp_path):
    found = python_process(7, [mapping()], "x86_64", proc(tmp_path, "1000 20 node_function\n", STUB))
    assert found.stubs is None and found.hint


def test_stubs_of_an_unknown_kind_are_refused_with_their_code(tmp_path):
    found = python_process(7, [mapping()], "x86_64", proc(tmp_path, "0 b py::f:/srv/app.py\n", b"\xcc" * 16))
    assert found.stubs is None
    assert "cccccccc" in found.hint


def test_other_programs_and_processes_are_none_of_ours(tmp_path):
    folder = proc(tmp_path, None)
    assert python_process(7, [mapping("/usr/sbin/mariadbd")], "x86_64", folder) is None
    assert python_process(7, [mapping(process=8)], "x86_64", folder) is None


def test_a_free_threaded_build_is_told(tmp_path):
    found = python_process(7, [mapping("/opt/lib/libpython3.14t.so.1.0")], "x86_64", proc(tmp_path, None))
    assert found.free_threaded


@pytest.mark.parametrize(
    ("path", "short"),
    [
        ("/venv/lib/python3.12/site-packages/a/b.py", "<site>/a/b.py"),
        ("/usr/lib/python3/dist-packages/a.py", "<site>/a.py"),
        ("/usr/lib/python3.12/json/decoder.py", "<stdlib>/json/decoder.py"),
        ("/srv/app.py", "/srv/app.py"),
        ("<string>", "<string>"),
    ],
)
def test_files_are_called_as_in_profiles_of_benchmarks(path, short):
    assert short_file(path) == short


def test_first_lines_of_a_source():
    source = '''\
class A(Base):
    """A text."""

    @property
    @cache
    def value(self):
        def inner(): pass
        async def other():
            ...
    class B:
        def m(self): ...

if True:
    def twice(): ...
else:
    def twice(): ...
'''
    assert lines_of(source) == {
        **{"<module>": 1, "A": 1, "A.value": 4, "A.value.<locals>.inner": 7, "A.value.<locals>.other": 8},
        **{"A.B": 10, "A.B.m": 11},
    }


@given(st.text(alphabet="@def clas():\n\t x.", max_size=300))
def test_any_text_has_lines(source):
    count = len(source.splitlines())
    assert all(1 <= line <= max(count, 1) for line in lines_of(source).values())


def test_folding_keeps_what_is_python_or_foreign_and_counts_kernel_frames():
    sort = np.array([PYTHON, INTERPRETER, SYSTEM, OTHER])
    # kernel, C library, interpreter, function, interpreter, C library; then a stack without Python; an empty one.
    chains = Chains(
        np.array([0, 6, 8, 8]),
        np.array([3, 2, 1, 0, 1, 2, 1, 2], np.int32),
        np.array([1, 0, 0]),
        np.array([0, 0, 0], np.uint8),
    )
    found = folded(chains, sort)
    assert found.offsets.tolist() == [0, 2, 4, 4]
    assert found.frame.tolist() == [3, 0, 1, 2]
    assert found.kernel_depth.tolist() == [1, 0, 0]
