"""Only the metric that was asked for gates; everything else is measured and shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from pytest_blcperf.model.run import test_id
from pytest_blcperf.model.verdict import BenchmarkVerdict
from pytest_blcperf.model.warning import Warning
from pytest_blcperf.settings import COSTS, Settings

MISSING = "metric-missing"
"""The code of the warning that a metric was asked for which nobody reported: nothing is gated then."""
NOT_GATED = "not-gated"


def gated_by_metric(
    verdicts: Iterable[BenchmarkVerdict], settings: Settings, by_test: Mapping[str, Settings]
) -> tuple[tuple[BenchmarkVerdict, ...], tuple[Warning, ...]]:
    """The verdicts, with gate off what is not the metric its settings name; and what to say of the whole run.

    `by_test` has the settings of tests, whose markers may say something else. Costs of an iteration (cpu, wall,
    instructions) leave every verdict as it is.
    """
    found, used = [], set()
    for one in verdicts:
        name = by_test.get(test_id(one.id, by_test), settings).metric
        own = one.comparison is not None and one.comparison.metric is not None and one.comparison.metric.name == name
        if own or name in COSTS:
            used.add(name)
            found.append(one)
        else:
            found.append(_shown_only(one, name))
    asked = {settings.metric, *(one.metric for one in by_test.values())}
    missing = [
        Warning(MISSING, f"no test that was compared reported the metric {name}: nothing is gated by it")
        for name in sorted(asked - used - {*COSTS})
    ]
    return tuple(found), tuple(missing)


def _shown_only(verdict: BenchmarkVerdict, name: str) -> BenchmarkVerdict:
    note = Warning(NOT_GATED, f"only the metric {name} is gated (--blcperf-metric)")
    if verdict.comparison is None or note in verdict.warnings:
        return verdict
    return replace(verdict, gate="off", warnings=(*verdict.warnings, note))
