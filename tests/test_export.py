"""Exports, opened by what reads them: protobuf, speedscope itself, the Firefox Profiler, a browser, Prometheus' parser."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import capture_pages
import jsonschema
import numpy as np
import pytest
import report_pages
from browser import Browser, browser
from hypothesis import given
from markdown_it import MarkdownIt
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from report_samples import HOSTILE, patient
from test_store_pprof import decode, profile_class  # noqa: F401

from pytest_blcperf import cli
from pytest_blcperf.model.capture import Capture
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.run import Run
from pytest_blcperf.model.tracks import Tracks, tracks_of_capture, tracks_of_run
from pytest_blcperf.report import function_csv, openmetrics, run_json, run_markdown, svg_flame
from pytest_blcperf.report.function_rows import rows_of_benchmarks, rows_of_capture
from pytest_blcperf.store import capture_file, collapsed, firefox, pprof, run_file, speedscope

ROOT = Path(__file__).parents[1]
TOOLS = ROOT / ".tools" / "node_modules"
MISSING = "not installed here: make reporttools installs it"


@pytest.fixture(scope="module")
def service() -> Capture:
    """The made-up service, with its times."""
    return capture_pages.service()


@pytest.fixture(scope="module")
def run() -> Run:
    """The made-up library's run, three benchmarks."""
    return report_pages.runs()[1]


def tracks(run: Run) -> Tracks:
    """All the benchmarks of a run."""
    return tracks_of_run(run, run.benchmarks)


def self_shares(capture: Capture) -> dict[str, float]:
    """What every export must say: self time of each function by name, counted straight from the columns."""
    own: dict[str, float] = {}
    for stack, weight in zip(capture.stack.tolist(), capture.weight.tolist(), strict=True):
        name = capture.functions[capture.stack_of(stack)[0]].name
        own[name] = own.get(name, 0) + weight
    whole = sum(own.values())
    return {name: weight / whole for name, weight in own.items()}


# ---- pprof


def test_pprof_of_a_capture_is_decoded_by_protobuf(service: Capture, profile_class: Any) -> None:  # noqa: F811
    profile = decode(profile_class, pprof.encode_tracks(tracks_of_capture(service)))
    text = profile.string_table
    names = {one.id: text[one.name] for one in profile.function}
    leaves = {one.id: names[one.line[0].function_id] for one in profile.location}
    own: dict[str, int] = {}
    for sample in profile.sample:
        own[leaves[sample.location_id[0]]] = own.get(leaves[sample.location_id[0]], 0) + sample.value[1]
    expected = self_shares(service)
    assert {name: weight / sum(own.values()) for name, weight in own.items()} == pytest.approx(expected)
    assert [(text[one.type], text[one.unit]) for one in profile.sample_type] == [
        ("samples", "count"),
        ("task-clock", "nanoseconds"),
    ]
    assert {text[one.filename] for one in profile.mapping} == {"python", *service_objects(service)}
    assert {text[label.str] for sample in profile.sample for label in sample.label} == {
        thread.name for thread in service.threads
    }
    assert profile.duration_nanos == service.duration_ns


def service_objects(service: Capture) -> set[str]:
    """The files of functions that are no Python functions."""
    return {one.file for one in service.functions if one.kind != "python"}


def test_pprof_of_a_run_labels_its_benchmarks(run: Run, profile_class: Any) -> None:  # noqa: F811
    profile = decode(profile_class, pprof.encode_tracks(tracks(run)))
    text = profile.string_table
    labels = {(text[label.key], text[label.str]) for sample in profile.sample for label in sample.label}
    assert labels == {("benchmark", one.id) for one in run.benchmarks}
    assert sum(sample.value[0] for sample in profile.sample) == sum(
        one.profile.total_samples for one in run.benchmarks if one.profile
    )


# ---- collapsed


def test_collapsed_lines_have_every_sample_and_the_marks_of_flamegraph(service: Capture) -> None:
    lines = collapsed.encode(tracks_of_capture(service)).decode().splitlines()
    parsed = [re.fullmatch(r"(.+) (\d+)", line) for line in lines]
    assert all(parsed)
    assert sum(int(one[2]) for one in parsed if one) == len(service)
    assert len(set(lines)) == len(lines) and lines == sorted(lines)
    waiting = next(line for line in lines if "Cache.lock" in line)
    assert waiting.startswith("worker-0;main (src/shop/__main__.py:94);")
    assert re.search(r";do_futex_\[k\];futex_wait_\[k\];schedule_\[k\];__schedule_\[k\] \d+$", waiting)


@given(HOSTILE)
@patient
def test_collapsed_names_cannot_add_frames_or_lines(name: str) -> None:
    plain = collapsed.encode(tracks(_named("plain"))).decode()
    hostile = collapsed.encode(tracks(_named(name))).decode()
    assert [line.count(";") for line in hostile.splitlines()] == [line.count(";") for line in plain.splitlines()]


def _named(name: str) -> Run:
    """A run of one benchmark whose functions are all called that."""
    run = report_pages.runs()[0]
    profile = run.benchmarks[0].profile
    assert profile is not None
    functions = tuple(Function("x.py", f"{name}!{number:03}", 1) for number in range(len(profile.functions)))
    benchmark = replace(run.benchmarks[0], id="one", profile=replace(profile, functions=functions))
    return replace(run, benchmarks=(benchmark,))


# ---- speedscope


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser."""
    with browser(tmp_path_factory.mktemp("chromium")) as one:
        yield one


def test_speedscope_keeps_its_published_schema(service: Capture, run: Run) -> None:
    schema = TOOLS / "speedscope" / "dist" / "release" / "file-format-schema.json"
    if not schema.exists():
        pytest.skip(f"speedscope is {MISSING}")
    few = replace(service, **{name: getattr(service, name)[:500] for name in ("stack", "weight", "thread", "time")})
    for data in (speedscope.encode(tracks_of_capture(few)), speedscope.encode(tracks(run))):
        jsonschema.validate(json.loads(data), json.loads(schema.read_text()))


@pytest.mark.parametrize(
    ("name", "encode"),
    [("service.json", speedscope.encode), ("service.txt", collapsed.encode), ("service.pb.gz", pprof.encode_tracks)],
)
def test_speedscope_itself_opens_the_file(
    name: str, encode: Callable[[Tracks], bytes], service: Capture, window: Browser, tmp_path: Path
) -> None:
    application = TOOLS / "speedscope" / "dist" / "release"
    if not application.exists():
        pytest.skip(f"speedscope is {MISSING}")
    data = base64.b64encode(encode(tracks_of_capture(service))).decode()
    loader = tmp_path / "profile.js"
    loader.write_text(f'speedscope.loadFileFromBase64("{name}", "{data}")')
    window.open(application / "index.html", f"#localProfilePath={loader}", wait_for="body")
    window.wait("document.title.includes(' - speedscope')")
    # The sandwich view lists the functions as text; the other views are canvases.
    window.keys("3")
    # Its rows come after its head.
    window.wait("(document.body.innerText.split('Symbol Name')[1] || '').includes('_PyEval_EvalFrameDefault')")
    shown = window.run("document.body.innerText").partition("Symbol Name")[2].split("\n")
    lines = [line.strip() for line in shown if line.strip() and "%" not in line]
    assert lines[0].startswith("score") and lines[1].startswith("_PyEval_EvalFrameDefault")


# ---- the Firefox Profiler


class Profiler:
    """The Firefox Profiler's command line, which talks to a process that it leaves behind until it is told to stop."""

    def __init__(self, folder: str) -> None:
        self.environment = {**os.environ, "PROFILER_CLI_SESSION_DIR": folder}

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        node, command = TOOLS / "node" / "bin" / "node", TOOLS / ".bin" / "profiler-cli"
        return subprocess.run(
            [node, command, *arguments], env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )

    def load(self, path: Path) -> None:
        """Loads a profile. The process must be ready in half a second, which it is not on a busy machine: some tries."""
        for _ in range(8):
            done = self("load", str(path))
            if done.returncode == 0:
                return
            late = re.search(r"did not become ready.*kill (\d+)", done.stderr, re.DOTALL)
            assert late, done.stdout + done.stderr
            with suppress(ProcessLookupError):
                os.kill(int(late[1]), signal.SIGKILL)
        pytest.skip("the Firefox Profiler's command line does not start in its half second here")


def test_the_firefox_profiler_opens_the_file(service: Capture, tmp_path: Path) -> None:
    if not (TOOLS / ".bin" / "profiler-cli").exists() or not (TOOLS / "node" / "bin" / "node").exists():
        pytest.skip(f"the Firefox Profiler's command line is {MISSING}")
    path = tmp_path / "service.json"
    path.write_bytes(firefox.encode(tracks_of_capture(service)))
    # Not in tmp_path: it listens on a socket in its folder, whose path may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="blcperf-") as folder:
        profiler = Profiler(folder)
        profiler.load(path)
        try:
            profiler("thread", "select", "t-0")
            shown = profiler("thread", "functions").stdout
        finally:
            profiler("stop")
    found = {match[0]: float(match[1]) for match in re.findall(r"f-\d+\. (\S+) - self: \S+ \(([\d.]+)%\)", shown)}
    only = replace(service, **{name: getattr(service, name)[service.thread == 0] for name in ("stack", "weight")})
    for name, share in self_shares(only).items():
        if share > 0.02:
            assert found[name] == pytest.approx(share * 100, abs=0.1)


def test_firefox_tables_agree_in_length(service: Capture, run: Run) -> None:
    for exported in (tracks_of_capture(service), tracks(run)):
        document = json.loads(firefox.encode(exported))
        assert document["meta"]["preprocessedProfileVersion"] == 48
        for thread in document["threads"]:
            for name in (
                "samples",
                "stackTable",
                "frameTable",
                "funcTable",
                "markers",
                "resourceTable",
                "nativeSymbols",
            ):
                table = thread[name]
                assert {len(column) for column in table.values() if isinstance(column, list)} <= {table["length"]}
            assert thread["samples"]["time"] == sorted(thread["samples"]["time"])
            prefixes = thread["stackTable"]["prefix"]
            assert all(prefix is None or prefix < node for node, prefix in enumerate(prefixes))


# ---- SVG


def test_the_svg_opens_in_a_browser_and_every_wide_frame_has_its_tooltip(
    service: Capture, window: Browser, tmp_path: Path
) -> None:
    path = tmp_path / "flame.svg"
    path.write_text(svg_flame.render(tracks_of_capture(service)), encoding="utf-8")
    window.open(path, wait_for="rect")
    assert window.logs() == ([], [])
    titles = [one.text or "" for one in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}title")]
    assert any(title.startswith("score (src/shop/views/search.py:") for title in titles)
    shown = sum(float(re.search(r"([\d.]+) %", title)[1]) for title in titles if "worker-" in title)  # type: ignore[index]
    assert shown == pytest.approx(94.4, abs=0.5)


@given(HOSTILE)
@patient
def test_hostile_names_leave_the_svg_well_formed(name: str) -> None:
    root = ElementTree.fromstring(svg_flame.render(tracks(_named(name))))
    assert {one.tag.rpartition("}")[2] for one in root.iter()} <= {"svg", "title", "style", "text", "g", "rect"}


# ---- CSV, OpenMetrics, JSON, Markdown


def test_csv_is_read_back(service: Capture, run: Run) -> None:
    rows = list(csv.DictReader(io.StringIO(function_csv.render(rows_of_capture(service)))))
    assert {row["function"]: float(row["self_share"]) for row in rows if float(row["self_share"])} == pytest.approx(
        self_shares(service), rel=1e-5
    )
    (text,) = [
        row
        for row in csv.DictReader(io.StringIO(function_csv.render(rows_of_benchmarks(run.benchmarks[:1]))))
        if row["function"] == "text"
    ]
    assert text["calls"] == "160" and text["unit"] == "ns" and text["line"] == "6"
    assert float(text["self"]) == pytest.approx(961_000, rel=0.05)


@given(HOSTILE)
@patient
def test_no_cell_of_the_csv_is_a_formula(name: str) -> None:
    text = function_csv.render(rows_of_benchmarks(_named(name).benchmarks))
    table = list(csv.reader(io.StringIO(text, newline="")))
    assert {len(row) for row in table} == {len(function_csv.HEADER)}
    assert not [cell for row in table for cell in row[:3] if cell.startswith(("=", "+", "-", "@"))]


def test_openmetrics_is_parsed_by_prometheus(service: Capture, run: Run) -> None:
    families = {one.name: one for one in text_string_to_metric_families(openmetrics.of_run(run))}
    times = {sample.labels["benchmark"]: sample.value for sample in families["blcperf_benchmark_cpu_seconds"].samples}
    assert set(times) == {one.id for one in run.benchmarks}
    assert times[run.benchmarks[0].id] == pytest.approx(3.38e-3, rel=0.02)
    assert families["blcperf_run"].samples[0].labels["run"] == "head"
    families = {one.name: one for one in text_string_to_metric_families(openmetrics.of_captures([service]))}
    own = {s.labels["function"]: s.value for s in families["blcperf_capture_function_self_seconds"].samples}
    assert own["score"] == pytest.approx(self_shares(service)["score"] * service.weight.sum() / 1e9)


@given(HOSTILE)
@patient
def test_openmetrics_survives_any_name(name: str) -> None:
    run = _named(name)
    list(text_string_to_metric_families(openmetrics.of_run(replace(run, name=name or "x"))))


def test_json_keeps_the_published_schema(run: Run) -> None:
    schema = json.loads((ROOT / "docs" / "schemas" / "blcperf.report-1.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(json.dumps(run_json.of_run(run), allow_nan=False)), schema)
    assert len(run_json.of_run(run)["benchmarks"][0]["functions"]) == len(report_pages.FUNCTIONS)


def test_markdown_of_a_run_renders_and_keeps_its_limit(run: Run, service: Capture) -> None:
    whole = run_markdown.of_run(run)
    html = MarkdownIt("commonmark").enable("table").render(whole)
    assert html.count("<table>") == 1 + len(run.benchmarks)
    assert "left out" not in whole
    many = replace(run, benchmarks=tuple(replace(run.benchmarks[0], id=f"tests/x.py::test_{n}") for n in range(400)))
    for limit in (1 << 20, 300_000, 20_000, 3_000):
        text = run_markdown.of_run(many, limit)
        assert len(text.encode()) <= limit
        assert limit == 1 << 20 or "left out" in text
    assert "<code>score</code>" in run_markdown.of_captures([service])


# ---- the command


@pytest.mark.parametrize(
    "name", ["pprof", "collapsed", "speedscope", "firefox", "svg", "csv", "markdown", "openmetrics", "json"]
)
def test_the_command_writes_each_format_of_runs_and_captures(
    name: str, run: Run, service: Capture, tmp_path: Path
) -> None:
    run_file.write(run, tmp_path / "run.blcperf")
    capture_file.write([service], tmp_path / "capture.blcperf")
    for kind in ("run", "capture"):
        output = tmp_path / "deep" / f"{kind}.{name}"
        assert cli.main(["export", str(tmp_path / f"{kind}.blcperf"), "--format", name, "-o", str(output)]) == 0
        assert output.stat().st_size > 100
    binary = tmp_path / "again"
    with binary.open("wb") as file:
        command = [sys.executable, "-m", "pytest_blcperf", "export", str(tmp_path / "run.blcperf")]
        if name in ("pprof", "csv"):
            subprocess.run([*command, "--format", name], stdout=file, check=True)
            assert binary.read_bytes() == (tmp_path / "deep" / f"run.{name}").read_bytes()


def test_captures_have_one_json_whichever_command_prints_it(
    service: Capture, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "capture.blcperf"
    capture_file.write([service], path)
    schema = json.loads((ROOT / "docs" / "schemas" / "blcperf.analysis-1.json").read_text())
    printed = []
    for arguments in (["report", str(path), "--json", "--top", "1000"], ["export", str(path), "--format", "json"]):
        assert cli.main(arguments) == 0
        printed.append(json.loads(capsys.readouterr().out))
    assert printed[0] == printed[1]
    (data,) = printed[0]
    jsonschema.validate(data, schema)
    assert [one["name"] for one in data["threads"]] == [one.name for one in service.threads]
    assert data["environment"]["cpu_model"] == service.environment.cpu_model


def test_the_command_chooses_benchmarks_and_events(
    run: Run, service: Capture, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.blcperf"
    run_file.write(run, path)
    output = tmp_path / "one.txt"
    assert cli.main(["export", str(path), "--format", "collapsed", "--benchmark", "*escape*", "-o", str(output)]) == 0
    assert {line.partition(";")[0] for line in output.read_text().splitlines()} == {run.benchmarks[2].id}
    assert cli.main(["export", str(path), "--format", "csv", "--benchmark", "nothing*"]) == 2
    assert "test_render_article" in capsys.readouterr().err
    two = tmp_path / "two.blcperf"
    capture_file.write([service, replace(service, event="page-faults", unit="events")], two)
    assert cli.main(["export", str(two), "--format", "speedscope"]) == 2
    assert "--event takes one of: task-clock, page-faults" in capsys.readouterr().err
    assert cli.main(["export", str(two), "--format", "speedscope", "--event", "page-faults", "-o", str(output)]) == 0
    assert {one["unit"] for one in json.loads(output.read_text())["profiles"]} == {"none"}


def test_a_run_without_profiles_says_what_to_do(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bare.blcperf"
    run_file.write(replace(run, benchmarks=tuple(replace(one, profile=None) for one in run.benchmarks)), path)
    assert cli.main(["export", str(path), "--format", "svg"]) == 2
    assert "--blcperf-profile-window" in capsys.readouterr().err


def test_same_functions_of_several_benchmarks_are_one(run: Run) -> None:
    merged = tracks(run)
    assert len(merged.functions) == len(report_pages.FUNCTIONS) + 2, "text and escape_html, each with two bodies"
    assert np.isclose(
        sum(track.weight.sum() for track in merged.tracks),
        sum(one.profile.total_weight for one in run.benchmarks if one.profile),
    )
