"""Spinlocks: threads burn a CPU while they wait for each other."""

from __future__ import annotations

from pytest_blcperf.detect.judge import share_finding
from pytest_blcperf.detect.rules import Rules
from pytest_blcperf.detect.view import View
from pytest_blcperf.model.finding import Finding

NAME = "spinlock"
TITLE = "Spinning on a lock"
NEXT_STEP = (
    "a lock that sleeps (a mutex, a futex) where it is held for long or by more threads than CPUs; fewer threads; "
    "in the kernel, look at the callers of the slow path for the lock's owner"
)


def find(view: View, rules: Rules) -> Finding:
    """The share of the time with a spinning function on top: what it calls while it waits is not spinning."""
    spinning = rules.members("spin", view.capture.functions)
    return share_finding(
        view,
        rules,
        name=NAME,
        title=TITLE,
        stacks=view.leaf_in(spinning),
        chosen=spinning,
        what="turning in spinlocks",
        next_step=NEXT_STEP,
    )
