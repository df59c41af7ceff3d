"""Page-fault storm: memory is touched for the first time, or again after it was taken away, over and over."""

from __future__ import annotations

from pytest_blcperf.detect.judge import per_second, share_finding, unjudged
from pytest_blcperf.detect.rules import Rules
from pytest_blcperf.detect.view import View
from pytest_blcperf.model.finding import Finding

NAME = "page-faults"
TITLE = "Page-fault storm"
NEXT_STEP = (
    "keep memory instead of giving it back (MALLOC_TRIM_THRESHOLD_, MALLOC_MMAP_THRESHOLD_), larger pages, less "
    "resident data; many major faults mean too little memory: look at PSI and swap"
)


def find(view: View, rules: Rules) -> Finding:
    """The share of the time in the kernel's fault handlers."""
    faults = per_second(view, "page-faults")
    limit = rules.threshold(NAME, "faults_per_second")
    if not view.has_kernel and faults is None:
        reason = (
            "neither kernel time nor faults were recorded: run as root, or sudo sysctl kernel.perf_event_paranoid=1"
        )
        return unjudged(NAME, TITLE, reason)
    faulting = rules.members("page-fault", view.capture.functions)
    return share_finding(
        view,
        rules,
        name=NAME,
        title=TITLE,
        stacks=view.stacks_with(faulting),
        chosen=faulting,
        what="handling page faults",
        next_step=NEXT_STEP,
        boost=(faults or 0.0) / limit,
        beside="" if faults is None else f", at {faults:,.0f} faults a second",
    )
