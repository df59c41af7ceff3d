"""Data flows one way: the imports of the package, held against the house rules of docs/architecture.md."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pytest_blcperf

PACKAGE = Path(pytest_blcperf.__file__).parent
BASICS = {"errors", "model"}
MAY_IMPORT = {
    "errors": set(),
    "options": {"errors"},
    "settings": {"errors", "options", "model"},
    "model": {"errors"},
    "window": BASICS,
    "target": {*BASICS, "capture.perf_event", "symbols.elf"},
    "capture": {*BASICS, "target"},
    "symbols": {*BASICS, "target"},
    "store": {*BASICS, "bench.interpreter_facts"},
    "bench": {*BASICS, "settings", "target", "window", "capture", "symbols", "store.folder"},
    "compare": {*BASICS, "settings"},
    "gate": {*BASICS, "settings", "compare"},
    "sequential": {*BASICS, "settings", "compare", "gate"},
    "detect": BASICS,
    "report": {*BASICS, "compare", "detect", "store.atomic"},
    "platforms": {*BASICS, "report.text"},
    "shelves": {*BASICS, "store", "platforms", "bench.repository", "report.text"},
    "scaffold": BASICS,
}
"""What each stage may import besides itself. The shells (plugin, controller, session, base, cli) join stages."""


def imports(path: Path) -> set[str]:
    """The package's own modules that a file imports, relative to the package; imports for type checking do not count."""
    found = set()
    for node in _runtime_nodes(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{path} has a relative import"
            found |= {_imported(node.module, alias.name) for alias in node.names}
    return {name.removeprefix("pytest_blcperf.") for name in found if name.startswith("pytest_blcperf.")}


def _imported(module: str, name: str) -> str:
    """`from package import module` imports the module; `from module import name` the module too."""
    path = PACKAGE.parent / module.replace(".", "/") / name
    return f"{module}.{name}" if path.is_dir() or path.with_suffix(".py").exists() else module


def _runtime_nodes(tree: ast.AST) -> list[ast.AST]:
    nodes: list[ast.AST] = []
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        nodes += [child, *_runtime_nodes(child)]
    return nodes


@pytest.mark.parametrize("stage", MAY_IMPORT)
def test_a_stage_imports_no_later_stage(stage: str) -> None:
    files = sorted((PACKAGE / stage).rglob("*.py")) if (PACKAGE / stage).is_dir() else [PACKAGE / f"{stage}.py"]
    assert files
    allowed = {stage, *MAY_IMPORT[stage]}
    for path in files:
        for name in imports(path):
            known = any(name == one or name.startswith(one + ".") for one in allowed)
            assert known, f"{path.relative_to(PACKAGE)} imports {name}"


def test_only_shells_print_or_exit() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name == "cli" or path.name in ("interpreter_facts.py", "worker.py", "__main__.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            assert name not in ("print", "sys.exit", "exit"), (
                f"{path.relative_to(PACKAGE)}:{getattr(node, 'lineno', 0)}"
            )


def test_the_command_line_starts_without_heavy_packages() -> None:
    script = (
        "import sys, pytest_blcperf.cli as c; c.parser()\nprint(*[name for name in sys.modules if '.' not in name])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"numpy", "rich", "jinja2", "deepdiff", "psutil", "requests", "fsspec"}


def test_the_plugin_loads_pytest_and_the_standard_library_only() -> None:
    script = (
        "import sys, pytest, _pytest.config, dataclasses, math, enum\n"
        "before = set(sys.modules)\nimport pytest_blcperf.plugin\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {
        "pytest_blcperf",
        "pytest_blcperf.errors",
        "pytest_blcperf.options",
        "pytest_blcperf.plugin",
    }


def test_a_worker_loads_pytest_and_the_standard_library_only() -> None:
    script = "import sys, pytest_blcperf.bench.worker\nprint(*[name for name in sys.modules if '.' not in name])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"numpy", "rich", "jinja2", "deepdiff", "psutil", "junit_xml"}
