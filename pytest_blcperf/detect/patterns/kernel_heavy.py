"""Kernel-heavy: most of the time is spent in the kernel, not in the program's own code."""

from __future__ import annotations

import numpy as np

from pytest_blcperf.detect.judge import FEW_SAMPLES, confidence, level_finding, unjudged
from pytest_blcperf.detect.rules import Rules
from pytest_blcperf.detect.view import View
from pytest_blcperf.model.finding import Evidence, Finding
from pytest_blcperf.model.function import KERNEL

NAME = "kernel-heavy"
TITLE = "Most of the time in the kernel"
NEXT_STEP = "see which system calls lead there (`blcperf report RUN`, its table of system calls)"


def find(view: View, rules: Rules) -> Finding:
    """The share of the time in kernel mode, by the mode of the samples."""
    if not view.has_kernel:
        reason = "kernel time was not recorded: run as root, or sudo sysctl kernel.perf_event_paranoid=1"
        return unjudged(NAME, TITLE, reason)
    if len(view.capture) < FEW_SAMPLES:
        return unjudged(NAME, TITLE, f"{len(view.capture)} samples are too few: capture for longer")
    threshold = rules.threshold(NAME, "share")
    weight = view.capture.weight
    share = float(weight[view.in_kernel].sum()) / view.total if view.total else 0.0
    return level_finding(
        name=NAME,
        title=TITLE,
        value=share,
        threshold=threshold,
        unit="share of the time",
        summary=f"{share:.1%} of the time is spent in the kernel",
        confidence=confidence(share, threshold, len(view.capture)),
        evidence=_hottest(view),
        next_step=NEXT_STEP,
    )


def _hottest(view: View) -> tuple[Evidence, ...]:
    functions = view.capture.functions
    in_kernel = np.array([one.kind == KERNEL for one in functions], bool)
    own = np.where(in_kernel, view.self_time, 0.0)
    order = [index for index in np.argsort(-own, kind="stable")[:5].tolist() if own[index] > 0]
    return tuple(Evidence(functions[index], float(own[index]) / view.total) for index in order)
