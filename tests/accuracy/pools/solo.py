"""Launches as pytest-benchmark and asv take them: one side alone in its process, by the clock on the wall, no pinning."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RELEASE = "5.3.1"
"""Of pytest-benchmark."""
CHUNK_SECONDS = 0.01
"""asv's samples: as many calls as fill its sample_time."""


def rivals_python(pool: Path) -> str:
    """An interpreter that has pytest-benchmark, in an environment of the pool's own, made when it is not there."""
    folder = pool / "rivals"
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "pytest", f"pytest-benchmark=={RELEASE}"]
        subprocess.run(command, check=True)
    return str(python)


def solo(python: str, root: Path, side: str, seconds: float) -> dict[str, Any]:
    """pytest-benchmark's own run in a tree, with its own settings but for the time it may take.

    Kept are its statistics, which its comparisons use, and its rounds joined to samples of at least 10 ms each, which
    is how asv samples. Seconds per call.
    """
    start, load = time.monotonic(), os.getloadavg()[0]
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "benchmarks"]
        command += [f"--benchmark-json={file.name}", "--benchmark-save-data", f"--benchmark-max-time={seconds}"]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"pytest-benchmark failed in {root.name}:\n{done.stdout}{done.stderr}")
        (benchmark,) = json.loads(Path(file.name).read_text())["benchmarks"]
    stats = benchmark["stats"]
    return {
        "solo": side,
        "at": round(time.time(), 1),
        "load": round(load, 2),
        "seconds": round(time.monotonic() - start, 3),
        "stats": {name: stats[name] for name in ("mean", "min", "median", "stddev", "rounds")},
        "samples": chunks(stats["data"], CHUNK_SECONDS),
    }


def chunks(rounds: list[float], seconds: float) -> list[float]:
    """Means of as many rounds as fill so many seconds; what is left at the end is left out unless there is nothing else."""
    found: list[float] = []
    some: list[float] = []
    for one in rounds:
        some.append(one)
        if sum(some) >= seconds:
            found.append(sum(some) / len(some))
            some = []
    return found or [sum(some) / len(some)]
