"""A capture in the terminal and as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from capture_samples import Sampled, capture_of

from pytest_blcperf.detect import rules
from pytest_blcperf.detect.analysis import Analysis, analyse
from pytest_blcperf.model.capture import Capture, CaptureHealth
from pytest_blcperf.model.recording import RecordingHealth
from pytest_blcperf.model.syscalls import SyscallCount, Syscalls
from pytest_blcperf.model.warning import Warning
from pytest_blcperf.report import capture_json, capture_text
from pytest_blcperf.report.text import cells

GOLDEN = Path(__file__).parent / "golden"
SCHEMA = Path(__file__).parents[1] / "docs/schemas/blcperf.analysis-1.json"


def convoy() -> Capture:
    """A server with a lock that everybody wants."""
    capture = capture_of(
        Sampled("qsort@libc.so.6;sort_rows;handle;main", 300, thread="worker-1"),
        Sampled("[futex_wait];[__x64_sys_futex];[do_syscall_64];__lll_lock_wait@libc.so.6;push;handle;main", 120),
        Sampled("parse_request;handle;main", 380, thread="worker-2", cpu=1),
        counters={"context-switches": 12_345.0, "threads": 3.0},
    )
    health = CaptureHealth(
        RecordingHealth(samples=800, lost=3, throttled=1), truncated=16, unknown_frames=9, frames=900
    )
    warnings = (Warning("kernel-refused", "kernel samples were refused"),)
    return replace(capture, health=health, warnings=warnings, settings={"kernel": True, "trigger": "cpu > 80%"})


def analysed(capture: Capture, preset: str | None = None) -> Analysis:
    return analyse(capture, rules.load(preset), preset or "")


@pytest.mark.parametrize(("width", "unicode"), [(100, True), (72, False)])
def test_the_report_is_the_reference(width: int, unicode: bool) -> None:
    lines = capture_text.render(analysed(convoy()), width=width, unicode=unicode)
    path = GOLDEN / f"capture-{width}.txt"
    assert "\n".join(lines) + "\n" == path.read_text(encoding="utf-8")
    assert max(cells(line) for line in lines) <= width


def test_a_preset_puts_the_database_first() -> None:
    capture = capture_of(
        Sampled("row_search_mvcc;ha_innobase::index_read;handler::ha_index_read_map;mysql_select;main", 500),
        Sampled("MYSQLparse;parse_sql;main", 100),
        Sampled("business_logic;main", 400),
    )
    tables = analysed(capture, "mariadb").tables
    assert next(iter(tables)) == "database"
    assert [(part.name, part.share) for part in tables["database"]] == [("database layers", 0.6), ("application", 0.4)]
    assert {part.name: part.share for part in tables["class"]}["storage engine"] == 0.5


def test_hostile_names_do_nothing_to_a_terminal() -> None:
    name = "\x1b]0;owned\x07evil\u202e\n" + "x" * 20_000
    lines = capture_text.render(analysed(capture_of(Sampled(name, 200, thread="\x1b[31m"))))
    assert all(char.isprintable() for line in lines for char in line)
    assert max(map(len, lines)) < 1000


def test_the_data_follows_the_published_schema() -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    for capture in (convoy(), capture_of()):
        data = json.loads(json.dumps(capture_json.as_data(analysed(capture)), allow_nan=False))
        jsonschema.validate(data, schema)
    assert data["samples"] == 0


def test_an_empty_capture_says_so() -> None:
    lines = capture_text.render(analysed(capture_of()))
    assert "0 samples" in lines[0]


def test_traced_system_calls_have_counts_and_say_what_they_rest_on() -> None:
    counts = (SyscallCount(7, 202, "futex", 500, 900_000_000), SyscallCount(8, 202, "futex", 500, 100_000_000))
    capture = replace(convoy(), syscalls=Syscalls(counts, traced_ns=10**9, window_ns=2 * 10**9, lost=5))
    text = "\n".join(capture_text.render(analysed(capture)))
    assert "by raw tracepoints" in text
    assert "traced in 50.0 % of the window" in " ".join(text.split())
    assert "5 records lost" in text
    (row,) = [line.split() for line in text.splitlines() if line.endswith(" futex") and "ms" in line]
    assert row[:2] == ["2,000", "1,000"]
    data = capture_json.as_data(analysed(capture))
    jsonschema.validate(data, json.loads(SCHEMA.read_text()))
    assert data["syscalls"]["calls"] == [{"name": "futex", "calls": 2000.0, "time_ns": 2e9}]


def test_untraced_system_calls_say_why() -> None:
    capture = replace(convoy(), settings={"syscalls": "kernel entry symbols: tracefs is not mounted"})
    text = "\n".join(capture_text.render(analysed(capture)))
    assert "system calls by kernel entry symbols: tracefs is not mounted (time only, no counts)" in text
    assert capture_json.as_data(analysed(capture))["syscalls"] is None
