"""`blcperf.window` on a process that is no Python program, and that the test did not prepare."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_blcperf.capture.probe import perf_refusal

REFUSAL = perf_refusal(1000)

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(REFUSAL is not None, reason=f"perf_event_open is refused: {REFUSAL and REFUSAL.message}"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler: sudo apt-get install gcc"),
]

TEST = """
import subprocess, time

def test_load(blcperf):
    server = subprocess.Popen(["./computing", "30"])
    try:
        with blcperf.window(server, delay=0.1, duration=0.5) as window:
            time.sleep(1)
    finally:
        server.kill()
        server.wait()
    assert window.top[0].name == "multiply", window.top
"""


def test_a_c_program_is_profiled_while_a_test_drives_it(tmp_path: Path) -> None:
    source = Path(__file__).parent / "programs/computing.c"
    subprocess.run(["gcc", "-O2", "-o", str(tmp_path / "computing"), str(source)], check=True)
    (tmp_path / "test_load.py").write_text(TEST)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--blcperf"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "window of 0.50 s in test_load" in done.stdout
    assert "multiply" in done.stdout
