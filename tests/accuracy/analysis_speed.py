"""How long a report of a million samples takes, from the start of the command to its last line, beside `perf script`.

    python tests/accuracy/analysis_speed.py --samples 1000000 --fold 'perl stackcollapse-perf.pl'

PostgreSQL under pgbench is recorded once by `perf record -g` (frame pointers, so that the file stays small), at a high rate.
`blcperf report FILE`, `perf script -i FILE`, and with --fold the latter piped into a program that folds its stacks then run
in turn; what they print is read and thrown away. Times by the clock, and of CPU. Needs perf, and `sh scripts/servers.sh`.
"""

from __future__ import annotations

import argparse
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "live"))
import servers

from pytest_blcperf.target.process import with_descendants

RATE = 15_000


def main() -> None:
    """Record, time both in turn, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--fold", help="a command that folds what perf script prints, such as FlameGraph's")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "perf.data"
        record(file, options.samples)
        report = [sys.executable, "-m", "pytest_blcperf", "report", str(file), "--preset", "postgresql"]
        script = ["perf", "script", "-i", str(file)]
        commands = {"blcperf report": report, "perf script": script}
        if options.fold:
            commands[f"perf script, {options.fold.split()[0]}"] = ["sh", "-c", f"{shlex.join(script)} | {options.fold}"]
        timed(report)  # byte code is compiled once
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(options.runs):
            for name, command in commands.items():
                times[name].append(timed(command))
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        found = subprocess.run(report, capture_output=True, text=True, check=True).stdout.splitlines()[0]
        print(f"{found}; file {file.stat().st_size / 1e6:.0f} MB, load {os.getloadavg()[0]:.1f}")
        for name, runs in times.items():
            for what, which in (("clock", 0), ("CPU", 1)):
                seconds = sorted(one[which] for one in runs)
                ratio = median(one[which] / own[which] for one, own in zip(runs, times["blcperf report"], strict=True))
                shown = ", ".join(f"{one:.1f}" for one in seconds)
                print(f"| {name}, {what} | median {median(seconds):.1f} s | {shown} | {ratio:.1f} times ours |")
        print(f"the largest process had {memory:.0f} MiB")


def record(file: Path, samples: int) -> None:
    """Enough seconds of a loaded server for so many samples; perf appends nothing, so it is recorded in one go."""
    with servers.postgresql() as server, servers.running(server.transactions):
        seconds = 10
        while True:
            pids = ",".join(str(pid) for pid in with_descendants([server.pid]))
            command = ["perf", "record", "-q", "-g", "-F", str(RATE), "-p", pids, "-o", str(file)]
            command += ["--", "sleep", str(seconds)]
            subprocess.run(command, check=True, capture_output=True)
            got = count(file)
            if got >= samples:
                return
            seconds = min(600, int(seconds * samples / max(got, 1) * 1.1) + 1)


def count(file: Path) -> int:
    """Samples in the file."""
    shown = subprocess.run(["perf", "report", "-i", str(file), "--stats"], capture_output=True, text=True, check=True)
    # Of all events together first, then of each.
    return next(int(line.split()[2]) for line in shown.stdout.splitlines() if line.strip().startswith("SAMPLE events:"))


def timed(command: Sequence[str]) -> tuple[float, float]:
    """Seconds until everything it prints has been read, by the clock and of CPU."""
    start, before = time.monotonic(), os.times()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as running:
        assert running.stdout is not None
        while running.stdout.read(1 << 20):
            pass
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.monotonic() - start, cpu


if __name__ == "__main__":
    main()
