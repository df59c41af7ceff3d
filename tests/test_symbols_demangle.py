"""C++ and Rust names, and names made to hang, crash or fill the memory of what demangles them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import needed

from pytest_blcperf.symbols import demangle
from pytest_blcperf.symbols.demangle import Demangler

NAMES = {
    "main": "main",
    "_ZN7mangled3fooEd": "mangled::foo(double)",
    "_ZN7mangled3fooEd@plt": "mangled::foo(double)@plt",
    "_ZN3foo3barEv.cold": "foo::bar() [clone .cold]",
    "_ZN4core3fmt9Formatter3pad17h9b2b3a0e5b4d1b31E": "core::fmt::Formatter::pad",
    "_RNvCskwGfYPst2Cb_3foo16example_function": "foo::example_function",
    "_RNCNvCs1234_3foo3bar0B3_": "foo::bar::{closure#0}",
    "_Znonsense": "_Znonsense",
    "_ZNK1A1fEv": "A::f() const",
    "": "",
}


def bomb(levels: int) -> str:
    """A name whose demangled form doubles with every level."""
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    text = "_Z1f1AIiiE"
    for number in range(levels):
        back = f"S{(digits[number // 36] if number >= 36 else '') + digits[number % 36]}_"
        text += f"S_I{back}{back}E"
    return text


def test_names_as_people_write_them() -> None:
    found = Demangler()
    assert dict(zip(NAMES, found.all(NAMES), strict=True)) == NAMES
    assert found.warnings == ()


def test_a_name_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Demangler()
    found.all(NAMES)
    monkeypatch.setattr(demangle.subprocess, "run", lambda *_, **__: pytest.fail("asked again"))
    assert found.all(NAMES) == list(NAMES.values())


def test_a_hostile_name_costs_only_itself() -> None:
    found = Demangler(seconds=10)
    names = ["_Z1fv", bomb(400), "_Z1gv", bomb(60), "_Z1hv", "_Z" + "P" * 7000 + "i", "_Z1f" + "N" * 100_000, "_Z1iv"]
    answers = found.all(names)
    assert [answers[index] for index in (0, 2, 4, 7)] == ["f()", "g()", "h()", "i()"]
    assert answers[3] == bomb(60)
    assert max(map(len, answers)) <= demangle.MAX_DEMANGLED
    assert [one.code for one in found.warnings] == ["names-mangled"]


def test_a_worker_that_never_answers_is_left() -> None:
    found = Demangler(seconds=0.01)
    assert found.all(["_Z1fv", "main"]) == ["_Z1fv", "main"]
    assert "longer than 0.01 s" in found.warnings[0].text


@settings(max_examples=15, deadline=None)
@given(st.lists(st.text(max_size=40).map(lambda text: "_Z" + text), max_size=30))
def test_any_text_gets_an_answer(names: list[str]) -> None:
    assert len(Demangler().all(names)) == len(names)


@pytest.mark.live
def test_against_the_demangler_of_binutils() -> None:
    """On every name that the C++ library exports. Its standard abbreviations (`std::ostream`) differ by version."""
    filt, nm = needed("c++filt", "binutils"), needed("nm", "binutils")
    library = next(Path("/usr/lib").glob("*-linux-gnu/libstdc++.so.6"))
    listed = subprocess.run(
        [nm, "-D", "--defined-only", "--no-demangle", library], capture_output=True, text=True, check=True
    )
    names = sorted({line.split()[-1].partition("@")[0] for line in listed.stdout.splitlines() if " _Z" in line})
    done = subprocess.run([filt], input="\n".join(names), capture_output=True, text=True, check=True)
    pairs = list(zip(Demangler().all(names), done.stdout.splitlines(), strict=True))
    assert len(pairs) > 4000
    assert sum(mine == theirs for mine, theirs in pairs) > 0.9 * len(pairs)
    assert all("std::" in mine for mine, theirs in pairs if mine != theirs)


@pytest.mark.live
@pytest.mark.parametrize("options", [[], ["-C", "symbol-mangling-version=v0"]], ids=["default", "v0"])
def test_a_real_rust_program(tmp_path: Path, options: list[str]) -> None:
    rustc = shutil.which("rustc") or str(Path("~/.cargo/bin/rustc").expanduser())
    if not Path(rustc).exists():
        pytest.skip("rustc is missing: sudo apt-get install rustc")
    source = tmp_path / "program.rs"
    source.write_text(
        "pub struct Shop; impl Shop { #[inline(never)] pub fn sell(&self, n: u32) -> u32 { n * 7 } }\n"
        'fn main() { println!("{}", Shop.sell(std::env::args().count() as u32)); }\n'
    )
    program = tmp_path / "program"
    subprocess.run(
        [rustc, *options, "-C", "opt-level=1", str(source), "-o", str(program)], check=True, capture_output=True
    )
    listed = subprocess.run([needed("nm", "binutils"), program], capture_output=True, text=True, check=True)
    names = [line.split()[-1] for line in listed.stdout.splitlines()]
    found = Demangler().all(names)
    assert any(name in ("program::Shop::sell", "<program::Shop>::sell") for name in found)
    assert "program::main" in found
