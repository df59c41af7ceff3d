"""How long naming the frames of a recording takes, beside reading and unwinding it.

    perf record -F 2000 -e cpu-clock --call-graph dwarf -o perf.data COMMAND
    python tests/accuracy/naming_speed.py perf.data

Prints samples, frames, peak memory, and processor seconds (children included) for reading, unwinding, naming and
building the capture.
"""

from __future__ import annotations

import argparse
import resource
from pathlib import Path

from pytest_blcperf.capture.perf_data import PerfData
from pytest_blcperf.model.capture import Capture
from pytest_blcperf.symbols.address_space import address_spaces, mapped_code
from pytest_blcperf.symbols.capture_builder import CaptureBuilder
from pytest_blcperf.symbols.objects import Objects
from pytest_blcperf.symbols.resolve import Resolver
from pytest_blcperf.symbols.unwind import Unwinder
from pytest_blcperf.symbols.unwind_machine import MACHINES
from pytest_blcperf.symbols.unwind_sources import TableSource


def _processor_s() -> float:
    """Processor time of this process and its children: on a shared machine, the clock on the wall measures others."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def named(data: Path) -> tuple[Capture, dict[str, float]]:
    """The capture, and the seconds each stage took."""
    seconds = dict.fromkeys(("read", "unwind", "name", "build"), 0.0)
    last = _processor_s()

    def lap(stage: str) -> None:
        nonlocal last
        now = _processor_s()
        seconds[stage] += now - last
        last = now

    with PerfData(data) as file:
        batches = list(file.batches())
        recording = file.finish()
    lap("read")
    with Objects() as objects:
        code = mapped_code(recording.mappings, objects)
        tables = TableSource(code.objects, MACHINES[recording.machine])
        unwinder = Unwinder(recording.machine, address_spaces(recording), code, tables.tables)
        builder = CaptureBuilder()
        for batch in batches:
            chains = unwinder.unwind(batch)
            lap("unwind")
            builder.add(batch, chains)
            lap("build")
        names = Resolver().resolve(unwinder.frames, code, recording.mappings)
        lap("name")
        capture = builder.build(recording, names)
        lap("build")
    return capture, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    arguments = parser.parse_args()
    capture, seconds = named(arguments.data)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    health = capture.health
    print(
        f"{len(capture)} samples, {health.frames} frames ({health.unknown_frames} unknown), {health.truncated} truncated, "
        f"{len(capture.functions)} functions, {len(capture.stack_offsets) - 1} stacks, peak memory {peak} MiB"
    )
    print(", ".join(f"{stage} {taken:.2f} s" for stage, taken in seconds.items()))


if __name__ == "__main__":
    main()
