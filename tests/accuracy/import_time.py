"""What the installed plugin adds to every pytest start-up: import time of `pytest_blcperf.plugin` with pytest loaded.

python tests/accuracy/import_time.py
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys

LINE = re.compile(r"import time:\s+\d+ \|\s+(\d+) \|\s+pytest_blcperf\.plugin$", re.MULTILINE)


def once() -> float:
    """Milliseconds, own modules included, of one fresh interpreter."""
    command = [sys.executable, "-X", "importtime", "-c", "import pytest, pytest_blcperf.plugin"]
    # With bytecode cached, as it is for an installed package.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return int(LINE.findall(done.stderr)[-1]) / 1000


if __name__ == "__main__":
    once()
    times = [once() for _ in range(30)]
    print(f"Python {sys.version.split()[0]}: median {statistics.median(times):.2f} ms, max {max(times):.2f} ms of 30")
