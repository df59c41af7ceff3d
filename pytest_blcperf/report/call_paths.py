"""Who calls a function, and whom it calls, as indented trees."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from pytest_blcperf.model.profile import Profile

_DEPTH = 12
_LEAST = 0.002
_NODES = 60
_MATCHES = 5


@dataclass(frozen=True)
class Node:
    """A function in a tree of callers or callees: an index, its level, its part of the whole profile."""

    function: int
    depth: int
    share: float


@dataclass(frozen=True)
class Paths:
    """Around one function: its part of the profile with what it calls and itself, and the trees, each node before those
    below it, heaviest first; small branches are left out.
    """

    share: float
    own: float
    callers: tuple[Node, ...]
    callees: tuple[Node, ...]


@dataclass
class _Branch:
    weight: float = 0.0
    below: dict[int, _Branch] = field(default_factory=dict)

    def add(self, path: Iterable[int], weight: float) -> None:
        self.weight += weight
        branch = self
        for function in path:
            branch = branch.below.setdefault(function, _Branch())
            branch.weight += weight

    def nodes(self, whole: float, depth: int = 0) -> Iterator[Node]:
        for function, branch in sorted(self.below.items(), key=lambda item: -item[1].weight):
            if branch.weight / whole >= _LEAST:
                yield Node(function, depth, branch.weight / whole)
                yield from branch.nodes(whole, depth + 1)


def matching(profile: Profile, name: str) -> list[int]:
    """The functions called `name`, else those whose name contains it, heaviest first; at most five."""
    exact = [index for index, one in enumerate(profile.functions) if one.name == name]
    found = exact or [index for index, one in enumerate(profile.functions) if name in one.name]
    weight = dict.fromkeys(found, 0.0)
    for stack, cost in zip(profile.stacks, _weights(profile), strict=True):
        for index in weight.keys() & set(stack):
            weight[index] += cost
    return sorted((index for index in found if weight[index]), key=lambda index: -weight[index])[:_MATCHES]


def around(profile: Profile, function: int) -> Paths:
    """The callers and callees of a function; of a recursive one the outermost call counts."""
    callers, callees = _Branch(), _Branch()
    own = 0.0
    whole = profile.total_weight or 1.0
    for stack, weight in zip(profile.stacks, _weights(profile), strict=True):
        if function not in stack:
            continue
        outermost = len(stack) - 1 - stack[::-1].index(function)
        callers.add(stack[outermost + 1 : outermost + 1 + _DEPTH], weight)
        callees.add(stack[max(outermost - _DEPTH, 0) : outermost][::-1], weight)
        own += weight if stack[0] == function else 0.0
    first = tuple(callers.nodes(whole))[:_NODES], tuple(callees.nodes(whole))[:_NODES]
    return Paths(callers.weight / whole, own / whole, *first)


def _weights(profile: Profile) -> Sequence[float]:
    weights: list[float] = np.bincount(profile.stack, weights=profile.weight, minlength=len(profile.stacks)).tolist()
    return weights
