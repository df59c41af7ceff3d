"""The sequential procedure: looks at growing data, then a confirmation with fresh launches for what looked dearer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Protocol

from pytest_blcperf import gate
from pytest_blcperf.compare.compare import compare_benchmark
from pytest_blcperf.gate import Hypothesis, Step
from pytest_blcperf.model.run import CONFIRM, LOOK, Benchmark, test_id
from pytest_blcperf.settings import Settings

CONFIRM_LAUNCHES = 2
"""How many times the launches of the looks confirm: a verdict at one in a thousand wants degrees of freedom. With 12
launches Student's t asks for 5.3 standard errors at a corrected 0.00015, with 24 for 4.3."""


class Source(Protocol):
    """Where launches come from: `bench.measure.Measurement`, or launches that were recorded before."""

    @property
    def failures(self) -> Collection[str]:
        """Ids of the tests that gave nothing on a side."""

    def measure(self, ids: Sequence[str], launches: int, phase: str) -> None:
        """Add launches until each of `ids` has so many of this phase, failed, or spent its budget."""

    def complete(self) -> None:
        """Measure what no decision depends on: the instructions, where they were asked for."""

    def benchmarks(self, side: int) -> Mapping[str, Benchmark]:
        """What there is so far, by id: of the base (0), of the head (1)."""


def trials(
    source: Source, settings: Mapping[str, Settings], launches: int, tell: Callable[[str], None]
) -> list[gate.Trial]:
    """Two looks, then a confirmation with fresh launches for what looked dearer.

    `settings` has the tests to measure, by id, each with its own settings; `tell` takes one line of progress.
    """
    candidates: dict[str, tuple[Hypothesis, ...]] = {}
    undecided = list(settings)
    looks = _looks(launches)
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
        undecided = [id_ for id_ in undecided if Step.EXTEND in steps.get(id_, {Step.EXTEND})]
    if candidates:
        one = len(candidates) == 1
        tell(f"{len(candidates)} benchmark{'' if one else 's'} looked slower: confirming with fresh launches")
        confirmed = dict.fromkeys(test_id(id_, settings) for id_ in candidates)
        source.measure(list(confirmed), CONFIRM_LAUNCHES * launches, CONFIRM)
    source.complete()
    return [
        gate.lockstep_trial(base, head, settings[test_id(id_, settings)], candidates.get(id_, ()))
        for id_, base, head in _both(source, list(settings))
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
