"""The sequential procedure: looks at growing data, then a confirmation with fresh launches for what looked dearer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Protocol

from pytest_blcperf import gate
from pytest_blcperf.compare.compare import compare_benchmark, sides
from pytest_blcperf.compare.suspects import Suspect, needs_profile, open_hypotheses, suspects
from pytest_blcperf.compare.trial import Tested, confirm_looks
from pytest_blcperf.gate import Hypothesis, Step
from pytest_blcperf.model.run import CONFIRM, LOOK, Benchmark, test_id
from pytest_blcperf.settings import Settings

PROFILED_LAUNCHES = 2
"""Launches from whose profiles and call counts it follows which functions are timed in those to come."""


class Source(Protocol):
    """Where launches come from: `bench.measure.Measurement`, or launches that were recorded before."""

    @property
    def failures(self) -> Collection[str]:
        """Ids of the tests that gave nothing on a side."""

    def measure(self, ids: Sequence[str], launches: int, phase: str) -> None:
        """Add launches until each of `ids` has so many of this phase, failed, or spent its budget."""

    def focus(self, identifier: str, suspects: Sequence[Suspect], profile: bool) -> None:
        """From now on time these functions of a benchmark, and profile it only where told to."""

    def complete(self) -> None:
        """Measure what no decision depends on: the instructions, where they were asked for."""

    def benchmarks(self, side: int) -> Mapping[str, Benchmark]:
        """What there is so far, by id: of the base (0), of the head (1)."""


def trials(
    source: Source, settings: Mapping[str, Settings], launches: int, alpha: float, tell: Callable[[str], None]
) -> list[gate.Trial]:
    """Two looks, then a confirmation with fresh launches for what looked dearer, which ends as soon as it decides.

    `settings` has the tests to measure, by id, each with its own settings; `tell` takes one line of progress.
    """
    candidates = _screened(source, settings, launches)
    if candidates:
        count = len(candidates)
        tell(f"{count} benchmark{'s'[: count != 1]} looked slower: confirming with fresh launches")
    undecided = set(candidates)
    for number in confirm_looks(launches):
        if not undecided:
            break
        source.measure(list(dict.fromkeys(test_id(id_, settings) for id_ in undecided)), number, CONFIRM)
        looked_at = _trials(source, settings, candidates, candidates, ended=False)
        undecided -= gate.settled(looked_at, alpha, len(settings))
    source.complete()
    return _trials(source, settings, settings, candidates)


def _screened(source: Source, settings: Mapping[str, Settings], launches: int) -> dict[str, tuple[Hypothesis, ...]]:
    """The candidates of each benchmark that has some, after the looks."""
    candidates: dict[str, tuple[Hypothesis, ...]] = {}
    undecided, looks = list(settings), _looks(launches)
    focused = _named_suspects(source, settings) if looks[0] > PROFILED_LAUNCHES + 1 else set()
    for number in looks:
        source.measure(undecided, number, LOOK)
        steps: dict[str, set[Step]] = {}
        for id_, base, head in _both(source, undecided):
            item = test_id(id_, settings)
            comparison = compare_benchmark(base, head, settings[item], phase=LOOK, paired=True)
            looked = gate.screen(comparison, settings[item], last=number == looks[-1])
            steps.setdefault(item, set()).add(looked.step)
            if looked.step is Step.CONFIRM:
                candidates[id_] = looked.candidates
            if id_ == item and looked.step is not Step.DONE:
                tested = gate.tests(comparison, settings[item])
                still_open = open_hypotheses(tested, looked.candidates)
                _focus(source, base, head, settings[item], still_open, tried=item in focused)
                focused.add(item)
        undecided = [id_ for id_ in undecided if Step.EXTEND in steps.get(id_, {Step.EXTEND})]
    return candidates


def _named_suspects(source: Source, settings: Mapping[str, Settings]) -> set[str]:
    """The first launches, and what they say is to be timed from then on; the tests of which they say it."""
    focused = set()
    source.measure(list(settings), PROFILED_LAUNCHES, LOOK)
    for id_, base, head in _both(source, list(settings)):
        if id_ in settings:
            comparison = compare_benchmark(base, head, settings[id_], phase=LOOK, paired=True)
            # Further profiles only for what may have changed: for the rest the time of what it runs in is enough.
            worth = [one for one in gate.tests(comparison, settings[id_]) if one.changed or one.striking]
            _focus(source, base, head, settings[id_], worth, tried=False)
            focused.add(id_)
    return focused


def _focus(
    source: Source,
    base: Benchmark,
    head: Benchmark,
    settings: Settings,
    still_open: Sequence[Tested],
    *,
    tried: bool,
) -> None:
    """Have further launches time the suspects, and profile only where an open hypothesis cannot be timed.

    A run that is saved is profiled all the same: others will be compared with its shares.
    """
    both = sides(base, head, phase=LOOK, paired=True)
    if both is None:
        return
    timed = suspects(both, settings, head.id)
    profile = settings.save is not None or needs_profile(still_open, timed, both, tried=tried)
    source.focus(head.id, timed, profile)


def _trials(
    source: Source,
    settings: Mapping[str, Settings],
    ids: Collection[str],
    candidates: Mapping[str, tuple[Hypothesis, ...]],
    *,
    ended: bool = True,
) -> list[gate.Trial]:
    return [
        gate.lockstep_trial(base, head, settings[test_id(id_, settings)], candidates.get(id_, ()), ended=ended)
        for id_, base, head in _both(source, list(settings))
        if id_ in ids or test_id(id_, settings) in ids
    ]


def _looks(launches: int) -> list[int]:
    """How many launches there are after each look."""
    return [launches] if launches < 4 else [(launches + 1) // 2, launches]


def _both(source: Source, ids: Sequence[str]) -> Iterator[tuple[str, Benchmark, Benchmark]]:
    """What both sides have of these tests: their own time and each of their metrics."""
    base, head = source.benchmarks(0), source.benchmarks(1)
    wanted = frozenset(ids)
    for id_, one in head.items():
        item = test_id(id_, wanted)
        if item in wanted and id_ in base and item not in source.failures:
            yield id_, base[id_], one
