"""Events by name: clocks, software and hardware events, tracepoints."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pytest_blcperf.capture import perf_event
from pytest_blcperf.errors import PermissionDenied, UsageError

TRACEFS = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))

_SOFTWARE = {
    "cpu-clock": 0,
    "task-clock": 1,
    "page-faults": 2,
    "context-switches": 3,
    "cpu-migrations": 4,
    "minor-faults": 5,
    "major-faults": 6,
}
_HARDWARE = {
    "cycles": 0,
    "instructions": 1,
    "cache-references": 2,
    "cache-misses": 3,
    "branches": 4,
    "branch-misses": 5,
    "bus-cycles": 6,
    "ref-cycles": 9,
}
_TABLES = {perf_event.TYPE_SOFTWARE: _SOFTWARE, perf_event.TYPE_HARDWARE: _HARDWARE}
CLOCKS = ("cpu-clock", "task-clock")
NAMES = (*_SOFTWARE, *_HARDWARE)
_TRACEPOINT = re.compile(r"[A-Za-z0-9_.-]+:[A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class NamedEvent:
    """An event as perf_event_open takes it: `type` and `config`; `unit` is what its periods count."""

    name: str
    type: int
    config: int
    unit: str

    @property
    def is_tracepoint(self) -> bool:
        """Whether every occurrence is a sample, unless a period says otherwise."""
        return self.type == perf_event.TYPE_TRACEPOINT


def name_of(kind: int, config: int) -> str:
    """The name of an event by type and config, `type:config` for one that has none here."""
    table = _TABLES.get(kind, {})
    return next((name for name, number in table.items() if number == config), f"{kind}:{config:#x}")


def find(name: str, tracefs: tuple[Path, ...] = TRACEFS) -> NamedEvent:
    """The event called `name`, such as `cpu-clock`, `cycles` or `sched:sched_switch`.

    Raises UsageError for a name that is not known, PermissionDenied when tracepoints cannot be read.
    """
    if name in _SOFTWARE:
        return NamedEvent(name, perf_event.TYPE_SOFTWARE, _SOFTWARE[name], "ns" if name in CLOCKS else "events")
    if name in _HARDWARE:
        unit = name if name in ("cycles", "instructions") else "events"
        return NamedEvent(name, perf_event.TYPE_HARDWARE, _HARDWARE[name], unit)
    if _TRACEPOINT.fullmatch(name) and not set(name.split(":")) & {".", ".."}:
        return NamedEvent(name, perf_event.TYPE_TRACEPOINT, _tracepoint(name, tracefs), "events")
    raise UsageError(
        f"unknown event {name!r}", f"choose one of {', '.join(NAMES)}, or a tracepoint: sched:sched_switch"
    )


def _tracepoint(name: str, tracefs: tuple[Path, ...]) -> int:
    system, _, event = name.partition(":")
    refused: OSError | None = None
    for root in tracefs:
        try:
            return int((root / "events" / system / event / "id").read_text("ascii"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            refused = error if isinstance(error, OSError) else None
    mounted = next((root for root in tracefs if (root / "events").is_dir()), None)
    if mounted is not None and refused is None:
        raise UsageError(f"there is no tracepoint {name!r}", f"list them with: ls {mounted}/events/{system}")
    if refused is None:
        raise PermissionDenied(
            f"tracepoint {name!r} cannot be looked up: tracefs is not mounted, or not readable by this user",
            f"sudo mount -t tracefs nodev {tracefs[0]}; sudo mount -o remount,mode=755 {tracefs[0]}",
        )
    raise PermissionDenied(
        f"tracepoint {name!r} cannot be looked up: {refused.strerror} ({refused.filename})",
        f"sudo mount -o remount,mode=755 {tracefs[0]}, or run as root",
    )
