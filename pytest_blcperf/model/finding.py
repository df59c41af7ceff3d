"""Findings: what a pattern saw in a capture, how sure it is, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from pytest_blcperf.model.function import Function


class Certainty(str, Enum):
    """How a pattern came out. UNJUDGED: the capture lacks what the pattern needs, and `reason` says what."""

    FOUND = "found"
    NOT_FOUND = "not found"
    UNJUDGED = "could not be judged"


@dataclass(frozen=True)
class Evidence:
    """A function that a finding rests on: its part of the capture's time, and the threads or callers it was seen in."""

    function: Function
    share: float
    context: str = ""


@dataclass(frozen=True)
class Finding:
    """One pattern's answer. `name` is stable (`lock-contention`), `title` is for people (`Lock contention`).

    `value` is what was measured and `threshold` what it was held against, both in `unit` (`share of the CPU time`, …).
    `confidence` lies between 0 and 1: how clearly the value lies on its side of the threshold, given the number of
    samples. `summary` is one sentence; `next_step` the command or the place to look at, "" when there is nothing to do.
    """

    name: str
    title: str
    certainty: Certainty
    summary: str
    value: float = 0.0
    threshold: float = 0.0
    unit: str = ""
    confidence: float = 0.0
    evidence: tuple[Evidence, ...] = field(default=())
    next_step: str = ""
    reason: str = ""
