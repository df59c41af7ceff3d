"""A git repository for each (workload, variant): the branch `main` is the base, `change` the head."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import timeit
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from accuracy.pools.calibrate import effect
from accuracy.pools.edits import Dose, Files, Plant
from accuracy.pools.sources import package_files
from accuracy.pools.workloads import Variant, Workload
from gitrepo import GitRepo

PRICE_LAUNCHES = 4
CHECK_LAUNCHES = 24
MEASURABLE = 0.01
"""Effects from which on a dose is corrected by what it was measured to be worth."""
TIMES = 10
"""So many times a dose is measured whose own effect is too small for that."""
CORRECTIONS, EXACT = 3, 0.1
"""How often at most, and how near it has to be (or within its standard error)."""
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
    its `error`: the change of the whole benchmark as measured with the finished trees. A dose whose effect can be
    measured well enough is corrected by that until it is right, so its price is then only where it started.
    """
    folder = pool / "repositories" / cell.name
    known = folder.with_suffix(folder.suffix + ".json")
    if known.exists():
        return {"edited": cell.variant.edited, **json.loads(known.read_text())}
    shutil.rmtree(folder, ignore_errors=True)
    original = package_files(cell.workload)
    doses = {plant.place: dosage(cell.workload, plant, original, pool) for plant in cell.variant.plants}
    for left in reversed(range(CORRECTIONS + 1)):
        base, head = _trees(cell, original, {place: dose for place, (dose, _) in doses.items()})
        checked, error = _between(cell.workload, base, head, pool, CHECK_LAUNCHES)
        wanted = _correctable(cell)
        if not left or wanted is None or abs(checked - wanted.effect) < max(EXACT * wanted.effect, error):
            break
        dose, worth = doses[wanted.place]
        times = min(3.0, max(1 / 3, wanted.effect / max(checked, wanted.effect / 10)))
        doses[wanted.place] = dose.times(times), worth * times
    repository = GitRepo(folder)
    _write(repository.path, cell.workload, base)
    repository.commit("base").branch("change")
    _write(repository.path, cell.workload, head)
    repository.commit(cell.variant.name)
    signs = {plant.place: -1 if plant.base else 1 for plant in cell.variant.plants}
    facts = {
        "doses": {place: asdict(dose) for place, (dose, _) in doses.items()},
        "planned": {place: signs[place] * worth for place, (_, worth) in doses.items()},
        "expected": cell.variant.expected,
        "guilty": cell.variant.guilty,
        "edited": cell.variant.edited,
        "checked": checked,
        "error": error,
    }
    known.write_text(json.dumps(facts))
    return facts


def _trees(cell: Cell, original: Files, doses: Mapping[str, Dose]) -> tuple[dict[str, str], dict[str, str]]:
    base, head = dict(original), dict(original)
    for plant in cell.variant.plants:
        if plant.base:
            base = plant.dosed(base, doses[plant.place])
        else:
            head = plant.dosed(head, doses[plant.place])
    for edit in cell.variant.edits:
        head = edit.apply(head)
    return base, head


def _correctable(cell: Cell) -> Plant | None:
    """The plant whose effect is that of the whole benchmark, where that is large enough to be measured."""
    plants = cell.variant.plants
    return plants[0] if len(plants) == 1 and not plants[0].base and plants[0].effect >= MEASURABLE else None


@dataclass(frozen=True)
class Prices:
    """What a cost planted in a function is worth, as parts of the benchmark's total.

    `statement` is 0 where so many as there may be are not worth measuring. A loop costs `setup` turns before its first,
    and a turn as much as `statements` statements.
    """

    statement: float
    turn: float
    setup: float = 0.0
    statements: float = 1.0


def dosage(workload: Workload, plant: Plant, original: Files, pool: Path) -> tuple[Dose, float]:
    """The dose that is worth the plant's effect, and what it is worth by its price."""
    file = pool / "prices.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    key = f"{workload.name} {plant.place}"
    if key not in known:
        known[key] = asdict(_prices(workload, plant, original, pool))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(known, indent=1))
    prices = Prices(**known[key])
    if plant.effect >= MEASURABLE:
        return dose_for(plant.effect, prices)
    return dose_for(plant.effect, _refined(workload, plant, original, pool, prices))


def _refined(workload: Workload, plant: Plant, original: Files, pool: Path, prices: Prices) -> Prices:
    """The prices corrected by what many times a dose was measured to be worth, which itself is too small for that."""
    effect = TIMES * plant.effect
    dose, worth = dose_for(effect, prices)
    measured, _ = _between(workload, original, plant.dosed(original, dose), pool, CHECK_LAUNCHES)
    wrong = max(1 / 3, measured / worth)
    return replace(prices, statement=prices.statement * wrong, turn=prices.turn * wrong)


def dose_for(effect: float, prices: Prices) -> tuple[Dose, float]:
    """Statements where they are worth enough, otherwise turns of a loop; and what that dose is worth."""
    if prices.statement > 0 and effect / prices.statement <= STATEMENTS:
        statements = max(1, round(effect / prices.statement))
        return Dose(statements=statements), statements * prices.statement
    turns = round(effect / prices.turn - prices.setup)
    if turns >= 1:
        return Dose(turns=turns), (turns + prices.setup) * prices.turn
    one = prices.turn / prices.statements
    statements = max(1, round(effect / one))
    return Dose(statements=statements), statements * one


def _prices(workload: Workload, plant: Plant, original: Mapping[str, str], pool: Path) -> Prices:
    """The prices in that function, from so many statements and turns that they are worth a lot."""
    native = plant.place.partition("::")[0].endswith(".c")
    statement = 0.0
    if not native:
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
    setup, statements = (0.0, 1.0) if native else loop_costs()
    return Prices(statement, worth / (turns + setup), setup, statements)


def loop_costs() -> tuple[float, float]:
    """How many turns the beginning of a loop costs, and how many statements a turn does; best of some timings."""
    code = {
        "nothing": "def f(): pass",
        "one": "def f():\n    for _planted in range(1): pass",
        "many": "def f():\n    for _planted in range(1001): pass",
        "statements": "def f():\n" + "    _planted = None\n" * 100,
    }
    ns = {}
    for name, text in code.items():
        scope: dict[str, Any] = {}
        exec(text, scope)
        number = 2_000 if name == "many" else 50_000
        ns[name] = min(timeit.repeat(scope["f"], number=number, repeat=15)) / number
    turn = (ns["many"] - ns["one"]) / 1000
    statement = max((ns["statements"] - ns["nothing"]) / 100, turn / 50)
    return max(0.0, (ns["one"] - ns["nothing"]) / turn - 1), turn / statement


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
