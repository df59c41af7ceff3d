"""How much slower code runs under callgrind: not counting, and counting, against the bare processor.

    PYTHONPATH=. python tests/benchmarks/callgrind_cost.py

CPU time of an iteration (median of a few) of the workloads of counting_cost.py, as multiples of that of the same
interpreter without valgrind; and the CPU seconds of starting Python and importing pytest under valgrind.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from counting_cost import c_calls, json_library, loop_without_calls, markdown, python_calls

from pytest_blcperf.capture.callgrind import FOLDER_VARIABLE, InstructionCounter, command
from pytest_blcperf.capture.functions import Roots

WORKLOADS = {
    "loop without calls": loop_without_calls,
    "20,000 calls of a tiny Python function": python_calls,
    "20,000 list.append": c_calls,
    "json.loads, C": json_library,
    "markdown-it, Python": markdown(),
}


def iteration_ns(call: object) -> float:
    taken = []
    for _ in range(5):
        start = time.process_time_ns()
        call()  # type: ignore[operator]
        taken.append(time.process_time_ns() - start)
    return statistics.median(taken)


def inside() -> None:
    """In the child: times of every workload, not counting and, under valgrind, counting."""
    counter = InstructionCounter(Roots(())) if FOLDER_VARIABLE in os.environ else None
    found = {}
    for name, call in WORKLOADS.items():
        for _ in range(3):
            call()
        plain = iteration_ns(call)
        if counter is not None:
            counter.start()
        counting = iteration_ns(call)
        if counter is not None:
            counter.stop()
        found[name] = plain, counting
    print(json.dumps(found))


def child(*prefix: str, **variables: str) -> dict[str, tuple[float, float]]:
    done = subprocess.run(
        [*prefix, sys.executable, __file__, "inside"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        bare = child()
        counted = child(*command(Path(folder)), **{FOLDER_VARIABLE: folder})
        start = os.times()
        subprocess.run([*command(Path(folder)), sys.executable, "-c", "import pytest"], check=True)
        end = os.times()
    print(sys.version.split()[0])
    for name, (plain, counting) in counted.items():
        native = bare[name][0]
        print(f"  {name:40} not counting {plain / native:5.1f} ×, counting {counting / native:6.1f} ×")
    seconds = end.children_user + end.children_system - start.children_user - start.children_system
    print(f"  starting Python and importing pytest: {seconds:.1f} s of CPU")


if __name__ == "__main__":
    inside() if sys.argv[1:] == ["inside"] else main()
