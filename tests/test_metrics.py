"""Metrics that tests report: recorded, stored, compared and gated like time."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import psutil
import pytest
from gate_runs import QUICK, run_gate, run_pytest
from gitrepo import GitRepo

from pytest_blcperf.bench.service_fixture import ServiceFixture, process_id
from pytest_blcperf.compare.compare import compare_benchmark
from pytest_blcperf.compare.trial import lockstep_trial
from pytest_blcperf.errors import UsageError
from pytest_blcperf.gate import judge, screen
from pytest_blcperf.model.metric import Metric
from pytest_blcperf.model.run import CONFIRM, LOOK, Benchmark, Launch
from pytest_blcperf.model.verdict import Evidence, Outcome
from pytest_blcperf.report import terminal
from pytest_blcperf.settings import resolve
from pytest_blcperf.store import run_file

SETTINGS = resolve({}, {}, {}, {})
SERVER = """\
import sys

PRICE = {price}

for line in sys.stdin:
    print(sum(range(PRICE)), flush=True)
"""
LOAD = f"""\
import subprocess, sys


def test_load(blcperf):
    server = blcperf.start([{sys.executable!r}, "-m", "server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with server:
        with blcperf.window(server) as window:
            print(1, file=server.stdin, flush=True)
            work = int(server.stdout.readline())
        server.stdin.close()
    blcperf.metric("price", work, unit="units")
    blcperf.metric("tps", 1e9 / work, unit="1/s", better="higher")


def test_window_only(blcperf):
    server = blcperf.start([{sys.executable!r}, "-m", "server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with server:
        with blcperf.window(server):
            print(1, file=server.stdin, flush=True)
            server.stdout.readline()
        server.stdin.close()
"""


def metric(values: list[float], better: str, confirm: list[float] | None = None, unit: str = "ms") -> Benchmark:
    """A metric with one value a launch."""
    launches = [Launch(index, LOOK, 1, None, (), value) for index, value in enumerate(values)]
    fresh = [Launch(100 + index, CONFIRM, 1, None, (), value) for index, value in enumerate(confirm or [])]
    return Benchmark(
        "t.py::test_load#m", "test_load#m", "t.py", 1, (*launches, *fresh), metric=Metric("m", unit, better)
    )


@pytest.mark.parametrize(("better", "sign"), [("lower", 1), ("higher", -1)])
def test_the_ratio_is_positive_where_the_head_is_worse(better: str, sign: int) -> None:
    base, head = metric([100, 101, 99, 100], better), metric([120, 121, 119.5, 120], better)
    comparison = compare_benchmark(base, head, SETTINGS, phase=LOOK, paired=True)
    logs = [math.log(two / one) for one, two in zip([100, 101, 99, 100], [120, 121, 119.5, 120], strict=True)]
    assert comparison.ratio.log_ratio == pytest.approx(sign * sum(logs) / 4)
    mean = sum(logs) / 4
    assert comparison.ratio.standard_error == pytest.approx(math.sqrt(sum((x - mean) ** 2 for x in logs) / 3 / 4))
    assert comparison.ratio.freedom == 3
    assert comparison.shown.log_ratio > 0
    assert (comparison.base_ns, comparison.head_ns, comparison.io_bound) == (100, 120, False)


def test_a_fall_of_throughput_is_convicted_by_fresh_launches_and_said_in_its_own_direction() -> None:
    look, fresh = [100.0 + n % 3 for n in range(12)], [100.0 + n % 4 for n in range(24)]
    base = metric(look, "higher", fresh, unit="1/s")
    head = metric(
        [value * 0.8 for value in look], "higher", [value * (0.8 + n % 2 / 100) for n, value in enumerate(fresh)], "1/s"
    )
    screened = screen(compare_benchmark(base, head, SETTINGS, phase=LOOK, paired=True), SETTINGS, last=True)
    (judged,) = judge([lockstep_trial(base, head, SETTINGS, screened.candidates)], SETTINGS.alpha)
    assert (judged.outcome, judged.evidence, judged.fails) == (Outcome.REGRESSED, Evidence.METRIC, True)
    assert judged.reason.startswith("m fell by 20%")
    shown = terminal.failure_text(judged, "main", "head")
    assert "m 101 → 81" in shown and "1/s" in shown and "-19" in shown


def test_other_units_are_not_compared() -> None:
    comparison = compare_benchmark(
        metric([1, 2], "lower"), metric([1, 2], "lower", unit="s"), SETTINGS, phase=LOOK, paired=True
    )
    assert math.isinf(comparison.ratio.standard_error)
    assert [warning.code for warning in comparison.warnings] == ["metric-differs"]


@pytest.mark.parametrize(
    ("name", "value", "options"),
    [
        ("", 1, {}),
        ("a#b", 1, {}),
        ("x", 0, {}),
        ("x", -1, {}),
        ("x", float("nan"), {}),
        ("x", float("inf"), {}),
        ("x", "fast", {}),
        ("x", True, {}),
        ("x", 1, {"better": "faster"}),
        ("x", 1, {"unit": "u" * 21}),
    ],
)
def test_what_cannot_be_gated_is_refused(name: str, value: object, options: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        ServiceFixture().metric(name, value, **options)  # type: ignore[arg-type]


def test_one_name_means_one_thing() -> None:
    fixture = ServiceFixture()
    fixture.metric("x", 1, unit="s")
    with pytest.raises(UsageError, match="reported before"):
        fixture.metric("x", 1, unit="ms")


@pytest.mark.parametrize("process", ["name", None, True, object()])
def test_a_window_wants_a_process(process: object) -> None:
    with pytest.raises(UsageError, match="a process or its id"):
        process_id(process)


def test_a_process_is_known_by_its_id() -> None:
    assert process_id(1) == process_id(psutil.Process(1)) == 1


@pytest.fixture
def repo(tmp_path: Path) -> GitRepo:
    files = {"src/server.py": SERVER.format(price=2000), "tests/test_load.py": LOAD}
    repo = GitRepo(tmp_path / "repo").write(files).commit("first").branch("change")
    return repo.write({"src/server.py": SERVER.format(price=2500)}).commit("dearer")


def test_a_service_is_gated_by_what_its_test_reports(repo: GitRepo) -> None:
    run = run_gate(repo, "--blcperf-launches=2", "--blcperf-source-roots=src", PYTHONPATH="src")
    assert run.code == 1, run.output
    price, tps = run.benchmark("test_load#price"), run.benchmark("test_load#tps")
    assert price["outcome"] == tps["outcome"] == "regressed"
    assert price["evidence"] == "metric" and price["measured"]["metric"]["unit"] == "units"
    assert price["measured"]["metric"]["head"] == sum(range(2500))
    assert tps["measured"]["metric"]["head"] < tps["measured"]["metric"]["base"]
    # AND the test of a window alone is run here, once, and judged by nobody
    assert "window of" in run.output and "in test_window_only" in run.output
    assert "1 failed, 1 passed" in run.output


def test_metrics_are_kept_in_runs(repo: GitRepo) -> None:
    done = run_pytest(repo.path, "--blcperf", *QUICK, "--blcperf-save=mine", PYTHONPATH="src")
    assert done.returncode == 0, done.stdout
    run = run_file.read(repo.path / ".blcperf/baselines/mine.blcperf")
    kept = run.benchmark("tests/test_load.py::test_load#tps")
    assert kept is not None and kept.metric == Metric("tps", "1/s", "higher")
    assert [launch.value for launch in kept.launches] == [1e9 / sum(range(2500))]
    assert "test_load#tps" in done.stdout
