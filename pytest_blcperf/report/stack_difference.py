"""Both sides' stacks as one tree, each side in time per iteration: what the differential flame graph is drawn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_blcperf.compare.align import match_functions
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.profile import Profile
from pytest_blcperf.model.stack_tree import StackTree, flattened, stack_tree
from pytest_blcperf.model.verdict import BenchmarkVerdict, FunctionVerdict, Outcome
from pytest_blcperf.report import words
from pytest_blcperf.report.stack_data import functions_data, name_order, rounded, tree_data

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

TONES = ("unjudged", "unsure", "regressed", "improved", "follows")
"""How a function is coloured; its verdict decides, never the raw difference. `follows`: dearer because of another."""


def difference_data(verdict: BenchmarkVerdict, base: Profile, head: Profile) -> dict[str, Any] | None:
    """The page data of one benchmark, None where a side has no samples: functions with their tones, the common tree,
    and of every stack's last node the CPU time per iteration (ns) on both sides.
    """
    comparison = verdict.comparison
    if comparison is None or base.total_weight <= 0 or head.total_weight <= 0:
        return None
    judged = _judged(verdict)
    return {
        **sides_data(
            (base, comparison.base_ns),
            (head, comparison.head_ns),
            lambda function: _tone(judged.get(function)),
            lambda function: _remark(judged[function]) if function in judged else "",
        ),
        "per": "an iteration",
    }


def sides_data(
    of_base: tuple[Profile, float],
    of_head: tuple[Profile, float],
    tone: Callable[[Function], str],
    remark: Callable[[Function], str],
) -> dict[str, Any]:
    """Two profiles, each with the time (ns) that its whole stands for, as page data; `tone` is one of TONES, and
    `remark` a line or "".
    """
    (base, base_ns), (head, head_ns) = of_base, of_head
    functions, in_base, in_head = _together(base, head)
    order = name_order(functions)
    place = np.empty(len(functions), np.int64)
    place[order] = np.arange(len(functions))
    tree = _tree(base, head, in_base, in_head, place)
    leaf_base, leaf_head = tree.leaf[: len(base.stacks)], tree.leaf[len(base.stacks) :]
    weights = (
        _per_node(base, leaf_base, len(tree), base_ns),
        _per_node(head, leaf_head, len(tree), head_ns),
    )
    used = np.flatnonzero(weights[0] + weights[1])
    ordered = [functions[index] for index in order]
    remarks = {str(number): text for number, function in enumerate(ordered) if (text := remark(function))}
    return {
        "functions": functions_data(ordered),
        "tones": [TONES.index(tone(function)) for function in ordered],
        "remarks": remarks,
        "tree": tree_data(tree, place),
        "node": np.diff(used, prepend=0).tolist(),
        "base": rounded(weights[0][used]),
        "head": rounded(weights[1][used]),
        "total_base": base_ns,
        "total_head": head_ns,
        "self_time": base.self_time and head.self_time,
    }


def _together(base: Profile, head: Profile) -> tuple[list[Function], Ints, Ints]:
    """The functions of both sides, each identity once under its name on the head, and where each side's stand."""
    matched = match_functions(base.functions, head.functions)
    renamed = dict(matched.pairs)
    identity: dict[Function, int] = {}
    for function in head.functions:
        identity.setdefault(function, len(identity))
    of_base = [identity.setdefault(renamed.get(one, one), len(identity)) for one in base.functions]
    of_head = [identity[function] for function in head.functions]
    return list(identity), np.array(of_base, np.int64), np.array(of_head, np.int64)


def _tree(base: Profile, head: Profile, of_base: Ints, of_head: Ints, place: Ints) -> StackTree:
    base_offsets, base_frames = flattened(base.stacks)
    head_offsets, head_frames = flattened(head.stacks)
    offsets = np.concatenate([base_offsets, head_offsets[1:] + base_offsets[-1]])
    return stack_tree(offsets, np.concatenate([of_base[base_frames], of_head[head_frames]]), place)


def _per_node(profile: Profile, leaf: Ints, nodes: int, whole_ns: float) -> Floats:
    """CPU time per iteration that ends in each node, ns."""
    node = leaf[profile.stack]
    counted = node >= 0
    weight = profile.weight[counted] * (whole_ns / profile.total_weight)
    return np.bincount(node[counted], weights=weight, minlength=nodes).astype(np.float64)


def _judged(verdict: BenchmarkVerdict) -> Mapping[Function, FunctionVerdict]:
    """Of a function judged twice (self and total), the verdict that says most."""
    order = (Outcome.REGRESSED, Outcome.IMPROVED, Outcome.INCONCLUSIVE, Outcome.UNCHANGED)
    found: dict[Function, FunctionVerdict] = {}
    for one in verdict.functions:
        known = found.get(one.comparison.function)
        if known is None or _rank(order, one) < _rank(order, known):
            found[one.comparison.function] = one
    return found


def _rank(order: tuple[Outcome, ...], verdict: FunctionVerdict) -> tuple[int, bool]:
    place = order.index(verdict.outcome) if verdict.outcome in order else len(order)
    return place, verdict.follows_from is not None


def _tone(verdict: FunctionVerdict | None) -> str:
    if verdict is None:
        return "unjudged"
    if verdict.outcome is Outcome.REGRESSED:
        return "regressed" if verdict.follows_from is None else "follows"
    return "improved" if verdict.outcome is Outcome.IMPROVED else "unsure"


def _remark(verdict: FunctionVerdict) -> str:
    """A judged function's verdict in a line, for the tooltip."""
    what = f"{verdict.outcome.value}: {words.whose_time(verdict)} {words.change(verdict)}"
    why = words.explanation(verdict)
    return f"{what}, {why}" if why else what
