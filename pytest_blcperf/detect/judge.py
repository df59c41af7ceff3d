"""Holding a measured value against a threshold: found, not found, and how clearly."""

from __future__ import annotations

import math

import numpy as np

from pytest_blcperf.detect.rules import Rules
from pytest_blcperf.detect.view import Booleans, View
from pytest_blcperf.model.finding import Certainty, Evidence, Finding

FEW_SAMPLES = 100
"""Below this many samples a share is not worth a word: its error is above 3 percentage points at 10 %."""


def share_finding(
    view: View,
    rules: Rules,
    *,
    name: str,
    title: str,
    stacks: Booleans,
    chosen: Booleans,
    what: str,
    next_step: str,
    boost: float = 0.0,
    beside: str = "",
) -> Finding:
    """The finding of a pattern that is a share of the time: that of `stacks` (S), shown by the `chosen` functions (F).

    `what` completes "x % of the time is spent …". `boost` is another measure as a multiple of its own threshold: from 1
    on it makes a finding of a share that is at least a quarter of the threshold; `beside` says it in words.
    """
    threshold = rules.threshold(name, "share")
    share = view.share(stacks)
    found = share >= threshold or (boost >= 1 and share >= threshold / 4)
    if len(view.capture) < FEW_SAMPLES:
        return unjudged(name, title, f"{len(view.capture)} samples are too few: capture for longer")
    evidence = view.hottest(stacks, chosen) if found else ()
    return Finding(
        name=name,
        title=title,
        certainty=Certainty.FOUND if found else Certainty.NOT_FOUND,
        summary=f"{share:.1%} of the time is spent {what}{beside}",
        value=share,
        threshold=threshold,
        unit="share of the time",
        confidence=confidence(share, threshold, len(view.capture)),
        evidence=evidence,
        next_step=next_step if found else "",
    )


def level_finding(
    *,
    name: str,
    title: str,
    value: float,
    threshold: float,
    unit: str,
    summary: str,
    confidence: float,
    evidence: tuple[Evidence, ...],
    next_step: str,
) -> Finding:
    """The finding of a pattern that is any other value, found from its threshold on."""
    found = value >= threshold
    return Finding(
        name=name,
        title=title,
        certainty=Certainty.FOUND if found else Certainty.NOT_FOUND,
        summary=summary,
        value=value,
        threshold=threshold,
        unit=unit,
        confidence=confidence,
        evidence=evidence if found else (),
        next_step=next_step if found else "",
    )


def unjudged(name: str, title: str, reason: str) -> Finding:
    """The finding of a pattern that the capture cannot answer."""
    return Finding(name, title, Certainty.UNJUDGED, f"could not be judged: {reason}", reason=reason)


def confidence(share: float, threshold: float, samples: int) -> float:
    """How sure it is that the share lies on its side of the threshold: Φ(|share − threshold| / SE), binomial error."""
    error = math.sqrt(max(share * (1 - share), threshold * (1 - threshold)) / max(samples, 1))
    return 0.5 * (1 + math.erf(abs(share - threshold) / error / math.sqrt(2))) if error else 1.0


def per_second(view: View, counter: str) -> float | None:
    """A counter of the capture a second of the window, None where it was not counted."""
    value = view.capture.counters.get(counter)
    seconds = view.capture.duration_ns / 1e9
    return value / seconds if value is not None and seconds > 0 else None


def nothing(view: View) -> Booleans:
    """No stack at all (S)."""
    return np.zeros(len(view.leaf), bool)
