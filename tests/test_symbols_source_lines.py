"""Source lines and inlined functions from the real tools, and from tools that lie, hang, die or are not there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from programs import compiled, needed

from pytest_blcperf.symbols import source_lines
from pytest_blcperf.symbols.elf import ElfFile
from pytest_blcperf.symbols.elf_symbols import elf_symbols
from pytest_blcperf.symbols.source_lines import SourceFrame, SourceLines

SOURCE = """
volatile int counter;
static inline __attribute__((always_inline)) void inner(int x) {
    counter += x;
}
__attribute__((noinline)) void outer(int x) {
    inner(x);
}
int main(int argc, char **argv) { outer(argc); return counter; }
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("source lines"), "program", SOURCE, "-g", "-O1")


def address_of(program: Path, name: str) -> int:
    table = elf_symbols(ElfFile.open(program)).table
    return next(int(table.start[index]) for index in range(len(table)) if table.name(index) == name)


@pytest.mark.parametrize(("tool", "package"), [("llvm-symbolizer", "llvm"), ("addr2line", "binutils")])
def test_inlined_functions_are_told_innermost_first(program: Path, tool: str, package: str) -> None:
    needed(tool, package)
    begin = address_of(program, "outer")
    with SourceLines(tools=[tool]) as lines:
        found, nothing, main = lines.at(str(program), [begin, 0, address_of(program, "main")])
        again = lines.at(str(program), [begin])
    source = str(program) + ".c"
    assert found == (SourceFrame("inner", source, 4), SourceFrame("outer", source, 7))
    assert again == [found]
    assert nothing == ()
    assert main[-1].function == "main"
    assert lines.warnings == ()


def test_a_missing_tool_is_said_once_with_the_command() -> None:
    with SourceLines(tools=["no-such-tool"]) as lines:
        assert lines.at("/bin/true", [1, 2]) == [(), ()]
    assert [one.text for one in lines.warnings] == [source_lines.MISSING]
    assert "sudo apt-get install llvm" in source_lines.MISSING


def lying(folder: Path, code: str) -> list[str]:
    """A tool of the name of the real one that does this with each line."""
    tool = folder / "llvm-symbolizer"
    tool.write_text(
        f"#!{sys.executable}\nimport sys, time\nfor line in sys.stdin:\n    {code}\n    sys.stdout.flush()\n"
    )
    tool.chmod(0o755)
    return [str(tool)]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("time.sleep(60)", "did not answer in time"),
        ("sys.exit(1)", "it ended"),
        ("print('nonsense')", "Expecting value"),
        ("print('[' * 100_000)", "answer"),
        ("print('{\"Symbol\": 7}')", "cannot be read"),
        ("print('{\"Symbol\": [{}]}')", "cannot be read"),
        ("sys.stdout.write('x' * 3_000_000)", "more than 1048576 bytes"),
    ],
)
def test_a_tool_that_fails_is_started_again_and_left_at_last(tmp_path: Path, code: str, said: str) -> None:
    tools = lying(tmp_path, code)
    with SourceLines(seconds=0.3 if "sleep" in code else 20, tools=tools) as lines:
        assert lines.at("/bin/true", range(1, 9)) == [()] * 8
    assert len(lines.warnings) == 3
    assert said in lines.warnings[0].text
    assert lines.warnings[2].text.endswith("and it is not asked again")


def test_a_tool_that_fails_once_answers_the_next_question(tmp_path: Path) -> None:
    good = '{"Symbol": [{"FunctionName": "f", "FileName": "a.c", "Line": 3}]}'
    tools = lying(tmp_path, f"print('{good}' if '0x2' in line else 'no')")
    with SourceLines(tools=tools) as lines:
        assert lines.at("/bin/true", [1, 2]) == [(), (SourceFrame("f", "a.c", 3),)]


def test_what_a_tool_says_cannot_drive_a_terminal(tmp_path: Path) -> None:
    answer = r'{"Symbol": [{"FunctionName": "f\\u001b[2Jg", "FileName": "a\\nb", "Line": 3}]}'
    with SourceLines(tools=lying(tmp_path, f"print('{answer}')")) as lines:
        assert lines.at("/bin/true", [1]) == [(SourceFrame(r"f\x1b[2Jg", r"a\nb", 3),)]


@pytest.mark.parametrize("path", ['/a" 0x1\n"/etc/passwd', "/a\nb", '/a"b'])
def test_a_path_is_no_command(path: str, tmp_path: Path) -> None:
    with SourceLines(tools=lying(tmp_path, "sys.exit(1)")) as lines:
        assert lines.at(path, [1]) == [()]
    assert lines.warnings == ()
