"""What the kernel counts for processes anyway: context switches, page faults, threads. No rights needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")

_SWITCHES = ("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches")


@dataclass(frozen=True)
class Activity:
    """Counts since their start, summed over the threads that run now; see proc(5), /proc/PID/status and /proc/PID/stat.

    `switches` by thread id, `faults` by process id (minor and major together). The difference of two is that of what
    ran at both moments, and all of what came in between.
    """

    switches: Mapping[int, int]
    faults: Mapping[int, int]

    def __sub__(self, before: Activity) -> Activity:
        return Activity(_grown(self.switches, before.switches), _grown(self.faults, before.faults))

    def as_counters(self) -> dict[str, float]:
        """As in `Capture.counters`; a target that has ended meanwhile counts nothing."""
        if not self.switches:
            return {}
        return {
            "context-switches": float(sum(self.switches.values())),
            "page-faults": float(sum(self.faults.values())),
            "threads": float(len(self.switches)),
        }


def activity(pids: Iterable[int], proc: Path = PROC) -> Activity:
    """The counts of these processes now; of those that are gone, or not ours to look at, nothing."""
    switches: dict[int, int] = {}
    faults: dict[int, int] = {}
    for pid in pids:
        try:
            fields = (proc / str(pid) / "stat").read_bytes().rpartition(b") ")[2].split()
            faults[pid] = int(fields[7]) + int(fields[9])
            for task in (proc / str(pid) / "task").iterdir():
                switches[int(task.name)] = _switches((task / "status").read_text("ascii", "replace"))
        except (OSError, ValueError, IndexError):
            continue
    return Activity(switches, faults)


def _switches(status: str) -> int:
    lines = (line.partition(":") for line in status.splitlines() if line.startswith(_SWITCHES))
    return sum(int(value) for _, _, value in lines)


def _grown(after: Mapping[int, int], before: Mapping[int, int]) -> dict[int, int]:
    return {key: max(0, value - before.get(key, 0)) for key, value in after.items()}
