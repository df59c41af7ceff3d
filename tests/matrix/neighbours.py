"""Suites run beside other plugins: those of this environment (nox), or of `.venv/neighbours` (`make test`)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

import pytest
from gate_runs import QUICK, environment

from pytest_blcperf.store import run_file

SIDE = Path(sys.prefix) / "neighbours"
"""Where scripts/setup.sh puts a few plugins, apart from what the project's own tests load."""

WHOLE = bool(os.environ.get("BLCPERF_MATRIX"))
"""Set by the noxfile: everything is in this environment, and every combination is run."""

ENTRY_POINTS = {
    "pytest-benchmark": ("benchmark",),
    "pytest-codspeed": ("codspeed",),
    "pytest-xdist": ("xdist", "xdist.looponfail"),
    "pytest-asyncio": ("asyncio",),
    "anyio": ("anyio",),
    "pytest-trio": ("trio",),
    "pytest-rerunfailures": ("rerunfailures",),
    "pytest-randomly": ("randomly",),
    "pytest-cov": ("pytest_cov",),
    "pytest-timeout": ("timeout",),
    "pytest-repeat": ("pytest_repeat",),
    "pytest-django": ("django",),
    "hypothesis": ("hypothesispytest",),
    "aspectlib": (),
}
"""Plugin → what `-p no:` calls it."""

LOUD = ("pytest-asyncio", "pytest-randomly", "pytest-django")
"""Plugins that warn, shuffle or want settings in every session: even in the matrix only where they are named."""


def version(distribution: str) -> tuple[int, ...] | None:
    """Its release here or at the side; None when it is not installed."""
    for where in (sys.path, [str(SIDE)]):
        for found in metadata.distributions(name=distribution, path=where):
            return tuple(int(part) for part in found.version.split(".")[:2])
    return None


def require(*distributions: str) -> None:
    """Skip where one of them is missing."""
    for distribution in distributions:
        if version(distribution) is None:
            pytest.skip(f"{distribution} is not installed: `make test-matrix` runs this with it")


def only_in_the_matrix() -> None:
    """Skip what `make test` has no time for."""
    if not WHOLE:
        pytest.skip("run by `make test-matrix`")


def run(
    folder: Path, *arguments: str, beside: Iterable[str] = (), python: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`pytest` in a folder with exactly the plugins named by `beside` (in the matrix: with all that are installed)."""
    require(*beside)
    unwanted = [plugin for plugin in ENTRY_POINTS if plugin not in beside and (not WHOLE or plugin in LOUD)]
    blocked = [name for plugin in unwanted for name in ENTRY_POINTS[plugin]]
    words = [word for name in blocked for word in ("-p", f"no:{name}")]
    variables = dict(python or {})
    if not WHOLE and SIDE.is_dir():
        variables["PYTHONPATH"] = str(SIDE)
    return subprocess.run(
        [sys.executable, "-m", "pytest", *words, *arguments],
        cwd=folder,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def measure(
    folder: Path, *arguments: str, beside: Iterable[str] = (), python: Mapping[str, str] | None = None
) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """The same with `--blcperf`; gives the process and the names of what was measured."""
    done = run(folder, "--blcperf", *QUICK, "--blcperf-save=mine", *arguments, beside=beside, python=python)
    saved = next(iter(sorted(folder.rglob(".blcperf/baselines/mine.blcperf"))), None)
    return done, {one.name for one in run_file.read(saved).benchmarks} if saved is not None else set()
