"""Calibration: what is measured of a machine's noise, how it is kept, and what the gate makes of it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from gate_runs import environment as at_home
from gate_runs import run_gate, src_repo
from measurements import benchmark, chosen

from pytest_blcperf import calibrated, cli
from pytest_blcperf.compare.calibrate import (
    LEAST_BETWEEN,
    calibration,
    launches_within,
    noise_of,
    pooled,
    smallest_effect,
    together,
)
from pytest_blcperf.compare.compare import compare_benchmark
from pytest_blcperf.errors import BaselineError, ExitCode
from pytest_blcperf.model.calibration import BUILT_IN, BenchmarkNoise, Calibration, CalibrationRecord, Noise
from pytest_blcperf.model.environment import Environment
from pytest_blcperf.model.run import LOOK, Benchmark, Launch, Round
from pytest_blcperf.store import calibration_file, environment

SCHEMA = json.loads((Path(__file__).parents[1] / "docs/schemas/blcperf.calibration-1.json").read_text(encoding="utf-8"))


def against_itself(sigma: float, within: float, launches: int = 200, rounds: int = 32) -> tuple[Benchmark, Benchmark]:
    """Two sides of one launch each, whose levels scatter by `sigma` and whose rounds by `within`."""
    random = np.random.default_rng(11)
    sides = []
    for _ in range(2):
        levels = random.normal(0, sigma, launches)
        times = np.exp(levels[:, None] + random.normal(0, within, (launches, rounds))) * 1e7
        sides.append(
            tuple(
                Launch(index, LOOK, index, None, tuple(Round(10, int(cpu), int(cpu)) for cpu in row))
                for index, row in enumerate(times)
            )
        )
    one = benchmark({"f < main": 1.0})
    return replace(one, launches=sides[0], profile=None), replace(one, launches=sides[1], profile=None)


def noise(
    identifier: str, sigma: float, *, launches: int = 24, spread: float = 0.01, phi: float | None = 0.8
) -> BenchmarkNoise:
    return BenchmarkNoise(identifier, launches, 0.5, spread, sigma, launches - 1, phi)


def record(*benchmarks: BenchmarkNoise, where: Environment | None = None, backend: str = "test") -> CalibrationRecord:
    created = "2026-11-20T08:00:00+00:00"
    return CalibrationRecord(
        created, where or Environment(), backend, 1000, 0.5, 30, pooled(benchmarks), tuple(benchmarks)
    )


# ---- estimates


@pytest.mark.parametrize("sigma", [0.004, 0.012])
def test_the_noise_between_launches_is_found_beside_that_of_rounds(sigma: float) -> None:
    found = noise_of(*against_itself(sigma, within=0.02), seconds=0.7)
    assert found is not None
    assert found.between_launches == pytest.approx(sigma, rel=0.2)
    assert found.spread**2 == pytest.approx(2 * sigma**2 + 2 * 0.02**2 / 32, rel=0.35)
    assert (found.launches, found.freedom, found.seconds, found.dispersion) == (200, 199, 0.7, None)


def test_rounds_alone_are_no_noise_between_launches() -> None:
    found = noise_of(*against_itself(0.0, within=0.03), seconds=1.0)
    assert found is not None and found.between_launches < 0.003


def test_too_few_launches_say_nothing() -> None:
    assert noise_of(*against_itself(0.01, 0.01, launches=3), seconds=1.0) is None
    assert noise_of(*against_itself(0.01, 0.01, rounds=7), seconds=1.0) is None


def test_the_dispersion_of_shares_is_that_of_the_comparison() -> None:
    same = benchmark({"f < main": 3.0, "g < main": 1.0})
    rounds = tuple(replace(launch, rounds=launch.rounds * 4) for launch in same.launches)
    found = noise_of(replace(same, launches=rounds), replace(same, launches=rounds), seconds=1.0)
    assert found is not None and found.dispersion == pytest.approx(0.4)


def test_pooling_weighs_by_freedom_and_moderates_each() -> None:
    many, few = noise("a", 0.004, launches=41), noise("b", 0.02, launches=5, phi=1.2)
    whole = pooled([many, few])
    assert whole.between_launches == pytest.approx(math.sqrt((40 * 0.004**2 + 4 * 0.02**2) / 44))
    assert whole.dispersion == pytest.approx(1.0)
    known = calibration(record(many, few), dispersion=True)
    assert known.noise("elsewhere") == whole
    assert 0.004 < known.noise("a").between_launches < whole.between_launches
    assert whole.between_launches < known.noise("b").between_launches < 0.02
    assert known.noise("b").dispersion == 1.2
    assert calibration(record(many, few), dispersion=False).noise("b").dispersion is None
    assert pooled([]) == Noise()
    assert pooled([noise("a", 0.0)]).between_launches == LEAST_BETWEEN


def test_the_smallest_effect_falls_with_launches_and_lies_above_the_margin() -> None:
    one = noise("a", 0.004)
    effects = [smallest_effect(one, launches, 0.05, 0.001) for launches in (4, 12, 24, 200)]
    assert all(effect is not None for effect in effects)
    known = [effect for effect in effects if effect is not None]
    assert known == sorted(known, reverse=True) and known[-1] > 0.05
    # With very many launches t is z. Where those scatter little, the threshold is what has to be exceeded ...
    error = 0.01 / math.sqrt(100_000)
    assert smallest_effect(one, 100_000, 0.05, 0.001) == pytest.approx(1.05 * math.exp(1.645 * error) - 1, rel=1e-4)
    # ... where much, half of it, surely: log 1.025 + (3.09 + 1.645) SE.
    wide = replace(one, spread=10.0)
    assert smallest_effect(wide, 100_000, 0.05, 0.001) == pytest.approx(1.025 * math.exp(4735 * error) - 1, rel=1e-3)
    assert smallest_effect(one, 1, 0.05, 0.001) is None
    assert launches_within(60, 0.5) == 120 and launches_within(60, 0.0) == 0
    assert together([]) is None
    both = together([one, noise("b", 0.008)])
    assert both is not None and 0.004 < both.between_launches < 0.008


# ---- what the gate makes of it


def test_a_calibration_takes_the_place_of_the_constants() -> None:
    base, head = benchmark({"f < main": 3.0, "g < main": 1.0}), benchmark({"f < main": 3.0, "g < main": 1.0})
    loud = Calibration("calibrated", Noise(0.02, 2.0), {})
    plain = compare_benchmark(base, head, chosen(), phase=None, paired=True)
    known = compare_benchmark(base, head, replace(chosen(), calibration=loud), phase=None, paired=True)
    assert plain.ratio.standard_error == pytest.approx(0.001 / math.sqrt(24))
    assert known.ratio.standard_error == pytest.approx(0.02 / math.sqrt(2 * 24))
    shares = [
        comparison.functions[0].ratio.standard_error ** 2 - comparison.ratio.standard_error**2
        for comparison in (plain, known)
    ]
    assert shares[1] == pytest.approx(5 * shares[0]), "φ = 2 instead of 0.4"


def test_it_is_used_on_such_a_machine_only(tmp_path: Path) -> None:
    here = environment.current()
    assert calibrated.fitting(tmp_path, chosen()) == (BUILT_IN, ())
    calibration_file.write(record(noise("a", 0.003), where=here), tmp_path)
    known, warnings = calibrated.fitting(tmp_path, chosen())
    assert known.label == "calibrated 2026-11-20" and known.noise("a").dispersion == 0.8 and not warnings
    other_rate, _ = calibrated.fitting(tmp_path, chosen(rate="500"))
    assert other_rate.noise("a").dispersion is None and other_rate.noise("a").between_launches == pytest.approx(0.003)
    calibration_file.write(record(noise("a", 0.003), where=replace(here, cpu_model="Another CPU 9000")), tmp_path)
    known, (warning,) = calibrated.fitting(tmp_path, chosen())
    assert known is BUILT_IN
    assert "Another CPU 9000" in warning.text and "blcperf calibrate" in warning.text


# ---- kept


def test_the_file_comes_back_and_keeps_the_published_schema(tmp_path: Path) -> None:
    kept = record(noise("a", 0.003), noise("b[\x1b]", 0.0, phi=None), where=environment.current())
    path = calibration_file.write(kept, tmp_path)
    assert calibration_file.read(tmp_path) == kept
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(json.loads(path.read_text(encoding="ascii")), SCHEMA)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.update(schema="blcperf.calibration/2"),
        lambda data: data["pooled"].update(between_launches=-1),
        lambda data: data["pooled"].update(between_launches=True),
        lambda data: data["benchmarks"].append(data["benchmarks"][0]),
        lambda data: data["benchmarks"][0].update(spread="wide"),
        lambda data: data.pop("environment"),
    ],
)
def test_a_damaged_file_is_refused_with_what_mends_it(tmp_path: Path, damage: object) -> None:
    path = calibration_file.write(record(noise("a", 0.003)), tmp_path)
    data = json.loads(path.read_text())
    damage(data)  # type: ignore[operator]
    path.write_text(json.dumps(data))
    with pytest.raises(BaselineError) as caught:
        calibration_file.read(tmp_path)
    assert "blcperf calibrate" in caught.value.hint


# ---- the command


def test_the_command_measures_keeps_and_the_gate_says_so(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo")
    repo.write({"src/lib/core.py": (repo.path / "src/lib/core.py").read_text() + "\n\nunused = 1\n"}).commit()
    quick = ["--blcperf-rounds=8", "--blcperf-delay-start=0", "--blcperf-profile-window=20ms"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest_blcperf", "calibrate", "--json", "--launches=4", "benchmarks", "--", *quick],
        cwd=repo.path,
        env=at_home(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == ExitCode.OK, done.stderr
    data = json.loads(done.stdout)
    jsonschema.validate(data, SCHEMA)
    (measured,) = data["benchmarks"]
    assert measured["id"].endswith("test_total") and measured["launches"] == 4 and measured["seconds"] > 0
    assert [one["id"] for one in data["smallest_effects"]["benchmarks"]] == [measured["id"], None]
    assert (repo.path / ".blcperf/calibration.json").is_file()
    run = run_gate(repo)
    assert run.verdict is not None and run.verdict["calibration"] == f"calibrated {data['created'][:10]}"
    assert f"calibrated {data['created'][:10]}" in run.output


def test_without_benchmarks_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "test_nothing.py").write_text("def test_ordinary(): pass\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest_blcperf", "calibrate", "test_nothing.py"],
        cwd=tmp_path,
        env=at_home(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode not in (0, ExitCode.REGRESSION) and "no benchmark was measured" in done.stderr
    assert not done.stdout


@pytest.mark.parametrize("arguments", [["--launches", "2"], ["--max-time", "soon"]])
def test_wrong_arguments_are_usage_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["calibrate", *arguments]) == ExitCode.USAGE
    assert arguments[0] in capsys.readouterr().err
