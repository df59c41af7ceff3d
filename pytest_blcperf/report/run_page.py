"""What the run page is drawn from: a run's benchmarks, or the captures of a recording, with what patterns found."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_blcperf.model.capture import Capture
from pytest_blcperf.model.finding import Finding
from pytest_blcperf.model.run import Run


@dataclass(frozen=True)
class RunPage:
    """A run or captures (one an event), and the answers of the patterns."""

    run: Run | None = None
    captures: tuple[Capture, ...] = ()
    findings: tuple[Finding, ...] = ()
