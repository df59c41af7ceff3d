"""Sessions drawn from a pool, judged by the product's own procedure: how often it is wrong, and what it finds.

    PYTHONPATH=tests python -m accuracy.pools.draw --pool DIR --sessions 10000 --out FILE [--budget 20s] [-- OPTIONS]

A session has `--benchmarks` benchmarks of different workloads, all from the same stretch of time: one with the change in
question, the others with `same` (for `same` itself, all). A launch is used once a session at most. `--only` names the
cells whose changes are tried; each gets `--sessions` sessions (`same` cells all together). Options after `--` are the
gate's (`-- --blcperf-threshold=2%`). With `--slower` the changed ones are the `same` cells, with all of the head so much
slower by arithmetic: the noise is real, the change is not. The launches themselves are as they were gathered: a shorter budget takes fewer of
them. Writes FILE.json (counts) and prints a Markdown table; `--raw FILE` keeps a line of JSON a session.
"""

from __future__ import annotations

import argparse
import gzip
import inspect
import json
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from accuracy.pools import pool_file
from accuracy.pools.cell_pool import CellPool, Used
from accuracy.pools.gather import chosen_cells
from accuracy.pools.pooled import Exhausted, PooledMeasurement, Stretch
from accuracy.pools.repositories import Cell, prepare
from accuracy.pools.tables import markdown, summary

from pytest_blcperf import gate, sequential
from pytest_blcperf.model.verdict import BenchmarkVerdict
from pytest_blcperf.options import OPTIONS
from pytest_blcperf.settings import Settings, resolve

BATCH = 25
STRETCH = 2.0
"""A stretch has so many times the launches that a session may need, of which it takes some at random."""
_CELLS: dict[str, CellPool] = {}
"""Read once, before the processes that draw are forked."""


def main() -> None:
    """Draw, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--benchmarks", type=int, default=5)
    parser.add_argument("--only", default="*.same")
    parser.add_argument(
        "--slower", type=float, default=0.0, help="make all of the first head, a `same` one, slower by so much"
    )
    parser.add_argument("--budget", default=None, help="seconds a benchmark, such as 20s; default: the gate's")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--raw", type=Path, default=None)
    parser.add_argument("gate", nargs="*", help="options of the gate, after --")
    arguments = parser.parse_args()
    settings = gate_settings(arguments.gate, arguments.budget)
    names = _load(arguments.pool, arguments.only)
    start = time.monotonic()
    results: list[dict[str, Any]] = []
    with ProcessPoolExecutor(arguments.workers) as pool:
        play = partial(_batch, settings=settings, benchmarks=arguments.benchmarks, slower=arguments.slower)
        work = _work(names, arguments.sessions, arguments.seed, arguments.slower)
        for batch in pool.map(play, *zip(*work, strict=True)):
            results += batch
    if arguments.raw is not None:
        with gzip.open(arguments.raw, "wt") as file:
            file.writelines(json.dumps(one) + "\n" for one in results)
    document = {
        "pool": json.loads((arguments.pool / "options.json").read_text()),
        "launches": {name: sum(map(len, cell.launches.values())) for name, cell in sorted(_CELLS.items())},
        "options": [*arguments.gate, f"budget {settings.max_time:g} s"],
        "seed": arguments.seed,
        "seconds": round(time.monotonic() - start, 1),
        "slower": arguments.slower,
        "cells": summary(results, _facts(arguments.pool, names, arguments.slower)),
    }
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(document, indent=1) + "\n")
    print(markdown(document))


def gate_settings(options: Sequence[str], budget: str | None) -> Settings:
    """The gate's settings with options as a user gives them, `--blcperf-NAME=VALUE`. Raises UsageError."""
    flags = dict(one.split("=", 1) for one in [*options, *([f"--blcperf-max-time={budget}"] if budget else [])])
    by_flag = {option.flag: option.name for option in OPTIONS}
    return resolve({by_flag[flag]: value for flag, value in flags.items()}, {}, {}, {})


def session(
    changed: str | None,
    cells: Mapping[str, CellPool],
    count: int,
    settings: Settings,
    generator: random.Random,
    *,
    slower: float = 0.0,
) -> dict[str, Any]:
    """One session's outcome. `changed` is the cell under test, None where nothing changed anywhere; all of its head takes
    `slower` more time than was measured.

    Raises Exhausted when a pool is too small.
    """
    names = draw_cells(changed, list(cells), count, generator)
    start = generator.random()
    length = lengths(settings)
    stretches = {
        f"benchmarks/test_{number}.py::test_{name}": Stretch(cells[name], start, length, generator)
        for number, name in enumerate(names)
    }
    source = PooledMeasurement(stretches, settings.max_time, slower={next(iter(stretches)): slower} if slower else {})
    trials = run_trials(source, dict.fromkeys(stretches, settings), settings)
    verdicts = {one.id: one for one in gate.judge(trials, settings.alpha)}
    found = [_told(verdicts[id_], source, id_, name) for id_, name in zip(stretches, names, strict=True)]
    return {"changed": changed, "benchmarks": found, "seconds": round(source.seconds, 1)}


def run_trials(source: PooledMeasurement, by_id: Mapping[str, Settings], settings: Settings) -> list[gate.Trial]:
    """The product's procedure."""
    given = {"launches": settings.launches, "alpha": settings.alpha, "tell": _quiet}
    wanted = inspect.signature(sequential.trials).parameters
    return sequential.trials(source, by_id, **{name: value for name, value in given.items() if name in wanted})


def draw_cells(changed: str | None, names: Sequence[str], count: int, generator: random.Random) -> list[str]:
    """The cells of a session: the changed one first, and `same` ones of other workloads; of no workload two."""
    others = [name for name in names if name.endswith(".same")]
    if changed is None:
        return generator.sample(others, min(count, len(others)))
    workload = changed.partition(".")[0]
    others = [name for name in others if name.partition(".")[0] != workload]
    return [changed, *generator.sample(others, min(count - 1, len(others)))]


def lengths(settings: Settings) -> dict[str, int]:
    """By kind, how many launches of a cell a stretch has."""
    looks = settings.launches
    needed = {"look": looks, "focused": looks, "confirm": sequential_confirmations(settings)}
    return {kind: round(STRETCH * number) for kind, number in needed.items()}


def sequential_confirmations(settings: Settings) -> int:
    """How many launches confirm, at most."""
    if hasattr(sequential, "CONFIRM_LAUNCHES"):
        return int(sequential.CONFIRM_LAUNCHES) * settings.launches
    return int(max(sequential.confirm_looks(settings.launches)))


def _told(verdict: BenchmarkVerdict, source: PooledMeasurement, id_: str, name: str) -> dict[str, Any]:
    change = verdict.comparison.ratio.change if verdict.comparison is not None else None
    return {
        "cell": name,
        "outcome": verdict.outcome.value,
        "evidence": verdict.evidence.value,
        "fails": verdict.fails,
        "guilty": [[one.comparison.function.file, one.comparison.function.name] for one in verdict.guilty],
        "change": change,
        "spent": round(source.spent[id_], 2),
        "launches": source.launches(id_),
        "short": id_ in source.short,
    }


def _work(names: Sequence[str], sessions: int, seed: int, slower: float = 0.0) -> Iterator[tuple[str | None, int, int]]:
    """What to draw: the changed cell, how many sessions, the seed of the batch."""
    changed = [name for name in names if slower or not name.endswith(".same")]
    if len(changed) < len(names):
        changed.insert(0, "")
    for name in changed:
        for first in range(0, sessions, BATCH):
            yield name or None, min(BATCH, sessions - first), random.Random(f"{seed} {name} {first}").randrange(2**32)


def _batch(
    changed: str | None, count: int, seed: int, *, settings: Settings, benchmarks: int, slower: float
) -> list[dict[str, Any]]:
    generator = random.Random(seed)
    found = []
    for _ in range(count):
        try:
            found.append(session(changed, _CELLS, benchmarks, settings, generator, slower=slower))
        except Exhausted as error:
            found.append({"changed": changed, "exhausted": str(error)})
    return found


def _load(pool: Path, only: str) -> list[str]:
    """Read the pools: of the cells asked for, and of all in which nothing changed. Gives the names asked for."""
    asked = [cell.name for cell in chosen_cells(only.split(",")) if _gathered(cell, pool)]
    same = [cell.name for cell in chosen_cells(["*.same"]) if _gathered(cell, pool)]
    for name in dict.fromkeys([*asked, *same]):
        _CELLS[name] = CellPool.read(pool, name)
    return asked


def _gathered(cell: Cell, pool: Path) -> bool:
    return (pool / (cell.name + pool_file.SUFFIX)).exists()


def _facts(pool: Path, names: Sequence[str], slower: float = 0.0) -> dict[str, dict[str, Any]]:
    """What is known of each change, with the effect as all launches of the pool show it."""
    found = {}
    for known in chosen_cells(names):
        name = known.name
        facts = prepare(known, pool)
        guilty = facts["guilty"].partition("::")[2]
        cell = _CELLS[name]
        facts["achieved"], facts["achieved_error"] = achieved(cell)
        if slower:
            facts["expected"] = "slower"
        facts["callers"] = sorted(cell.sides[1].callers(guilty)) if guilty else []
        found[name] = facts
    return found


def achieved(cell: CellPool) -> tuple[float, float]:
    """The change of the whole benchmark over all launches of the pool, and its standard error over launches."""
    from pytest_blcperf.compare.estimate import paired_times

    used = [Used(one, "look") for launches in cell.launches.values() for one in launches]
    bare = [replace(cell.benchmark(side, cell.name, used), profile=None) for side in (0, 1)]
    ratio = paired_times(bare[0], bare[1], None).ratio
    return ratio.change, ratio.standard_error


def _quiet(line: str) -> None:
    """Nobody watches."""


if __name__ == "__main__":
    main()
