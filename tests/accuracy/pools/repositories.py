"""A git repository for each (workload, variant): the branch `main` is the base, `change` the head."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from accuracy.pools.calibrate import effect
from accuracy.pools.edits import Dose, Plant
from accuracy.pools.sources import package_files
from accuracy.pools.workloads import Variant, Workload
from gitrepo import GitRepo

PRICE_LAUNCHES = 4
CHECK_LAUNCHES = 12
STATEMENTS = 200
"""No function gets more planted statements than that."""
TURNS, MOST_TURNS = 500, 5_000_000
LARGE = 0.3
"""Prices come from doses that make the benchmark this much dearer: their error is small then."""
_PROJECT = """\
[tool.pytest.ini_options]
pythonpath = ["src"]
"""


@dataclass(frozen=True)
class Cell:
    """One workload with one change."""

    workload: Workload
    variant: Variant

    @property
    def name(self) -> str:
        """`WORKLOAD.VARIANT`."""
        return f"{self.workload.name}.{self.variant.name}"


def prepare(cell: Cell, pool: Path) -> dict[str, Any]:
    """Make the cell's repository with the change calibrated, unless it is there; gives what is known of it.

    That is `doses` by place, `planned` (the part of the total that the dose is worth by its price), and `checked` with
    its `error`: the change of the whole benchmark as measured with the finished trees.
    """
    folder = pool / "repositories" / cell.name
    known = folder.with_suffix(folder.suffix + ".json")
    if known.exists():
        return dict(json.loads(known.read_text()))
    shutil.rmtree(folder, ignore_errors=True)
    original = package_files(cell.workload)
    base, head = dict(original), dict(original)
    doses: dict[str, dict[str, int]] = {}
    planned: dict[str, float] = {}
    for plant in cell.variant.plants:
        dose, worth = dosage(cell.workload, plant, original, pool)
        doses[plant.place], planned[plant.place] = asdict(dose), -worth if plant.base else worth
        if plant.base:
            base = plant.dosed(base, dose)
        else:
            head = plant.dosed(head, dose)
    for edit in cell.variant.edits:
        head = edit.apply(head)
    repository = GitRepo(folder)
    _write(repository.path, cell.workload, base)
    repository.commit("base").branch("change")
    _write(repository.path, cell.workload, head)
    repository.commit(cell.variant.name)
    facts = {"doses": doses, "planned": planned, "expected": cell.variant.expected, "guilty": cell.variant.guilty}
    facts["checked"], facts["error"] = _between(cell.workload, base, head, pool, CHECK_LAUNCHES)
    known.write_text(json.dumps(facts))
    return facts


def dosage(workload: Workload, plant: Plant, original: Mapping[str, str], pool: Path) -> tuple[Dose, float]:
    """The dose that is worth the plant's effect, and what it is worth by its price."""
    prices = pool / "prices.json"
    known = json.loads(prices.read_text()) if prices.exists() else {}
    key = f"{workload.name} {plant.place}"
    if key not in known:
        known[key] = _prices(workload, plant, original, pool)
        prices.parent.mkdir(parents=True, exist_ok=True)
        prices.write_text(json.dumps(known, indent=1))
    return dose_for(plant.effect, *known[key])


def dose_for(effect: float, statement: float, turn: float) -> tuple[Dose, float]:
    """Statements where they are worth enough, otherwise turns of a loop; and what that dose is worth.

    `statement` is what one is worth, 0 where so many as there may be are not worth measuring.
    """
    if statement > 0 and effect / statement <= STATEMENTS:
        statements = max(1, round(effect / statement))
        return Dose(statements=statements), statements * statement
    turns = max(1, round(effect / turn))
    return Dose(turns=turns), turns * turn


def _prices(workload: Workload, plant: Plant, original: Mapping[str, str], pool: Path) -> tuple[float, float]:
    """What a statement and a turn of a loop are worth in that function, from so many that they are worth a lot."""
    statement = 0.0
    if not plant.place.partition("::")[0].endswith(".c"):
        worth = _worth(workload, plant, original, Dose(statements=STATEMENTS), pool)
        statement = worth / STATEMENTS if worth > LARGE / 5 else 0.0
    turns = TURNS
    for _ in range(6):
        worth = _worth(workload, plant, original, Dose(turns=turns), pool)
        if LARGE / 2 < worth < LARGE * 3:
            break
        turns = max(1, min(MOST_TURNS, round(turns * min(20.0, LARGE / max(worth, LARGE / 1000)))))
    if worth < LARGE / 20:
        raise ValueError(f"{plant.place}: {turns} turns of a loop there are worth {worth:.2%}: is it called at all?")
    return statement, worth / turns


def _worth(workload: Workload, plant: Plant, original: Mapping[str, str], dose: Dose, pool: Path) -> float:
    return _between(workload, original, plant.dosed(original, dose), pool, PRICE_LAUNCHES)[0]


def _between(
    workload: Workload, base: Mapping[str, str], head: Mapping[str, str], pool: Path, launches: int
) -> tuple[float, float]:
    trees = [pool / "trees" / name for name in ("base", "head")]
    for tree, files in zip(trees, (base, head), strict=True):
        shutil.rmtree(tree, ignore_errors=True)
        _write(tree, workload, files)
    return effect(trees[0], trees[1], launches, sorted(os.sched_getaffinity(0)))


def _write(tree: Path, workload: Workload, files: Mapping[str, str]) -> None:
    """The tree as it is to be committed: the package, its benchmark, the compiled library."""
    package = tree / "src" / workload.package
    shutil.rmtree(package, ignore_errors=True)
    for name, text in files.items():
        target = package / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    for source in package.glob("*.c"):
        library = source.with_suffix(".so")
        subprocess.run(["gcc", "-O2", "-g", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    (tree / "benchmarks").mkdir(exist_ok=True)
    (tree / "benchmarks" / "test_it.py").write_text(workload.benchmark)
    (tree / "pyproject.toml").write_text(_PROJECT)
    (tree / ".gitignore").write_text("__pycache__/\n.blcperf/\n")
