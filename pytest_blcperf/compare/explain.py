"""Why a cost grew: what is called more often, and what is dearer per call."""

from __future__ import annotations

import math

from pytest_blcperf.compare.align import match_functions
from pytest_blcperf.model.comparison import FunctionComparison
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.run import Benchmark
from pytest_blcperf.model.verdict import CallChange, Explanation

_CHANGES_LISTED = 50


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


def changed_calls(base: Benchmark, head: Benchmark) -> tuple[CallChange, ...]:
    """Functions whose exact calls per iteration differ, the largest difference first; at most 50.

    Of Python functions and of C functions, which a profile of Python frames charges to their callers: there the counts
    may be all that says why a self time grew. Empty where a side has no counts, or they varied.
    """
    calls = exact_calls(base, head)
    if calls is None:
        return ()
    before, after = calls
    match = match_functions(before, after)
    changes = [CallChange(new, before[old], after[new]) for old, new in match.pairs]
    changes += [CallChange(function, before[function], 0.0) for function in match.only_base]
    changes += [CallChange(function, 0.0, after[function]) for function in match.only_head]
    changes = [change for change in changes if change.base != change.head]
    changes.sort(key=lambda one: (-abs(one.head - one.base), one.function.file, one.function.name))
    return tuple(changes[:_CHANGES_LISTED])


def exact_calls(base: Benchmark, head: Benchmark) -> tuple[dict[Function, float], dict[Function, float]] | None:
    """Calls per iteration of both sides by function; None where a side has no counts, or they varied."""
    if not all(side.counts is not None and side.counts.deterministic for side in (base, head)):
        return None
    return _calls(base), _calls(head)


def _calls(benchmark: Benchmark) -> dict[Function, float]:
    calls: dict[Function, float] = {}
    for count in benchmark.counts.calls if benchmark.counts else ():
        calls[count.function] = calls.get(count.function, 0.0) + count.calls
    return calls
