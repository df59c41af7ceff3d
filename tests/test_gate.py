"""From measurements to verdicts: who is blamed, who is not, and what is said where nothing can be."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from accuracy.simulate_gate import Noise, play, settings
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from measurements import benchmark, chosen, clocked, function, gated, launches, of, profile

from pytest_blcperf.compare.compare import compare_benchmark
from pytest_blcperf.gate import (
    Hypothesis,
    Step,
    differing,
    identical,
    judge,
    lockstep_trial,
    not_compared,
    screen,
    stored_trial,
)
from pytest_blcperf.model.comparison import SELF, TOTAL
from pytest_blcperf.model.environment import Environment
from pytest_blcperf.model.function import NATIVE, PYTHON
from pytest_blcperf.model.profile import Profile
from pytest_blcperf.model.run import CONFIRM, LOOK, Benchmark, Count, Counts
from pytest_blcperf.model.verdict import BenchmarkVerdict, Evidence, Outcome
from pytest_blcperf.report.words import headline
from pytest_blcperf.settings import FunctionRule

PLAIN = {"parse < run < test": 330, "render < run < test": 270, "load < test": 400}
SLOW_PARSE = {**PLAIN, "parse < run < test": 396}
HERE = Environment(machine="x86_64", cpu_model="A", cpu_count=2, python="3.11")


def test_same_code_is_unchanged() -> None:
    verdict = gated(benchmark(PLAIN), benchmark(PLAIN))
    assert (verdict.outcome, verdict.evidence, verdict.p) == (Outcome.UNCHANGED, Evidence.LOCKSTEP, 1.0)
    assert {one.outcome for one in verdict.functions} == {Outcome.UNCHANGED}
    assert verdict.reason == ""


def test_a_slower_function_is_named_first_and_its_caller_follows_from_it() -> None:
    verdict = gated(benchmark(PLAIN), benchmark(SLOW_PARSE))
    assert verdict.outcome is Outcome.REGRESSED
    assert verdict.fails
    first, second = verdict.functions[:2]
    assert (first.comparison.function.name, first.comparison.kind, first.evidence) == ("parse", SELF, Evidence.PROFILE)
    assert first.comparison.ratio.change == pytest.approx(0.2, abs=0.005)
    assert first.comparison.impact == pytest.approx(0.066, abs=0.002)
    assert first.p is not None
    assert first.p < 0.001
    assert (second.comparison.function.name, second.comparison.kind) == ("run", TOTAL)
    assert second.follows_from == function("parse")
    assert verdict.guilty == (first,)
    assert "parse (self time) got 20% dearer" in verdict.reason


def test_a_bystander_is_not_blamed_for_another_functions_gain() -> None:
    verdict = gated(benchmark(PLAIN), benchmark({**PLAIN, "load < test": 100}))
    assert verdict.outcome is Outcome.IMPROVED
    bystander = of(verdict, "parse", SELF)
    assert bystander.comparison.share_head > 1.4 * bystander.comparison.share_base
    assert bystander.outcome is Outcome.UNCHANGED
    assert of(verdict, "load", SELF).outcome is Outcome.IMPROVED


def test_a_slower_function_inside_a_faster_benchmark_fails() -> None:
    verdict = gated(benchmark(PLAIN), benchmark({**SLOW_PARSE, "load < test": 280}))
    assert verdict.comparison is not None
    assert verdict.comparison.ratio.change < -0.05
    assert verdict.outcome is Outcome.REGRESSED
    assert verdict.evidence is Evidence.PROFILE
    assert [one.comparison.function.name for one in verdict.guilty] == ["parse"]


def test_a_function_called_twice_as_often_is_explained() -> None:
    calls = {"parse": 10.0, "run": 1.0, "load": 1.0, "render": 1.0}
    head = benchmark({**PLAIN, "parse < run < test": 660}, calls={**calls, "parse": 20.0})
    explanation = of(gated(benchmark(PLAIN, calls=calls), head), "parse", SELF).explanation
    assert explanation is not None
    assert explanation.called_more_ns == pytest.approx(330_000, rel=0.01)
    assert explanation.dearer_per_call_ns == pytest.approx(0, abs=2_000)


def test_changed_code_is_suspected_before_a_larger_bystander() -> None:
    base = {**PLAIN, "hot < test": 200}
    head = {**SLOW_PARSE, "hot < test": 290}
    verdict = gated(benchmark(base), benchmark(head, edited={"parse": "edited"}))
    assert [one.comparison.function.name for one in verdict.guilty] == ["parse", "hot"]


def test_without_self_time_the_deepest_slower_function_is_guilty() -> None:
    base, head = (benchmark(stacks, self_time=False) for stacks in (PLAIN, SLOW_PARSE))
    verdict = gated(base, head)
    assert {one.comparison.kind for one in verdict.functions} == {TOTAL}
    assert [one.comparison.function.name for one in verdict.guilty] == ["parse"]
    assert of(verdict, "run", TOTAL).follows_from == function("parse")


def test_total_time_follows_from_the_same_functions_self_time() -> None:
    base = {**PLAIN, "run < test": 100}
    verdict = gated(benchmark(base), benchmark({**base, "run < test": 250}))
    assert [(one.comparison.function.name, one.comparison.kind) for one in verdict.guilty] == [("run", SELF)]
    assert of(verdict, "run", TOTAL).follows_from == function("run")


class TestMovedCost:
    """Refactoring moves cost between functions; that is no regression."""

    def test_a_function_split_off_another(self) -> None:
        head = {**PLAIN, "parse < run < test": 130, "token < parse < run < test": 200}
        verdict = gated(benchmark(PLAIN), benchmark(head, edited={"parse": "edited"}))
        assert verdict.outcome is Outcome.UNCHANGED
        assert of(verdict, "token", SELF).outcome is not Outcome.REGRESSED

    def test_a_function_that_is_new_and_dear(self) -> None:
        head = {**PLAIN, "token < parse < run < test": 200}
        verdict = gated(benchmark(PLAIN), benchmark(head, edited={"parse": "edited"}))
        assert verdict.guilty[0].comparison.function == function("token")
        assert "token (self time) is new and takes 17% of the benchmark" in verdict.reason
        assert "token (src/lib.py:1) new" in headline(verdict)

    def test_a_chain_of_new_functions_is_asked_about_its_first_old_caller(self) -> None:
        head = {**PLAIN, "parse < run < test": 30, "token < scan < parse < run < test": 300}
        verdict = gated(benchmark(PLAIN), benchmark(head, edited={"parse": "edited"}))
        assert verdict.outcome is Outcome.UNCHANGED

    def test_a_callee_inlined(self) -> None:
        base = {**PLAIN, "token < parse < run < test": 150}
        head = {**PLAIN, "parse < run < test": 480}
        verdict = gated(benchmark(base), benchmark(head, edited={"parse": "edited"}))
        assert verdict.outcome is Outcome.UNCHANGED
        assert [warning.code for warning in verdict.warnings] == ["cost-moved"]
        assert of(verdict, "parse", SELF).outcome is Outcome.INCONCLUSIVE

    def test_work_moved_into_an_old_function_by_its_edited_caller(self) -> None:
        head = {"parse < run < test": 180, "render < run < test": 420, "load < test": 400}
        assert gated(benchmark(PLAIN), benchmark(head)).outcome is Outcome.REGRESSED
        moved = gated(benchmark(PLAIN), benchmark(head, edited={"run": "edited"}))
        assert moved.outcome is Outcome.UNCHANGED

    def test_a_renamed_function_is_the_same_function(self) -> None:
        head = {"parse2 < run < test": 396, "render < run < test": 270, "load < test": 400}
        verdict = gated(benchmark(PLAIN), benchmark(head, edited={"parse2": "code of parse"}))
        first = verdict.guilty[0].comparison
        assert (first.function.name, first.code_changed) == ("parse2", False)
        assert first.ratio.change == pytest.approx(0.2, abs=0.005)

    def test_a_vanished_function_is_an_improvement(self) -> None:
        verdict = gated(benchmark(PLAIN), benchmark({"parse < run < test": 330, "render < run < test": 270}))
        assert of(verdict, "load", SELF).outcome is Outcome.IMPROVED
        assert verdict.outcome is Outcome.IMPROVED


class TestPolicy:
    """Thresholds, rules, `gate=`."""

    def test_gate_off_reports_but_does_not_fail(self) -> None:
        verdict = gated(benchmark(PLAIN), benchmark(SLOW_PARSE), chosen(gate="off"))
        assert verdict.outcome is Outcome.REGRESSED
        assert not verdict.fails

    def test_a_rule_gives_one_function_another_threshold(self) -> None:
        lenient = replace(chosen(threshold="10%"), rules=(FunctionRule("parse", threshold=0.5),))
        verdict = gated(benchmark(PLAIN), benchmark(SLOW_PARSE), lenient)
        assert of(verdict, "parse", SELF).outcome is Outcome.UNCHANGED
        assert of(verdict, "run", TOTAL).outcome is Outcome.REGRESSED

    def test_an_ignored_function_is_not_judged(self) -> None:
        ignoring = replace(
            chosen(threshold="15%", benchmark_threshold="15%"), rules=(FunctionRule("*::parse", ignore=True),)
        )
        verdict = gated(benchmark(PLAIN), benchmark(SLOW_PARSE), ignoring)
        assert "parse" not in {one.comparison.function.name for one in verdict.functions}
        assert verdict.outcome is Outcome.UNCHANGED

    def test_impact_below_the_minimum_does_not_fail(self) -> None:
        head = {**PLAIN, "parse < run < test": 396}
        settings = chosen(benchmark_threshold="8%", min_impact="8%")
        assert gated(benchmark(PLAIN), benchmark(head), settings).outcome is Outcome.UNCHANGED

    @pytest.mark.parametrize(
        ("head", "given", "outcome"),
        [
            (1014, {}, Outcome.UNCHANGED),
            (1016, {}, Outcome.REGRESSED),
            (1059, {"threshold": "20%"}, Outcome.UNCHANGED),
            (1061, {"threshold": "20%"}, Outcome.REGRESSED),
            (1049, {"benchmark_threshold": "5%"}, Outcome.UNCHANGED),
            (1051, {"benchmark_threshold": "5%"}, Outcome.REGRESSED),
        ],
    )
    def test_the_threshold_is_what_is_measured(self, head: float, given: dict[str, str], outcome: Outcome) -> None:
        verdict = gated(benchmark({"test": 1000}), benchmark({"test": head}), chosen(**given))
        assert verdict.outcome is outcome

    def test_a_whole_benchmark_has_a_threshold_of_its_own_and_functions_theirs(self) -> None:
        verdict = gated(benchmark({"test": 1000}), benchmark({"test": 1020}))
        assert verdict.outcome is Outcome.REGRESSED and verdict.threshold == pytest.approx(0.015)
        assert not verdict.guilty and {one.threshold for one in verdict.functions} == {0.05}

    def test_a_change_that_is_not_surely_above_half_the_threshold_is_inconclusive(self) -> None:
        head = benchmark({"test": 1016})
        times = [[round(10_160_000 * (1 + 0.03 * (-1) ** index))] for index in range(24)]
        verdict = gated(benchmark({"test": 1000}), replace(head, launches=launches(times, 12)))
        assert verdict.outcome is Outcome.INCONCLUSIVE
        assert "launches would decide" in verdict.reason or "any affordable number" in verdict.reason


class TestCarriers:
    """Functions of a benchmark that failed as a whole, below their own thresholds."""

    BEFORE: ClassVar = {"big < test": 500, "other < run < test": 200, "load < run < test": 300}

    def verdict(self, after: dict[str, float], samples: int = 200_000) -> BenchmarkVerdict:
        return gated(benchmark(self.BEFORE, samples=samples), benchmark(after, samples=samples))

    def test_the_function_that_carries_the_slowdown_is_named(self) -> None:
        verdict = self.verdict({**self.BEFORE, "big < test": 518})
        assert verdict.outcome is Outcome.REGRESSED and verdict.threshold == pytest.approx(0.015)
        assert [one.comparison.function.name for one in verdict.guilty] == ["big"]
        # It got 3.6 % dearer; where everything had, 1.8 %.
        assert verdict.guilty[0].threshold == pytest.approx(0.027, abs=0.0005)
        assert [one.comparison.function.name for one in verdict.functions if one.carrier] == ["big"]
        assert "its time rose by 1.8%, big (self time) got 3.6% dearer" in verdict.reason

    def test_where_everything_got_dearer_nobody_is(self) -> None:
        verdict = self.verdict({name: 1.03 * cost for name, cost in self.BEFORE.items()})
        assert verdict.outcome is Outcome.REGRESSED and not verdict.guilty
        assert {one.threshold for one in verdict.functions} == {0.05}

    def test_a_rule_that_allows_a_function_more_stays(self) -> None:
        base = benchmark(self.BEFORE, samples=200_000)
        head = benchmark({**self.BEFORE, "big < test": 518}, samples=200_000)
        verdict = gated(base, head, replace(chosen(), rules=(FunctionRule("big", threshold=0.06),)))
        assert verdict.outcome is Outcome.REGRESSED and not verdict.guilty

    def test_too_few_samples_name_nobody(self) -> None:
        verdict = self.verdict({**self.BEFORE, "big < test": 518}, samples=50)
        assert verdict.outcome is Outcome.REGRESSED and not verdict.guilty

    def test_a_benchmark_that_is_not_convicted_has_no_carriers(self) -> None:
        verdict = self.verdict({**self.BEFORE, "big < test": 512})
        assert verdict.outcome is Outcome.UNCHANGED and not verdict.guilty


class TestElimination:
    """What changed is to blame for what got dearer, where it can be and nothing else can."""

    BEFORE: ClassVar = {"big < test": 500, "other < run < test": 200, "load < run < test": 300}
    AFTER: ClassVar = {**BEFORE, "load < run < test": 318}
    CALLS: ClassVar = dict.fromkeys(("test", "big", "other", "run", "load"), 1.0)

    def verdict(self, samples: int, *edited: str) -> BenchmarkVerdict:
        head = benchmark(self.AFTER, samples=samples, edited=dict.fromkeys(edited, "edited"), calls=self.CALLS)
        return gated(benchmark(self.BEFORE, samples=samples, calls=self.CALLS), head)

    def test_the_only_changed_function_is_named_though_its_samples_are_too_few(self) -> None:
        assert not self.verdict(50).guilty
        self.names_load(self.verdict(50, "load"))

    def test_a_changed_native_function_is_named(self) -> None:
        self.names_load(self.native("load"))

    def names_load(self, verdict: BenchmarkVerdict) -> None:
        (guilty,) = verdict.guilty
        assert (guilty.comparison.function.name, guilty.evidence) == ("load", Evidence.ELIMINATION)
        assert guilty.carrier and verdict.evidence is Evidence.LOCKSTEP
        assert verdict.reason == "its time rose by 1.8%, of the functions that changed only load can be the cause"

    def test_a_native_function_that_one_side_did_not_sample_is_no_change(self) -> None:
        assert not self.native().guilty

    def native(self, *edited: str) -> BenchmarkVerdict:
        """As `verdict`, where everything below the test is compiled code, which nobody counts."""
        sides = [
            benchmark({**stacks, f"{side} < test": 0.1}, samples=50, edited=dict.fromkeys(changed, "edited"))
            for side, stacks, changed in (("base", self.BEFORE, ()), ("head", self.AFTER, edited))
        ]
        return gated(*(replace(one, profile=self.compiled(one), counts=self.counted()) for one in sides))

    def compiled(self, one: Benchmark) -> Profile:
        assert one.profile is not None
        kinds = [replace(each, kind=PYTHON if each.name == "test" else NATIVE) for each in one.profile.functions]
        return replace(one.profile, functions=tuple(kinds))

    def counted(self) -> Counts:
        return Counts((Count(function("test"), 1.0),), True)

    def test_a_function_in_a_function_is_the_one_that_changed(self) -> None:
        inner = "run.<locals>.load"
        before, after = ({**self.BEFORE, f"{inner} < run < test": cost} for cost in (5.0, 30.0))
        calls = {**self.CALLS, inner: 1.0}
        edited = {inner: "edited", "run": "edited with it"}
        verdict = gated(
            benchmark(before, samples=150, calls=calls), benchmark(after, samples=150, calls=calls, edited=edited)
        )
        assert [one.comparison.function.name for one in verdict.guilty][:1] == [inner]

    def test_of_functions_with_one_name_each_side_may_have_seen_others(self) -> None:
        head = benchmark(self.AFTER, samples=50, edited={"load": "code of load+code of its twin"}, calls=self.CALLS)
        assert not gated(benchmark(self.BEFORE, samples=50, calls=self.CALLS), head).guilty

    def test_of_two_that_can_be_the_cause_neither_is_named(self) -> None:
        assert not self.verdict(50, "load", "other").guilty

    def test_one_that_is_known_not_to_have_got_dearer_is_not_the_cause(self) -> None:
        verdict = self.verdict(200_000, "big")
        assert [one.comparison.function.name for one in verdict.guilty] == ["load"]
        verdict = self.verdict(200_000, "big", "load")
        assert [(one.comparison.function.name, one.evidence) for one in verdict.guilty] == [("load", Evidence.PROFILE)]

    def test_what_regressed_beside_it_follows_from_it(self) -> None:
        before = {"small < load < test": 30, "load < test": 170, "other < test": 800}
        head = {"small < load < test": 50, "load < test": 170, "other < test": 800}
        calls = dict.fromkeys(("test", "load", "small", "other"), 1.0)
        verdict = gated(
            benchmark(before, samples=2000, calls=calls),
            benchmark(head, samples=2000, calls=calls, edited={"small": "edited"}),
        )
        assert verdict.guilty[0].comparison.function.name == "small"
        assert all(
            one.follows_from
            for one in verdict.functions
            if one.outcome is Outcome.REGRESSED and one not in verdict.guilty
        )

    def test_without_counts_nobody_knows_what_ran(self) -> None:
        head = benchmark(self.AFTER, samples=50, edited={"load": "edited"})
        assert not gated(benchmark(self.BEFORE, samples=50), head).guilty

    def test_nothing_is_blamed_where_nothing_failed(self) -> None:
        head = benchmark(self.BEFORE, samples=50, edited={"load": "edited"}, calls=self.CALLS)
        verdict = gated(benchmark(self.BEFORE, samples=50, calls=self.CALLS), head)
        assert not verdict.guilty and not any(one.carrier for one in verdict.functions)


class TestScreen:
    """After each look."""

    def look(
        self, head: Benchmark, last: bool = False, count: int = 6, **options: str
    ) -> tuple[Step, list[Hypothesis]]:
        base, settings = benchmark(PLAIN, look=count, confirm=0, samples=2000), chosen(**options)
        compared = compare_benchmark(base, head, settings, phase=LOOK, paired=True)
        found = screen(compared, settings, last=last)
        return found.step, list(found.candidates)

    def test_nothing_open_is_done(self) -> None:
        assert self.look(benchmark(PLAIN, look=6, confirm=0, samples=20_000)) == (Step.DONE, [])

    def test_something_open_extends_until_the_last_look(self) -> None:
        open_head = benchmark({**PLAIN, "parse < run < test": 344}, look=6, confirm=0, samples=200)
        assert self.look(open_head, benchmark_threshold="5%") == (Step.EXTEND, [])
        assert self.look(open_head, last=True, benchmark_threshold="5%") == (Step.DONE, [])

    def test_a_candidate_goes_straight_to_confirmation(self) -> None:
        step, candidates = self.look(benchmark(SLOW_PARSE, look=6, confirm=0))
        assert step is Step.CONFIRM
        assert Hypothesis("bench.py::test_lib", function("parse"), SELF) in candidates
        assert Hypothesis("bench.py::test_lib") in candidates

    def test_one_launch_only_extends(self) -> None:
        assert self.look(benchmark(SLOW_PARSE, look=1, confirm=0), count=1) == (Step.EXTEND, [])


class TestConfirmation:
    """Fresh launches alone convict functions; a whole benchmark all of its launches, the fresh ones agreeing."""

    def test_all_launches_convict_a_whole_benchmark(self) -> None:
        # Six fresh launches by themselves would not: t(5) at that error rate is 9, and this is 8 standard errors.
        times = [[round(10_200_000 * (1 + 0.0036 * (-1) ** index))] for index in range(12)]
        base = benchmark({"test": 1000}, look=6, confirm=6)
        verdict = gated(base, replace(base, launches=launches(times, 6)))
        assert verdict.outcome is Outcome.REGRESSED and not verdict.guilty

    def test_a_slowdown_that_went_away_does_not_fail(self) -> None:
        base = benchmark({"test": 1000})
        slow, same = benchmark({"test": 1150}).launches, benchmark({"test": 1000}).launches
        verdict = gated(base, replace(base, launches=slow[:12] + same[12:]))
        assert verdict.outcome is Outcome.INCONCLUSIVE
        assert verdict.p is not None
        assert verdict.p > 0.5

    def test_a_slowdown_seen_only_later_was_not_a_candidate(self) -> None:
        base = benchmark({"test": 1000})
        same, slow = benchmark({"test": 1000}).launches, benchmark({"test": 1150}).launches
        verdict = gated(base, replace(base, launches=same[:12] + slow[12:]))
        assert verdict.outcome is Outcome.INCONCLUSIVE

    def test_without_fresh_launches_nothing_fails(self) -> None:
        base, head = benchmark(PLAIN, confirm=0), benchmark({**PLAIN, "parse < run < test": 365}, confirm=0)
        verdict = gated(base, head)
        assert verdict.outcome is Outcome.INCONCLUSIVE
        assert "no fresh launches" in verdict.reason

    def test_every_candidate_of_the_session_counts_in_the_correction(self) -> None:
        base, head = benchmark(PLAIN), benchmark(SLOW_PARSE)
        accused = (Hypothesis(base.id, function("parse"), SELF),)
        alone = judge([lockstep_trial(base, head, chosen(), accused)], 0.001)[0]
        other = replace(base, id="bench.py::other")
        crowd = tuple(Hypothesis(other.id, function(name), SELF) for name in ("parse", "render", "load"))
        together = judge(
            [lockstep_trial(base, head, chosen(), accused), lockstep_trial(other, other, chosen(), crowd)], 0.001
        )[0]
        before, after = of(alone, "parse", SELF).p, of(together, "parse", SELF).p
        assert before is not None
        assert after == pytest.approx(4 * before)


class TestStored:
    """Against a run measured at another time."""

    def trial(self, head: Benchmark, there: Environment = HERE) -> tuple[Outcome, Evidence, str]:
        verdict = judge([stored_trial(benchmark(PLAIN), head, chosen(), HERE, there)], 0.001)[0]
        return verdict.outcome, verdict.evidence, verdict.reason

    def test_no_number_of_launches_averages_drift_out(self) -> None:
        outcome, evidence, reason = self.trial(benchmark({name: 1.2 * cost for name, cost in PLAIN.items()}, look=100))
        assert (outcome, evidence) == (Outcome.INCONCLUSIVE, Evidence.STORED)
        assert "--blcperf-mode=lockstep" in reason

    def test_a_slowdown_beyond_any_drift_fails(self) -> None:
        assert self.trial(benchmark({name: 4 * cost for name, cost in PLAIN.items()}))[0] is Outcome.REGRESSED

    def test_another_machine_never_fails_and_is_named(self) -> None:
        head = benchmark({name: 4 * cost for name, cost in PLAIN.items()})
        outcome, _, reason = self.trial(head, replace(HERE, cpu_model="B"))
        assert outcome is Outcome.NOT_COMPARED
        assert "cpu model A → B" in reason

    def test_equal_environments_do_not_differ(self) -> None:
        assert differing(HERE, HERE) == ""


class TestLittleData:
    """Too little is said to be too little; nothing crashes."""

    def test_one_launch(self) -> None:
        verdict = gated(benchmark(PLAIN, look=1, confirm=0), benchmark(SLOW_PARSE, look=1, confirm=0))
        assert verdict.outcome is Outcome.INCONCLUSIVE
        assert "at least two" in verdict.reason
        assert verdict.detectable is None

    def test_no_rounds(self) -> None:
        empty = replace(benchmark(PLAIN), launches=launches([[], []]))
        verdict = gated(benchmark(PLAIN), empty)
        assert verdict.outcome is Outcome.INCONCLUSIVE
        assert "no usable rounds" in verdict.reason

    def test_weights_of_zero(self) -> None:
        whole = benchmark(PLAIN)
        assert whole.profile is not None
        nothing = replace(whole, profile=replace(whole.profile, weight=np.zeros_like(whole.profile.weight)))
        verdict = gated(whole, nothing)
        assert (verdict.outcome, verdict.functions) == (Outcome.UNCHANGED, ())
        assert verdict.comparison is not None
        assert [warning.code for warning in verdict.comparison.warnings] == ["profile-empty"]

    def test_undecided_functions_of_an_unchanged_benchmark_are_mentioned(self) -> None:
        edited = dict.fromkeys(("parse", "render", "load", "run"), "edited")
        verdict = gated(benchmark(PLAIN, samples=50), benchmark(PLAIN, samples=50, edited=edited))
        assert verdict.outcome is Outcome.UNCHANGED
        assert re.fullmatch(r"[34] of 4 hot functions could hide up to (\d\.\d|1\d)%", verdict.reason)

    @effort(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.data())
    def test_rubbish_gives_no_nan(self, data: st.DataObject) -> None:
        def draw() -> Benchmark:
            times = st.lists(st.lists(st.integers(-5, 10**12), max_size=3), max_size=4)
            whole = benchmark(
                {**PLAIN, "tiny < run < test": 1e-6}, look=2, confirm=2, samples=data.draw(st.integers(0, 50))
            )
            assert whole.profile is not None
            weights = data.draw(
                st.lists(st.sampled_from([0.0, -1.0, 1e-9, 1.0, 1e18, np.nan, np.inf]), min_size=16, max_size=16)
            )
            bad = replace(whole.profile, weight=np.array(weights))
            return replace(whole, launches=launches(data.draw(times), 2), profile=bad)

        base, head = draw(), draw()
        verdicts = [gated(base, head), *judge([stored_trial(base, head, chosen(), HERE, HERE)], 0.001)]
        assert "nan" not in repr(
            [(one.comparison, one.functions, one.p, one.detectable, one.reason) for one in verdicts]
        )


def test_verdicts_without_a_measurement() -> None:
    assert identical("a", "no file differs").outcome is Outcome.UNCHANGED
    assert identical("a", "no file differs").evidence is Evidence.IDENTICAL
    assert not_compared("a", "new").outcome is Outcome.NOT_COMPARED


def test_hot_functions_are_those_of_the_screening() -> None:
    base = benchmark({**PLAIN, "rare < test": 60})
    assert base.profile is not None
    rare_later = replace(base, profile=replace(base.profile, weight=base.profile.weight * 1.0))
    trial = lockstep_trial(base, rare_later, chosen(min_share="5%"))
    later = compare_benchmark(base, rare_later, chosen(), phase=CONFIRM, paired=True, only=[(function("rare"), SELF)])
    assert {(one.function.name, one.kind) for one in trial.overall.functions} >= {("rare", SELF), ("run", TOTAL)}
    assert [one.function.name for one in later.functions] == ["rare"]


CHEAP = Noise(rounds=0.03, count=8)
SAME = [1.0] * 8


def test_sessions_without_a_change_do_not_fail() -> None:
    assert play(7, 100, CHEAP, [SAME] * 2, settings()).failed == 0


def test_the_error_rate_holds_where_it_is_used_up() -> None:
    # A margin of zero puts "no change" on the boundary of the null. 100 sessions at 10 %: 19 or more has p < 1 %.
    edge = settings(threshold="0%", min_impact="0%", alpha="0.1")
    assert play(8, 100, CHEAP, [SAME] * 2, edge).failed < 19


def test_the_error_rate_holds_where_every_function_was_edited() -> None:
    edge = settings(threshold="0%", min_impact="0%", alpha="0.1")
    assert play(10, 100, CHEAP, [SAME] * 2, edge, edited=True).failed < 19


def test_a_changed_function_needs_no_more_launches_than_a_benchmark() -> None:
    stacks = {"load < run < test": 200, "other < test": 800}
    calls = dict.fromkeys(("test", "run", "load", "other"), 1.0)
    slow = {**stacks, "load < run < test": 214}
    base = clocked(benchmark(stacks, look=6, confirm=6, calls=calls), {"load": 200.0})
    factors = [1.07 + 0.015 * one for one in (-2, 1, 2, -1, 1, -1, 2, -1, -2, 1, 0, 0)]
    verdicts = []
    for edited in ({}, {"load": "edited"}):
        head = clocked(benchmark(slow, look=6, confirm=6, calls=calls, edited=edited), {"load": 214.0})
        columns = [np.full((3, 1), round(2_000_000 * factor), np.int64) for factor in factors]
        times = zip(head.function_times, columns, strict=True)
        head = replace(head, function_times=tuple(replace(one, total_ns=ns, self_ns=ns) for one, ns in times))
        verdicts.append(of(gated(base, head, chosen(benchmark_threshold="5%")), "load", SELF).outcome)
    assert verdicts == [Outcome.INCONCLUSIVE, Outcome.REGRESSED]


def test_a_clear_regression_is_found_and_named() -> None:
    found = play(9, 25, CHEAP, [[1.35, *SAME[1:]], SAME], settings())
    assert found.named >= 22
    assert found.others == 0


def test_profiles_need_not_name_the_same_functions() -> None:
    base = benchmark(PLAIN)
    verdict = gated(base, replace(base, profile=profile({"other < test": 1.0})))
    assert verdict.outcome in (Outcome.UNCHANGED, Outcome.INCONCLUSIVE)
