"""Launches under callgrind: what is asked of their workers, and the stacks that come of callgrind's output."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_blcperf.bench.launch import run_launch
from pytest_blcperf.bench.lockstep import Plan, Requester, SideData
from pytest_blcperf.bench.worker_process import Side
from pytest_blcperf.capture.callgrind import FOLDER_VARIABLE, command
from pytest_blcperf.capture.callgrind_output import CallgrindError, InstructionCounts, read_dump, read_perf_map
from pytest_blcperf.capture.callgrind_stacks import PythonFunctions, fold, without
from pytest_blcperf.errors import PermissionDenied
from pytest_blcperf.model.function import Function
from pytest_blcperf.target import distribution

REPEAT = 6
"""Counted this often in a launch, each time with another heap; what differs is what the program does differently."""

WARM_UP_ITERATIONS = 20
"""Enough for CPython to specialise the bytecode, which it does after a few runs."""
WARM_UP_SECONDS = 5.0
DUMP_NS = 1e9
"""Aimed-at length of what is counted at a time."""
MAX_ITERATIONS = 5
SLOWDOWN = 12.0
"""Counting against running under valgrind without counting, at most; measured in docs/performance.md."""

_MAP = re.compile(r"/tmp/perf-[0-9]{1,10}\.map")
_MAX_OUTPUT = 1 << 30


@dataclass(frozen=True)
class Counted:
    """One repetition on one side: its instructions, all iterations together, and where they were executed."""

    iterations: int
    instructions: int
    stacks: Mapping[tuple[Function, ...], int]


def valgrind_version() -> str:
    """What runs, such as `valgrind-3.19.0`. Raises PermissionDenied when valgrind does not run."""
    try:
        done = subprocess.run(
            ["valgrind", "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise PermissionDenied(
            "instructions (--blcperf-metric=instructions, --blcperf-backend=callgrind) are counted by valgrind, "
            f"which does not run: {error}",
            f"{distribution.current().install('valgrind')}; or gate times, --blcperf-metric=cpu",
        ) from None
    return done.stdout.strip()[:60]


def launch_under_callgrind(
    side: Side,
    plans: Mapping[str, Plan | None],
    *,
    seed: int,
    scratch: Path,
    timeout: float,
    clock: Callable[[], float],
) -> dict[str, list[Counted] | str]:
    """Take one worker, run by callgrind, through the benchmarks of `plans`: by node id what was counted, or why not."""
    folder = Path(tempfile.mkdtemp(prefix="callgrind-", dir=scratch))
    wrapped = replace(side, prefix=command(folder), variables={**side.variables, FOLDER_VARIABLE: str(folder)})
    launch = run_launch(
        [wrapped], plans, seed=seed, scratch=scratch, timeout=timeout, clock=clock, conduct=count_instructions
    )
    found: dict[str, list[Counted] | str] = {}
    answers = {nodeid: data[0].instructions for nodeid, data in launch.measured.items()}
    for nodeid in plans:
        answer, failure = answers.get(nodeid), launch.sides[0].failures.get(nodeid)
        if answer is None:
            said = failure.text.splitlines() if failure else []
            found[nodeid] = said[0] if said else "one iteration takes too long" if nodeid in answers else "no answer"
            continue
        try:
            found[nodeid] = collect(answer, folder)
        except (CallgrindError, OSError) as error:
            found[nodeid] = f"callgrind's output cannot be read: {error}"
    _discard([answer for answer in answers.values() if answer is not None], folder)
    return found


def count_instructions(
    sides: Sequence[Requester], plan: Plan, _seed: int, clock: Callable[[], float]
) -> tuple[list[SideData], int]:
    """Count one benchmark's instructions on every side; gives no times, and how many iterations were counted at once.

    Too slow a benchmark is not counted: its data is empty.
    """
    slowest = max(_warm_up(side, clock) for side in sides)
    iterations = max(1, min(int(DUMP_NS / (SLOWDOWN * max(slowest, 1))), MAX_ITERATIONS))
    data = [SideData() for _ in sides]
    if slowest * SLOWDOWN * (REPEAT + 2) > plan.seconds * 1e9:
        return data, iterations
    for side, given in zip(sides, data, strict=True):
        side.request("freeze")
        given.instructions = side.request("instructions", iterations=iterations, repeat=REPEAT)
    return data, iterations


def _warm_up(side: Requester, clock: Callable[[], float]) -> float:
    """Iterations until the code is warm; gives the wall time of the last, ns."""
    end = clock() + WARM_UP_SECONDS
    wall = 0.0
    for number in range(WARM_UP_ITERATIONS):
        wall = side.request("round", iterations=1)["wall"]
        if number and clock() >= end:
            break
    return wall


def collect(answer: Mapping[str, Any], folder: Path) -> list[Counted]:
    """The repetitions that a worker's answer points at, read from `folder`. Raises CallgrindError, OSError."""
    python = _python_functions(answer)
    around, *dumps = [(fold(_read(folder, dump["name"]), python), int(dump["windows"])) for dump in answer["dumps"]]
    if not python.there:
        # Of what surrounds the iterations nothing tells but a dump without any.
        dumps = [(without(stacks, around[0], windows), windows) for stacks, windows in dumps]
    return [Counted(int(answer["iterations"]), sum(stacks.values()), stacks) for stacks, _ in dumps]


def _read(folder: Path, name: str) -> InstructionCounts:
    path = folder / Path(name).name
    if path.stat().st_size > _MAX_OUTPUT:
        raise CallgrindError(f"{path.name} has {path.stat().st_size} bytes, more than {_MAX_OUTPUT}")
    with path.open(encoding="utf-8", errors="replace") as lines:
        return read_dump(lines)


def _python_functions(answer: Mapping[str, Any]) -> PythonFunctions:
    known = {
        (str(name), str(file)): Function(str(entry[0]), str(entry[1]), int(entry[2]), str(entry[3]))
        for name, file, *entry in answer["functions"]
    }
    by_address: dict[int, tuple[str, str]] = {}
    if _MAP.fullmatch(str(answer["map"])):
        with Path(answer["map"]).open(encoding="utf-8", errors="replace") as lines:
            # Anybody can put a file of that name into /tmp.
            status = os.fstat(lines.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_size <= _MAX_OUTPUT:
                by_address = read_perf_map(lines)
    return PythonFunctions(by_address, known, (str(answer["root"][0]), str(answer["root"][1])))


def _discard(answers: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Remove the output and the perf maps."""
    for answer in answers:
        if _MAP.fullmatch(str(answer["map"])):
            with contextlib.suppress(OSError):
                Path(answer["map"]).unlink()
    shutil.rmtree(folder, ignore_errors=True)
