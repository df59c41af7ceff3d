from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from gitrepo import GitRepo
from test_loaded_files import record

from pytest_blcperf.bench.checkout import base_checkout
from pytest_blcperf.bench.identical import Proof, prove_identical
from pytest_blcperf.bench.loaded_files import LoadedFiles
from pytest_blcperf.bench.overlay import apply_overlay, plan_overlay
from pytest_blcperf.bench.repository import ADDED, DELETED, MODIFIED, Difference, find, tree_reader

LOADED = LoadedFiles(
    modules=("src/lib/__init__.py", "src/lib/parse.py", "tests/test_x.py"),
    opened=("data/words.txt",),
    directories=("plugins", "top"),
    attempted=("json", "lib", "lib._fast", "lib.parse"),
)
SAME = dict.fromkeys(LOADED.files, b"x = 1\n")
OVERLAID = frozenset({"tests/test_x.py", "conftest.py"})


def prove(
    differences: Mapping[str, str],
    base: Mapping[str, bytes | None] | None = None,
    head: Mapping[str, bytes | None] | None = None,
    loaded: LoadedFiles = LOADED,
) -> Proof:
    found = [Difference(path, kind) for path, kind in differences.items()]
    return prove_identical(loaded, found, OVERLAID, {**SAME, **(base or {})}.get, {**SAME, **(head or {})}.get)


@pytest.mark.parametrize(
    ("differences", "reason"),
    [
        ({}, "no file of the repository differs"),
        ({"tests/test_x.py": MODIFIED, "conftest.py": ADDED}, "no file of the repository differs"),
        ({"src/lib/other.py": MODIFIED}, "(1 file differs elsewhere)"),
        ({"src/lib/new.py": ADDED, "docs/a.md": ADDED, "README": MODIFIED}, "(3 files differ elsewhere)"),
        ({"docs/a.md": DELETED}, "(1 file differs elsewhere)"),
        ({"other/pkg/a.py": DELETED}, "(1 file differs elsewhere)"),
        ({"plugins/a.txt": MODIFIED}, "(1 file differs elsewhere)"),
        ({"src/lib/pars.py": ADDED}, "(1 file differs elsewhere)"),
    ],
)
def test_proven(differences: dict[str, str], reason: str) -> None:
    proof = prove(differences)
    assert proof.identical
    assert reason in proof.reason


@pytest.mark.parametrize(
    ("differences", "reason"),
    [
        ({"data/words.txt": MODIFIED}, "data/words.txt differs"),
        ({"plugins/new.txt": ADDED}, "plugins/new.txt is added, in a folder that the benchmark lists"),
        ({"plugins/old.txt": DELETED}, "is deleted, in a folder that the benchmark lists"),
        ({"top/new_folder/a.txt": ADDED}, "in a folder that the benchmark lists"),
        ({"src/lib/_fast.cpython-311-x86_64-linux-gnu.so": ADDED}, "looks for a module of that name"),
        ({"src/lib/_fast/__init__.py": ADDED}, "looks for a module of that name"),
        ({"src/lib/_fast/deep/data.txt": ADDED}, "looks for a module of that name"),
        ({"src/json.py": DELETED}, "looks for a module of that name"),
        ({"src/lib/gone.py": DELETED}, "may have loaded it"),
        ({"src/lib/deep/gone.so": DELETED}, "may have loaded it"),
        ({"src/lib/table.csv": DELETED}, "may have loaded it"),
        ({"data/more.txt": DELETED}, "may have loaded it"),
        ({"src/paths.pth": MODIFIED}, "can change what is imported"),
    ],
)
def test_not_proven(differences: dict[str, str], reason: str) -> None:
    proof = prove({"README": MODIFIED, **differences})
    assert not proof.identical
    assert reason in proof.reason


@pytest.mark.parametrize(
    ("base", "head", "same"),
    [
        (b"def f(x):\n    return x+1\n", b"# why\n\ndef f(x):\n\n    return (x + 1)  # more\n", True),
        (b"x = 'a'\n", b'x = "a"\n', True),
        (b"# -*- coding: latin-1 -*-\nx = '\xe9'\n", "x = 'é'\n".encode(), True),
        (b"def f(x):\n    return x+1\n", b"def f(x):\n    return x+2\n", False),
        (b'"""doc"""\n', b'"""Doc"""\n', False),
        (b"x = 1\n", b"x = True\n", False),
        (b"x = 1\n", b"x = (\n", False),
        (b"x = (\n", b"x = ( # same error\n", False),
        (b"x = 1\0\n", b"x = 1\0 \n", False),
        (b"x = 1\n", None, False),
        (None, b"x = 1\n", False),
        (b"x = 1\n", b"x = 1\n" + b"#" * (1 << 20), False),
        (b"x = " + b"-" * 50_000 + b"1", b"x = " + b"-" * 50_000 + b"1  # deep", False),
        (b"x = a" + b".b" * 50_000, b"x = a" + b".b" * 50_000 + b"  # deep", False),
    ],
)
def test_comments_and_layout_of_a_module_do_not_count(base: bytes | None, head: bytes | None, same: bool) -> None:
    proof = prove({"src/lib/parse.py": MODIFIED}, {"src/lib/parse.py": base}, {"src/lib/parse.py": head})
    assert proof.identical is same
    assert proof.reason == (
        "no file that the benchmark loads differs (1 differs in comments or layout only)"
        if same
        else "src/lib/parse.py differs"
    )


def test_comments_count_when_the_source_is_read_as_data() -> None:
    loaded = LoadedFiles(modules=("a.py",), opened=("a.py",))
    assert not prove({"a.py": MODIFIED}, {"a.py": b"x = 1"}, {"a.py": b"x = 1  # y"}, loaded).identical


def test_a_loaded_file_that_git_does_not_track_is_compared() -> None:
    path = "src/lib/_fast.so"
    loaded = LoadedFiles(modules=(path,))
    assert prove({}, {path: b"1"}, {path: b"1"}, loaded).identical
    assert prove({}, {path: b"1"}, {path: b"2"}, loaded).reason == f"{path} differs, and git does not track it"
    assert not prove({}, {path: None}, {path: b"2"}, loaded).identical


def test_a_file_that_neither_side_has_is_the_same() -> None:
    assert prove({}, {"settings.ini": None}, {"settings.ini": None}, LoadedFiles(opened=("settings.ini",))).identical


def test_listing_the_root_does_not_show_what_changes_in_folders_that_both_sides_have() -> None:
    loaded = LoadedFiles(modules=("src/lib.py",), directories=(".",))
    same = {"src/lib.py": b""}
    assert prove({"src/new.py": ADDED}, same, same, loaded).identical
    assert not prove({"fresh/new.py": ADDED}, same, same, loaded).identical


def test_a_file_at_the_root_does_not_make_all_deleted_code_matter() -> None:
    loaded = LoadedFiles(opened=("pyproject.toml",))
    same = {"pyproject.toml": b""}
    assert prove({"other/a.py": DELETED}, same, same, loaded).identical
    assert not prove({"a.py": DELETED}, same, same, loaded).identical


def test_a_file_that_cannot_be_read_is_not_the_same() -> None:
    def refuse(path: str) -> bytes | None:
        raise OSError(f"{path} is larger than 64 MiB")

    proof = prove_identical(LOADED, [], OVERLAID, refuse, SAME.get)
    assert proof == Proof(False, "data/words.txt cannot be compared: data/words.txt is larger than 64 MiB")


@pytest.mark.parametrize(
    ("loaded", "reason"),
    [
        (LoadedFiles(spawned=True), "starts other processes"),
        (LoadedFiles(overflow=True), "more files than are recorded"),
        (LoadedFiles(outside=("src/a.py",)), "loads src/a.py from the other side's checkout"),
    ],
)
def test_what_was_not_seen_is_not_proven(loaded: LoadedFiles, reason: str) -> None:
    proof = prove({}, loaded=loaded)
    assert not proof.identical
    assert reason in proof.reason


@pytest.mark.parametrize(
    ("change", "identical", "reason"),
    [
        ({"src/unused.py": "x = 2\n", "src/new.py": "", "NEWS": ""}, True, "(3 files differ elsewhere)"),
        ({"src/used.py": "x = 1  # one\n"}, True, "(1 differs in comments or layout only)"),
        ({"src/used.py": "x = 2\n"}, False, "src/used.py differs"),
        ({"src/_fast.py": "x = 3\n"}, False, "src/_fast.py differs"),
        ({"words.txt": "new"}, False, "words.txt differs"),
        ({"cache.bin": "ignored by git"}, False, "cache.bin differs, and git does not track it"),
    ],
)
def test_the_whole_way(tmp_path: Path, change: dict[str, str], identical: bool, reason: str) -> None:
    """GIVEN a repository with a change WHEN both sides run the benchmark THEN the proof fits the change."""
    bench = "import used\ntry:\n    import _fast\nexcept ImportError:\n    pass\nopen('words.txt').read()\n"
    bench += "try:\n    open('cache.bin')\nexcept OSError:\n    pass\n"
    repo = GitRepo(tmp_path).write({"src/used.py": "x = 1\n", "src/unused.py": "x = 1\n", "words.txt": "old"})
    repo.write({".gitignore": "*.bin\n__pycache__\n", "bench.py": "old"}).commit()
    repo.write({"bench.py": bench, **change})
    repository = find(repo.path)
    head, commit = repository.root, repository.resolve_base("main").commit
    with base_checkout(repository, commit) as base:
        plan = plan_overlay(head, base, ["bench.py"], None, ["src"])
        apply_overlay(head, base, plan)
        run = "import runpy; runpy.run_path('bench.py')"
        loaded = record(head, run, forbidden=str(base)).merge(record(base, run, forbidden=str(head)))
        differences = repository.differences(commit)
        proof = prove_identical(loaded, differences, plan, tree_reader(base), tree_reader(head))
    assert proof.identical is identical
    assert reason in proof.reason
