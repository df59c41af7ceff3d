"""Captures compared: what changed, what is noise, what is new or gone."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from capture_samples import Sampled, capture_of

from pytest_blcperf.compare.captures import compare_captures, failures
from pytest_blcperf.detect import breakdown
from pytest_blcperf.detect.view import View
from pytest_blcperf.errors import UsageError
from pytest_blcperf.model.capture import Capture
from pytest_blcperf.model.capture_comparison import CaptureComparison
from pytest_blcperf.model.syscalls import SyscallCount, Syscalls
from pytest_blcperf.report import capture_comparison as report
from pytest_blcperf.report import html_capture_comparison

SCHEMA = Path(__file__).parents[1] / "docs/schemas/blcperf.capture-comparison-1.json"


def modes(capture: Capture) -> dict[str, float]:
    return {part.name: part.time for part in breakdown.by_mode(View(capture))}


def server(parse: int = 300, sort: int = 500, extra: str = "", read: int = 100) -> Capture:
    samples = [
        Sampled("parse;handle;main", parse),
        Sampled("sort;handle;main", sort),
        Sampled("[vfs_read];[__x64_sys_read];read@libc.so.6;main", read),
    ]
    if extra:
        samples.append(Sampled(f"{extra};handle;main", 50))
    return capture_of(*samples)


def compared(base: list[Capture], head: list[Capture]) -> CaptureComparison:
    return compare_captures(base, head, {"mode": modes})


def noisy(generator: random.Random, parse: int = 300) -> Capture:
    """A capture whose functions vary by a tenth from one to the next."""
    return server(round(parse * generator.gauss(1, 0.1)), round(500 * generator.gauss(1, 0.1)))


def test_one_capture_a_side_knows_the_error_of_counting() -> None:
    comparison = compared([server()], [server(parse=450, extra="check")])
    rows = {row.name: row for row in comparison.functions}
    assert not comparison.between
    assert comparison.unit == "CPUs"
    assert rows["parse"].change == pytest.approx(150 / 900)
    assert rows["parse"].significant
    assert rows["parse"].low < 150 / 900 < rows["parse"].high
    assert rows["sort"].change == 0
    assert not rows["sort"].significant
    assert rows["check"].state == "new"
    assert rows["check"].significant
    assert comparison.total.change == pytest.approx(200 / 900)
    assert {row.name: row.change for row in comparison.tables["mode"]} == pytest.approx(
        {"user": 200 / 900, "kernel": 0}
    )


def test_vanished_functions_are_gone() -> None:
    rows = {row.name: row for row in compared([server(extra="check")], [server()]).functions}
    assert rows["check"].state == "gone"
    assert rows["check"].change < 0


def test_differences_between_captures_are_not_taken_for_changes() -> None:
    generator = random.Random(1)
    false = 0
    for _ in range(200):
        base, head = ([noisy(generator) for _ in range(4)] for _ in range(2))
        comparison = compared(base, head)
        assert comparison.between
        false += any(row.significant for row in comparison.functions)
    assert false <= 200 * 0.05 + 3 * (200 * 0.05 * 0.95) ** 0.5


def test_a_change_above_the_differences_is_found() -> None:
    generator = random.Random(2)
    found = 0
    for _ in range(100):
        base = [noisy(generator) for _ in range(6)]
        head = [noisy(generator, parse=450) for _ in range(6)]
        comparison = compared(base, head)
        found += comparison.functions[0].name == "parse" and comparison.functions[0].significant
    assert found >= 95


def test_failing_takes_size_and_significance() -> None:
    comparison = compared([server()], [server(parse=390)])
    assert [row.name for row in failures(comparison, 0.05)] == ["total", "parse"]
    assert not failures(comparison, 0.11)


def test_captures_without_a_clock_are_compared_by_their_parts() -> None:
    base, head = (replace(one, duration_ns=0, unit="samples") for one in (server(), server(parse=600)))
    comparison = compared([base], [head])
    assert comparison.unit == "of the time"
    assert comparison.total.change == 0
    assert {row.name for row in comparison.functions if row.significant} >= {"parse", "sort"}


def test_functions_without_a_name_are_matched_by_their_code() -> None:
    def stripped(name: str) -> Capture:
        capture = server()
        functions = tuple(
            replace(one, name=name, fingerprint="c0de") if one.name == "parse" else one for one in capture.functions
        )
        return replace(capture, functions=functions)

    rows = compared([stripped("+0x1000")], [stripped("+0x2000")]).functions
    assert all(not row.state for row in rows)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UsageError, match="different events"):
        compared([server()], [replace(server(), event="cycles", unit="cycles")])
    with pytest.raises(UsageError, match="has no samples"):
        compared([server()], [capture_of()])


def test_it_is_shown_and_follows_its_schema() -> None:
    comparison = compared([server()], [server(parse=450, extra="check")])
    lines = report.render(comparison)
    assert any(line.startswith("parse") and "+16.7 %" in line for line in lines)
    assert any("give folders" in line for line in lines)
    assert not any(line.startswith("sort") for line in lines)
    data = json.loads(json.dumps(report.as_data(comparison), allow_nan=False))
    jsonschema.validate(data, json.loads(SCHEMA.read_text(encoding="utf-8")))


def test_the_page_holds_everything_and_its_graph_has_both_sides() -> None:
    base, head = [server()] * 4, [server(parse=450)] * 4
    text = html_capture_comparison.render(compared(base, head), base, head)
    assert "unsafe" not in text
    assert "1 function dearer, 0 cheaper" in text
    graph = json.loads(text.split('id="graph">')[1].split("</script>")[0])
    assert graph["total_base"] == pytest.approx(0.9e9)
    assert graph["total_head"] == pytest.approx(1.05e9)
    assert sum(graph["base"]) == pytest.approx(graph["total_base"])


def test_one_capture_a_side_leaves_the_page_in_doubt() -> None:
    text = html_capture_comparison.render(compared([server()], [server(parse=450)]), [server()], [server(parse=450)])
    assert '<header class="banner doubtful">' in text
    assert "they do not know how much" in text


def with_calls(capture: Capture, **calls: int) -> Capture:
    counts = tuple(SyscallCount(1, place, name, number, 10) for place, (name, number) in enumerate(calls.items()))
    return replace(capture, syscalls=Syscalls(counts, traced_ns=500_000_000, window_ns=1_000_000_000))


def test_system_calls_are_compared_by_how_often_they_are_made() -> None:
    base = [with_calls(server(), read=1000 + number, futex=100) for number in range(4)]
    head = [with_calls(server(), read=1000 + number, futex=400, openat=50) for number in range(4)]
    comparison = compared(base, head)
    rows = {row.name: row for row in comparison.calls}
    assert (rows["futex"].base, rows["futex"].head) == (200.0, 800.0)
    assert rows["futex"].significant
    assert rows["openat"].state == "new"
    assert not rows["read"].significant
    text = "\n".join(report.render(comparison))
    assert "system calls made" in text
    jsonschema.validate(report.as_data(comparison), json.loads(SCHEMA.read_text()))
    assert "System calls made" in html_capture_comparison.render(comparison, base, head)


def test_system_calls_are_not_compared_unless_all_counted_them() -> None:
    assert compared([with_calls(server(), read=10)], [server()]).calls == ()
