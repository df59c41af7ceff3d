"""What a stored run says without times: control functions, exact counts, and the screen that rests on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gate_runs import QUICK, run_gate, run_pytest, slower, src_repo
from measurements import FILE, benchmark, chosen, function

from pytest_blcperf.compare.compare import Sides, sides
from pytest_blcperf.compare.controls import _weighted_median, against_controls, controls
from pytest_blcperf.compare.screening import Step, screen_stored
from pytest_blcperf.compare.trial import Trial, stored_trial
from pytest_blcperf.model.comparison import SELF
from pytest_blcperf.model.environment import Environment
from pytest_blcperf.model.run import Benchmark, Run
from pytest_blcperf.model.verdict import Evidence, Outcome
from pytest_blcperf.screening import screen_runs
from pytest_blcperf.session import compare_runs

HERE = Environment(machine="x86_64", cpu_model="A CPU", cpu_count=8, kernel="6.1", python="CPython 3.12.1")
ELSEWHERE = replace(HERE, cpu_model="Another CPU 9000", kernel="6.8")
CONTROLS = {f"c{number:02} < main": 5.0 for number in range(12)}
STACKS = {**CONTROLS, "f < main": 20.0, "g < main": 20.0}
CALLS = {**{f"c{number:02}": 3.0 for number in range(12)}, "f": 10.0, "g": 10.0, "main": 1.0, "c_call": 100.0}


def measured(
    stacks: dict[str, float] | None = None,
    calls: dict[str, float] | None = None,
    edited: dict[str, str] | None = None,
    **other: object,
) -> Benchmark:
    one = benchmark({**STACKS, **(stacks or {})}, calls={**CALLS, **(calls or {})}, edited=edited, **other)  # type: ignore[arg-type]
    return edited_counts(one, edited or {})


def edited_counts(one: Benchmark, edited: dict[str, str]) -> Benchmark:
    assert one.counts is not None
    calls = tuple(
        replace(count, function=function(name, edited.get(name, "")))
        for count in one.counts.calls
        for name in [count.function.name]
    )
    return replace(one, counts=replace(one.counts, calls=calls))


def trial(head: Benchmark, base: Benchmark | None = None, where: Environment = ELSEWHERE) -> Trial:
    return stored_trial(base or measured(), head, chosen(), HERE, where)


def aligned(head: Benchmark, base: Benchmark | None = None) -> Sides:
    both = sides(base or measured(), head, phase=None, paired=False)
    assert both is not None
    return both


# ---- controls


def test_controls_show_what_grew_though_every_time_differs() -> None:
    # GIVEN f made twice as dear: 20 of 100 become 40 of 120, and all other shares shrink by a sixth
    both = aligned(measured({"f < main": 40.0}))
    known = controls(both)
    assert known is not None and known.functions >= 12 and known.share > 0.6
    grown = {one.function.name: one.estimate.log_ratio for one in against_controls(both, known) if one.kind == SELF}
    # THEN f is the one that grew, to the double, and the whole by a fifth
    assert np.exp(grown["f"]) == pytest.approx(2.0, rel=0.02)
    assert np.exp(grown["g"]) == pytest.approx(1.0, rel=0.02)
    assert np.exp(known.whole.log_ratio) == pytest.approx(1.2, rel=0.02)


def test_a_function_that_got_cheaper_makes_nobody_else_suspicious() -> None:
    found = screen_stored(trial(measured({"f < main": 2.0})))
    assert found.step is Step.CLEARED


@pytest.mark.parametrize(
    "head",
    [
        measured(edited={f"c{number:02}": "edited" for number in range(5)}),  # seven of twelve are left
        measured(calls={f"c{number:02}": 4.0 for number in range(5)}),
        measured({"f < main": 900.0}),  # they hold no tenth of the time
        replace(measured(), counts=None),
    ],
    ids=["edited", "called more often", "small", "not counted"],
)
def test_too_few_controls_are_none(head: Benchmark) -> None:
    base = measured(calls={"f": 11.0, "g": 11.0}) if head.counts is not None else None
    assert controls(aligned(head, base)) is None


def test_the_weighted_median_is_where_half_of_the_weight_is() -> None:
    assert _weighted_median(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 1.0])) == 2.0
    assert _weighted_median(np.array([1.0, 2.0]), np.array([1.0, 1.0])) == 1.5
    assert _weighted_median(np.array([1.0, 9.0]), np.array([1.0, 3.0])) == 9.0


# ---- one benchmark


@pytest.mark.parametrize("where", [HERE, ELSEWHERE], ids=["same machine", "another machine"])
def test_the_same_code_called_as_often_is_cleared(where: Environment) -> None:
    found = screen_stored(trial(measured(), where=where))
    assert found.step is Step.CLEARED and "same code and are called as often" in found.reason


def test_more_calls_are_suspicious_of_functions_with_and_without_samples() -> None:
    found = screen_stored(trial(measured(calls={"f": 11.0})))
    assert found.step is Step.SUSPICIOUS and "f 10 → 11" in found.reason
    found = screen_stored(trial(measured(calls={"c_call": 300.0})))
    assert found.step is Step.SUSPICIOUS and "c_call 100 → 300" in found.reason
    assert screen_stored(trial(measured(calls={"f": 9.0, "g": 9.0}))).step is Step.CLEARED


def test_changed_code_is_cleared_only_where_a_slowdown_is_ruled_out() -> None:
    same_cost = screen_stored(trial(measured(edited={"f": "edited"}), where=HERE))
    assert same_cost.step is Step.CLEARED and "1 of the" in same_cost.reason
    dearer = screen_stored(trial(measured({"f < main": 22.0}, edited={"f": "edited"}), where=HERE))
    assert dearer.step is Step.SUSPICIOUS and "f changed" in dearer.reason
    few = {"f < main": 20.0, "main": 1.0}
    base, head = benchmark(few, calls={"f": 1.0}), benchmark(few, calls={"f": 1.0}, edited={"f": "edited"})
    head = edited_counts(head, {"f": "edited"})
    assert screen_stored(trial(head, base, HERE)).step is Step.UNKNOWN


def test_a_changed_file_is_looked_at_though_no_function_in_it_changed() -> None:
    stacks = {"f < main": 20.0, "main": 1.0}
    one = benchmark(stacks, calls={"f": 1.0})
    assert screen_stored(trial(one, one)).step is Step.CLEARED
    assert screen_stored(trial(one, one), {FILE}).step is Step.UNKNOWN
    assert screen_stored(trial(measured(), where=HERE), {FILE}).step is Step.CLEARED, "its shares rule a slowdown out"


def test_a_share_that_outgrew_the_controls_is_suspicious_with_a_wide_margin() -> None:
    assert screen_stored(trial(measured({"f < main": 22.0}))).step is Step.CLEARED, "10 % may be the processor"
    assert screen_stored(trial(measured({"f < main": 22.0}), where=HERE)).step is Step.SUSPICIOUS
    found = screen_stored(trial(measured({"f < main": 40.0})))
    assert found.step is Step.SUSPICIOUS and "share of f" in found.reason


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (replace(measured(), counts=None), "no calls per iteration"),
        (replace(measured(calls={"f": 9.0}), profile=None), "no profile of the head"),
        (measured(calls={"f": 9.0}, backend="other"), "profiles by"),
    ],
)
def test_what_cannot_be_judged_says_why(head: Benchmark, why: str) -> None:
    found = screen_stored(trial(head))
    assert found.step is Step.UNKNOWN and why in found.reason


def test_counts_alone_clear_what_does_the_same_work() -> None:
    found = screen_stored(trial(replace(measured(), profile=None)))
    assert found.step is Step.CLEARED and "called as often" in found.reason
    assert screen_stored(trial(replace(measured(), profile=None)), {FILE}).step is Step.UNKNOWN


def test_counts_that_vary_are_not_exact() -> None:
    one = measured()
    assert one.counts is not None
    found = screen_stored(trial(replace(one, counts=replace(one.counts, deterministic=False))))
    assert found.step is Step.UNKNOWN and "differ from launch to launch" in found.reason


def test_a_changed_test_is_suspicious() -> None:
    base, head = replace(measured(), code="a"), replace(measured(), code="b")
    assert screen_stored(trial(head, base)).reason == "the test function itself differs"


# ---- runs


def run(one: Benchmark, where: Environment = HERE) -> Run:
    return Run("main", "2026-11-20T08:00:00+00:00", "ab" * 20, False, where, (one,))


def test_on_another_machine_suspects_are_named_and_fail_nothing() -> None:
    verdict = compare_runs(run(measured()), run(measured({"f < main": 40.0}), ELSEWHERE), chosen())
    (found,) = verdict.benchmarks
    assert found.outcome is Outcome.INCONCLUSIVE and found.evidence is Evidence.STORED
    assert found.reason.startswith("suspicious: the share of f") and "Another CPU 9000" in found.reason
    assert found.comparison is None and not verdict.failed


def test_on_another_machine_counts_that_shares_agree_with_convict() -> None:
    head = measured({"f < main": 40.0}, {"f": 20.0})
    verdict = compare_runs(run(measured()), run(head, ELSEWHERE), chosen())
    (found,) = verdict.benchmarks
    assert found.outcome is Outcome.REGRESSED and found.evidence is Evidence.COUNTS and verdict.failed
    (guilty,) = found.guilty
    assert guilty.comparison.function == function("f") and guilty.comparison.ratio.change == pytest.approx(
        1.0, rel=0.03
    )
    # Twice the calls at the same cost fail nothing: they may do half the work each.
    same = compare_runs(run(measured()), run(measured(calls={"f": 20.0}), ELSEWHERE), chosen())
    assert same.benchmarks[0].outcome is Outcome.INCONCLUSIVE
    # Nor does cost that moved: the benchmark as a whole did not grow.
    moved = measured({"f < main": 40.0, "g < main": 0.1}, {"f": 20.0})
    assert not compare_runs(run(measured()), run(moved, ELSEWHERE), chosen()).failed


def test_on_another_machine_the_same_work_is_unchanged() -> None:
    verdict = compare_runs(run(measured()), run(measured(), ELSEWHERE), chosen())
    assert verdict.benchmarks[0].outcome is Outcome.UNCHANGED and verdict.compared == 1


def test_without_exact_evidence_another_machine_compares_nothing() -> None:
    verdict = compare_runs(run(measured()), run(replace(measured(), counts=None), ELSEWHERE), chosen())
    assert verdict.benchmarks[0].outcome is Outcome.NOT_COMPARED and not verdict.compared


def test_a_screening_tells_what_is_left_and_why() -> None:
    new = replace(measured(), id="bench.py::test_new", name="test_new")
    head = replace(run(measured(calls={"f": 20.0})), benchmarks=(measured(calls={"f": 20.0}), new))
    found = screen_runs(run(measured()), head, chosen(), {})
    assert not found.cleared and not found.clears("bench.py::test_lib") and not found.clears("bench.py::test_new")
    lines = found.told(["bench.py::test_lib", "bench.py::test_new"], "main")
    assert lines[0] == "screened by main: 0 cleared, 2 benchmarks to measure in lockstep"
    assert "suspicious: calls per iteration rose: f 10 → 20" in lines[1]
    assert lines[2].endswith("cannot be judged: the stored run does not have it")
    clear = screen_runs(run(measured()), run(measured()), chosen(), {})
    assert clear.clears("bench.py::test_lib") and clear.cleared[0].evidence is Evidence.STORED


# ---- the gate


OTHER = {
    "src/lib/other.py": "def other(n):\n    return [number for number in range(n)]\n",
    "benchmarks/test_other.py": "from lib.other import other\n\n\ndef test_other(benchmark):\n    benchmark(other, 99)\n",
}


def test_only_what_the_stored_run_does_not_clear_is_measured_in_lockstep(tmp_path: Path) -> None:
    # GIVEN a baseline of two benchmarks, and a head that changes what one of them runs
    repo = src_repo(tmp_path / "repo").checkout("main").write(OTHER).commit()
    saved = run_pytest(repo.path, "--blcperf", "--blcperf-save=main", *QUICK, "--blcperf-launches=2")
    assert saved.returncode == 0, saved.stdout
    repo.branch("feature").write({"src/lib/core.py": slower()}).commit()
    # WHEN it is screened, by exact evidence alone: with that threshold no time of so short a run looks dearer
    screen = ("--blcperf-mode=screen", "--blcperf-threshold=900%")
    run = run_gate(repo, *screen)
    # THEN the other one rests on the stored run, and this one on lockstep
    cleared, measured = run.benchmark("test_other"), run.benchmark("test_total")
    assert (cleared["outcome"], cleared["evidence"]) == ("unchanged", "stored baseline"), run.output
    assert "same code" in cleared["reason"]
    assert measured["measured"]["paired"] and measured["evidence"] != "stored baseline"
    assert [one["code"] for one in measured["warnings"] if one["code"].startswith("screen-")]
    assert "screened: 1 cleared by the stored baseline, 1 measured in lockstep" in run.last_line
    assert "1 benchmark to measure in lockstep" in run.output
    # AND when nothing is left, nothing is measured in lockstep
    repo.git("checkout", "main", "--", "src")
    repo.write({"README.md": "Another text.\n"}).commit()
    clear = run_gate(repo, *screen)
    assert clear.code == 0
    assert "2 cleared by the stored baseline, 0 measured in lockstep" in clear.last_line, clear.output


def test_a_screen_needs_a_stored_run_and_a_commit(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo")
    run = run_gate(repo, "--blcperf-mode=screen")
    assert run.code == 4 and "--blcperf-save=main" in run.output
    repo.write({"README.md": "not committed\n"})
    assert run_pytest(repo.path, "--blcperf", "--blcperf-save=mine", *QUICK).returncode == 0
    run = run_gate(repo, "--blcperf-mode=screen", base="mine")
    assert run.code == 4 and "--blcperf-mode=stored" in run.output
    run = run_gate(repo, "--blcperf-mode=screen", "--blcperf-launches=0", base="mine")
    assert run.code == 4
