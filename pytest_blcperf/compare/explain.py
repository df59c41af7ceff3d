"""Why a function's cost grew: called more often, or dearer per call."""

from __future__ import annotations

import math

from pytest_blcperf.model.comparison import FunctionComparison
from pytest_blcperf.model.verdict import Explanation


def explain(comparison: FunctionComparison) -> Explanation | None:
    """ΔF split with calls per iteration q and cost per call u = F/q; None where calls are unknown or not exact.

    ΔF = (q_h − q_b)(u_h + u_b)/2 [called more often] + (u_h − u_b)(q_h + q_b)/2 [dearer per call], the symmetric
    decomposition: it has no remainder, and swapping the sides swaps the signs. A side that never calls the function has
    no cost per call; the other's stands in, so all of ΔF is calls. Samples of a function that was never called
    contradict its count (another program path than the counted one): nothing is explained then.
    """
    before, after = comparison.calls_base, comparison.calls_head
    if not comparison.counts_exact or before is None or after is None or before + after <= 0:
        return None
    costs = comparison.cost_base_ns, comparison.cost_head_ns
    if any(cost > 0 and calls <= 0 for cost, calls in zip(costs, (before, after), strict=True)):
        return None
    per_call = [cost / calls if calls > 0 else math.nan for cost, calls in zip(costs, (before, after), strict=True)]
    old = per_call[0] if before > 0 else per_call[1]
    new = per_call[1] if after > 0 else per_call[0]
    return Explanation((after - before) * (new + old) / 2, (new - old) * (after + before) / 2)
