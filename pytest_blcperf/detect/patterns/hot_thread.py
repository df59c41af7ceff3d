"""A single hot thread: one thread is busy all the time while the others wait for it, so more CPUs would not help."""

from __future__ import annotations

import numpy as np

from pytest_blcperf.detect.judge import FEW_SAMPLES, confidence, level_finding, unjudged
from pytest_blcperf.detect.rules import Rules
from pytest_blcperf.detect.view import View
from pytest_blcperf.model.finding import Evidence, Finding

NAME = "hot-thread"
TITLE = "A single hot thread"
NEXT_STEP = "what this thread does is the limit: make it cheaper, or share it out among threads"


def find(view: View, rules: Rules) -> Finding:
    """How busy the busiest thread is, as a part of one CPU, if it has most of the time of several threads."""
    capture = view.capture
    if len(capture) < FEW_SAMPLES:
        return unjudged(NAME, TITLE, f"{len(capture)} samples are too few: capture for longer")
    if capture.unit != "ns" or capture.duration_ns <= 0:
        return unjudged(NAME, TITLE, f"samples of {capture.event} do not say how long a thread ran")
    threads = max(int(capture.counters.get("threads", 0)), len(capture.threads))
    busiest = int(np.argmax(view.time_by_thread))
    busy = float(view.time_by_thread[busiest]) / capture.duration_ns
    share = float(view.time_by_thread[busiest]) / view.total if view.total else 0.0
    dominant = threads > 1 and share >= rules.threshold(NAME, "share")
    threshold = rules.threshold(NAME, "busy")
    thread = capture.threads[busiest]
    return level_finding(
        name=NAME,
        title=TITLE,
        value=busy if dominant else 0.0,
        threshold=threshold,
        unit="of one CPU",
        summary=f"thread {thread.name} ({thread.thread}) of {threads} keeps {busy:.0%} of one CPU busy "
        f"and has {share:.0%} of the time of all",
        confidence=confidence(min(busy, 1.0), threshold, len(capture)),
        evidence=_hottest(view, busiest),
        next_step=NEXT_STEP,
    )


def _hottest(view: View, thread: int) -> tuple[Evidence, ...]:
    capture = view.capture
    own = capture.thread == thread
    leaf = view.leaf[capture.stack[own]]
    known = leaf >= 0
    time = np.bincount(leaf[known], weights=capture.weight[own][known], minlength=len(capture.functions))
    order = [index for index in np.argsort(-time, kind="stable")[:5].tolist() if time[index] > 0]
    name = capture.threads[thread].name
    return tuple(
        Evidence(capture.functions[index], float(time[index]) / view.total, f"in thread {name}") for index in order
    )
