"""Allocator pressure: memory is asked for and given back all the time."""

from __future__ import annotations

from pytest_blcperf.detect.judge import share_finding
from pytest_blcperf.detect.rules import Rules
from pytest_blcperf.detect.view import View
from pytest_blcperf.model.finding import Finding

NAME = "allocator-pressure"
TITLE = "Allocator pressure"
NEXT_STEP = (
    "look at who allocates (`blcperf report RUN --callers malloc`); reuse buffers, reserve once, allocate on the "
    "stack or from an arena; another allocator (LD_PRELOAD=libjemalloc.so.2) shows how much there is to win"
)


def find(view: View, rules: Rules) -> Finding:
    """The share of the time with an allocator's function on the stack."""
    allocating = rules.members("allocator", view.capture.functions)
    return share_finding(
        view,
        rules,
        name=NAME,
        title=TITLE,
        stacks=view.stacks_with(allocating),
        chosen=allocating,
        what="allocating and freeing memory",
        next_step=NEXT_STEP,
    )
