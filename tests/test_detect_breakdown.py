"""Breakdowns: the parts of a capture's time, each adding up to the whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from capture_samples import Sampled, capture_of

from pytest_blcperf.detect import breakdown, rules
from pytest_blcperf.detect.breakdown import Part
from pytest_blcperf.detect.view import View

VIEW = View(
    capture_of(
        Sampled("[vfs_read];[__x64_sys_read];[do_syscall_64];read@libc.so.6;main", 20, thread="worker-1", cpu=1),
        Sampled("[vfs_write];[__x64_sys_write];[do_syscall_64];write@libc.so.6;main", 10, thread="worker-2"),
        Sampled("qsort@libc.so.6;main", 30, thread="worker-1"),
        Sampled("app.py:work;main", 35),
        Sampled("", 5),
    )
)


def shares(parts: Sequence[Part]) -> dict[str, float]:
    return {part.name: round(part.share, 3) for part in parts}


def test_time_by_mode_thread_role_process_and_cpu() -> None:
    assert shares(breakdown.by_mode(VIEW)) == {"user": 0.7, "kernel": 0.3}
    assert shares(breakdown.by_thread(VIEW)) == {"worker-1 (1)": 0.5, "main (3)": 0.4, "worker-2 (2)": 0.1}
    assert shares(breakdown.by_role(VIEW, rules.load())) == {"worker": 0.6, "main": 0.4}
    assert shares(breakdown.by_process(VIEW)) == {"program (1)": 1.0}
    assert shares(breakdown.by_cpu(VIEW)) == {"CPU 0": 0.8, "CPU 1": 0.2}


def test_time_by_library_and_class_is_self_time() -> None:
    assert shares(breakdown.by_library(VIEW)) == {
        "app.py": 0.35,
        "[kernel]": 0.3,
        "libc.so.6": 0.3,
        "[no frames]": 0.05,
    }
    by_class = shares(breakdown.by_class(VIEW, rules.load()))
    assert by_class == {"application": 0.35, "file system and block": 0.3, "libc": 0.3, "[no frames]": 0.05}


def test_system_calls_are_named_by_their_entry() -> None:
    assert shares(breakdown.by_syscall(VIEW)) == {"read": 0.2, "write": 0.1}


@pytest.mark.parametrize("split", [breakdown.by_mode, breakdown.by_thread, breakdown.by_cpu, breakdown.by_library])
def test_parts_add_up(split: Callable[[View], tuple[Part, ...]]) -> None:
    assert sum(part.time for part in split(VIEW)) == pytest.approx(VIEW.total)


def test_an_empty_capture_has_no_parts() -> None:
    empty = View(capture_of())
    assert breakdown.by_library(empty) == breakdown.by_mode(empty) == breakdown.by_syscall(empty) == ()
