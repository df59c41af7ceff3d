"""Do the hot functions agree with those of `perf report`? Rank correlation of the top 20 by self time.

    python tests/accuracy/agreement_with_perf.py --seconds 20

PostgreSQL under pgbench is recorded by both at the same time, each with its own events. Spearman's correlation is over the
functions that are among the 20 hottest of either; a function that the other has not seen comes last there. Needs perf, and
`sh scripts/servers.sh`.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "live"))
import servers

from pytest_blcperf.detect import rules
from pytest_blcperf.detect.analysis import hot_functions
from pytest_blcperf.detect.view import View
from pytest_blcperf.store import capture_file
from pytest_blcperf.target.process import with_descendants

TOP = 20


def main() -> None:
    """Record with both, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=20)
    seconds = str(parser.parse_args().seconds)
    with tempfile.TemporaryDirectory() as name, servers.postgresql() as server, servers.running(server.transactions):
        folder = Path(name)
        pids = ",".join(str(pid) for pid in with_descendants([server.pid]))
        perf = ["perf", "record", "-q", "-F", "997", "-p", pids, "-o", f"{name}/perf.data", "--", "sleep", seconds]
        own = [sys.executable, "-m", "pytest_blcperf", "record", "--quiet", "--pid", str(server.pid), "--children"]
        own += ["--duration", f"{seconds}s", "--output", f"{name}/own.blcperf"]
        running = [subprocess.Popen(one, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for one in (perf, own)]
        for one in running:
            one.wait()
        theirs = of_perf(folder / "perf.data")
        (capture,) = capture_file.read(folder / "own.blcperf")
    ours = {
        (one.function.file, one.function.name): one.own or 0.0 for one in hot_functions(View(capture), rules.load())
    }
    names = [*top(ours), *(name for name in top(theirs) if name not in top(ours))]
    print(f"{len(capture):,} samples of ours; {len(names)} functions are among the {TOP} hottest of either")
    for name in names:
        print(f"  {ours.get(name, 0):6.2%}  {theirs.get(name, 0):6.2%}  {name[1]} ({name[0]})")
    print(f"rank correlation {spearman([ours.get(n, 0) for n in names], [theirs.get(n, 0) for n in names]):.3f}")


def top(shares: Mapping[tuple[str, str], float]) -> list[tuple[str, str]]:
    """The hottest functions."""
    return sorted(shares, key=lambda name: -shares[name])[:TOP]


def of_perf(file: Path) -> dict[tuple[str, str], float]:
    """Self time by (object, symbol), named as we name them: without versions, the kernel as `[kernel]`."""
    command = [
        "perf",
        "report",
        "-i",
        str(file),
        "--stdio",
        "--no-children",
        "--sort",
        "dso,symbol",
        "--percent-limit",
        "0",
    ]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[tuple[str, str], float] = {}
    for line in text.splitlines():
        match = re.match(r"\s*([0-9.]+)%\s+(\S+)\s+\[[.k]\] (\S+)", line)
        if match:
            file_name = "[kernel]" if match[2].startswith("[kernel") else match[2]
            key = file_name, match[3].partition("@@")[0]
            found[key] = found.get(key, 0.0) + float(match[1]) / 100
    return found


def spearman(one: list[float], other: list[float]) -> float:
    """Spearman's rank correlation, ties with their mean rank."""
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _ranks(values: list[float]) -> list[float]:
    order = sorted(values)
    return [order.index(value) + (order.count(value) - 1) / 2 for value in values]


if __name__ == "__main__":
    main()
