"""Syscall storm: so many system calls that entering and leaving the kernel is what the time goes into.

A few calls that do much (reading megabytes) are none: the work below the call is not counted, only the way in and out
and the call's own function.
"""

from __future__ import annotations

from pytest_blcperf.detect.judge import per_second, share_finding, unjudged
from pytest_blcperf.detect.rules import Rules
from pytest_blcperf.detect.view import View
from pytest_blcperf.model.finding import Finding

NAME = "syscall-storm"
TITLE = "System call storm"
NEXT_STEP = (
    "`blcperf report RUN` lists the calls; do more in each (larger buffers, writev, batches, io_uring), or fewer "
    "(cache what does not change); `perf trace -s -p PID` counts them"
)


def find(view: View, rules: Rules) -> Finding:
    """The share of the time at the boundary itself; without kernel samples the number of calls alone decides."""
    calls = per_second(view, "syscalls")
    limit = rules.threshold(NAME, "calls_per_second")
    if not view.has_kernel:
        reason = "kernel time was not recorded: run as root, or sudo sysctl kernel.perf_event_paranoid=1"
        return unjudged(NAME, TITLE, reason)
    boundary = rules.members("syscall-entry", view.capture.functions)
    return share_finding(
        view,
        rules,
        name=NAME,
        title=TITLE,
        stacks=view.leaf_in(boundary),
        chosen=boundary,
        what="entering and leaving system calls",
        next_step=NEXT_STEP,
        boost=(calls or 0.0) / limit,
        beside="" if calls is None else f", at {calls:,.0f} calls a second",
    )
