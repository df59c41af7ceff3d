"""The `blcperf` command: what it prints, its exit codes, and that nothing ends in a traceback."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import capture_pages
import numpy as np
import pytest
from commands import Command, command
from formats.make_capture_1 import SAMPLE as CAPTURES
from formats.make_run_1 import SAMPLE, sample_run
from gitrepo import GitRepo

from pytest_blcperf import __version__, cli
from pytest_blcperf.errors import ExitCode
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.profile import Profile
from pytest_blcperf.model.run import CONFIRM, LOOK, Benchmark, Launch, Round, Run
from pytest_blcperf.model.warning import Warning
from pytest_blcperf.report import run_text
from pytest_blcperf.report.text import cells
from pytest_blcperf.store import baselines, capture_file, run_file

ROOT = Path(__file__).parents[1]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder, the current one, with the sample as baseline `main`."""
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    for name in [name for name in os.environ if name.startswith("BLCPERF_") or name in ("NO_COLOR", "FORCE_COLOR")]:
        monkeypatch.delenv(name)
    baselines.save_baseline(tmp_path, sample_run(), "main")
    return tmp_path


@pytest.fixture
def blcperf(project: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command in the project: (exit code, standard output, standard error)."""
    assert project == Path.cwd()

    return command(capsys)


def complaint(error: str) -> str:
    """The message of an error in the form all errors have."""
    found = re.fullmatch(r"blcperf: (.+)\nhint: .+\n", error)
    assert found, error
    return found[1]


# ---- the command as such


def test_help_names_every_verb_and_every_verb_has_examples(blcperf: Command) -> None:
    code, output, _ = blcperf("--help")
    assert code == 0
    assert "130 interrupted" in output
    for verb in cli.VERBS:
        assert verb.NAME in output
        code, shown, _ = blcperf(verb.NAME, "--help")
        assert code == 0
        assert f"\n  blcperf {verb.NAME}" in shown


def test_version(blcperf: Command) -> None:
    assert blcperf("--version") == (0, f"blcperf {__version__}\n", "")


@pytest.mark.parametrize(
    "argv",
    [[], ["nonsense"], ["report"], ["report", "main", "--nonsense"], ["report", "main", "--top", "x"], ["baseline"],
     ["compare", "main", "main", "--threshold", "often"], ["baseline", "save", "main", "../evil"],
     ["compare", "main", "main", "--json", "--quiet"]],
)  # fmt: skip
def test_usage_errors(argv: list[str], blcperf: Command) -> None:
    code, output, error = blcperf(*argv)
    assert code == ExitCode.USAGE
    assert output == ""
    assert complaint(error)


def test_an_error_names_the_flag_that_was_given(blcperf: Command) -> None:
    assert complaint(blcperf("compare", "main", "main", "--min-share", "x")[2]).startswith("--min-share: expected")


@pytest.mark.parametrize(
    "argv", [["report", "x"], ["baseline", "show", "x"], ["baseline", "remove", "x"], ["compare", "x", "main"]]
)
def test_a_missing_baseline(argv: list[str], blcperf: Command) -> None:
    code, _, error = blcperf(*argv)
    assert code == ExitCode.BASELINE
    assert "'x'" in complaint(error)
    assert "stored baselines: main" in error


def test_a_damaged_file_with_a_hostile_name(blcperf: Command, project: Path) -> None:
    name = "a\x1b[2J\nb.blcperf"
    (project / name).write_bytes(b"junk")
    code, _, error = blcperf("report", name)
    assert code == ExitCode.BASELINE
    assert "not a run file" in complaint(error)
    assert "\x1b" not in error


def test_from_a_folder_below(blcperf: Command, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "src" / "deep").mkdir(parents=True)
    monkeypatch.chdir(project / "src" / "deep")
    assert blcperf("baseline", "list", "--quiet") == (0, "main\n", "")


def verb_that_raises(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_: object) -> int:
        raise error

    verb = SimpleNamespace(NAME="broken", SUMMARY="", __doc__="", configure=lambda _: None, run=run)
    monkeypatch.setattr(cli, "VERBS", (verb,))


def test_ctrl_c(blcperf: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    verb_that_raises(KeyboardInterrupt(), monkeypatch)
    assert blcperf("broken") == (130, "", "blcperf: interrupted\n")


def test_a_bug_is_one_line_and_a_traceback_on_request(blcperf: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    verb_that_raises(ZeroDivisionError("division\nby zero"), monkeypatch)
    code, _, error = blcperf("broken")
    assert code == cli.INTERNAL_ERROR
    assert "this is a bug: ZeroDivisionError" in complaint(error)
    monkeypatch.setenv("BLCPERF_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        blcperf("broken")


# ---- as a process


def process(*argv: str, cwd: Path, **environ: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "pytest_blcperf", *argv],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_real_process_on_an_ascii_terminal(project: Path) -> None:
    with process("report", "main", cwd=project, PYTHONIOENCODING="ascii", PYTHONUTF8="0") as running:
        output, error = running.communicate()
    assert (running.returncode, error) == (0, b"")
    assert b"Example CPU 3000 x 2" in output
    output.decode("ascii")


def test_a_reader_that_goes_away(project: Path) -> None:
    """GIVEN more output than a pipe holds WHEN the reader stops THEN no traceback and no code that means something."""
    benchmarks = tuple(replace(sample_run().benchmarks[1], id=f"t.py::test_{number}") for number in range(3000))
    baselines.save_baseline(project, replace(sample_run(), benchmarks=benchmarks), "big")
    with process("report", "big", "--json", cwd=project) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.read(1)
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == cli.BROKEN_PIPE


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    script = (
        "import sys; from pytest_blcperf.cli import main; main(['compare', '--help']); "
        "print(sorted({'numpy', 'deepdiff', 'psutil', 'rich', 'jinja2', 'pytest'} & set(sys.modules)), file=sys.stderr)"
    )
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


# ---- report and baseline


def test_report_shows_times_functions_and_warnings(blcperf: Command) -> None:
    code, output, _ = blcperf("report", str(SAMPLE))
    assert code == 0
    assert re.search(r"test_parse\[big\] +200 µs +202 µs +2 +5 +15\n", output)
    assert re.search(
        r"71\.0 %  █{10} +90\.3 % +36\.5  Parser\.parse\.<locals>\.<lambda> +src/shop/parse\.py:20\n", output
    )
    assert re.search(r"19\.4 %  █+ +19\.4 % +JSONDecoder", output)
    assert "the kernel differs" in output
    assert "Example CPU 3000" in output


def test_report_as_json_agrees(blcperf: Command) -> None:
    data = json.loads(blcperf("report", "main", "--json", "--top", "2")[1])
    assert data["schema"] == "blcperf.report/1"
    first, second = data["benchmarks"]
    assert (first["cpu_ns"], first["launches"], first["rounds"], first["samples"]) == (200_250, 2, 5, 15)
    assert [function["total"] for function in first["functions"]] == pytest.approx([14 / 15.5, 3 / 15.5])
    assert [function["self"] for function in first["functions"]] == pytest.approx([11 / 15.5, 3 / 15.5])
    assert (second["cpu_ns"], second["functions"]) == (None, [])


def test_report_says_when_self_time_is_unknown(blcperf: Command, project: Path) -> None:
    benchmark = sample_run().benchmarks[0]
    assert benchmark.profile is not None
    timed = replace(benchmark, profile=replace(benchmark.profile, self_time=False, backend="timer"))
    run_file.write(replace(sample_run(), benchmarks=(timed,)), project / "x.blcperf")
    assert re.search(r" n/a  █+ +100\.0 % +1  Parser\.parse ", blcperf("report", "x.blcperf")[1])


def test_quiet_report_is_the_table_alone(blcperf: Command) -> None:
    assert len(blcperf("report", "main", "--quiet")[1].splitlines()) == 3


def test_names_cannot_write_to_the_terminal(blcperf: Command, project: Path) -> None:
    evil = "\x1b]0;owned\x07\x1b[31m\u202e\udcff\n"
    benchmark = sample_run().benchmarks[0]
    assert benchmark.profile is not None
    profile = replace(
        benchmark.profile, functions=(Function(evil, evil), *benchmark.profile.functions[1:]), backend=evil
    )
    benchmark = replace(benchmark, id=evil, profile=profile, warnings=(Warning(evil, evil),))
    environment = replace(
        sample_run().environment, cpu_model=evil, kernel=evil, python=evil, python_build=evil, system=evil
    )
    run = replace(
        sample_run(), name=evil, benchmarks=(benchmark,), environment=environment, warnings=(Warning(evil, evil),)
    )
    run_file.write(run, project / "x.blcperf")
    baselines.save_baseline(project, run, "evil")
    shown = blcperf("report", "x.blcperf")[1] + blcperf("baseline", "list")[1]
    assert not set(shown) & set("\x1b\x07\u202e\udcff")
    json.loads(blcperf("report", "x.blcperf", "--json")[1])


def test_baseline_list(blcperf: Command, project: Path) -> None:
    (project / ".blcperf" / "baselines" / "bad.blcperf").write_bytes(b"junk")
    code, output, _ = blcperf("baseline", "list")
    assert code == 0
    assert re.search(
        r"^main +012345678\+dirty +2026-01-02T03:04 +2  Example CPU 3000 × 2 +\d+ kB$", output, re.MULTILINE
    )
    assert re.search(r"^bad +unreadable", output, re.MULTILINE)
    assert [row.get("benchmarks") for row in json.loads(blcperf("baseline", "list", "--json")[1])["baselines"]] == [
        None,
        2,
    ]


def test_baseline_list_without_any(blcperf: Command) -> None:
    blcperf("baseline", "remove", "main")
    code, output, _ = blcperf("baseline", "list")
    assert code == 0
    assert "no baseline is stored here" in output


def test_baseline_save_show_remove(blcperf: Command) -> None:
    assert blcperf("baseline", "save", str(SAMPLE), "feature/x")[0] == 0
    assert "feature/x (012345678+dirty)" in blcperf("baseline", "show", "feature/x")[1]
    assert blcperf("baseline", "remove", "feature/x") == (0, "removed baseline feature/x\n", "")
    assert blcperf("baseline", "show", "feature/x")[0] == ExitCode.BASELINE
    assert blcperf("baseline", "save", str(SAMPLE), "other", "--quiet") == (0, "", "")


# ---- compare


def measured(name: str, cost: float, pair: str = "pair") -> Run:
    """A run of two benchmarks; in the first, `slow` takes 40 % and costs `cost` times as much."""
    generator = np.random.default_rng(7)
    launches, rows = [], []
    for index in range(24):
        drift = generator.normal(1, 0.02)
        phase = LOOK if index < 12 else CONFIRM
        base_round = 1_000_000 * drift * generator.normal(1, 0.003, 30)
        times = [round(float(value) * (0.6 + 0.4 * cost)) for value in base_round]
        launches.append(Launch(index, phase, index, 0, tuple(Round(100, time, time) for time in times)))
        rows += [(index, 0, round(200 * cost)), (index, 1, 300)]
    columns = np.array(rows)
    profile = Profile(
        functions=(
            Function("src/a.py", "main", 1, "f0"),
            Function("src/a.py", "slow", 9, f"f{cost}"),
            Function("src/a.py", "fast", 20, "f2"),
        ),
        stacks=((1, 0), (2, 0)),
        launch=columns[:, 0],
        stack=columns[:, 1],
        weight=columns[:, 2] * 1e6,
        samples=columns[:, 2],
        backend="perf-signal",
    )
    one = Benchmark("tests/t.py::test_one", "test_one", "tests/t.py", 1, tuple(launches), profile)
    return replace(sample_run(), name=name, benchmarks=(one,), pair=pair, warnings=(), dirty=False)


@pytest.fixture
def pairs(project: Path) -> None:
    run_file.write(measured("base", 1.0), project / "base.blcperf")
    run_file.write(measured("same", 1.0), project / "same.blcperf")
    run_file.write(measured("slow", 1.5), project / "slow.blcperf")


@pytest.mark.usefixtures("pairs")
def test_compare_fails_on_a_regression_and_names_the_function(blcperf: Command, project: Path) -> None:
    code, output, error = blcperf("compare", "base.blcperf", "slow.blcperf", "--markdown", "summary.md")
    assert (code, error) == (ExitCode.REGRESSION, "")
    assert "slow" in output
    assert "src/a.py:9" in output
    assert "src/a.py:9" in (project / "summary.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("pairs")
def test_compare_of_a_lockstep_pair_is_paired(blcperf: Command, project: Path) -> None:
    assert json.loads(blcperf("compare", "base.blcperf", "slow.blcperf", "--json")[1])["mode"] == "lockstep"
    run_file.write(measured("alone", 1.5, pair=""), project / "alone.blcperf")
    assert json.loads(blcperf("compare", "base.blcperf", "alone.blcperf", "--json")[1])["mode"] == "stored"


@pytest.mark.usefixtures("pairs")
def test_compare_of_equal_runs_is_fine(blcperf: Command) -> None:
    code, output, _ = blcperf("compare", "base.blcperf", "same.blcperf")
    assert code == 0
    assert "unchanged" in output


@pytest.mark.usefixtures("pairs")
def test_what_decides_the_exit_code(blcperf: Command, project: Path) -> None:
    slower = ("compare", "base.blcperf", "slow.blcperf")
    assert blcperf(*slower, "--quiet") == (1, "", "")
    assert blcperf(*slower, "--no-fail")[0] == 0
    assert blcperf(*slower, "--fail-on-regression")[0] == 1
    assert blcperf(*slower, "--threshold", "80%")[0] == 0
    (project / "pyproject.toml").write_text('[tool.blcperf]\ngate = "warn"\n')
    assert blcperf(*slower)[0] == 0


@pytest.mark.usefixtures("pairs")
def test_comparing_nothing_is_never_fine(blcperf: Command) -> None:
    code, output, error = blcperf("compare", "base.blcperf", "main")
    assert code == ExitCode.BASELINE
    assert "nothing was compared" in complaint(error)
    assert "NOTHING WAS COMPARED" in output


@pytest.mark.parametrize(
    "text", ["[tool.blcperf", "tool = 1", '[tool]\nblcperf = "x"', "[tool.blcperf]\nx = 1", "\udcff"]
)
def test_an_unusable_pyproject(text: str, blcperf: Command, project: Path) -> None:
    (project / "pyproject.toml").write_text(text, encoding="utf-8", errors="surrogateescape")
    code, _, error = blcperf("compare", "main", "main")
    assert code == ExitCode.USAGE
    assert complaint(error)


# ---- doctor


def test_doctor_tries_everything(blcperf: Command) -> None:
    code, output, _ = blcperf("doctor", "--json")
    probes = json.loads(output)["probes"]
    assert {"profiling", "git", "cpus", "timer", "noise", "pytest", "numpy"} <= {probe["name"] for probe in probes}
    assert {probe["state"] for probe in probes} <= {"ok", "limited", "missing"}
    assert all(probe["detail"] and probe["needed_for"] for probe in probes)
    profiling = next(probe for probe in probes if probe["name"] == "profiling")
    assert code == (ExitCode.NOT_PERMITTED if profiling["state"] == "missing" else 0)


def test_doctor_leaves_the_machine_as_it_was(blcperf: Command, project: Path) -> None:
    before = os.sched_getaffinity(0), sorted(project.rglob("*"))
    blcperf("doctor")
    assert (os.sched_getaffinity(0), sorted(project.rglob("*"))) == before


def test_doctor_without_git(blcperf: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    output = blcperf("doctor", "--quiet")[1]
    assert "✗ git: no usable git" in output
    assert "needed for: measuring the base commit" in output
    assert "mend: install git" in output
    assert "✓" not in output


def test_doctor_sees_a_shallow_clone(blcperf: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    origin = GitRepo(tmp_path / "origin")
    for message in ("one", "two"):
        origin.git("commit", "--quiet", "--allow-empty", f"--message={message}")
    origin.git("clone", "--quiet", "--depth=1", f"file://{origin.path}", str(tmp_path / "shallow"))
    monkeypatch.chdir(tmp_path / "shallow")
    assert "~ repository: a shallow clone" in blcperf("doctor", "--quiet")[1]
    monkeypatch.chdir(origin.path)
    assert "✓ repository: the whole history" in blcperf("doctor")[1]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_read_by_their_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "no-fail" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_compare_writes_the_html_page(blcperf: Command, project: Path) -> None:
    assert blcperf("compare", "main", "main", "--no-fail", "--quiet", "--html", "out/page.html") == (0, "", "")
    assert "<title>" in (project / "out" / "page.html").read_text(encoding="utf-8")


def test_report_writes_the_html_page_of_runs_and_captures(blcperf: Command, project: Path) -> None:
    assert blcperf("report", "main", "--html", "run.html") == (0, "HTML report: run.html\n", "")
    assert "test_parse[big]" in (project / "run.html").read_text(encoding="utf-8")
    assert blcperf("report", str(CAPTURES), "--html", "capture.html", "--quiet") == (0, "", "")
    assert "process 10 (shop)" in (project / "capture.html").read_text(encoding="utf-8")


def test_report_shows_a_capture_its_threads_and_callers(blcperf: Command) -> None:
    code, output, _ = blcperf("report", str(CAPTURES))
    assert code == 0
    assert "process 10 (shop): 4 samples of task-clock in 6 s" in output
    assert "1 samples lost, throttled 2 times" in output
    assert re.search(r"48\.3 % +48\.3 % +do_syscall_64", output)
    assert json.loads(blcperf("report", str(CAPTURES), "--json")[1])[0]["schema"] == "blcperf.analysis/1"
    code, output, _ = blcperf("report", str(CAPTURES), "--callers", "malloc")
    assert code == 0
    assert output.index("called by") < output.index("Parser.parse") < output.index("calls\n") < output.index("do_sys")
    code, _, error = blcperf("report", str(CAPTURES), "--callers", "nothing")
    assert code == ExitCode.USAGE and "no sampled function" in complaint(error)


def test_flat_is_one_table_over_all_benchmarks(blcperf: Command) -> None:
    code, output, _ = blcperf("report", str(SAMPLE), "--flat", "--top", "2")
    assert code == 0
    lines = output.splitlines()
    assert lines[0].split() == ["self", "total", "function", "where"]
    assert len(lines) == 3 and "lambda" in lines[1]


@pytest.mark.parametrize("width", [70, 80, 100, 160])
def test_tables_fit_the_width_and_degrade_to_ascii(
    width: int, blcperf: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    capture_file.write([capture_pages.service()], project / "service.blcperf")
    for argv in (["service.blcperf"], ["service.blcperf", "--flat"], ["service.blcperf", "--callers", "schedule"]):
        output = blcperf("report", *argv)[1]
        assert max(map(cells, output.splitlines())) <= width
    captures = [capture_pages.service()]
    assert all(line.isascii() for line in run_text.of_captures(captures, run_text.Screen(width, unicode=False), 10))
