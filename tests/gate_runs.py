"""Run the real gate in throw-away repositories: as a subprocess, with few and short launches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gitrepo import GitRepo

_BYTECODE = tempfile.TemporaryDirectory(prefix="blcperf-tests-")

QUICK = (
    "--blcperf-launches=1",
    "--blcperf-rounds=2",
    "--blcperf-delay-start=0",
    "--blcperf-profile-window=10ms",
    "--blcperf-timeout=60s",
)
"""Enough to see what was compared with what; far too little for a verdict."""

LIBRARY = """\
def total(values):
    result = 0
    for value in values:
        result += square(value)
    return result


def square(value):
    return value * value
"""

BENCHMARK = """\
from lib.core import total


def test_total(benchmark):
    assert benchmark(total, range(300)) == 8955050


def test_ordinary():
    assert total([1, 2]) == 5
"""

SRC_LAYOUT = {
    "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["src"]\n',
    "src/lib/__init__.py": "",
    "src/lib/core.py": LIBRARY,
    "benchmarks/test_core.py": BENCHMARK,
    "README.md": "A library.\n",
}


@dataclass(frozen=True)
class GateRun:
    """One finished pytest session."""

    code: int
    output: str
    verdict: Mapping[str, Any] | None

    @property
    def last_line(self) -> str:
        """The gate's own last line."""
        return [line for line in self.output.splitlines() if line.startswith("blcperf: ")][-1]

    def benchmark(self, name: str) -> Mapping[str, Any]:
        """The verdict of the benchmark whose id ends with `name`."""
        assert self.verdict is not None, self.output
        (found,) = (one for one in self.verdict["benchmarks"] if one["id"].endswith(name))
        return found


def environment(**changes: str) -> dict[str, str]:
    """The environment of a user at home: no CI, nothing of this test session's own."""
    dropped = ("PYTEST_", "BLCPERF_", "GIT_", "COV_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(dropped) and key != "CI"}
    # Bytecode is cached, as at a user's, but outside the throw-away repositories.
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**kept, "PYTHONPYCACHEPREFIX": _BYTECODE.name, **changes}


def run_pytest(
    folder: Path, *arguments: str, timeout: float = 120, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Pytest in `folder`, as a user would call it."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", *arguments],
        cwd=folder,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def run_gate(repo: GitRepo, *arguments: str, base: str = "main", folder: str = ".", **variables: str) -> GateRun:
    """`pytest --blcperf --blcperf-baseline BASE` with quick launches; the verdict is read from its JSON."""
    report = repo.path / ".blcperf-test.json"
    report.unlink(missing_ok=True)
    done = run_pytest(
        repo.path / folder,
        "--blcperf",
        f"--blcperf-baseline={base}",
        f"--blcperf-json={report}",
        *QUICK,
        *arguments,
        **variables,
    )
    verdict = json.loads(report.read_text()) if report.exists() else None
    report.unlink(missing_ok=True)
    return GateRun(done.returncode, done.stdout + done.stderr, verdict)


def src_repo(path: Path) -> GitRepo:
    """A repository in src layout with one commit on main and a branch `change` checked out."""
    return GitRepo(path).write(SRC_LAYOUT).commit("first").branch("change")


def slower(library: str = LIBRARY) -> str:
    """The library with its hot function made several times dearer."""
    return library.replace(
        "    return value * value", "    for _ in range(20):\n        value = value + 0\n    return value * value"
    )
