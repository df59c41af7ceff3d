"""Instructions beside times: what each of them convicts, settles and leaves open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from formats.make_run_1 import sample_run
from jsonschema import Draft202012Validator
from measurements import Stacks, benchmark, chosen, gated, of, profile
from test_report_json import PUBLISHED, strict
from test_store_run_file import SCHEMA, documents_of, profile_data

from pytest_blcperf.compare.instructions import (
    BENCHMARK_ERROR,
    FUNCTION_ERROR,
    counted_ratio,
    counted_times,
    in_instructions,
)
from pytest_blcperf.gate import judge, stored_trial
from pytest_blcperf.model.comparison import INSTRUCTIONS, SELF
from pytest_blcperf.model.environment import Environment
from pytest_blcperf.model.run import Benchmark, InstructionCount, Instructions
from pytest_blcperf.model.verdict import BenchmarkVerdict, Evidence, Outcome
from pytest_blcperf.report import run_json, run_text, words
from pytest_blcperf.report.json import render
from pytest_blcperf.store import run_file

PLAIN = {"parse < run < test": 330, "render < run < test": 270, "load < test": 400}
MORE = {**PLAIN, "parse < run < test": 430}
HERE = Environment(machine="x86_64", cpu_model="A", cpu_count=2, python="3.11")


def counted(side: Benchmark, stacks: Stacks, wobble: tuple[float, ...] = (1.0, 1.0, 1.0), **other: Any) -> Benchmark:
    """The benchmark with instructions: a thousand for each µs of `stacks`, times a factor a repetition; no other profile."""
    total = 1000 * sum(stacks.values())
    taken = profile(stacks, len(wobble), samples=round(total), backend="callgrind", **other)
    weight = taken.weight / 1e6 * np.array(wobble)[taken.launch]
    counts = tuple(InstructionCount(index, 7, 10, round(total * factor * 10)) for index, factor in enumerate(wobble))
    return replace(side, profile=None, instructions=Instructions(counts, replace(taken, weight=weight)))


def decided(times: tuple[Stacks, Stacks], counts: tuple[Stacks, Stacks], **other: Any) -> BenchmarkVerdict:
    """The verdict of times and instructions."""
    base, head = (counted(benchmark(time), count, **other) for time, count in zip(times, counts, strict=True))
    return gated(base, head)


def test_the_same_instructions_change_nothing() -> None:
    verdict = decided((PLAIN, PLAIN), (PLAIN, PLAIN))
    assert (verdict.outcome, verdict.evidence) == (Outcome.UNCHANGED, Evidence.LOCKSTEP)
    assert verdict.instructions is not None
    assert (verdict.instructions.base_ns, verdict.instructions.unit) == (1_000_000, INSTRUCTIONS)
    assert "instructions per iteration 1 M → 1 M" in words.measured(verdict)


def test_more_instructions_are_a_regression_whatever_the_time_does_and_the_function_is_named() -> None:
    verdict = decided((PLAIN, PLAIN), (PLAIN, MORE))
    assert (verdict.outcome, verdict.evidence) == (Outcome.REGRESSED, Evidence.COUNTS)
    assert verdict.fails
    guilty = verdict.guilty[0]
    assert (guilty.comparison.function.name, guilty.comparison.kind, guilty.evidence) == (
        "parse",
        SELF,
        Evidence.COUNTS,
    )
    assert words.cost(guilty) == "330 k → 430 k instructions"
    assert words.evidence(verdict.evidence) == "exact counts"
    assert "instructions rose by" in verdict.reason
    assert "time +0.0%" in verdict.reason


def test_a_time_that_rose_alone_is_a_regression_and_says_where_to_look() -> None:
    slower = {name: cost * 1.3 for name, cost in PLAIN.items()}
    verdict = decided((PLAIN, slower), (PLAIN, PLAIN))
    assert (verdict.outcome, verdict.evidence) == (Outcome.REGRESSED, Evidence.LOCKSTEP)
    assert "its instructions changed by +0.00%: look at memory" in verdict.reason
    assert of(verdict, "parse", SELF).comparison.unit == INSTRUCTIONS


def test_what_the_time_leaves_open_the_instructions_settle() -> None:
    base, head = (counted(benchmark(PLAIN, look=1, confirm=0), PLAIN) for _ in range(2))
    assert gated(replace(base, instructions=None), replace(head, instructions=None)).outcome is Outcome.INCONCLUSIVE
    verdict = gated(base, head)
    assert (verdict.outcome, verdict.evidence) == (Outcome.UNCHANGED, Evidence.COUNTS)
    assert verdict.reason.startswith("instructions +0.00%; time")
    cheaper = gated(base, counted(head, {name: cost * 0.5 for name, cost in PLAIN.items()}))
    assert (cheaper.outcome, cheaper.evidence) == (Outcome.IMPROVED, Evidence.COUNTS)


def test_counts_that_vary_settle_nothing() -> None:
    base = counted(benchmark(PLAIN, look=1, confirm=0), PLAIN)
    verdict = gated(base, counted(base, PLAIN, (0.7, 1.2, 1.1)))
    assert (verdict.outcome, verdict.evidence) == (Outcome.INCONCLUSIVE, Evidence.LOCKSTEP)


def test_one_side_without_counts_is_judged_by_time() -> None:
    base = benchmark(PLAIN)
    verdict = gated(base, counted(base, MORE))
    assert verdict.evidence is Evidence.LOCKSTEP
    assert verdict.instructions is None


def test_a_cost_that_moved_is_no_regression_in_instructions_either() -> None:
    inside = {"parse < run < test": 430, "render < run < test": 170, "load < test": 400}
    base = counted(benchmark(PLAIN), PLAIN)
    head = counted(benchmark(PLAIN), inside, edited={"run": "another"})
    verdict = gated(base, head)
    assert verdict.outcome is not Outcome.REGRESSED
    assert "cost-moved" in {warning.code for warning in verdict.warnings}


def test_stored_counts_are_judged_in_the_same_environment_only() -> None:
    base, head = counted(benchmark(PLAIN), PLAIN), counted(benchmark(PLAIN), MORE)
    (verdict,) = judge([stored_trial(base, head, chosen(), HERE, HERE)], 0.001)
    assert (verdict.outcome, verdict.evidence) == (Outcome.REGRESSED, Evidence.COUNTS)
    (elsewhere,) = judge([stored_trial(base, head, chosen(), HERE, replace(HERE, cpu_model="B"))], 0.001)
    assert elsewhere.outcome is Outcome.NOT_COMPARED


def test_the_error_is_the_known_one_or_that_of_the_launches() -> None:
    base = in_instructions(counted(benchmark(PLAIN), PLAIN))
    assert base is not None
    calm = counted_times(base, base).ratio
    assert (calm.log_ratio, calm.standard_error) == (0.0, BENCHMARK_ERROR)
    other = in_instructions(counted(benchmark(PLAIN), PLAIN, (0.9, 1.0, 1.1)))
    assert other is not None
    wild = counted_times(base, other).ratio
    assert wild.standard_error == pytest.approx(np.std(np.log([0.9, 1.0, 1.1]), ddof=1) / np.sqrt(3))
    assert wild.freedom == 2
    assert counted_ratio(np.array([5.0]), np.array([5.0])).standard_error == FUNCTION_ERROR
    new = counted_ratio(np.array([0.0, 0.0]), np.array([999.5, 999.5]))
    assert new.log_ratio == pytest.approx(np.log(2000))
    assert not np.isfinite(counted_ratio(np.array([]), np.array([])).standard_error)


def test_launches_without_a_partner_do_not_count() -> None:
    base = in_instructions(counted(benchmark(PLAIN), PLAIN))
    assert base is not None
    head = replace(base, launches=base.launches[1:])
    assert counted_times(base, head).launches_head == (1, 2)
    assert not np.isfinite(counted_times(base, replace(base, launches=())).ratio.standard_error)


def test_a_verdict_with_instructions_follows_the_schema() -> None:
    from report_samples import gate

    data = strict(render(gate(decided((PLAIN, PLAIN), (PLAIN, MORE)))))
    Draft202012Validator(PUBLISHED).validate(data)
    first = data["benchmarks"][0]
    assert first["instructions"]["ratio"]["change"] == pytest.approx(0.1)
    assert first["functions"][0]["unit"] == INSTRUCTIONS


def test_run_files_keep_instructions(tmp_path: Any) -> None:
    run = sample_run()
    one = counted(run.benchmarks[0], PLAIN)
    kept = replace(one, profile=run.benchmarks[0].profile)
    path = tmp_path / "run.blcperf"
    run_file.write(replace(run, benchmarks=(kept, *run.benchmarks[1:])), path)
    documents: Mapping[str, Any] = documents_of(path.read_bytes())
    Draft202012Validator(SCHEMA).validate(documents["run.json"])
    again = run_file.read(path).benchmarks[0].instructions
    assert again is not None
    assert one.instructions is not None
    assert again.counts == one.instructions.counts
    assert profile_data(again.profile) == profile_data(one.instructions.profile)
    assert run_file.read(path, profiles=False).benchmarks[0].instructions is None


def test_a_report_shows_functions_by_instructions() -> None:
    run = sample_run()
    run = replace(run, benchmarks=(counted(run.benchmarks[0], PLAIN),))
    shown = "\n".join(run_text.of_run(run, run_text.Screen(), 5))
    assert "1 M instructions" in shown
    assert "function (callgrind)" in shown
    (data,) = run_json.of_run(run, 5)["benchmarks"]
    assert data["instructions"] == 1_000_000
    assert data["functions"][0]["name"] == "load"
