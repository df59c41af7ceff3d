"""`--blcperf-metric`: what is gated, and what is then only shown."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gate_runs import run_gate, slower, src_repo
from gitrepo import GitRepo
from jsonschema import Draft202012Validator
from measurements import Stacks, benchmark, chosen, gated, of
from report_samples import gate
from test_gate_instructions import HERE, MORE, PLAIN, counted
from test_metrics import LOAD, SERVER, metric
from test_report_json import PUBLISHED, strict

from pytest_blcperf.compare.chosen_metric import gated_by_metric
from pytest_blcperf.compare.compare import compare_benchmark
from pytest_blcperf.errors import UsageError
from pytest_blcperf.gate import Step, judge, screen, stored_trial
from pytest_blcperf.model.comparison import SELF
from pytest_blcperf.model.run import LOOK, Benchmark, Round
from pytest_blcperf.model.verdict import BenchmarkVerdict, Evidence, Outcome
from pytest_blcperf.report import html_comparison, markdown, terminal, words
from pytest_blcperf.report.comparison_page import ComparisonPage
from pytest_blcperf.report.json import render
from pytest_blcperf.settings import Settings, resolve
from pytest_blcperf.store import verdict_file

SLOW_PARSE = {**PLAIN, "parse < run < test": 396}


def waiting(stacks: Stacks, factor: float, **other: Any) -> Benchmark:
    """A benchmark whose wall time is a multiple of 1 ms, whatever it costs in CPU time."""
    made = benchmark(stacks, **other)
    return replace(
        made,
        launches=tuple(
            replace(one, rounds=tuple(Round(10, taken.cpu_ns, round(10_000_000 * factor)) for taken in one.rounds))
            for one in made.launches
        ),
    )


class TestSettings:
    """The option and its marker argument."""

    @pytest.mark.parametrize("text", ["cpu", "wall", "tps", "requests per second"])
    def test_any_name_is_a_metric(self, text: str) -> None:
        assert chosen(metric=text).metric == text
        assert chosen().for_benchmark("b", {"metric": text}).metric == text
        assert chosen(metric="cpu").for_benchmark("b", {"metric": text}).metric == "cpu"

    @pytest.mark.parametrize("text", ["", "a#b", "x" * 101, "a\nb", "\x1b[31m"])
    def test_what_no_metric_can_be_called_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError, match="expected cpu, wall, instructions, or the name"):
            chosen(metric=text)

    def test_instructions_are_counted_under_callgrind(self) -> None:
        assert chosen().backend == chosen(metric="wall").backend == "auto"
        assert chosen(metric="instructions").backend == "callgrind"
        with pytest.raises(UsageError, match="--blcperf-backend=timer does not"):
            chosen(metric="instructions", backend="timer")
        with pytest.raises(UsageError, match="--blcperf-metric=instructions in workers under valgrind"):
            chosen(metric="instructions", launches="0")

    def test_one_benchmark_asks_for_instructions_only_where_they_are_counted(self) -> None:
        assert chosen(backend="callgrind").for_benchmark("b", {"metric": "instructions"}).metric == "instructions"
        with pytest.raises(UsageError) as caught:
            chosen().for_benchmark("b", {"metric": "instructions"})
        assert "add --blcperf-backend=callgrind" in caught.value.hint


class TestWallTime:
    """Waiting counts."""

    def test_a_wait_that_grew_is_a_regression_only_where_wall_time_is_gated(self) -> None:
        base, head = waiting(PLAIN, 4), waiting(PLAIN, 5)
        by_cpu, by_wall = gated(base, head), gated(base, head, chosen(metric="wall"))
        assert (by_cpu.outcome, by_cpu.evidence) == (Outcome.UNCHANGED, Evidence.LOCKSTEP)
        assert "I/O-bound: wall time 4.00 ms → 5.00 ms; only its CPU time was judged" in words.remarks(by_cpu)[0]
        assert (by_wall.outcome, by_wall.evidence, by_wall.fails) == (Outcome.REGRESSED, Evidence.WALL, True)
        assert by_wall.reason == "its wall time rose by 25%"
        assert not any("I/O-bound" in remark for remark in words.remarks(by_wall))

    def test_reports_name_it_and_give_the_cpu_time_beside_it(self) -> None:
        verdict = gated(waiting(PLAIN, 4), waiting(PLAIN, 5), chosen(metric="wall"))
        assert words.measured(verdict)[0] == "wall time per iteration 4.00 ms → 5.00 ms"
        assert "CPU time 1.00 ms → 1.00 ms" in words.measured(verdict)
        lines = "\n".join(terminal.render(gate(verdict), width=120))
        assert "times: wall time per iteration, of functions CPU time" in lines
        assert "wall time" in words.evidence(verdict.evidence)
        again = words.next_steps(verdict, "main")[0][1]
        assert again.startswith("pytest --blcperf --blcperf-baseline=main --blcperf-metric=wall ")
        assert "wall time per iteration" in markdown.render(gate(verdict))
        assert "4.00 ms → 5.00 ms" in html_comparison.render(ComparisonPage.of(gate(verdict)))
        both = gate(verdict, gated(waiting(PLAIN, 4), waiting(PLAIN, 4)))
        assert words.per_iteration(both) == "CPU time or wall time per iteration"

    def test_a_functions_ratio_stays_cpu_time_and_its_impact_is_on_wall_time(self) -> None:
        base, head = waiting(PLAIN, 4), waiting(SLOW_PARSE, 4)
        parse = of(gated(base, head, chosen(metric="wall", min_impact="0")), "parse", SELF)
        assert parse.comparison.ratio.change == pytest.approx(0.2, abs=0.005)
        assert parse.comparison.impact == pytest.approx(0.066 / 4, rel=0.03)
        assert parse.evidence is Evidence.PROFILE
        # A growth of 6.6 % of the CPU time is 1.65 % of what passes.
        assert gated(base, head, chosen(metric="wall", min_impact="2%")).outcome is Outcome.UNCHANGED
        verdict = gated(base, head, chosen(metric="wall"))
        assert verdict.reason == "parse (self CPU time) got 20% dearer"

    def test_threads_that_use_more_than_passes_have_their_share(self) -> None:
        base, head = waiting(PLAIN, 0.5), waiting(SLOW_PARSE, 0.533)
        parse = of(gated(base, head, chosen(metric="wall")), "parse", SELF)
        assert parse.comparison.impact == pytest.approx(0.066, rel=0.03)

    def test_stored_runs_compare_in_wall_time_too(self) -> None:
        base, head = waiting(PLAIN, 4), waiting(PLAIN, 40)
        for name, outcome in (("wall", Outcome.REGRESSED), ("cpu", Outcome.INCONCLUSIVE)):
            (verdict,) = judge([stored_trial(base, head, chosen(metric=name), HERE, HERE)], 0.001)
            assert (verdict.outcome, verdict.evidence) == (outcome, Evidence.STORED)

    def test_rounds_without_wall_time_are_left_out(self) -> None:
        base = waiting(PLAIN, 4)
        broken = replace(base, launches=tuple(replace(one, rounds=(Round(10, 5, 0),)) for one in base.launches))
        compared = compare_benchmark(base, broken, chosen(metric="wall"), phase=LOOK, paired=True)
        assert compared.ratio.freedom == 0
        assert "rounds-dropped" in {one.code for one in compared.warnings}


class TestInstructions:
    """No time convicts."""

    SETTINGS = chosen(metric="instructions")

    def verdict(self, base: Benchmark, head: Benchmark) -> BenchmarkVerdict:
        return gated(base, head, self.SETTINGS)

    def test_a_time_that_rose_alone_is_unchanged(self) -> None:
        slower = {name: cost * 1.3 for name, cost in PLAIN.items()}
        verdict = self.verdict(counted(benchmark(PLAIN), PLAIN), counted(benchmark(slower), PLAIN))
        assert (verdict.outcome, verdict.evidence) == (Outcome.UNCHANGED, Evidence.COUNTS)
        assert verdict.reason.startswith("instructions +0.00%; time +30.0%")
        assert verdict.judged is verdict.instructions

    def test_more_instructions_are_a_regression_and_the_table_shows_them(self) -> None:
        verdict = self.verdict(counted(benchmark(PLAIN), PLAIN), counted(benchmark(PLAIN), MORE))
        assert (verdict.outcome, verdict.evidence) == (Outcome.REGRESSED, Evidence.COUNTS)
        lines = terminal.render(gate(verdict), width=120)
        assert any("1 M → 1.1 M" in line and "+10.0 %" in line for line in lines)
        assert "base → head: instructions per iteration" in lines
        assert words.measured(verdict)[0] == "instructions per iteration 1 M → 1.1 M"
        assert "CPU time 1.00 ms → 1.00 ms" in words.measured(verdict)
        assert "got 10 % slower" in words.headline(verdict)
        assert "1 M → 1.1 M" in html_comparison.render(ComparisonPage.of(gate(verdict)))

    def test_counts_that_vary_are_inconclusive_whatever_the_time_says(self) -> None:
        base = counted(benchmark(PLAIN), PLAIN)
        verdict = self.verdict(base, counted(base, PLAIN, (0.7, 1.2, 1.1)))
        assert (verdict.outcome, verdict.evidence) == (Outcome.INCONCLUSIVE, Evidence.COUNTS)
        assert "left to chance" in verdict.reason

    def test_what_was_not_counted_is_not_compared(self) -> None:
        slower = {name: cost * 1.3 for name, cost in PLAIN.items()}
        verdict = self.verdict(benchmark(PLAIN), benchmark(slower))
        assert (verdict.outcome, verdict.evidence) == (Outcome.NOT_COMPARED, Evidence.NONE)
        assert verdict.reason == "instructions were not counted on both sides"
        (stored,) = judge([stored_trial(benchmark(PLAIN), benchmark(slower), self.SETTINGS, HERE, HERE)], 0.001)
        assert stored.outcome is Outcome.NOT_COMPARED
        elsewhere = replace(HERE, cpu_model="B")
        (other,) = judge([stored_trial(benchmark(PLAIN), benchmark(slower), self.SETTINGS, HERE, elsewhere)], 0.001)
        assert "cpu model A → B" in other.reason

    def test_no_look_is_extended_for_a_time(self) -> None:
        slower = benchmark({name: cost * 1.3 for name, cost in PLAIN.items()})
        compared = compare_benchmark(benchmark(PLAIN), slower, self.SETTINGS, phase=LOOK, paired=True)
        assert screen(compared, self.SETTINGS, last=False).step is Step.DONE


class TestReportedMetric:
    """One figure of the tests gates, and nothing else."""

    def verdicts(self) -> list[BenchmarkVerdict]:
        looks, fresh = ([100.0 + number % 3 for number in range(count)] for count in (12, 24))
        base = metric(looks, "lower", fresh)
        head = metric([value * 1.5 for value in looks], "lower", [value * 1.5 + value % 2 / 10 for value in fresh])
        reported = gated(base, head)
        assert reported.fails
        return [reported, gated(benchmark(PLAIN), benchmark(SLOW_PARSE))]

    def test_the_others_are_shown(self) -> None:
        (reported, own), missing = gated_by_metric(self.verdicts(), chosen(metric="m"), {})
        assert missing == ()
        assert reported.fails
        assert (own.outcome, own.gate, own.fails) == (Outcome.REGRESSED, "off", False)
        assert [one.text for one in own.warnings] == ["only the metric m is gated (--blcperf-metric)"]
        again, _ = gated_by_metric((reported, own), chosen(metric="m"), {})
        assert again == (reported, own)

    def test_a_cost_gates_reported_metrics_too(self) -> None:
        found, missing = gated_by_metric(self.verdicts(), chosen(metric="wall"), {})
        assert all(one.fails for one in found)
        assert missing == ()

    def test_a_metric_that_nobody_reports_is_said(self) -> None:
        found, missing = gated_by_metric(self.verdicts(), chosen(metric="tsp"), {})
        assert not any(one.fails for one in found)
        assert [one.code for one in missing] == ["metric-missing"]

    def test_a_marker_speaks_of_its_own_test(self) -> None:
        verdicts = self.verdicts()
        by_test = {"t.py::test_load": chosen(metric="other"), "bench.py::test_lib": chosen()}
        (reported, own), missing = gated_by_metric(verdicts, chosen(), by_test)
        assert (reported.gate, own.gate) == ("off", "fail")
        assert "the metric other" in missing[0].text


@pytest.mark.parametrize("name", ["wall", "instructions"])
def test_verdicts_with_another_metric_are_kept_in_json(name: str) -> None:
    settings: Settings = resolve({"metric": name}, {}, {}, {})
    base, head = (counted(waiting(PLAIN, factor), stacks) for factor, stacks in ((4, PLAIN), (5, MORE)))
    slow = [metric([value, value * 1.01, value], "lower") for value in (100.0, 150.0)]
    text = render(gate(gated(base, head, settings), gated(*slow)))
    data = strict(text)
    Draft202012Validator(PUBLISHED).validate(data)
    assert data["benchmarks"][0]["measured"]["judged"] == name
    assert json.loads(render(verdict_file.parse(text.encode()))) == data
    # AND a file of before is one about CPU time
    for one in data["benchmarks"]:
        del one["measured"]["judged"]
    older = verdict_file.parse(json.dumps(data).encode()).benchmarks[0].comparison
    assert older is not None and older.judged == "cpu"


WAITING = """\
from lib.core import wait


def test_wait(benchmark):
    benchmark(wait)
"""
LIBRARY = """\
import select


def wait():
    select.select([], [], [], {seconds})
"""
DECISIVE = ("--blcperf-launches=2", "--blcperf-alpha=20%")


def test_a_wait_is_gated_by_wall_time(tmp_path: Path) -> None:
    # GIVEN a benchmark that waits five times as long
    repo = src_repo(tmp_path / "repo").checkout("main")
    repo.write({"src/lib/core.py": LIBRARY.format(seconds=0.004), "benchmarks/test_core.py": WAITING}).commit("wait")
    repo.branch("longer").write({"src/lib/core.py": LIBRARY.format(seconds=0.02)})
    run = run_gate(repo, *DECISIVE, "--blcperf-metric=wall")
    # THEN its wall time is judged, and named
    found = run.benchmark("test_wait")
    assert (run.code, found["outcome"], found["evidence"]) == (1, "regressed", "lockstep wall time"), run.output
    assert found["measured"]["judged"] == "wall"
    assert found["measured"]["ratio"]["change"] > 2
    assert "wall time per iteration" in run.output


@pytest.fixture
def service(tmp_path: Path) -> GitRepo:
    files = {"src/server.py": SERVER.format(price=2000), "tests/test_load.py": LOAD}
    repo = GitRepo(tmp_path / "repo").write(files).commit("first").branch("change")
    return repo.write({"src/server.py": SERVER.format(price=2500)}).commit("dearer")


def test_a_metric_that_tests_report_is_all_that_gates(service: GitRepo) -> None:
    arguments = ("--blcperf-launches=2", "--blcperf-source-roots=src", "--blcperf-metric=tps")
    run = run_gate(service, *arguments, PYTHONPATH="src")
    assert run.code == 1, run.output
    assert run.benchmark("test_load#tps")["fails"]
    price = run.benchmark("test_load#price")
    assert (price["outcome"], price["gate"], price["fails"]) == ("regressed", "off", False)


def test_a_metric_without_a_test_gates_nothing_and_does_not_look_green(service: GitRepo) -> None:
    run = run_gate(
        service, "--blcperf-source-roots=src", "--blcperf-metric=tsp", "--blcperf-on-missing=fail", PYTHONPATH="src"
    )
    assert run.code == 4, run.output
    assert "NOTHING WAS GATED" in run.output
    assert "no test that was compared reported the metric tsp" in run.output


def test_instructions_without_valgrind_are_a_usage_error_that_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    git = shutil.which("git")
    assert git is not None
    (tmp_path / "bin" / "git").symlink_to(git)
    repo = src_repo(tmp_path / "repo").write({"src/lib/core.py": slower()})
    run = run_gate(repo, "--blcperf-metric=instructions", PATH=str(tmp_path / "bin"))
    assert run.code == 4, run.output
    assert "counted by valgrind, which does not run" in run.output
    assert "install" in run.output and "--blcperf-metric=cpu" in run.output
