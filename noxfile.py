"""tests/matrix with many releases of pytest, Python and the plugins suites with benchmarks use: `make test-matrix`.

One session: nox -s 'neighbours-3.11(pytest="8.4.2")'
"""

from __future__ import annotations

import nox

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True

NEIGHBOURS = (
    "pytest-benchmark",
    "pytest-codspeed",
    "pytest-xdist",
    "pytest-asyncio",
    "anyio",
    "pytest-trio",
    "pytest-rerunfailures",
    "pytest-randomly",
    "pytest-cov",
    "pytest-timeout",
    "pytest-repeat",
    "pytest-django",
    "django",
    "hypothesis",
    "aspectlib",
)
NEWEST = "9.2.0"
PEERS = {"4.0.0": "7.4.4", "5.0.1": "8.1.2", "5.1.0": "8.4.2", "5.2.3": "9.0.2", "5.3.1": NEWEST}
"""pytest-benchmark and a pytest of its time: 4.0 uses what pytest 9 has removed."""


@nox.session(python="3.11")
@nox.parametrize("pytest", ["7.4.4", "8.0.2", "8.4.2", "9.0.2", NEWEST])
def neighbours(session: nox.Session, pytest: str) -> None:
    """Every plugin at once, each pytest."""
    _run(session, f"pytest=={pytest}", *NEIGHBOURS)


@nox.session(python=["3.10", "3.12", "3.13"])
def pythons(session: nox.Session) -> None:
    """Every plugin at once, each Python."""
    _run(session, f"pytest=={NEWEST}", *NEIGHBOURS)


@nox.session(python="3.11")
@nox.parametrize("peer", list(PEERS))
def pytest_benchmark(session: nox.Session, peer: str) -> None:
    """Releases of pytest-benchmark alone."""
    _run(session, f"pytest=={PEERS[peer]}", f"pytest-benchmark=={peer}", "aspectlib")


def _run(session: nox.Session, *requirements: str) -> None:
    session.install("-e", ".", "numpy", *requirements)
    session.run("python", "-m", "pip", "list", silent=False, log=False)
    # Its own plugins would run in the outer session too; the inner ones are what is tested.
    session.run(
        "python", "-m", "pytest", "tests/matrix", "-q", "-p", "pytester", *session.posargs,
        env={"BLCPERF_MATRIX": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip
