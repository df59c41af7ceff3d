"""Trends over saved runs: which changes are found, which are not invented, and how they are shown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import trend_pages
from hypothesis import given
from hypothesis import strategies as st
from report_samples import patient

from pytest_blcperf import cli
from pytest_blcperf.compare.change_points import accepted, best_split, further_splits
from pytest_blcperf.compare.trend import trend
from pytest_blcperf.errors import ExitCode
from pytest_blcperf.report import html_trend, trend_json, trend_text
from pytest_blcperf.report.run_text import Screen
from pytest_blcperf.report.text import cells
from pytest_blcperf.store import baselines

SCHEMA = Path(__file__).parents[1] / "docs" / "schemas" / "blcperf.trend-1.json"


# ---- change points


def series(random: np.random.Generator, *levels: tuple[int, float]) -> list[float]:
    """Runs at one level after the other, with 2 % noise."""
    return [level * random.normal(1, 0.02) for count, level in levels for _ in range(count)]


def test_a_step_is_found_where_it_is() -> None:
    random = np.random.default_rng(1)
    places = [best_split(series(random, (12, 1.0), (12, 1.1))) for _ in range(20)]
    assert all(one is not None and one.p < 0.005 for one in places)
    assert sum(one is not None and one.index == 12 for one in places) >= 18


def test_two_steps_are_two() -> None:
    values = series(np.random.default_rng(2), (12, 1.0), (12, 1.2), (12, 1.05))
    first = best_split(values)
    assert first is not None
    assert [split.index for split in further_splits(values, first, 0.01)] == [12, 24]


def test_where_nothing_changed_p_is_small_as_seldom_as_it_says() -> None:
    random = np.random.default_rng(3)
    splits = [best_split(series(random, (20, 1.0))) for _ in range(300)]
    below = sum(one is not None and one.p <= 0.05 for one in splits)
    # 15 of 300 are expected; more than 28 or fewer than 4 happen once in a thousand times.
    assert 4 <= below <= 28


@given(st.integers(0, 19), st.floats(2, 1e6))
@patient
def test_one_bad_day_is_no_change(day: int, factor: float) -> None:
    values = series(np.random.default_rng(4), (20, 1.0))
    values[day] *= factor
    split = best_split(values)
    assert split is not None and split.p > 0.05


def test_too_few_runs_have_no_split() -> None:
    assert best_split([1, 1, 1, 9, 9]) is None
    assert best_split([]) is None
    equal = best_split([5.0] * 30)
    assert equal is not None and equal.p == 1.0


def test_of_many_tests_those_are_believed_that_keep_the_rate() -> None:
    assert accepted([0.01, 0.02, 0.03, 0.5], 0.05) == [True, True, True, False]
    assert accepted([0.04, 0.5, 0.6, 0.7], 0.05) == [False] * 4
    assert accepted([0.05], 0.05) == [True]


# ---- series


def test_the_planted_changes_are_found_in_the_function_and_its_benchmark_only() -> None:
    found = trend(trend_pages.runs())
    changes = {
        (one.benchmark.rpartition("::")[2], one.function.name if one.function else ""): [
            (change.index, round(change.change, 1)) for change in one.changes
        ]
        for one in found.series
        if one.changes
    }
    # What is 3 % of the benchmark shows there within a run of where it was: days scatter by 1.2 %.
    (dearer, cheaper) = changes.pop(("test_render_article", ""))
    assert dearer == (trend_pages.DEARER, 0.1) and abs(cheaper[0] - trend_pages.CHEAPER) <= 1
    assert changes == {
        ("test_render_article", "text"): [(trend_pages.DEARER, 0.5)],
        ("test_render_article", "escape_html"): [(trend_pages.CHEAPER, -0.6)],
    }


def test_another_machine_is_no_change() -> None:
    runs = trend_pages.runs()
    found = trend(runs)
    assert [run.group for run in found.runs] == [0] * 35 + [1] * 5
    same = trend([replace(run, environment=runs[0].environment) for run in runs])
    assert any(change.index == 35 for one in same.series for change in one.changes), "30 % faster is one otherwise"


def test_runs_come_in_the_order_of_time_and_gaps_stay_gaps() -> None:
    runs = [replace(run, benchmarks=run.benchmarks[number % 3 == 0 :]) for number, run in enumerate(trend_pages.runs())]
    found = trend(list(reversed(runs)))
    assert [run.created for run in found.runs] == sorted(run.created for run in found.runs)
    article = next(one for one in found.series if one.benchmark.endswith("article") and one.function is None)
    assert [value is None for value in article.values] == [number % 3 == 0 for number in range(40)]
    assert len(article.values) == len(article.low) == len(article.high) == 40


# ---- shown


def test_json_keeps_the_published_schema() -> None:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    data = trend_json.as_data(trend(trend_pages.runs()))
    jsonschema.validate(json.loads(json.dumps(data, allow_nan=False)), schema)


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_table_fits_and_degrades(width: int) -> None:
    found = trend(trend_pages.runs())
    lines = trend_text.render(found, Screen(width))
    assert max(map(cells, lines)) <= width
    assert any("▁" in line and "█" in line for line in lines)
    assert any(line.startswith("+51.4 %") for line in map(str.strip, lines))
    assert all(line.isascii() for line in trend_text.render(found, Screen(width, unicode=False)))


def test_a_page_of_many_benchmarks_is_bounded_and_says_so() -> None:
    runs = [
        replace(
            run, benchmarks=tuple(replace(run.benchmarks[1], id=f"t.py::test_{n}", profile=None) for n in range(400))
        )
        for run in trend_pages.runs()
    ]
    text = html_trend.render(trend(runs))
    assert "more benchmarks without change points are left out" in text
    assert len(text) < 2_500_000


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    assert cli.main(["trend"]) == ExitCode.BASELINE
    assert "there is no run" in capsys.readouterr().err
    for run in trend_pages.runs():
        baselines.save_run(tmp_path, run, keep=100)
    assert cli.main(["trend", "--html", "trend.html", "--benchmark", "*article*"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("HTML report: trend.html\n40 runs, 2026-03-01 to 2026-04-09\n")
    assert "text in" in output and "test_plain_text" not in output
    assert "test_render_article" in (tmp_path / "trend.html").read_text(encoding="utf-8")
    assert cli.main(["trend", "--json", "--last", "10"]) == 0
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 10
    assert cli.main(["trend", "--name", "base"]) == ExitCode.BASELINE
