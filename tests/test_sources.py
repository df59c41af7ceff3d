"""The source of a function on both sides."""

from __future__ import annotations

from pathlib import Path

import pytest
from gitrepo import GitRepo
from report_pages import MACHINE, SLOWER_TEXT_RULE, TEXT_FILE, TEXT_RULE

from pytest_blcperf import sources
from pytest_blcperf.bench.repository import find
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.run import Run

TEXT = Function(TEXT_FILE, "text", 6)

NESTED = """\
def decorate(function):
    return function

class Shop:
    @decorate
    @property
    def price(self):
        def round_up(value):
            return value + 1
        return round_up(3)

    class Till:
        async def open(self):
            pass

if True:
    def late():
        pass
"""


def run(commit: str, dirty: bool = False) -> Run:
    """A run of that commit."""
    return Run("run", "2026-01-02T03:04:05", commit, dirty, MACHINE, ())


def lines_of(name: str, line: int) -> list[str]:
    """The lines found of a function of NESTED."""
    read = (lambda path: NESTED if path == "shop.py" else None), "here"
    found = sources.function_source(Function("shop.py", name, line), read, read)
    assert found is not None
    return [one.text.strip() for one in found.lines]


def test_base_and_head_are_read_from_their_commits_and_the_rest_from_disk(tmp_path: Path) -> None:
    repo = GitRepo(tmp_path / "repo").write({TEXT_FILE: TEXT_RULE}).commit("base")
    commit = repo.git("rev-parse", "HEAD").strip()
    repo.write({TEXT_FILE: SLOWER_TEXT_RULE})
    repository = find(repo.path)
    source = sources.function_source(
        TEXT, sources.reader(repository, run(commit)), sources.reader(repository, run(commit, dirty=True))
    )
    assert source is not None
    removed = [(line.base, line.text.strip()) for line in source.lines if line.head is None]
    added = [(line.head, line.text.strip()) for line in source.lines if line.base is None]
    assert removed == [(9, "while pos < state.maximum and state.src[pos] not in TERMINATORS:")]
    assert added == [(9, "while pos < state.maximum and state.src[pos : pos + 1] not in TERMINATORS:")]
    assert source.lines[0].text == "def text(state, silent):"
    assert source.base_name.endswith(f"({commit[:9]})") and source.head_name.endswith("(on disk now)")


@pytest.mark.parametrize(
    ("name", "line", "first", "last"),
    [
        ("Shop.price", 5, "@decorate", "return round_up(3)"),
        ("Shop.price.<locals>.round_up", 8, "def round_up(value):", "return value + 1"),
        ("Shop.Till.open", 13, "async def open(self):", "pass"),
        ("late", 17, "def late():", "pass"),
    ],
)
def test_functions_are_found_by_their_qualified_names(name: str, line: int, first: str, last: str) -> None:
    found = lines_of(name, line)
    assert (found[0], found[-1]) == (first, last)


@pytest.mark.parametrize("path", ["../secret.py", "/etc/passwd", "link.py", "a\0b", "<stdlib>/os.py", "", "."])
def test_no_file_outside_the_repository_is_read(path: str, tmp_path: Path) -> None:
    (tmp_path / "secret.py").write_text("def f():\n    pass\n")
    repo = GitRepo(tmp_path / "repo").write({"x.py": ""}).commit("one")
    (repo.path / "link.py").symlink_to(tmp_path / "secret.py")
    repository = find(repo.path)
    commit = repo.git("rev-parse", "HEAD").strip()
    sides = [sources.reader(repository, run(commit, dirty)) for dirty in (True, False)]
    assert sources.function_source(Function(path, "f", 1), *sides) is None


@pytest.mark.parametrize("text", ["def f(:", "\0", "(" * 5_000, "f = 1"])
def test_what_cannot_be_parsed_has_no_source(text: str) -> None:
    read = (lambda _: text), "here"
    assert sources.function_source(Function("x.py", "f", 1), read, read) is None
