"""Scratch repositories for the CI templates: a small library, a benchmark, and branches that a gate must tell apart."""

from __future__ import annotations

from pathlib import Path

from gitrepo import GitRepo

LIBRARY = """\
def total(values):
    return sum(weight(value) for value in values)


def weight(value):
    result = 0
    for step in range(40):
        result += value * step
    return result
"""
SLOWER = LIBRARY.replace("range(40)", "range(200)")
BROKEN = "def total(values:\n"
BENCHMARK = """\
from lib import total

VALUES = list(range(100))


def test_total(benchmark):
    assert benchmark(total, VALUES) > 0
"""
SETTINGS = """\
[tool.pytest.ini_options]
addopts = "-p no:cacheprovider -p no:benchmark -p no:codspeed"

[tool.blcperf]
launches = 2
rounds = 2
delay_start = "0"
profile_window = "100ms"
timeout = "60s"
"""
"""Few and short launches: the planted slowdown is fivefold, and the machine's time is for the templates."""

IGNORED = "__pycache__/\n*.pyc\n"


def make(path: Path, scenario: str) -> GitRepo:
    """A repository on the branch `change`, one commit ahead of `main`; `main` is a remote branch too."""
    repo = GitRepo(path)
    files = {".gitignore": IGNORED, "pyproject.toml": SETTINGS, "README.md": "A library.\n"}
    base, head = {
        "regression": ({"lib.py": LIBRARY, "benchmarks/test_total.py": BENCHMARK}, {"lib.py": SLOWER}),
        "harmless": (
            {"lib.py": LIBRARY, "benchmarks/test_total.py": BENCHMARK},
            {"lib.py": "# A comment.\n" + LIBRARY, "README.md": "A good library.\n"},
        ),
        "first": ({}, {"lib.py": LIBRARY, "benchmarks/test_total.py": BENCHMARK}),
        "broken": ({"lib.py": BROKEN, "benchmarks/test_total.py": BENCHMARK}, {"lib.py": LIBRARY}),
    }[scenario]
    repo.write({**files, **base}).commit("base")
    repo.git("update-ref", "refs/remotes/origin/main", "HEAD")
    repo.branch("change").write(head).commit("change")
    return repo
