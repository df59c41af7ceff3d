"""When launches are asked for, of what, and when a confirmation ends; launches that were made up beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from measurements import benchmark, chosen, launches

from pytest_blcperf.compare.trial import confirm_looks, lockstep_trial
from pytest_blcperf.gate import Hypothesis, judge, settled
from pytest_blcperf.model.run import CONFIRM, LOOK, Benchmark
from pytest_blcperf.model.verdict import Outcome
from pytest_blcperf.sequential import trials

PLAIN = {"parse < run < test": 330, "render < run < test": 270, "load < test": 400}
CALLS = {"parse": 10.0, "render": 10.0, "load": 1.0, "run": 1.0, "test": 1.0}
ID = "bench.py::test_lib"


class Recorded:
    """Hands out launches of two benchmarks as they are asked for; `log` has what was asked."""

    def __init__(self, base: Benchmark, head: Benchmark) -> None:
        self.failures: tuple[str, ...] = ()
        self.log: list[tuple[str, int]] = []
        self.focused: list[tuple[list[str], bool]] = []
        self._sides = base, head
        self._given = {LOOK: 0, CONFIRM: 0}

    def measure(self, ids: Sequence[str], launches: int, phase: str) -> None:
        if ids:
            self.log.append((phase, launches))
            self._given[phase] = launches

    def focus(self, identifier: str, suspects: Sequence[tuple[object, object]], profile: bool) -> None:
        assert identifier == ID
        self.focused.append(([head.name for _, head in suspects], profile))

    def complete(self) -> None:
        self.log.append(("complete", 0))

    def benchmarks(self, side: int) -> Mapping[str, Benchmark]:
        one = self._sides[side]
        kept = []
        for phase, number in self._given.items():
            kept += [launch for launch in one.launches if launch.phase == phase][:number]
        return {one.id: replace(one, launches=tuple(kept))}


def run(base: Benchmark, head: Benchmark, **settings: str) -> tuple[Recorded, Outcome]:
    source, resolved = Recorded(base, head), chosen(**settings)
    found = trials(source, {ID: resolved}, resolved.launches, resolved.alpha, lambda _line: None)
    (verdict,) = judge(found, resolved.alpha)
    return source, verdict.outcome


def test_equal_code_ends_after_the_first_look() -> None:
    one = benchmark(PLAIN, look=12, confirm=24, samples=20_000)
    source, outcome = run(one, one)
    assert source.log == [(LOOK, 2), (LOOK, 6), ("complete", 0)]
    assert outcome is Outcome.UNCHANGED


def test_a_clear_regression_is_confirmed_at_the_first_look_at_fresh_launches() -> None:
    source, outcome = run(
        benchmark(PLAIN, look=12, confirm=24), benchmark({**PLAIN, "load < test": 520}, look=12, confirm=24)
    )
    assert source.log == [(LOOK, 2), (LOOK, 6), (CONFIRM, 6), ("complete", 0)]
    assert outcome is Outcome.REGRESSED


def test_what_stays_open_takes_every_launch() -> None:
    noise = [[round(10_000_000 * (1.06 + 0.06 * (-1) ** index))] for index in range(36)]
    head = replace(benchmark({"test": 1000}, look=12, confirm=24), launches=launches(noise, 12))
    source, outcome = run(benchmark({"test": 1000}, look=12, confirm=24), head)
    looks, confirming = [(LOOK, 2), (LOOK, 6), (LOOK, 12)], [(CONFIRM, 6), (CONFIRM, 12), (CONFIRM, 24)]
    assert source.log == [*looks, *confirming, ("complete", 0)]
    assert outcome is Outcome.INCONCLUSIVE


def test_after_the_first_profiles_the_suspects_are_timed_and_profiled_only_where_that_is_needed() -> None:
    base = benchmark(PLAIN, look=12, confirm=24, calls=CALLS, samples=200)
    source, _ = run(base, benchmark({**PLAIN, "load < test": 480}, look=12, confirm=24, calls=CALLS, samples=200))
    # No clock of these recorded launches tells anything, so after the first look there are profiles again.
    assert source.focused == [(["run", "load", "parse", "render"], False), (["run", "load", "parse", "render"], True)]
    uncounted = benchmark(PLAIN, look=12, confirm=24, samples=200)
    source, _ = run(uncounted, benchmark({**PLAIN, "load < test": 480}, look=12, confirm=24, samples=200))
    assert source.focused[-1] == ([], True)


def test_looks_spend_declared_parts_of_alpha() -> None:
    assert confirm_looks(12) == (6, 12, 24)
    assert confirm_looks(4) == (4, 8)
    assert confirm_looks(2) == (4,)
    one = benchmark(PLAIN, look=12, confirm=24)
    assert [spent for spent, _ in lockstep_trial(one, one, chosen()).confirmations] == [0.2, 0.3, 0.5]
    # Cut short by the clock at 9 launches: the look there is the last, and may spend what is left.
    cut = benchmark(PLAIN, look=12, confirm=9)
    assert [(spent, one.launches) for spent, one in lockstep_trial(cut, cut, chosen()).confirmations] == [
        (0.2, 6),
        (0.8, 9),
    ]
    # Or right at a look: all that is left is for that one, unless more launches are to come.
    cut = benchmark(PLAIN, look=12, confirm=12)
    assert [spent for spent, _ in lockstep_trial(cut, cut, chosen()).confirmations] == [0.2, 0.8]
    assert [spent for spent, _ in lockstep_trial(cut, cut, chosen(), ended=False).confirmations] == [0.2, 0.3]
    # A saved run may have more than the settings of its comparison ask for.
    more = benchmark(PLAIN, look=12, confirm=30)
    assert [(spent, one.launches) for spent, one in lockstep_trial(more, more, chosen()).confirmations] == [
        (0.2, 6),
        (0.3, 12),
        (0.5, 24),
    ]
    few = benchmark(PLAIN, look=4, confirm=8)
    looks = lockstep_trial(few, few, chosen(launches="4")).confirmations
    assert sum(spent for spent, _ in looks) == 1


def test_what_all_launches_together_put_below_the_threshold_is_no_regression() -> None:
    times = [[10_000_000]] * 12 + [[10_520_000]] * 24
    head = replace(benchmark({"test": 1000}, look=12, confirm=24), launches=launches(times, 12))
    base, settings = benchmark({"test": 1000}, look=12, confirm=24), chosen(benchmark_threshold="5%")
    trial = lockstep_trial(base, head, settings, [Hypothesis("bench.py::test_lib")])
    (verdict,) = judge([trial], 0.001)
    assert verdict.outcome is not Outcome.REGRESSED


def test_a_stop_is_held_against_the_same_part_of_alpha_as_the_verdict() -> None:
    base = benchmark(PLAIN, look=12, confirm=6)
    slow = benchmark({**PLAIN, "load < test": 520}, look=12, confirm=6)
    trial = lockstep_trial(base, slow, chosen(), [Hypothesis("bench.py::test_lib")])
    assert settled([trial], 0.001, 21) == {"bench.py::test_lib"}
    # Whatever else is judged in the session by other evidence takes nothing back.
    more = benchmark(PLAIN, look=12, confirm=0, calls=CALLS)
    twice = benchmark(PLAIN, look=12, confirm=0, calls={name: 2 * calls for name, calls in CALLS.items()})
    others = [lockstep_trial(more, twice, chosen()) for _ in range(20)]
    assert judge([trial, *others], 0.001)[0].outcome is Outcome.REGRESSED
