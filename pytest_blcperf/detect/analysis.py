"""Everything that is made of one capture before it is shown: hot functions, breakdowns, findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pytest_blcperf.detect import breakdown
from pytest_blcperf.detect.breakdown import Part, SyscallRow, traced_syscalls
from pytest_blcperf.detect.rules import Rules, load
from pytest_blcperf.detect.run_patterns import findings
from pytest_blcperf.detect.view import View
from pytest_blcperf.model.capture import Capture
from pytest_blcperf.model.finding import Finding
from pytest_blcperf.model.function import Function

MOST_FUNCTIONS = 1000
"""Functions of an analysis."""
DATABASE_CLASSES = (
    "network",
    "memory contexts",
    "parser",
    "optimiser",
    "executor",
    "buffer pool",
    "log",
    "replication",
    "storage engine",
    "other server code",
)
"""Classes of presets for databases; what is none of them, nor the system's, is the application around it."""


@dataclass(frozen=True)
class Hot:
    """A function with its time, in the event's unit and as parts of the whole. `own` is None without self time."""

    function: Function
    own: float | None
    total: float
    label: str
    """Its class."""


@dataclass(frozen=True)
class Analysis:
    """See the module. `tables` are breakdowns by title, largest part first; empty ones are left out."""

    capture: Capture
    preset: str
    hot: tuple[Hot, ...]
    tables: dict[str, tuple[Part, ...]]
    findings: tuple[Finding, ...]
    syscalls: tuple[SyscallRow, ...] = ()
    """Counts and times of system calls, empty where they were not traced."""


def analyse(capture: Capture, rules: Rules, preset: str = "") -> Analysis:
    """Asks a capture everything. Takes a second for a million samples of fifty thousand stacks."""
    view = View(capture)
    tables = breakdowns(view, rules)
    if preset:
        tables = {"database": _database(tables.get("class", ())), **tables}
    return Analysis(
        capture=capture,
        preset=preset,
        hot=hot_functions(view, rules),
        tables={title: parts for title, parts in tables.items() if parts},
        findings=findings(view, rules),
        syscalls=traced_syscalls(capture.syscalls) if capture.syscalls is not None else (),
    )


def analyse_all(captures: Sequence[Capture], preset: str | None = None) -> list[Analysis]:
    """Captures analysed by a preset, else each by the one it was recorded with. Raises UsageError for unknown ones."""
    chosen = [preset or str(one.settings.get("preset") or "") or None for one in captures]
    return [analyse(one, load(name), name or "") for one, name in zip(captures, chosen, strict=True)]


def breakdowns(view: View, rules: Rules) -> dict[str, tuple[Part, ...]]:
    """All breakdowns by title, those without parts left out."""
    tables = {
        "mode": breakdown.by_mode(view),
        "class": breakdown.by_class(view, rules),
        "library": breakdown.by_library(view),
        "role": breakdown.by_role(view, rules),
        "thread": breakdown.by_thread(view),
        "process": breakdown.by_process(view),
        "CPU": breakdown.by_cpu(view),
        "system call": breakdown.by_syscall(view),
    }
    return {title: parts for title, parts in tables.items() if parts}


def hot_functions(view: View, rules: Rules, most: int = MOST_FUNCTIONS) -> tuple[Hot, ...]:
    """The functions with most self time (total time where the backend knows no self time), at most `most`."""
    capture = view.capture
    whole = view.total or 1.0
    own, total = view.self_time / whole, view.total_time / whole
    order = np.lexsort((np.arange(len(own)), -total, -own if capture.self_time else -total))[:most].tolist()
    order = [index for index in order if total[index] > 0]
    labels = rules.classify([capture.functions[index] for index in order])
    return tuple(
        Hot(capture.functions[index], float(own[index]) if capture.self_time else None, float(total[index]), label)
        for index, label in zip(order, labels, strict=True)
    )


def _database(classes: tuple[Part, ...]) -> tuple[Part, ...]:
    """The server's own layers against everything else: the application's code, the kernel, libraries."""
    inside = sum(part.time for part in classes if part.name in DATABASE_CLASSES)
    whole = sum(part.time for part in classes) or 1.0
    other = [part for part in classes if part.name not in DATABASE_CLASSES]
    parts = [Part("database layers", inside, inside / whole), *other]
    return tuple(sorted((part for part in parts if part.time > 0), key=lambda part: -part.time))
