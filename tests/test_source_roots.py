from __future__ import annotations

from pathlib import Path

import pytest

from pytest_blcperf.bench.source_roots import source_roots
from pytest_blcperf.errors import UsageError


def tree(root: Path, *files: str, pyproject: str = "") -> Path:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "pyproject.toml").write_text(pyproject)
    return root


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["src/lib/__init__.py", "tests/__init__.py", "setup.py", "conftest.py", "docs/conf.py"], ("src",)),
        (["src/module.py", "noxfile.py"], ("src",)),
        (["lib/__init__.py", "tests/test_a.py"], (".",)),
        (["module.py", "test_module.py"], (".",)),
        (["acme/parser/__init__.py"], (".",)),
        (["acme/parser.py"], (".",)),
        (["src/__init__.py", "src/app.py"], (".",)),
        (["src/lib/__init__.py", "plugin/__init__.py"], ("src", ".")),
        (["src/main.c", "src/deep/main.c", "my-data/x.py"], ()),
        (["venv2/pyvenv.cfg", "venv2/x.py", ".tox/a.py", "build/lib/a.py", "run-me.py"], ()),
        ([], ()),
    ],
)
def test_auto(tmp_path: Path, files: list[str], expected: tuple[str, ...]) -> None:
    assert source_roots(tree(tmp_path, *files), None) == expected


@pytest.mark.parametrize(
    "pyproject",
    [
        '[tool.setuptools.packages.find]\nwhere = ["lib"]',
        '[tool.setuptools.package-dir]\n"" = "lib"',
        '[tool.setuptools.package-dir]\npkg = "lib/pkg"',
        '[tool.hatch.build.targets.wheel]\npackages = ["lib/pkg"]',
        '[tool.hatch.build]\nsources = ["lib"]',
        '[tool.hatch.build.sources]\nlib = ""',
        '[tool.poetry]\npackages = [{include = "pkg", from = "lib"}]',
        '[tool.pdm.build]\npackage-dir = "lib"',
        '[tool.uv.build-backend]\nmodule-root = "lib"',
        '[tool.maturin]\npython-source = "lib/"',
    ],
)
def test_what_the_build_tool_declares(tmp_path: Path, pyproject: str) -> None:
    assert source_roots(tree(tmp_path, "lib/pkg/__init__.py", pyproject=pyproject), None) == ("lib",)


@pytest.mark.parametrize(
    "pyproject",
    [
        "this is = not toml [",
        "tool = 3",
        '[tool]\nsetuptools = "x"\nhatch = []\npdm = {build = {package-dir = 1}}',
        '[tool.poetry]\npackages = ["x", {from = 3}]',
        '[tool.setuptools.packages.find]\nwhere = ["../outside", "/etc", "missing", 4]',
        '[tool.setuptools.package-dir]\npkg = "other"',
    ],
)
def test_a_broken_or_misleading_pyproject_is_passed_over(tmp_path: Path, pyproject: str) -> None:
    assert source_roots(tree(tmp_path, "src/pkg/__init__.py", "other/x.txt", pyproject=pyproject), None) == ("src",)


def test_requested_folders_are_taken_as_they_are(tmp_path: Path) -> None:
    assert source_roots(tree(tmp_path, "src/a.py", "x/y/b.py"), ("x/y/", ".")) == ("x/y", ".")
    assert source_roots(tmp_path, ()) == ()


@pytest.mark.parametrize("folder", ["missing", "/tmp", "../sibling", "file.py"])
def test_requested_folders_must_be_in_the_repository(tmp_path: Path, folder: str) -> None:
    (tmp_path / "sibling").mkdir()
    with pytest.raises(UsageError, match="not a folder of the repository"):
        source_roots(tree(tmp_path / "repo", "file.py"), (folder,))
