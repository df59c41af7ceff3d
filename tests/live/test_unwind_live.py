"""Stacks of real programs, frame by frame as `perf script` unwinds them."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import perf_script
import pytest

from pytest_blcperf.capture import probe
from pytest_blcperf.capture.perf_data import PerfData
from pytest_blcperf.symbols import unwind
from pytest_blcperf.symbols.address_space import address_spaces, mapped_code
from pytest_blcperf.symbols.elf_symbols import elf_symbols
from pytest_blcperf.symbols.objects import Objects
from pytest_blcperf.symbols.unwind import Unwinder
from pytest_blcperf.symbols.unwind_machine import MACHINES
from pytest_blcperf.symbols.unwind_sources import TableSource

PROGRAMS = Path(__file__).parent / "programs"
REFUSAL = probe.perf_refusal(1000)
pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="compared on x86-64 only"),
    pytest.mark.skipif(REFUSAL is not None, reason=REFUSAL.message if REFUSAL else ""),
    pytest.mark.skipif(not shutil.which("perf"), reason="perf is not installed (sudo apt-get install linux-perf)"),
]
NOT_AN_ADDRESS = 2**64 - 1
"""perf prints it where the copy of the stack ended."""


def build(folder, compiler, source, *options):
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    program = folder / "program"
    command = [compiler, str(PROGRAMS / source), "-o", str(program), *options]
    subprocess.run(command, check=True, capture_output=True)
    return program


class Recorded:
    """A recording of a program, unwound: `ours` and `ends` by (thread, time)."""

    def __init__(self, data):
        self.ours, self.ends, self.kernel, self.frames, self.sampled_paths = {}, {}, {}, {}, {}
        with PerfData(data) as file:
            batches = list(file.batches())
            self.recording = file.finish()
        self.spaces = address_spaces(self.recording)
        with Objects() as objects:
            self.code = mapped_code(self.recording.mappings, objects)
            self.source = TableSource(self.code.objects, MACHINES[self.recording.machine])
            self.unwinder = Unwinder(self.recording.machine, self.spaces, self.code, self.source.tables)
            for batch in batches:
                self._unwind(batch)
            self._tables = [elf_symbols(item.elf).table if item.elf else None for item in self.code.objects]

    def _unwind(self, batch):
        collected = perf_script.InFiles(batch, self.spaces)
        chains = self.unwinder.unwind(batch, collected)
        self.ours |= collected.stacks
        self.ends |= collected.ends
        self.sampled_paths |= collected.sampled_paths
        address = self.unwinder.frames.address
        for row, key in enumerate(zip(batch.thread.tolist(), batch.time.tolist(), strict=True)):
            first, user = chains.offsets[row], chains.offsets[row] + chains.kernel_depth[row]
            self.kernel[key] = address[chains.frame[first:user]].tolist()
            self.frames[key] = chains.frame[user : chains.offsets[row + 1]].tolist()

    def functions(self, key):
        """The names of the user functions of a sample, leaf first."""
        frames = self.unwinder.frames
        found = []
        for number in self.frames[key]:
            table = self._tables[frames.object[number]]
            inside = frames.address[number : number + 1] - frames.caller[number : number + 1].astype(np.uint64)
            index = int(table.find(inside)[0]) if table else -1
            found.append(table.name(index) if index >= 0 else "?")
        return found


def compared(data):
    """How often what happened, comparing each sample's frames; and the recording."""
    theirs = perf_script.stacks(data)
    recorded = Recorded(data)
    found = Counter()
    for key, user in recorded.ours.items():
        found[_difference(recorded, key, recorded.kernel[key] + user, theirs[key])] += 1
    return found, recorded


def _difference(recorded, key, ours, theirs):
    end = recorded.ends[key]
    if ours == theirs:
        return "broken" if end == unwind.BROKEN else "same"
    if end == unwind.BROKEN and theirs[:-1] == ours:
        # perf prints the address outside every mapping.
        return "broken"
    if end == unwind.TRUNCATED and (theirs[:-1] == ours or theirs == [*ours[:-1], NOT_AN_ADDRESS]):
        # perf does not read the last word of the copy, and prints one frame more for what it could not read.
        return "cut"
    if end == unwind.TRUNCATED and len(recorded.ours[key]) == 1 and theirs == recorded.kernel[key]:
        # Nothing of the stack could be copied (it was swapped out, or was being taken away): perf then prints no user frame.
        return "cut"
    if _pops(recorded, key) and len(ours) > 2 and theirs[:2] == ours[:2]:
        return "perf lost a popped register"
    return f"differs, end {end}: ours {[hex(one) for one in ours]}, perf's {[hex(one) for one in theirs]}"


def _pops(recorded, key):
    """Whether the sampled instruction is a `pop` or `ret`: perf then looks below the stack pointer for registers."""
    path = Path(recorded.sampled_paths[key])
    if recorded.kernel[key] or not path.is_file():
        return False
    with path.open("rb") as file:
        file.seek(recorded.ours[key][0])
        return file.read(1) in (b"\xc3", b"\x41", b"\x5b", b"\x5d", b"\xf3")


def check(found, most_cut=0.0):
    number = sum(found.values())
    assert number > 50, found
    cut, lost = found.pop("cut", 0), found.pop("perf lost a popped register", 0)
    broken = found.pop("broken", 0)
    assert found == {"same": number - cut - lost - broken}
    assert cut <= most_cut * number + 1
    # While libgcc installs the registers of a handler of exceptions, its frame holds those already.
    assert broken <= 0.05 * number + 1
    assert lost <= 0.02 * number + 1


@pytest.mark.parametrize(
    ("source", "command", "argument"),
    [
        ("recursion.c", ("gcc", "-O2", "-lm", "-pthread"), "3000"),
        ("recursion.c", ("gcc", "-O0", "-lm", "-pthread"), "3000"),
        ("exceptions.cpp", ("g++", "-O2"), "2500"),
        ("traits.rs", ("rustc", "-O"), "500"),
        ("signals.c", ("gcc", "-O2"), "1500"),
        ("linkage.c", ("gcc", "-O1", "-fno-builtin", "-Wl,-z,lazy", "-lm"), "1000000"),
        ("linkage.c", ("gcc", "-O1", "-fno-builtin", "-fcf-protection", "-Wl,-z,lazy,-z,ibtplt", "-lm"), "1000000"),
    ],
    ids=("c", "c-unoptimised", "c++", "rust", "signals", "plt", "plt-ibt"),
)
def test_every_frame_is_the_one_perf_finds(tmp_path, monkeypatch, source, command, argument):
    # With a backtrace, Rust's library maps libc once more, and perf then cannot unwind through libc.
    monkeypatch.setenv("RUST_BACKTRACE", "0")
    program = build(tmp_path, command[0], source, *command[1:])
    perf_script.record(tmp_path / "perf.data", program, argument)
    found, recorded = compared(tmp_path / "perf.data")
    check(found)
    assert not recorded.source.problems


def test_python_stacks_are_those_perf_finds(tmp_path):
    perf_script.record(tmp_path / "perf.data", sys.executable, PROGRAMS / "interpreted.py", "40", stack_bytes=32768)
    found, _ = compared(tmp_path / "perf.data")
    check(found, most_cut=0.2)


def test_handlers_on_a_stack_of_their_own_are_cut_there(tmp_path):
    program = build(tmp_path, "gcc", "signals.c", "-O2")
    perf_script.record(tmp_path / "perf.data", program, "1500", "own-stack")
    found, recorded = compared(tmp_path / "perf.data")
    check(found, most_cut=0.5)
    assert unwind.TRUNCATED in recorded.ends.values()


def test_a_copy_of_the_stack_that_is_too_short_is_said(tmp_path):
    program = build(tmp_path, "gcc", "recursion.c", "-O2", "-lm", "-pthread")
    perf_script.record(tmp_path / "perf.data", program, "2000", stack_bytes=1024)
    found, recorded = compared(tmp_path / "perf.data")
    check(found, most_cut=1.0)
    assert Counter(recorded.ends.values())[unwind.TRUNCATED] > 0.5 * len(recorded.ends)


def test_kernel_frames_stand_before_the_users(tmp_path):
    perf_script.record(
        tmp_path / "perf.data", "dd", "if=/dev/zero", "of=/dev/null", "bs=64k", "count=60000", event="cpu-clock"
    )
    found, recorded = compared(tmp_path / "perf.data")
    if not any(recorded.kernel.values()):
        pytest.skip("the kernel may not be sampled (sudo sysctl kernel.perf_event_paranoid=1)")
    check(found, most_cut=0.02)


def test_code_without_tables_is_passed_by_its_frame_pointers(tmp_path):
    options = ("-O2", "-fno-asynchronous-unwind-tables", "-fno-omit-frame-pointer", "-lm", "-pthread")
    program = build(tmp_path, "gcc", "recursion.c", *options)
    perf_script.record(tmp_path / "perf.data", program, "2000")
    # `compare` has set up its frame pointer during a part of its time only.
    check_recursion(Recorded(tmp_path / "perf.data"), least_complete=0.5)


def test_a_static_program_is_unwound(tmp_path):
    # perf finds one frame of each stack.
    program = build(tmp_path, "gcc", "recursion.c", "-O2", "-static", "-lm", "-pthread")
    perf_script.record(tmp_path / "perf.data", program, "2000")
    check_recursion(Recorded(tmp_path / "perf.data"), least_complete=0.95)


def check_recursion(recorded, least_complete):
    """Every stack through `leaf` is one that the program's source allows."""
    complete = [key for key, end in recorded.ends.items() if end == unwind.COMPLETE]
    assert len(complete) > least_complete * len(recorded.ends) > 50
    roots = Counter()
    for key in complete:
        own = [name for name in recorded.functions(key) if name in ("compare", "leaf", "recurse", "run", "main")]
        if "leaf" in own:
            above = own[own.index("leaf") + 1 :]
            depth = above.count("recurse")
            assert 1 <= depth <= 20
            assert above[:depth] == ["recurse"] * depth
            assert above[depth:] in (["run"], ["run", "main"])
            roots[above[-1]] += 1
    assert set(roots) == {"run", "main"}
