"""The pure parts of the accuracy harness (`tests/accuracy/pools`): what turns launches into error rates must be right."""

from __future__ import annotations

import random
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from accuracy.pools import pool_file, rivals
from accuracy.pools.calibrate import interquartile_mean
from accuracy.pools.cell_pool import CellPool, Used
from accuracy.pools.draw import draw_cells, gate_settings, run_trials
from accuracy.pools.edits import Dose, Move, Rename, Reorder, Replace, planted, planted_c
from accuracy.pools.gather import FIRST_LOOKS, chosen_cells, kind_of, passes
from accuracy.pools.pooled import Exhausted, PooledMeasurement, Stretch
from accuracy.pools.repositories import STATEMENTS, Prices, dose_for
from accuracy.pools.solo import chunks
from accuracy.pools.tables import blames_bystander, counted, is_named, markdown, summary
from accuracy.pools.wilson import rate, wilson

from pytest_blcperf import gate
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.profile import Profile
from pytest_blcperf.model.run import CONFIRM, LOOK, Benchmark, FunctionTimes, Launch, Round
from pytest_blcperf.model.verdict import Outcome

LENGTH = {"look": 24, "focused": 24, "confirm": 28}
FACTS = {
    "w.slow": {
        "expected": "slower",
        "guilty": "a.py::C.f",
        "callers": ["main"],
        "achieved": 0.02,
        "achieved_error": 0.001,
    }
}
HOT, MAIN = Function("src/lib.py", "hot", 1, "aa"), Function("src/lib.py", "main", 9, "bb")


def test_wilson() -> None:
    low, high = wilson(0, 20)
    assert low == 0 and high == pytest.approx(0.1611, abs=1e-4)
    low, high = wilson(5, 10)
    assert (low, high) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)
    assert rate(0, 0) == "–" and rate(1, 4).startswith("1/4 = 25.00%")


class TestEdits:
    SOURCE = 'class A:\n    def f(self):\n        """Doc."""\n        return g() + 1\n\n    def h(self):\n        return 2\n\n\ndef g():\n    return 1\n'

    def test_a_plant_runs_in_the_function_and_changes_no_result(self) -> None:
        for dose in (Dose(statements=3), Dose(turns=5)):
            changed = planted(self.SOURCE, "A.f", dose)
            scope: dict[str, object] = {}
            exec(changed, scope)
            assert scope["A"]().f() == 2  # type: ignore[operator]
            assert scope["A"].f.__doc__ == "Doc."  # type: ignore[attr-defined]
            assert "_planted" in scope["A"].f.__code__.co_varnames  # type: ignore[attr-defined]
            assert "_planted" not in scope["g"].__code__.co_varnames  # type: ignore[attr-defined]

    def test_a_function_that_is_not_there(self) -> None:
        with pytest.raises(ValueError, match=r"no function 'A\.x'"):
            planted(self.SOURCE, "A.x", Dose(1))
        with pytest.raises(ValueError, match="no class 'B'"):
            planted(self.SOURCE, "B.x", Dose(1))
        with pytest.raises(ValueError, match="no function 'fold'"):
            planted_c("int f(int x)\n{\n}\n", "fold", 1)

    def test_a_plant_in_c_stands_at_the_start_of_the_body(self) -> None:
        changed = planted_c("static int g(int x)\n{\n    return x;\n}\nint f(int x)\n{\n    return g(x);\n}\n", "f", 7)
        assert changed.index("int f(int x)") < changed.index("planted < 7") < changed.index("return g(x)")

    def test_refactorings_keep_what_the_code_gives(self) -> None:
        files = {"a.py": self.SOURCE}
        for edit in (
            Rename("g", "renamed"),
            Reorder("a.py", "A.f"),
            Reorder("a.py", "g"),
            Replace("a.py", "", "\nX = 1\n"),
        ):
            scope: dict[str, object] = {}
            changed = edit.apply(files)["a.py"]
            assert changed != self.SOURCE
            exec(changed, scope)
            assert scope["A"]().f() == 2  # type: ignore[operator]

    def test_a_function_moves_to_another_module(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        moved = Move("a.py", "g", "moved_g.py", "from moved_g import g\n", "")
        for name, text in moved.apply({"a.py": self.SOURCE}).items():
            (tmp_path / name).write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        scope: dict[str, object] = {}
        exec((tmp_path / "a.py").read_text(), scope)
        assert scope["g"].__module__ == "moved_g" and scope["A"]().f() == 2  # type: ignore[attr-defined, operator]

    def test_what_is_not_there_is_not_replaced(self) -> None:
        with pytest.raises(ValueError, match="not found"):
            Replace("a.py", "nowhere", "x").apply({"a.py": self.SOURCE})
        with pytest.raises(ValueError, match="no file"):
            Rename("nowhere", "x").apply({"a.py": self.SOURCE})


class TestCalibration:
    def test_statements_where_they_are_worth_enough_else_turns_of_a_loop(self) -> None:
        assert dose_for(0.02, Prices(0.001, 0.005)) == (Dose(statements=20), pytest.approx(0.02))
        loop = Prices(0.0, 0.0003, setup=7, statements=5)
        assert dose_for(0.02, loop) == (Dose(turns=60), pytest.approx(67 * 0.0003))
        too_many = 0.02 / (STATEMENTS + 50)
        assert dose_for(0.02, Prices(too_many, 0.0003, 7, 5))[0] == Dose(turns=60)

    def test_less_than_a_loop_costs_to_begin_with(self) -> None:
        dose, worth = dose_for(0.002, Prices(0.0, 0.001, setup=7, statements=5))
        assert dose == Dose(statements=10) and worth == pytest.approx(0.002)

    def test_never_nothing(self) -> None:
        assert dose_for(0.0025, Prices(0.01, 0.05))[0] == Dose(statements=1)
        assert dose_for(0.0001, Prices(0.0, 0.05, 7, 5))[0] == Dose(statements=1)

    def test_interquartile_mean_leaves_outliers_out(self) -> None:
        assert interquartile_mean([1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 900.0]) == 2.0


class TestGathering:
    def test_every_pass_has_every_cell_and_same_ones_more_often(self) -> None:
        cells = chosen_cells(["difflib", "json.same"])
        taken = passes(cells, 3, random.Random(1))
        size = len(cells) + 2 * sum(cell.variant.name == "same" for cell in cells)
        one = [next(taken).name for _ in range(size)]
        assert set(one) == {cell.name for cell in cells}
        assert one.count("difflib.same") == one.count("json.same") == 3 and one.count("difflib.third_6") == 1
        assert [next(taken).name for _ in range(size)] != one

    def test_first_launches_are_looks_and_every_kind_follows(self) -> None:
        assert {kind_of(index, True) for index in range(FIRST_LOOKS)} == {"look"}
        for same in (True, False):
            assert {kind_of(index, same) for index in range(40)} == {"look", "focused", "confirm"}

    def test_every_workload_has_what_every_session_needs(self) -> None:
        cells = chosen_cells(["*"])
        names = [cell.name for cell in cells]
        assert len(names) == len(set(names))
        assert len({cell.workload.name for cell in cells if cell.variant.name == "same"}) >= 8

    def test_a_record_that_was_cut_off_is_taken_off(self, tmp_path: Path) -> None:
        file = tmp_path / "cell.jsonl.gz"
        for number in range(3):
            pool_file.append(file, {"number": number})
        whole = file.read_bytes()
        pool_file.mend(file)
        assert file.read_bytes() == whole
        file.write_bytes(whole[:-4])
        assert [one["number"] for one in pool_file.records(file)] == [0, 1]
        pool_file.mend(file)
        pool_file.append(file, {"number": 7})
        assert [one["number"] for one in pool_file.records(file)] == [0, 1, 7]
        assert pool_file.records(tmp_path / "none.jsonl.gz") == []


def launches(name: str, growth: float, count: int, seed: int = 1) -> CellPool:
    """A pool of a benchmark whose function `hot`, a third of its time, is dearer on the head by `growth` of the total."""
    generator = np.random.default_rng(seed)
    records = []
    for index in range(count):
        kind = ("look", "look", "focused", "confirm")[index % 4]
        level = generator.normal(0, 0.002)
        sides = [
            side_data(name, index, share, cost, generator)
            for share, cost in zip(shares(growth), (1.0, np.exp(level) * (1 + growth)), strict=True)
        ]
        times = {"seconds": 1.0, "start_up": 0.5, "profiled": 0.4}
        records.append({"kind": kind, "at": index, "load": 1.0, "index": index, **times, "sides": sides})
    return CellPool(name, records)


def shares(growth: float) -> tuple[float, float]:
    return 0.33, (0.33 + growth) / (1 + growth)


def side_data(name: str, index: int, share: float, cost: float, generator: np.random.Generator) -> dict[str, object]:
    taken = int(generator.binomial(500, share))
    samples = np.array([taken, 500 - taken])
    profile = Profile((HOT, MAIN), ((0, 1), (1,)), np.full(2, index), np.arange(2), samples * 1e6, samples, "perf")
    rounds = tuple(Round(4, int(4e6 * cost * np.exp(generator.normal(0, 0.02))), 1) for _ in range(10))
    return pool_file.benchmark_data(
        Benchmark(f"t.py::{name}", name, "t.py", 1, (Launch(index, LOOK, 7, 0, rounds),), profile)
    )


@pytest.fixture(scope="module")
def cell() -> CellPool:
    return launches("x.same", 0.0, 120)


class TestDrawing:
    def test_no_launch_is_used_twice_and_the_stretch_ends(self, cell: CellPool) -> None:
        stretch = Stretch(cell, 0.5, LENGTH, random.Random(1))
        taken = [stretch.take(("look",)) for _ in range(24)]
        assert len({id(one) for one in taken}) == 24
        times = [one.at for one in taken]
        places = [number for number, one in enumerate(cell.launches["look"]) if one.at in times]
        assert places == list(range(places[0], places[0] + 24)), "all from one stretch of time"
        with pytest.raises(Exhausted):
            stretch.take(("look",))

    def test_the_measurement_takes_what_is_asked_for(self, cell: CellPool) -> None:
        source = PooledMeasurement({"a": Stretch(cell, 0.0, LENGTH, random.Random(2))}, None)
        source.measure(["a"], 6, LOOK)
        source.measure(["a"], 6, LOOK)
        assert source.launches("a") == 6
        assert source.seconds == pytest.approx(6 * 1.5)
        source.focus("a", [(HOT, HOT)], False)
        source.measure(["a"], 8, LOOK)
        source.measure(["a"], 5, CONFIRM)
        assert source.seconds == pytest.approx(6 * 1.5 + 7 * 1.1), "later launches are not profiled"
        base, head = source.benchmarks(0)["a"], source.benchmarks(1)["a"]
        assert [one.phase for one in base.launches] == [LOOK] * 8 + [CONFIRM] * 5
        assert [one.index for one in head.launches] == list(range(13))
        assert base.profile is not None and set(base.profile.launch.tolist()) == set(range(6))

    def test_start_up_is_shared_by_the_benchmarks_of_a_launch(self, cell: CellPool) -> None:
        stretches = {name: Stretch(cell, 0.0, LENGTH, random.Random(3)) for name in ("a", "b")}
        source = PooledMeasurement(stretches, None)
        source.measure(["a", "b"], 2, LOOK)
        assert source.seconds == pytest.approx(2 * (1.0 + 1.0 + 0.5))
        assert source.spent == {"a": pytest.approx(2.5), "b": pytest.approx(2.5)}

    def test_a_budget_ends_it(self, cell: CellPool) -> None:
        source = PooledMeasurement({"a": Stretch(cell, 0.0, LENGTH, random.Random(3))}, 10.0)
        source.measure(["a"], 20, LOOK)
        assert source.launches("a") == 4, "0.55 x 10 s are spent after four launches of 1.5 s"
        assert source.short == {"a"}

    def test_all_of_a_head_gets_slower_by_arithmetic(self, cell: CellPool) -> None:
        stretches = {
            "a": Stretch(cell, 0.0, LENGTH, random.Random(3)),
            "b": Stretch(cell, 0.0, LENGTH, random.Random(3)),
        }
        source = PooledMeasurement(stretches, None, slower={"a": 0.5})
        source.measure(["a", "b"], 3, LOOK)
        base, head = source.benchmarks(0), source.benchmarks(1)
        assert base["a"].launches == base["b"].launches
        slow, plain = ([round_.cpu_ns for one in head[name].launches for round_ in one.rounds] for name in "ab")
        assert slow == [round(1.5 * cpu) for cpu in plain]

    def test_a_benchmark_is_what_was_recorded(self, cell: CellPool) -> None:
        used = [Used(one, LOOK) for one in cell.launches["look"][:3]]
        built = cell.benchmark(1, "id", used)
        for index, one in enumerate(used):
            assert built.launches[index].rounds == one.launch.sides[1].launch.rounds
            assert built.profile is not None
            row = built.profile.launch == index
            assert built.profile.samples[row].sum() == one.launch.sides[1].samples.sum() == 500
        assert built.profile is not None
        leaves = [built.profile.functions[built.profile.stacks[row][0]] for row in built.profile.stack]
        hot = built.profile.samples[[leaf == HOT for leaf in leaves]].sum()
        assert hot / 1500 == pytest.approx(0.33, abs=0.05)

    def test_timed_functions_come_from_focused_launches_only(self) -> None:
        name, generator = "x.same", np.random.default_rng(1)
        records = []
        for index, kind in enumerate(["look", "focused", "look", "focused"]):
            one = pool_file.benchmark_from(side_data(name, index, 0.3, 1.0, generator))
            column = np.full((2, 1), 1000 + index)
            timed = (FunctionTimes(index, 4, (HOT,), column, column, column),) if kind == "focused" else ()
            data = pool_file.benchmark_data(replace(one, function_times=timed))
            times = {"seconds": 1.0, "start_up": 0.5, "profiled": 0.4}
            records.append({"kind": kind, "at": index, "load": 1.0, **times, "sides": [data, data]})
        pool = CellPool(name, records)
        source = PooledMeasurement({"a": Stretch(pool, 0.0, LENGTH, random.Random(2))}, None)
        source.measure(["a"], 2, LOOK)
        assert source.benchmarks(1)["a"].function_times == ()
        source.focus("a", [(HOT, HOT)], False)
        source.measure(["a"], 4, LOOK)
        found = source.benchmarks(1)["a"].function_times
        assert [one.launch for one in found] == [2, 3]
        assert {int(one.total_ns[0, 0]) for one in found} == {1001, 1003}
        assert found[0].functions == (HOT,)

    def test_callers(self, cell: CellPool) -> None:
        assert cell.sides[0].callers("hot") == {"main"}
        assert cell.sides[0].callers("main") == frozenset()

    def test_cells_of_a_session(self) -> None:
        names = ["a.same", "b.same", "c.same", "a.slow", "b.slow"]
        for seed in range(20):
            drawn = draw_cells("a.slow", names, 3, random.Random(seed))
            assert drawn[0] == "a.slow" and sorted(drawn[1:]) == ["b.same", "c.same"]
            assert len(set(draw_cells(None, names, 3, random.Random(seed)))) == 3

    def test_the_product_judges_drawn_launches(self, cell: CellPool) -> None:
        settings = gate_settings(["--blcperf-threshold=2%", "--blcperf-launches=12"], None)
        slow = launches("x.slow", 0.2, 120, seed=4)
        outcomes = {}
        for name, pool in (("same", cell), ("slow", slow)):
            source = PooledMeasurement({name: Stretch(pool, 0.0, LENGTH, random.Random(5))}, None)
            (verdict,) = gate.judge(run_trials(source, {name: settings}, settings), settings.alpha)
            outcomes[name] = verdict.outcome
        assert outcomes["slow"] is Outcome.REGRESSED
        assert outcomes["same"] is not Outcome.REGRESSED


class TestCounting:
    def result(self, changed: str | None, *failing: bool, guilty: str = "C.f") -> dict[str, object]:
        benchmarks = [
            {
                "outcome": "regressed" if fails else "unchanged",
                "fails": fails,
                "guilty": [["src/w/a.py", guilty]] * fails,
                "spent": 5.0,
                "short": False,
            }
            for fails in failing
        ]
        return {"changed": changed, "benchmarks": benchmarks, "seconds": 30.0}

    def test_false_failures_are_those_of_what_did_not_change(self) -> None:
        slow = [
            self.result("w.slow", True, False),
            self.result("w.slow", True, True),
            self.result("w.slow", False, False),
        ]
        found = counted("w.slow", slow, FACTS)
        assert (found["failed"], found["false"], found["detected"], found["slower"], found["named"]) == (2, 1, 2, 3, 2)
        found = counted("nothing changed", [self.result(None, False, True), self.result(None, False, False)], {})
        assert (found["sessions"], found["false"], found["slower"]) == (2, 1, 0)

    def test_the_right_function_and_bystanders(self) -> None:
        known = FACTS["w.slow"]
        assert is_named([["src/w/a.py", "C.f"], ["src/w/a.py", "other"]], known)
        assert not is_named([["src/w/a.py", "main"], ["src/w/a.py", "C.f"]], known)
        assert not is_named([], known)
        assert is_named([["src/w/a.py", "C.g"]], {**known, "edited": "a.py::C.g"})
        assert blames_bystander([["src/w/a.py", "C.f"], ["src/w/a.py", "other"]], known)
        assert not blames_bystander([["src/w/a.py", "main"]], known)

    def test_the_table(self) -> None:
        results = [
            self.result("w.slow", True, False),
            self.result(None, False, False),
            {"changed": None, "exhausted": "x"},
        ]
        document = {
            "cells": summary(results, FACTS),
            "launches": {"w.slow": 3},
            "pool": [],
            "options": [],
            "seed": 1,
            "seconds": 2.0,
        }
        text = markdown(document)
        assert "| w.slow | +2.00% (0.10%) | 1 | 0/1" in text and "| *.slow |" in text
        assert "too small for: nothing changed 1" in text


def solos(side: str, *values: float, seconds: float = 2.0) -> list[dict[str, object]]:
    return [
        {
            "solo": side,
            "seconds": seconds,
            "stats": dict.fromkeys(("mean", "min", "median"), value),
            "samples": [value * (1 + 0.001 * n) for n in range(10)],
        }
        for value in values
    ]


class TestRivals:
    def test_pytest_benchmark(self) -> None:
        data = rivals.Data(solos("base", 1.0, 1.2), solos("head", 1.1, 1.3))
        assert rivals.benchmark_fails(data, "mean", 5) and not rivals.benchmark_fails(data, "mean", 10)
        assert rivals.benchmark_fails(data, "min", 5) and not rivals.benchmark_fails(data, "min", 11)

    def test_asv_wants_both_factor_and_significance(self) -> None:
        assert rivals.asv_fails(rivals.Data(solos("base", 1.0), solos("head", 1.2)))
        assert not rivals.asv_fails(rivals.Data(solos("base", 1.0), solos("head", 1.09)))
        few = [{**one, "samples": one["samples"][:2]} for one in solos("head", 1.2)]  # type: ignore[index]
        assert not rivals.asv_fails(rivals.Data(solos("base", 1.0), few))

    def test_mann_whitney(self) -> None:
        # By hand: U = 0 of 5 x 5; mean 12.5, variance 25 x 11 / 12; z = 12 / 4.787 with continuity.
        assert rivals.mann_whitney([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) == pytest.approx(0.01219, abs=1e-4)
        assert rivals.mann_whitney([1, 2, 3], [1, 2, 3]) == 1.0
        assert rivals.mann_whitney([1, 1], [1, 1]) == 1.0

    def test_whole_launches_in_turn(self) -> None:
        noise = (1.0, 1.01, 0.99, 1.02, 0.98, 1.0)
        head = tuple(1.2 * one * two for one, two in zip(noise, (1.0, 0.99, 1.0, 1.01, 1.0, 1.0), strict=True))
        assert rivals.alternation_fails(rivals.Data(solos("base", *noise), solos("head", *head)))
        assert not rivals.alternation_fails(rivals.Data(solos("base", *noise), solos("head", *reversed(noise))))

    def test_base_and_head_come_from_stretches_one_after_the_other(self) -> None:
        every = [
            one for number in range(30) for one in (*solos("base", 1 + number / 100), *solos("head", 2 + number / 100))
        ]
        data = rivals.drawn(every, 20.0, "apart", random.Random(1))
        assert data is not None and len(data.base) == len(data.head) == 5
        last, first = (one["stats"]["mean"] for one in (data.base[-1], data.head[0]))
        assert first - 1 == pytest.approx(last + 0.01)
        pairs = rivals.drawn(every, 20.0, "in turn", random.Random(1))
        assert pairs is not None
        assert [
            two["stats"]["mean"] - one["stats"]["mean"] for one, two in zip(pairs.base, pairs.head, strict=True)
        ] == pytest.approx([1.0] * 5)
        assert rivals.drawn(every, 200.0, "apart", random.Random(1)) is None

    def test_samples_of_asv_are_means_of_enough_rounds(self) -> None:
        assert chunks([0.004] * 7, 0.01) == pytest.approx([0.004, 0.004])
        assert chunks([0.02, 0.001], 0.01) == pytest.approx([0.02])
        assert chunks([0.001], 0.01) == pytest.approx([0.001])


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
def test_the_native_workload_compiles_with_a_plant(tmp_path: Path) -> None:
    source = (Path(__file__).parent / "accuracy/pools/native/words.c").read_text()
    file = tmp_path / "words.c"
    for function in ("fold", "hash_word"):
        file.write_text(planted_c(source, function, 3))
        subprocess.run(["gcc", "-Wall", "-Werror", "-fsyntax-only", str(file)], check=True)
