"""Garbage collection: CPython's cycle collector, the JVM's, Go's, V8's and others' collectors, by their functions."""

from __future__ import annotations

from pytest_blcperf.detect.judge import share_finding
from pytest_blcperf.detect.rules import Rules
from pytest_blcperf.detect.view import View
from pytest_blcperf.model.finding import Finding

NAME = "garbage-collection"
TITLE = "Garbage collection"
NEXT_STEP = (
    "allocate less and keep less alive; Python: gc.freeze() after start-up, gc.set_threshold(); JVM: a larger heap, "
    "-Xlog:gc to see why it collects; Go: GOGC, GOMEMLIMIT"
)


def find(view: View, rules: Rules) -> Finding:
    """The share of the time with a collector's function on the stack."""
    collecting = rules.members("garbage-collection", view.capture.functions)
    return share_finding(
        view,
        rules,
        name=NAME,
        title=TITLE,
        stacks=view.stacks_with(collecting),
        chosen=collecting,
        what="collecting garbage",
        next_step=NEXT_STEP,
    )
