"""One call of every benchmark on every side, before anything is measured: what works, what it loads, what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_blcperf.bench.launch import Failure, run_launch
from pytest_blcperf.bench.loaded_files import LoadedFiles
from pytest_blcperf.bench.suite import Item
from pytest_blcperf.bench.worker_process import Side


@dataclass
class SideFindings:
    """What discovery learned on one side, by benchmark id."""

    failures: dict[str, Failure] = field(default_factory=dict)
    codes: dict[str, str] = field(default_factory=dict)
    reports: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    loaded: dict[str, LoadedFiles] = field(default_factory=dict)
    unimportable: dict[str, str] = field(default_factory=dict)
    """Benchmark file → why it cannot be imported."""


def discover(
    sides: Sequence[Side], items: Sequence[Item], scratch: Path, timeout: float, clock: Callable[[], float]
) -> list[SideFindings]:
    """Run every benchmark once on each side, each side's findings in the order of `sides`.

    A worker that is lost takes the rest of its launch with it, so whatever has no result yet is tried again without the
    culprit: a launch always settles at least its first benchmark.
    """
    findings = [SideFindings() for _ in sides]
    together = [item for item in items if item.lockstep]
    _discover(sides, together, findings, scratch=scratch, timeout=timeout, clock=clock)
    apart = [item for item in items if not item.lockstep]
    for side, found in zip(sides, findings, strict=True):
        _discover([side], apart, [found], scratch=scratch, timeout=timeout, clock=clock)
    return findings


def _discover(
    sides: Sequence[Side],
    items: Sequence[Item],
    findings: Sequence[SideFindings],
    *,
    scratch: Path,
    timeout: float,
    clock: Callable[[], float],
) -> None:
    left = list(items)
    while left:
        plans = dict.fromkeys(item.nodeid for item in left)
        launch = run_launch(
            sides,
            plans,
            seed=0,
            scratch=scratch,
            timeout=timeout,
            clock=clock,
            record_files=True,
            timeouts={item.nodeid: item.settings.timeout for item in left},
        )
        for said, found in zip(launch.sides, findings, strict=True):
            for item in left:
                _note(item, said.failures, found.failures)
                _note(item, said.codes, found.codes)
                _note(item, said.reports, found.reports)
                if item.nodeid in said.loaded:
                    found.loaded[item.id] = LoadedFiles.from_data(said.loaded[item.nodeid])
                if item.id in found.failures and _cannot_import(item, said.collect_errors):
                    found.unimportable[item.file] = found.failures[item.id].text
        left = [item for item in left if not _settled(item, findings)]


def _note(item: Item, said: Mapping[str, Any], found: dict[str, Any]) -> None:
    if item.nodeid in said:
        found[item.id] = said[item.nodeid]


def _cannot_import(item: Item, errors: Sequence[Mapping[str, str]]) -> bool:
    """A parameter that only the other side has is missing too, but its file is fine."""
    return any(error["file"] == item.nodeid.split("::", 1)[0] for error in errors)


def _settled(item: Item, findings: Sequence[SideFindings]) -> bool:
    failed = any(item.id in found.failures for found in findings)
    return failed or all(item.id in found.loaded for found in findings)
