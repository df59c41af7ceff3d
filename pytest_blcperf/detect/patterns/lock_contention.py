"""Lock contention: time goes into waiting for locks and waking up from them, instead of into work.

Only time on a CPU is sampled: a thread that sleeps in a lock costs nothing, going to sleep and waking up does. So many
context switches are taken as a second sign, where they were counted.
"""

from __future__ import annotations

from pytest_blcperf.detect.judge import per_second, share_finding
from pytest_blcperf.detect.rules import Rules
from pytest_blcperf.detect.view import View
from pytest_blcperf.model.finding import Finding

NAME = "lock-contention"
TITLE = "Lock contention"
NEXT_STEP = (
    "look at who calls the lock (`blcperf report RUN --callers FUNCTION`); shorten what is done under it, split it, "
    "or use fewer threads; `perf trace -s -p PID` counts the futex calls"
)


def find(view: View, rules: Rules) -> Finding:
    """The share of the time with a lock's waiting functions on the stack."""
    waiting = rules.members("lock-wait", view.capture.functions)
    switches = per_second(view, "context-switches")
    limit = rules.threshold(NAME, "switches_per_second")
    beside = "" if switches is None else f", at {switches:,.0f} context switches a second"
    return share_finding(
        view,
        rules,
        name=NAME,
        title=TITLE,
        stacks=view.stacks_with(waiting),
        chosen=waiting,
        what="waiting for locks and waking up from them",
        next_step=NEXT_STEP,
        boost=(switches or 0.0) / limit,
        beside=beside,
    )
