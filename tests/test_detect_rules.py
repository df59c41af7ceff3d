"""Presets: patterns, classes, roles, and files that are not what they should be."""

from __future__ import annotations

from pathlib import Path

import pytest
from capture_samples import function

from pytest_blcperf.detect import rules
from pytest_blcperf.detect.rules import Rules, matching
from pytest_blcperf.errors import UsageError


@pytest.mark.parametrize(
    ("pattern", "frame", "matches"),
    [
        ("malloc", "malloc@libc.so.6", True),
        ("malloc", "my_malloc", False),
        ("libc.so*`malloc", "malloc@libc.so.6", True),
        ("libc.so*`malloc", "malloc@libjemalloc.so.2", False),
        ("libz.so*`*", "deflate_slow@libz.so.1", True),
        ("[[]kernel[]]`*", "[schedule]", True),
        ("std::*regex*", "std::__1::regex_match", True),
    ],
)
def test_patterns_are_globs_of_the_name_and_of_the_file(pattern: str, frame: str, matches: bool) -> None:
    assert matching([pattern], [function(frame)]).tolist() == [matches]


def test_the_first_class_that_matches_counts_and_the_rest_is_the_application() -> None:
    frames = [
        "futex_wait@libc.so.6",
        "malloc@libc.so.6",
        "qsort@libc.so.6",
        "[schedule]",
        "[ip_rcv]",
        "[do_syscall_64]",
        "work",
    ]
    expected = ["lock and threading", "allocator", "libc", "scheduler", "network", "kernel core", "application"]
    assert rules.load().classify([function(frame) for frame in frames]) == expected


def test_a_preset_comes_first_and_adds() -> None:
    default = Rules("default", {"a": ("x",)}, {"all": ("*",)}, {"w": ("worker*",)}, {"p": {"share": 0.1, "n": 5}})
    preset = Rules(
        "mine", {"a": ("y",), "b": ("z",)}, {"mine": ("m*",)}, {"boss": ("worker-0",)}, {"p": {"share": 0.2}}
    )
    both = preset.over(default)
    assert both.sets == {"a": ("y", "x"), "b": ("z",)}
    assert both.classify([function("main"), function("other")]) == ["mine", "all"]
    assert both.role("worker-0") == "boss"
    assert both.role("worker-1") == "w"
    assert both.role("connection-17") == "connection"
    assert both.thresholds["p"] == {"share": 0.2, "n": 5}


@pytest.mark.parametrize("name", [None, *rules.available()])
def test_every_preset_of_the_package_is_readable(name: str | None) -> None:
    loaded = rules.load(name)
    assert loaded.sets
    loaded.classify([function("main")])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[sets\n", "not a readable preset"),
        ("[colours]\n", "unknown table 'colours'"),
        ('[sets]\na = "x"\n', "not a list of patterns"),
        ("[classes]\na = [1]\n", "not a list of patterns"),
        ("[thresholds.p]\nshare = 'much'\n", "could not convert"),
        ("sets = 3\n", "no attribute"),
        ("[sets]\na = [" + '"x",' * 6000 + "]\n", "more than 5,000 patterns"),
    ],
)
def test_bad_presets_are_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        rules.load(str(path))
    assert "\n" not in caught.value.message


def test_an_unknown_preset_names_those_there_are() -> None:
    with pytest.raises(UsageError, match="no preset 'oracle'"):
        rules.load("oracle")
