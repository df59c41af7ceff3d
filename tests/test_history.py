"""Changes for good over saved runs: which are told from those that went away, and how they are shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import trend_pages
from commands import Command, command
from gitrepo import GitRepo

from pytest_blcperf.compare.history import history
from pytest_blcperf.compare.trend import trend
from pytest_blcperf.errors import ExitCode
from pytest_blcperf.model.history import History
from pytest_blcperf.model.run import Benchmark, Run
from pytest_blcperf.report import history as shown
from pytest_blcperf.store import baselines, run_file

SCHEMA = json.loads((Path(__file__).parents[1] / "docs/schemas/blcperf.history-1.json").read_text(encoding="utf-8"))

blcperf = pytest.fixture(command)


def at_levels(*levels: tuple[int, float], seed: int = 5) -> list[Run]:
    """A run a day: so many at each level, with 1 % noise."""
    random = np.random.default_rng(seed)
    values = [level * random.normal(1, 0.01) for count, level in levels for _ in range(count)]
    return [_run(day, value) for day, value in enumerate(values)]


def _run(day: int, level: float) -> Run:
    first = trend_pages.runs()[0]
    one = first.benchmarks[0]
    launches = tuple(
        replace(launch, rounds=tuple(replace(taken, cpu_ns=int(level * 1e7)) for taken in launch.rounds))
        for launch in one.launches
    )
    created = datetime(2026, 3, 1, 6, tzinfo=timezone.utc) + timedelta(days=day)
    plain: Benchmark = replace(one, launches=launches, profile=None)
    return replace(
        first, created=created.isoformat(timespec="seconds"), commit=f"{day + 1:02x}" * 20, benchmarks=(plain,)
    )


def found(runs: Sequence[Run]) -> History:
    return history(trend(runs))


def lasting(runs: Sequence[Run]) -> list[tuple[int, object, int]]:
    return [(one.index, one.change, one.runs) for one in found(runs).changes if one.lasting]


def about(change: float) -> object:
    return pytest.approx(change, abs=0.015)


# ---- what is for good


def test_a_step_that_stays_is_a_change_for_good() -> None:
    assert lasting(at_levels((12, 1.0), (8, 1.12))) == [(12, about(0.12), 8)]


def test_what_went_away_is_none() -> None:
    runs = at_levels((12, 1.0), (8, 1.12), (12, 1.0))
    assert not lasting(runs)
    (gone,) = found(runs).changes
    assert not gone.lasting and (gone.index, gone.until, gone.runs) == (12, 20, 8)
    assert gone.change == pytest.approx(0.12, abs=0.02)


def test_the_way_back_is_no_improvement() -> None:
    cheaper = at_levels((12, 1.0), (8, 0.8), (12, 1.0))
    assert not lasting(cheaper)


def test_what_is_left_after_a_way_back_counts_by_itself() -> None:
    runs = at_levels((14, 1.0), (8, 1.2), (14, 1.06))
    assert lasting(runs) == [(22, about(0.06), 14)]
    assert [one.index for one in found(runs).changes if not one.lasting] == [14]


def test_steps_in_one_direction_are_each_for_good() -> None:
    assert lasting(at_levels((12, 1.0), (12, 1.1), (12, 1.25))) == [(24, about(0.14), 12), (12, about(0.1), 24)]


def test_nothing_changed_is_nothing() -> None:
    assert not found(at_levels((30, 1.0))).changes
    assert not found(at_levels((4, 1.0))).changes


def test_functions_have_their_own_changes_and_other_machines_none() -> None:
    changes = found(trend_pages.runs()).changes
    functions = {one.function.name: one for one in changes if one.function is not None and one.lasting}
    assert functions["text"].index == trend_pages.DEARER
    # The last five runs are another machine's: nothing stayed there, nothing went away.
    assert functions["text"].runs == trend_pages.DAYS - 5 - trend_pages.DEARER
    assert all(one.index < trend_pages.DAYS - 5 for one in changes)


def test_runs_may_come_in_the_order_of_commits() -> None:
    runs = at_levels((12, 1.0), (8, 1.12))
    measured_late = [replace(run, created=runs[-1 - day].created) for day, run in enumerate(runs)]
    change = history(trend(measured_late, ordered=True)).changes[0]
    assert (change.index, change.change) == (12, about(0.12))


# ---- shown


def test_a_line_says_what_by_how_much_since_when_and_for_how_long() -> None:
    lines = shown.render(found(at_levels((12, 1.0), (8, 1.12), (12, 1.0))))
    assert lines == ["no change for good in 32 runs, 2026-03-01 to 2026-04-01; 1 went away again"]
    line, last = shown.render(found(at_levels((12, 1.0), (8, 1.12))))
    assert line.startswith("benchmarks/test_markup.py::test_render_article +1")
    assert line.endswith("since 0d0d0d0 (2026-03-13), stayed for 8 runs")
    assert last == "1 change for good in 20 runs, 2026-03-01 to 2026-03-20"
    text = next(line for line in shown.render(found(trend_pages.runs())) if "::text " in line)
    assert " in benchmarks/test_markup.py::test_render_article since " in text
    assert "3 runs before it and 3 after" in shown.render(found(at_levels((4, 1.0))))[0]


def test_json_keeps_the_published_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for runs in (trend_pages.runs(), at_levels((12, 1.0), (8, 1.12), (12, 1.0))):
        data = json.loads(json.dumps(shown.as_data(found(runs)), allow_nan=False))
        jsonschema.validate(data, SCHEMA)
        assert data["changes"]


# ---- the command


def test_the_command_on_kept_runs_files_and_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blcperf: Command
) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    code, _, errors = blcperf("compare", "--history")
    assert code == ExitCode.BASELINE and "there is no run" in errors
    runs = at_levels((12, 1.0), (8, 1.12))
    (tmp_path / "files").mkdir()
    for day, run in enumerate(runs):
        baselines.save_run(tmp_path, replace(run, name="head", pair=f"pair {day}"), keep=100)
        # Bases are older commits measured again; taken along, they would hide the change.
        baselines.save_run(tmp_path, replace(runs[0], created=run.created, name="base", pair=f"pair {day}"), keep=100)
        run_file.write(run, tmp_path / f"files/{day:02}.blcperf")
    code, output, _ = blcperf("compare", "--history")
    assert code == 0 and "since 0d0d0d0 (2026-03-13), stayed for 8 runs" in output
    assert blcperf("compare", "--history", "files")[1] == output
    assert blcperf("compare", "--history", *(f"files/{day:02}.blcperf" for day in range(20)))[1] == output
    code, output, _ = blcperf("compare", "--history", "--json", "--fail-over", "5%")
    assert code == ExitCode.REGRESSION and json.loads(output)["changes"][0]["runs"] == 8
    assert blcperf("compare", "--history", "--quiet", "--fail-over", "20%")[:2] == (0, "")
    assert blcperf("compare", "--history", "--fail-over", "5%", "--no-fail")[0] == 0
    assert blcperf("compare", "--history", "--html", "x.html")[0] == ExitCode.USAGE
    code, _, errors = blcperf("compare", "files/00.blcperf")
    assert code == ExitCode.USAGE and "required: B" in errors


def test_a_branch_is_the_runs_of_its_commits_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blcperf: Command
) -> None:
    # GIVEN a run of each commit of main, measured in the wrong order, and runs of another branch
    repo = GitRepo(tmp_path / "repo")
    runs = at_levels((6, 1.0), (6, 1.5))
    for day, run in enumerate(runs):
        repo.write({"n": str(day)}).commit(f"day {day}")
        late = replace(run, name="head", commit=repo.head, created=runs[-1 - day].created)
        baselines.save_run(repo.path, late, keep=100)
    repo.branch("feature").write({"n": "another"}).commit()
    for run in at_levels((6, 9.0)):
        baselines.save_run(repo.path, replace(run, name="head", commit=repo.head), keep=100)
    monkeypatch.chdir(repo.path)
    # WHEN main is asked for
    code, output, errors = blcperf("compare", "main", "--history", "--json")
    # THEN its commits are the series
    assert code == 0, errors
    data = json.loads(output)
    assert len(data["runs"]) == 12
    (change,) = data["changes"]
    assert change["index"] == 6 and change["commit"] == repo.git("rev-parse", "main~5")
    # AND what is no branch is the name of runs, or nothing
    assert len(json.loads(blcperf("compare", "head", "--history", "--json")[1])["runs"]) >= 12
    code, _, errors = blcperf("compare", "nowhere", "--history")
    assert code == ExitCode.BASELINE and "no branch and no run" in errors
