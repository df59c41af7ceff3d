from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_blcperf.bench.loaded_files import LoadedFiles

PACKAGE_ROOT = Path(__file__).parent.parent
PROLOGUE = """
import json, sys
from pathlib import Path
from pytest_blcperf.bench.loaded_files import Recorder
root, forbidden = sys.argv[1], sys.argv[2] or None
recorder = Recorder(root, forbidden, limit=int(sys.argv[3]))
"""
EPILOGUE = """
print(json.dumps(recorder.snapshot().as_data()))
"""


def tree(root: Path, *files: str) -> Path:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def record(
    root: Path, code: str, *, path: str = "src", before: str = "", forbidden: str = "", limit: int = 1000
) -> LoadedFiles:
    """What a fresh process records below `root` while it runs `code` with `root/path` on sys.path."""
    program = f"{PROLOGUE}{before}\nrecorder.install()\n{code}\n{EPILOGUE}"
    search = os.pathsep.join([str(root / path), str(PACKAGE_ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", program, str(root), forbidden, str(limit)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": search, "PYTHONDONTWRITEBYTECODE": ""},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return LoadedFiles.from_data(json.loads(done.stdout.splitlines()[-1]))


def test_imports_are_modules_the_second_time_from_bytecode_too(tmp_path: Path) -> None:
    tree(tmp_path, "src/lib/__init__.py", "src/lib/a.py", "src/lib/unused.py")
    for _ in range(2):
        loaded = record(tmp_path, "import lib.a")
        assert loaded.modules == ("src/lib/__init__.py", "src/lib/a.py")
        assert loaded.opened == ()
        assert {"lib", "lib.a"} <= set(loaded.attempted)
    assert list((tmp_path / "src/lib/__pycache__").iterdir())


def test_modules_imported_before_count(tmp_path: Path) -> None:
    tree(tmp_path, "src/early.py")
    assert record(tmp_path, "", before="import early").modules == ("src/early.py",)


def test_imports_that_fail_are_attempted(tmp_path: Path) -> None:
    tree(tmp_path, "src/lib/__init__.py")
    loaded = record(tmp_path, "try:\n    import lib._fast\nexcept ImportError:\n    pass")
    assert "lib._fast" in loaded.attempted


@pytest.mark.parametrize(
    "code",
    [
        "open('data/a.txt').read()",
        "open(b'data/a.txt').read()",
        "open(root + '/src/../data/a.txt').read()",
        "Path('data/a.txt').read_text()",
        "import os; os.open(Path('data/a.txt'), os.O_RDONLY)",
        "open('data/a.txt', 'r+')",
        "import os; os.chdir('data'); open('a.txt').read(); os.chdir('/')",
        "open('link/a.txt').read()",
        "import sqlite3; sqlite3.connect('data/a.txt')",
        "import sqlite3; sqlite3.connect('file:data/a.txt?mode=ro', uri=True)",
        "import sqlite3; sqlite3.connect(f'file://{root}/data/a.txt', uri=True)",
        "import ctypes\ntry:\n    ctypes.CDLL('data/a.txt')\nexcept OSError:\n    pass",
        "import ctypes, mmap; m = mmap.mmap(ctypes.CDLL(None).open(b'data/a.txt', 0), 0, prot=mmap.PROT_READ)",
    ],
)
def test_opened_files(tmp_path: Path, code: str) -> None:
    (tree(tmp_path, "data/a.txt", "src/b.py") / "link").symlink_to("data")
    (tmp_path / "data/a.txt").write_text("SQL")
    assert "data/a.txt" in record(tmp_path, code).opened


def test_both_names_of_a_linked_file_count(tmp_path: Path) -> None:
    (tree(tmp_path, "data/a.txt") / "link").symlink_to("data")
    assert record(tmp_path, "open('link/a.txt')").opened == ("data/a.txt", "link/a.txt")


def test_a_file_that_was_not_there_counts(tmp_path: Path) -> None:
    code = "try:\n    open('settings.ini')\nexcept OSError:\n    pass"
    assert record(tree(tmp_path, "src/a.py"), code).opened == ("settings.ini",)


@pytest.mark.parametrize(
    "code", ["open('out.txt', 'w')", "open('out.txt', 'a')", "open('out.txt', 'w+')", "open(1, closefd=False)"]
)
def test_output_files_do_not_count(tmp_path: Path, code: str) -> None:
    assert record(tree(tmp_path, "src/a.py"), code).opened == ()


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.listdir('data')",
        "import os; os.listdir(os.open('data', os.O_RDONLY))",
        "import os; list(os.scandir('data'))",
        "import os; os.chdir('data'); os.listdir()",
        "list(Path('data').iterdir())",
        "list(Path('data').glob('*.txt'))",
        "import glob; glob.glob('data/*')",
        "import pkgutil; list(pkgutil.iter_modules(['data']))",
    ],
)
def test_listed_folders(tmp_path: Path, code: str) -> None:
    assert "data" in record(tree(tmp_path, "data/a.txt"), code).directories


@pytest.mark.parametrize(
    "code",
    ["import lib.a", "import importlib.metadata as m; m.entry_points()", "import shutil; shutil.rmtree('out')"],
    ids=["import", "entry points", "clean-up"],
)
def test_folders_listed_for_known_names_do_not_count(tmp_path: Path, code: str) -> None:
    loaded = record(tree(tmp_path, "src/lib/__init__.py", "src/lib/a.py", "out/src/a.txt"), code)
    assert (loaded.directories, loaded.opened) == ((), ())


@pytest.mark.parametrize(
    "code",
    [
        "import subprocess; subprocess.run(['true'])",
        "import os; os.system('true')",
        "import os\nif not os.fork():\n    os._exit(0)",
        "import os; os.posix_spawn('/bin/true', ['true'], {})",
        "import multiprocessing as m; p = m.get_context('fork').Process(target=print); p.start(); p.join()",
        "import multiprocessing as m; p = m.get_context('spawn').Process(target=print); p.start(); p.join()",
        "import multiprocessing as m; p = m.get_context('forkserver').Process(target=print); p.start(); p.join()",
    ],
)
def test_other_processes_are_noted(tmp_path: Path, code: str) -> None:
    assert record(tree(tmp_path, "src/a.py"), code).spawned


def test_nothing_is_spawned_by_merely_importing(tmp_path: Path) -> None:
    code = "import subprocess, multiprocessing, multiprocessing.pool, concurrent.futures.process, asyncio"
    assert not record(tree(tmp_path, "src/a.py"), code).spawned


def test_the_limit(tmp_path: Path) -> None:
    code = "for name in range(30):\n    try:\n        open(f'data/{name}')\n    except OSError:\n        pass"
    assert record(tree(tmp_path, "src/a.py"), code, limit=10).overflow
    loaded = record(tmp_path, code, limit=100)
    assert not loaded.overflow
    assert len(loaded.opened) == 30


def test_an_argument_the_hook_cannot_read_is_no_error_and_no_proof(tmp_path: Path) -> None:
    loaded = record(tree(tmp_path, "src/a.py"), "sys.audit('open', object(), 'r', 0); sys.audit('import')")
    assert loaded.overflow


def test_it_can_be_stopped_and_started(tmp_path: Path) -> None:
    code = "recorder.stop(); open('a'); recorder.install(); open('b'); recorder.snapshot(); open('c')"
    assert record(tree(tmp_path, "a", "b", "c"), code).opened == ("b", "c")


def test_caches_and_installed_packages_are_not_part_of_the_checkout(tmp_path: Path) -> None:
    names = [".git/HEAD", ".blcperf/runs/a", ".pytest_cache/v", "env/lib/python3/site-packages/dep.py", "kept.txt"]
    code = f"for name in {names}:\n    open(name)"
    assert record(tree(tmp_path, *names), code).files == ("kept.txt",)


def test_modules_that_break_when_looked_at_are_left_alone(tmp_path: Path) -> None:
    code = (
        "class Strange:\n"
        "    def __getattribute__(self, name):\n"
        "        raise RuntimeError(name)\n"
        "sys.modules['strange'] = Strange()\n"
        "sys.modules['nothing'] = None\n"
        "import importlib.util\n"
        "spec = importlib.util.find_spec('lazy')\n"
        "spec.loader = importlib.util.LazyLoader(spec.loader)\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "sys.modules['lazy'] = module\n"
        "spec.loader.exec_module(module)\n"
        "recorder.snapshot()\n"
        "assert 'lazy' not in object.__getattribute__(module, '__dict__')"
    )
    root = tree(tmp_path, "src/lazy.py")
    (root / "src/lazy.py").write_text("lazy = 1\n")
    assert record(root, code).modules == ("src/lazy.py",)


def test_a_module_from_the_other_side_is_a_leak(tmp_path: Path) -> None:
    """GIVEN a base inside the head's tree WHEN it imports a module that only the head has THEN that is a leak."""
    head = tree(tmp_path, "src/lib/__init__.py", "src/only_head.py", ".venv/lib/python3/site-packages/dep.py", "x.txt")
    base = tree(head / ".blcperf/cache/worktrees/b", "src/lib/__init__.py")
    code = f"sys.path += ['{head}/src', '{head}/.venv/lib/python3/site-packages']; import lib, only_head, dep"
    loaded = record(base, code + f"; open('{head}/x.txt')", forbidden=str(head))
    assert loaded.modules == ("src/lib/__init__.py",)
    assert loaded.outside == ("src/only_head.py",)


def test_an_editable_install_of_the_head_is_a_leak_also_from_bytecode(tmp_path: Path) -> None:
    head = tree(tmp_path / "head", "src/lib.py")
    base = tree(tmp_path / "base", "other/a.py")
    for _ in range(2):
        assert record(base, f"sys.path.append('{head}/src'); import lib", forbidden=str(head)).outside == (
            "src/lib.py",
        )


def test_the_head_does_not_mistake_the_base_for_its_own(tmp_path: Path) -> None:
    head = tree(tmp_path, "src/lib.py")
    base = tree(head / "checkouts/base", "src/base_only.py")
    loaded = record(head, f"sys.path.append('{base}/src'); import lib, base_only", forbidden=str(base))
    assert (loaded.modules, loaded.outside) == (("src/lib.py",), ("src/base_only.py",))


def test_bytecode_of_pytest_is_mapped_to_its_source(tmp_path: Path) -> None:
    code = "open('tests/__pycache__/test_a.cpython-311-pytest-8.3.2.pyc')"
    root = tree(tmp_path, "tests/__pycache__/test_a.cpython-311-pytest-8.3.2.pyc")
    assert record(root, code).files == ("tests/test_a.py",)


def test_merge_and_data() -> None:
    one = LoadedFiles(modules=("a", "b"), directories=(".",), spawned=True)
    two = LoadedFiles(modules=("b", "c"), opened=("d",), overflow=True)
    merged = one.merge(two)
    assert merged == LoadedFiles(("a", "b", "c"), ("d",), (".",), spawned=True, overflow=True)
    assert LoadedFiles.from_data(json.loads(json.dumps(merged.as_data()))) == merged
    assert merged.files == ("a", "b", "c", "d")
