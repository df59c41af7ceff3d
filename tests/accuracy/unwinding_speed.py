"""Samples a second of unwinding and symbolising, against `perf script` on the same recording; and the peak of memory.

Run from the repository root; the results stand in docs/performance.md:

    PYTHONPATH=. python tests/accuracy/unwinding_speed.py --record mariadb --folder /tmp/speed
    PYTHONPATH=. python tests/accuracy/unwinding_speed.py --record python --folder /tmp/speed
    PYTHONPATH=. python tests/accuracy/unwinding_speed.py --file perf.data --samples 1000000

`--record mariadb` starts a server of its own under sysbench (scripts/mariadb.sh; needs root to install it), `--record
python` this interpreter on tests/live/programs/interpreted.py. Both readers then take the recording in turn, each in a
process of its own, one without cached tables first. Seconds are CPU time of the process and its children: other work on
the machine changes it less than the time that passes. `--samples` replays the file until there are so many, to see the
memory and the speed of a long recording, which would take 12 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FREQUENCY = 4000
STACK_BYTES = 12288


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", choices=("mariadb", "python"))
    parser.add_argument("--seconds", type=int, default=20, help="length of the recording")
    parser.add_argument("--file", type=Path, help="a recording there is: perf record --call-graph dwarf")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "blcperf-speed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=0, help="replay batches up to so many samples")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(ours(arguments.file, arguments.samples)))
        return
    arguments.folder.mkdir(parents=True, exist_ok=True)
    file = arguments.file or record(arguments.record or "python", arguments.folder, arguments.seconds)
    compare(file, arguments.rounds, arguments.samples)


def record(what: str, folder: Path, seconds: int) -> Path:
    """A new recording of user code, with the clock and stacks that `blcperf record` uses."""
    file = folder / f"{what}.data"
    options = f"-q -m 8M -F {FREQUENCY} -e cpu-clock:u --call-graph dwarf,{STACK_BYTES} -k CLOCK_MONOTONIC -o {file}"
    if what == "mariadb":
        command = f"perf record {options} -p $MARIADB_PID -- sleep {seconds}"
        subprocess.run([ROOT / "scripts" / "mariadb.sh", folder / "mariadb", "sh", "-c", command], check=True)
    else:
        program = ROOT / "tests" / "live" / "programs" / "interpreted.py"
        command = f"timeout {seconds} {sys.executable} {program} 1000000"
        subprocess.run(f"perf record {options} -- {command}", shell=True, check=False)
    return file


def compare(file: Path, rounds: int, samples: int) -> None:
    """Both in turn, so that what else the machine does meets both."""
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"XDG_CACHE_HOME": cache, "PYTHONPATH": str(ROOT)}
        cold = child(file, samples, environment)
        warm, theirs = [], []
        for _ in range(rounds):
            warm.append(child(file, samples, environment))
            theirs.append(perf_script(file) * cold["samples"] / cold["samples_in_file"])
    number = cold["samples"]
    print(
        f"{file.name}: {cold['samples_in_file']:,} samples, {number:,} with replay, {cold['frames'] / number:.1f} frames each"
    )
    print(f"ends: {cold['ends']}; {cold['stacks']:,} distinct stacks, {cold['distinct_frames']:,} distinct frames")
    print(f"all of it: {speed(number, warm, 'all')}, without cached tables {number / cold['all']:,.0f} samples/s")
    for part in ("start", "reading", "unwinding", "gathering", "naming", "building"):
        print(f"  {part}: {speed(number, warm, part)}, {statistics.median(one[part] for one in warm):.2f} s")
    print(f"perf script --no-inline: {number / statistics.median(theirs):,.0f} samples/s")
    ratios = sorted(one / mine["all"] for mine, one in zip(warm, theirs, strict=True))
    print(f"perf script takes {statistics.median(ratios):.1f} times as long ({ratios[0]:.1f} to {ratios[-1]:.1f})")
    print(f"memory at its highest: {max(one['peak_mb'] for one in warm)} MB")


def speed(number: int, runs: list[dict[str, float]], part: str) -> str:
    """The median of some runs."""
    return f"{number / max(1e-9, statistics.median(one[part] for one in runs)):,.0f} samples/s"


def child(file: Path, samples: int, environment: dict[str, str]) -> dict[str, Any]:
    """Our figures, from a process of its own."""
    command = [sys.executable, __file__, "--child", "--file", str(file), "--samples", str(samples)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def perf_script(file: Path) -> float:
    """Seconds that `perf script` takes to print symbols, without inlined functions: those take it many times as long."""
    begin = cpu_seconds(resource.RUSAGE_CHILDREN)
    command = ["perf", "script", "--no-inline", "-F", "tid,time,ip,sym,dso", "-i", str(file)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return cpu_seconds(resource.RUSAGE_CHILDREN) - begin


def cpu_seconds(*whose: int) -> float:
    """User and system time of this process or of its children that have ended."""
    used = [resource.getrusage(who) for who in whose or (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def ours(file: Path, samples: int) -> dict[str, Any]:
    """Read, unwind, symbolise, build the capture; seconds of each since this process began."""
    from pytest_blcperf.capture.perf_data import PerfData
    from pytest_blcperf.symbols.address_space import AddressSpaces, mapped_code
    from pytest_blcperf.symbols.capture_builder import CaptureBuilder
    from pytest_blcperf.symbols.objects import CodeObject, Objects
    from pytest_blcperf.symbols.resolve import Resolver
    from pytest_blcperf.symbols.table_cache import user_cache
    from pytest_blcperf.symbols.unwind import Unwinder
    from pytest_blcperf.symbols.unwind_machine import MACHINES
    from pytest_blcperf.symbols.unwind_sources import TableSource

    clock = Clock()
    ends: Counter[int] = Counter()
    number = in_file = frames = known = 0
    builder = CaptureBuilder()
    code_objects: list[CodeObject] = []
    unwinder: Unwinder | None = None
    with Objects() as objects:
        clock.lap("start")
        while not in_file or number < samples:
            with PerfData(file) as data:
                for batch in data.batches():
                    clock.lap("reading")
                    mappings, names, forks = data.so_far
                    if unwinder is None:
                        code = mapped_code((), objects)
                        source = TableSource(code_objects, MACHINES[batch.machine], user_cache())
                        unwinder = Unwinder(batch.machine, AddressSpaces(()), code, source.tables)
                    if len(mappings) > known:
                        known, code = len(mappings), mapped_code(mappings, objects)
                        code_objects[:] = code.objects
                        unwinder.frames.renew(AddressSpaces(mappings, names, forks), code)
                    chains = unwinder.unwind(batch)
                    clock.lap("unwinding")
                    builder.add(batch, chains)
                    ends.update(chains.end.tolist())
                    number, frames = number + len(batch), frames + len(chains.frame)
                    clock.lap("gathering")
                recording = data.finish()
            in_file = in_file or number
        assert unwinder is not None
        names_of_frames = Resolver().resolve(unwinder.frames, code, mappings)
        clock.lap("naming")
        capture = builder.build(recording, names_of_frames)
        clock.lap("building")
    return clock.laps | {
        "all": sum(clock.laps.values()),
        "samples": number,
        "samples_in_file": in_file,
        "frames": frames,
        "ends": {END_NAMES[end]: count for end, count in sorted(ends.items())},
        "stacks": len(capture.stack_offsets) - 1,
        "distinct_frames": len(unwinder.frames),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


END_NAMES = ("complete", "truncated", "no table", "broken", "too deep", "no user stack", "as recorded")


class Clock:
    """CPU time by what it was used for."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = 0.0

    def lap(self, name: str) -> None:
        """What was used since the last lap was for `name`."""
        now = cpu_seconds()
        self.laps[name] = self.laps.get(name, 0.0) + now - self._last
        self._last = now


if __name__ == "__main__":
    main()
