"""Record launches of every (workload, variant), in turn, into a pool from which sessions are drawn.

    PYTHONPATH=tests python -m accuracy.pools.gather --pool DIR --minutes 120 [--seed 1] [--only difflib,*.same]

Each pass over the cells is in random order and has `--same` launches of every `same` cell for one of each other, so that
every stretch of time has them all. A second call goes on with the same pool. Options after `--` are the gate's
(`-- --blcperf-max-time=20s`); those of the first call are kept with the pool and stay. `--solo N`: every N-th launch of a
cell is followed by launches of base and head alone, as pytest-benchmark takes them, for the rivals.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from accuracy.pools import pool_file
from accuracy.pools.cell_pool import suspects_in
from accuracy.pools.launches import Bench, Suspects, open_bench
from accuracy.pools.noise import NOISES, noise
from accuracy.pools.repositories import Cell, prepare
from accuracy.pools.solo import rivals_python, solo
from accuracy.pools.workloads import WORKLOADS, variants

from pytest_blcperf.model.function import Function
from pytest_blcperf.model.run import CONFIRM, LOOK
from pytest_blcperf.sequential import PROFILED_LAUNCHES
from pytest_blcperf.settings import Settings

KINDS = {"look": LOOK, "focused": LOOK, "confirm": CONFIRM}
"""The kinds of launches a session makes, and their phases: first looks have a profile; later ones, *focused*, time the
suspects of the first; confirming ones do so too, and profile longer."""
SAME_CYCLE = ("focused", "focused", "look", "focused", "focused", "confirm")
OTHER_CYCLE = ("look", "focused", "focused", "confirm", "confirm", "confirm")
FIRST_LOOKS = PROFILED_LAUNCHES
"""Launches from which the suspects of a cell follow, as in a session."""


def main() -> None:
    """Prepare what is missing, then launch until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, required=True, help="folder outside the repository")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="*", help="patterns of WORKLOAD.VARIANT or WORKLOAD, with commas between")
    parser.add_argument("--same", type=int, default=4, help="launches of a `same` cell for one of each other")
    parser.add_argument("--solo", type=int, default=4, help="after every N-th launch, base and head alone; 0: never")
    parser.add_argument("--solo-seconds", type=float, default=1.0, help="pytest-benchmark's --benchmark-max-time")
    parser.add_argument("--noise", choices=NOISES, default="none", help="`half-way`: the second half of every minute")
    parser.add_argument("--prepare", action="store_true", help="only make and calibrate the repositories")
    parser.add_argument("gate", nargs="*", help="options of the gate, after --")
    arguments = parser.parse_args()
    os.environ.pop("PYTHONPATH", None)  # The measured processes would inherit it.
    cells = chosen_cells(arguments.only.split(","))
    arguments.pool.mkdir(parents=True, exist_ok=True)
    options = _options(arguments.pool, arguments.gate)
    for cell in list(cells):
        if not _prepared(cell, arguments.pool):
            cells.remove(cell)
    if not arguments.prepare:
        end = time.monotonic() + 60 * arguments.minutes
        # Noise that comes and goes has to do so within the stretch that a session is drawn from.
        with noise(arguments.noise, 30.0, again=True):
            Gatherer(arguments, options).gather(cells, end)


def chosen_cells(patterns: Sequence[str]) -> list[Cell]:
    """The cells that any of the patterns names."""
    every = [Cell(workload, variant) for workload in WORKLOADS for variant in variants(workload)]
    return [
        cell
        for cell in every
        if any(fnmatchcase(cell.name, one) or fnmatchcase(cell.workload.name, one) for one in patterns)
    ]


def passes(cells: Sequence[Cell], same: int, generator: random.Random) -> Iterator[Cell]:
    """Cells without end: passes in random order, each with `same` launches of every cell in which nothing changed."""
    while True:
        one = [cell for cell in cells for _ in range(same if cell.variant.name == "same" else 1)]
        yield from generator.sample(one, len(one))


def kind_of(index: int, same: bool) -> str:
    """The kind of a cell's launch of that number."""
    if index < FIRST_LOOKS:
        return "look"
    cycle = SAME_CYCLE if same else OTHER_CYCLE
    return cycle[(index - FIRST_LOOKS) % len(cycle)]


def suspects_of(name: str, pool: Path, settings: Settings) -> tuple[Suspects, bool]:
    """The functions that the product would time in this cell after its first launches, and whether it would still
    profile; found once, then kept with the pool.
    """
    file = pool / "suspects" / f"{name}.json"
    if not file.exists():
        launches = [one for one in pool_file.records(pool / (name + pool_file.SUFFIX)) if one.get("kind") == "look"]
        file.parent.mkdir(exist_ok=True)
        timed, profile = suspects_in(launches[:FIRST_LOOKS], settings)
        file.write_text(json.dumps({"timed": [[astuple(one) for one in both] for both in timed], "profile": profile}))
    kept = json.loads(file.read_text())
    return [(Function(*base), Function(*head)) for base, head in kept["timed"]], kept["profile"]


class Gatherer:
    """The cells in use, and what was gathered of each."""

    def __init__(self, arguments: argparse.Namespace, options: Sequence[str]) -> None:
        self._pool: Path = arguments.pool
        self._arguments = arguments
        self._options = options
        self._benches: dict[str, Bench] = {}
        self._known: dict[str, tuple[int, int | None]] = {}
        self._seconds: dict[str, list[float]] = {}

    def gather(self, cells: Sequence[Cell], end: float) -> None:
        """Launch until the clock says `end`; then say how long launches took."""
        done = {cell.name: self._state(cell)[0] for cell in cells}
        generator = random.Random(self._arguments.seed + sum(done.values()))
        try:
            for cell in passes(cells, self._arguments.same, generator):
                if time.monotonic() >= end:
                    break
                self._one(cell, generator)
        finally:
            for bench in self._benches.values():
                bench.close()
        for name, seconds in sorted(self._seconds.items()):
            print(f"{name}: {len(seconds)} launches, {statistics.median(seconds):.2f} s each")

    def _one(self, cell: Cell, generator: random.Random) -> None:
        """A launch, and now and then the sides alone; what goes wrong is told and left out."""
        file = self._pool / (cell.name + pool_file.SUFFIX)
        index, iterations = self._state(cell)
        try:
            if cell.name not in self._benches:
                self._benches[cell.name] = open_bench(self._pool / "repositories" / cell.name, self._options)
            bench = self._benches[cell.name]
            start = time.monotonic()
            kind = kind_of(index, cell.variant.name == "same")
            suspects, profile = ((), True) if kind == "look" else suspects_of(cell.name, self._pool, bench.settings)
            seed = generator.randrange(2**32)
            record = bench.launch(index, KINDS[kind], seed, iterations, suspects, profile=profile)
            pool_file.append(file, {"kind": kind, "timed": len(suspects), **record})
            self._known[cell.name] = index + 1, record["iterations"]
            self._seconds.setdefault(cell.name, []).append(time.monotonic() - start)
            if self._arguments.solo and index % self._arguments.solo == 0:
                self._solos(bench, file, index // self._arguments.solo % 2)
        except RuntimeError as error:
            print(f"{cell.name}: {error}", file=sys.stderr, flush=True)

    def _solos(self, bench: Bench, file: Path, turn: int) -> None:
        """Both sides alone. Which comes first alternates: a comparison of whole launches then has no order built in."""
        python = rivals_python(self._pool)
        for side in (turn, 1 - turn):
            alone = solo(python, bench.roots[side], ("base", "head")[side], self._arguments.solo_seconds)
            pool_file.append(file, alone)

    def _state(self, cell: Cell) -> tuple[int, int | None]:
        """How many launches there are, and the iterations a round of the first."""
        if cell.name not in self._known:
            file = self._pool / (cell.name + pool_file.SUFFIX)
            pool_file.mend(file)
            launches = [one for one in pool_file.records(file) if "sides" in one]
            iterations = launches[0]["iterations"] if launches else None
            self._known[cell.name] = len(launches), iterations
        return self._known[cell.name]


def _prepared(cell: Cell, pool: Path) -> bool:
    try:
        facts = prepare(cell, pool)
    except (RuntimeError, ValueError, KeyError) as error:
        print(f"{cell.name}: left out: {error!r}", file=sys.stderr, flush=True)
        return False
    print(f"{cell.name}: {facts['checked']:+.2%} ± {facts['error']:.2%}, planned {facts['planned']}", flush=True)
    return True


def _options(pool: Path, given: Sequence[str]) -> list[str]:
    """The gate's options: those of the pool's first call. Raises SystemExit when others are given."""
    file = pool / "options.json"
    if not file.exists():
        file.write_text(json.dumps(list(given)))
    kept: Any = json.loads(file.read_text())
    if given and list(given) != kept:
        raise SystemExit(f"this pool was gathered with {kept}: give those options, or another --pool")
    return list(kept)


if __name__ == "__main__":
    main()
