"""A recording of a real process, in the run page and in an export."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from browser import MISSING, browser

from pytest_blcperf.errors import ExitCode

WORK = """\
import time, zlib
end = time.monotonic() + 1.5
while time.monotonic() < end:
    zlib.compress(bytes(range(256)) * 400, 9)
"""


def blcperf(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The command, as a user calls it."""
    command = [sys.executable, "-m", "pytest_blcperf", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.live
def test_what_was_recorded_is_drawn_and_exported(tmp_path: Path) -> None:
    recorded = blcperf(
        "record", "--quiet", "--output", "work.blcperf", "--", sys.executable, "-c", WORK, folder=tmp_path
    )
    if recorded.returncode in (ExitCode.NOT_PERMITTED, ExitCode.NO_SAMPLES):
        pytest.skip(f"no recording here: {recorded.stderr.strip()}")
    assert recorded.returncode == 0, recorded.stderr
    exported = blcperf("export", "work.blcperf", "--format", "collapsed", folder=tmp_path)
    assert sum(int(line.rpartition(" ")[2]) for line in exported.stdout.splitlines()) > 100
    assert "libz.so" in blcperf("export", "work.blcperf", "--format", "csv", folder=tmp_path).stdout
    assert blcperf("report", "work.blcperf", "--html", "work.html", folder=tmp_path).returncode == 0
    if MISSING:
        pytest.skip(MISSING)
    with browser(tmp_path / "profile") as window:
        window.open(tmp_path / "work.html")
        window.wait("document.querySelector('.flame-panel').flamePanel?.graph.painted")
        assert window.logs() == ([], [])
        libz = "run.data.functions.files.findIndex((file) => file.startsWith('libz.so'))"
        share = f"run.data.functions.file.reduce((sum, file, func) => sum + (file === {libz} ? run.tree.perFunction(run.weights, run.data.functions.name.length).own[func] : 0), 0) / run.weights.reduce((a, b) => a + b)"
        assert window.run(share) > 0.5
