"""Whole sessions of five benchmarks, run for real as a user runs them, also with noise made on purpose.

    PYTHONPATH=tests python tests/accuracy/whole_sessions.py --pool DIR --sessions 60 [--noise neighbour] [--change third_6]

Each session is `pytest --blcperf --blcperf-baseline=main` in a repository with five workloads of `accuracy.pools`, drawn by
the seed; on its branch `change` each of them has an unused constant, and with `--change` the first one has that change
(calibrated, see `accuracy.pools.gather --prepare`). The verdict of each is kept whole under DIR/sessions, and a second call
goes on where the first one stopped; `--report` prints the table. Noise:

- `neighbour`: a busy process on each core all the time;
- `half-way`: from the middle of a session on (by the time that earlier ones of the kind took, 60 s before there is one)
  the cores belong to a competitor at the same priority for 70 ms in every 100: what a slower clock would look like;
- `memory`: a process that writes all over half of the free memory, at the memory's pace.

Options after `--` are the gate's.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

from accuracy.pools.cell_pool import CellPool
from accuracy.pools.gather import chosen_cells
from accuracy.pools.noise import NOISES, noise
from accuracy.pools.repositories import Cell, prepare
from accuracy.pools.tables import blames_bystander, is_named
from accuracy.pools.wilson import rate
from gitrepo import GitRepo


def main() -> None:
    """Run or resume, then report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--sessions", type=int, default=60)
    parser.add_argument("--benchmarks", type=int, default=5)
    parser.add_argument("--change", default="same", help="a variant; the workload that has it is drawn")
    parser.add_argument("--noise", choices=NOISES, default="none")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("gate", nargs="*")
    arguments = parser.parse_args()
    os.environ.pop("PYTHONPATH", None)
    label = f"{arguments.change}-{arguments.noise}-{arguments.seed}"
    folder = arguments.pool / "sessions" / label
    if not arguments.report:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(arguments.sessions):
            if not (folder / f"{number:04}.json").exists():
                run(arguments, folder, number)
    print(table(arguments.pool / "sessions"))


def run(arguments: argparse.Namespace, folder: Path, number: int) -> None:
    """One session; its verdict and what is known of it become a file."""
    generator = random.Random(f"{arguments.seed} {arguments.change} {number}")
    cells = drawn(arguments.change, arguments.benchmarks, generator)
    facts = prepare(cells[0], arguments.pool)
    repository = arguments.pool / "sessions" / "repository"
    build(repository, cells, arguments.pool)
    verdict = folder / "verdict.json"
    verdict.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--blcperf", "--blcperf-baseline=main"]
    command += [f"--blcperf-json={verdict.resolve()}", *arguments.gate]
    load, start = os.getloadavg()[0], time.monotonic()
    with noise(arguments.noise, usual_seconds(folder) / 2):
        done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1) or not verdict.exists():
        raise SystemExit(f"pytest exited with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    record = {
        "cells": [cell.name for cell in cells],
        "facts": facts,
        "gate": arguments.gate,
        "noise": arguments.noise,
        "load": [load, os.getloadavg()[0]],
        "seconds": round(time.monotonic() - start, 1),
        "exit": done.returncode,
        "verdict": json.loads(verdict.read_text()),
    }
    (folder / f"{number:04}.json").write_text(json.dumps(record) + "\n")
    verdict.unlink()
    outcomes = " ".join(one["outcome"] for one in record["verdict"]["benchmarks"])
    print(f"{number:3} {cells[0].name:22} exit {done.returncode}, {record['seconds']} s: {outcomes}", flush=True)


def drawn(change: str, count: int, generator: random.Random) -> list[Cell]:
    """The session's cells: one with the change first, then `same` ones of other workloads."""
    changed = generator.choice(chosen_cells([f"*.{change}"]))
    others = [cell for cell in chosen_cells(["*.same"]) if cell.workload.name != changed.workload.name]
    return [changed, *generator.sample(others, min(count - 1, len(others)))]


def build(repository: Path, cells: Sequence[Cell], pool: Path) -> None:
    """One repository that has every cell's base on `main` and its head on `change`."""
    shutil.rmtree(repository, ignore_errors=True)
    made = GitRepo(repository)
    for branch in ("main", "change"):
        if branch == "change":
            made.branch("change")
        for cell in cells:
            prepare(cell, pool)
            source = GitRepo(pool / "repositories" / cell.name).checkout(branch)
            package = repository / "src" / cell.workload.package
            shutil.rmtree(package, ignore_errors=True)
            shutil.copytree(
                source.path / "src" / cell.workload.package, package, ignore=shutil.ignore_patterns("__pycache__")
            )
            target = repository / "benchmarks" / f"test_{cell.workload.name}.py"
            target.parent.mkdir(exist_ok=True)
            text = (source.path / "benchmarks" / "test_it.py").read_text()
            target.write_text(text.replace("def test_it(", f"def test_{cell.workload.name}("))
            source.checkout("change")
        for name in ("pyproject.toml", ".gitignore"):
            shutil.copy(pool / "repositories" / cells[0].name / name, repository / name)
        made.commit(branch)


def usual_seconds(folder: Path) -> float:
    """What sessions of this kind took so far; 60 before there is one."""
    known = [json.loads(file.read_text())["seconds"] for file in folder.glob("[0-9]*.json")]
    return median(known) if known else 60.0


def table(folder: Path) -> str:
    """A row for each kind of session there is."""
    lines = [
        "| change, noise, seed | sessions | false failures | detected | right function first | bystander | benchmarks inconclusive | median s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind in sorted(path for path in folder.iterdir() if path.is_dir() and path.name != "repository"):
        records = [json.loads(file.read_text()) for file in sorted(kind.glob("[0-9]*.json"))]
        if records:
            lines.append(row(kind, records))
    return "\n".join(lines)


@cache
def callers(pool: Path, name: str, guilty: str) -> frozenset[str]:
    """The functions that call the guilty one, directly or not, as far as launches of that cell were gathered."""
    function = guilty.partition("::")[2]
    return CellPool.read(pool, name).sides[1].callers(function) if function else frozenset()


def row(folder: Path, records: Sequence[dict[str, Any]]) -> str:
    """One line of the table."""
    false = detected = named = bystander = slower = inconclusive = benchmarks = 0
    for one in records:
        workload = one["cells"][0].partition(".")[0]
        known = {"callers": callers(folder.parent.parent, one["cells"][0], one["facts"]["guilty"]), **one["facts"]}
        for verdict in one["verdict"]["benchmarks"]:
            benchmarks += 1
            inconclusive += verdict["outcome"] == "inconclusive"
        mine = next(each for each in one["verdict"]["benchmarks"] if f"test_{workload}.py" in each["id"])
        failing = [each for each in one["verdict"]["benchmarks"] if each["outcome"] == "regressed"]
        if known["expected"] != "slower":
            false += bool(failing)
            continue
        slower += 1
        false += any(each is not mine for each in failing)
        if any(each is mine for each in failing):
            guilty = [(each["file"], each["name"]) for each in mine["functions"] if each["guilty"]]
            detected += 1
            named += is_named(guilty, known)
            bystander += blames_bystander(guilty, known)
    seconds = median(one["seconds"] for one in records)
    cells = (
        folder.name,
        f"{len(records)}",
        rate(false, len(records)),
        rate(detected, slower),
        rate(named, detected),
        rate(bystander, detected),
        f"{inconclusive / benchmarks:.1%}",
        f"{seconds:.0f}",
    )
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
