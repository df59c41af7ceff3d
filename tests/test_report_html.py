"""The HTML pages as text: self-contained, guarded by a policy that names its own scripts, bounded, escaped."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import report_pages
import report_samples as samples
from gate_runs import run_gate, slower, src_repo
from hypothesis import given

from pytest_blcperf.model.profile import Profile
from pytest_blcperf.report import html_comparison
from pytest_blcperf.report.comparison_page import ComparisonPage
from pytest_blcperf.report.stack_difference import TONES, difference_data
from pytest_blcperf.session import compare_runs
from pytest_blcperf.settings import resolve


class Page(HTMLParser):
    """A page taken apart: its elements, the sources of scripts and styles, its data blocks, its policy."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.data: dict[str, Any] = {}
        self.text = ""
        self._open: tuple[str, dict[str, str | None]] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = (tag, dict(attrs)) if tag in self.raw else None

    def handle_data(self, data: str) -> None:
        if self._open is None:
            self.text += data
            return
        tag, attributes = self._open
        if tag == "script" and attributes.get("id"):
            packed = "data-packed" in attributes
            text = zlib.decompress(base64.b64decode(data)).decode() if packed else data
            self.data[str(attributes["id"])] = json.loads(text)
        else:
            self.raw[tag].append(data)
        self._open = None

    @property
    def policy(self) -> str:
        """The Content-Security-Policy."""
        return next(str(one["content"]) for tag, one in self.tags if one.get("http-equiv") == "Content-Security-Policy")


def test_the_policy_allows_the_pages_own_scripts_and_style_and_nothing_else() -> None:
    page = Page(html_comparison.render(ComparisonPage.of(samples.everything())))
    for kind in ("script", "style"):
        allowed = set(re.findall(r"'sha256-[^']+'", re.search(rf"{kind}-src ([^;]+)", page.policy)[1]))  # type: ignore[index]
        there = {
            f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
            for source in page.raw[kind]
        }
        assert allowed == there
    assert page.policy.startswith("default-src 'none';")
    assert "unsafe" not in page.policy


def test_nothing_refers_to_a_network() -> None:
    page = Page(html_comparison.render(ComparisonPage.of(samples.everything())))
    for tag, attributes in page.tags:
        assert tag not in ("iframe", "object", "embed", "img", "base", "form")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "action"):
                assert (value or "").startswith(("#", "data:")), (tag, name, value)
    for source in (*page.raw["script"], *page.raw["style"]):
        assert "http:" not in source and "https:" not in source and "url(" not in source


@given(samples.HOSTILE)
@samples.patient
def test_hostile_names_are_text(name: str) -> None:
    plain, hostile = (
        Page(html_comparison.render(ComparisonPage.of(samples.renamed(one)))) for one in ("plain", name or "x")
    )
    # The same elements, whatever the names; only a source or a hint that a name has or lacks may differ.
    variable = {"span", "code", "bdi", "div", "dt", "dd", "pre"}
    assert [tag for tag, _ in plain.tags if tag not in variable] == [
        tag for tag, _ in hostile.tags if tag not in variable
    ]
    assert all(char.isprintable() or char.isspace() for char in hostile.text)


def test_a_page_without_measurements_says_so() -> None:
    page = Page(html_comparison.render(ComparisonPage.of(samples.gate())))
    assert "NOTHING WAS COMPARED" in page.text
    everything = Page(html_comparison.render(ComparisonPage.of(samples.everything())))
    assert "There is no flame graph" in everything.text
    assert "the CPU frequency is not fixed" in everything.text


# ---- the differential flame graph's data


@pytest.fixture(scope="module")
def difference() -> Mapping[str, Any]:
    """Of the benchmark with a slower `text`."""
    base, head = report_pages.runs()
    verdict = compare_runs(base, head, resolve({}, {}, {}, {})).benchmarks[0]
    old, new = base.benchmarks[0].profile, head.benchmarks[0].profile
    assert old is not None and new is not None
    data = difference_data(verdict, old, new)
    assert data is not None
    return data


def test_each_sides_stacks_sum_up_to_its_time_per_iteration(difference: Mapping[str, Any]) -> None:
    assert sum(difference["base"]) == pytest.approx(difference["total_base"], rel=1e-3)
    assert sum(difference["head"]) == pytest.approx(difference["total_head"], rel=1e-3)


def test_only_what_is_significant_has_a_colour(difference: Mapping[str, Any]) -> None:
    tones = dict(zip(difference["functions"]["name"], (TONES[tone] for tone in difference["tones"]), strict=True))
    assert [name for name, tone in tones.items() if tone == "regressed"] == ["text"]
    assert tones["emphasis"] == "unsure" and tones["test_render_article"] == "unjudged"


def test_a_moved_function_is_one_frame_of_both_sides() -> None:
    base, head = report_pages.runs()
    verdict = compare_runs(base, head, resolve({}, {}, {}, {})).benchmarks[1]
    old, new = base.benchmarks[1].profile, head.benchmarks[1].profile
    assert old is not None and new is not None
    moved = tuple(
        type(one)("src/markup/moved.py", one.name, one.line, one.fingerprint) if one.name == "emphasis" else one
        for one in new.functions
    )
    together = difference_data(verdict, old, _with(new, moved))
    assert together is not None
    assert together["functions"]["name"].count("emphasis") == 1
    assert "src/markup/moved.py" in together["functions"]["files"]


def _with(profile: Profile, functions: tuple[Any, ...]) -> Profile:
    columns = (profile.launch, profile.stack, profile.weight, profile.samples)
    return Profile(functions, profile.stacks, *columns, profile.backend)


def test_five_thousand_stacks_take_less_than_two_megabytes() -> None:
    base, head = report_pages.runs()
    random = np.random.default_rng(5)
    profiles = [report_pages.many_stacks(5_000, random) for _ in (base, head)]
    compared = report_pages.with_profiles(base, head, *profiles)
    assert len({stack for one in profiles for stack in one.stacks}) >= 5_000
    assert len(html_comparison.render(compared).encode()) < 2_000_000


def test_the_gate_writes_the_page_with_sources_and_graphs(tmp_path: Path) -> None:
    repo = src_repo(tmp_path / "repo").write({"src/lib/core.py": slower()}).commit()
    run_gate(repo, f"--blcperf-html={tmp_path / 'page.html'}", "--blcperf-gate=off", "--blcperf-profile-window=300ms")
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "src/lib/core.py" in page.text
    assert "value = value + 0" in page.text, "the source of the changed function"
    assert set(page.data) <= {"graph-0"}
