"""Stacks as a tree: those that begin alike share their beginning, as in flame graphs and other profilers' files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class StackTree:
    """N nodes. Node i is `function[i]` called by node `parent[i]` (-1: a root); stack s ends in node `leaf[s]` (-1 for
    a stack without frames).

    Nodes come level by level; within a level in the order of their parents, and children of one parent in the order
    that was asked for. So one pass forwards lays the tree out, and one pass backwards sums it up.
    """

    parent: Ints
    function: Ints
    leaf: Ints

    def __len__(self) -> int:
        return len(self.parent)


def flattened(stacks: Sequence[Sequence[int]]) -> tuple[Ints, Ints]:
    """Stacks as (offsets, functions): stack s is `functions[offsets[s]:offsets[s + 1]]`."""
    lengths = np.fromiter(map(len, stacks), np.int64, len(stacks))
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    functions = np.fromiter((frame for stack in stacks for frame in stack), np.int64, int(offsets[-1]))
    return offsets, functions


def stack_tree(offsets: Ints, functions: Ints, rank: Ints | None = None) -> StackTree:
    """The tree of the stacks `functions[offsets[s]:offsets[s + 1]]`, leaf first.

    `rank[f]` is the place of function f among siblings (a permutation; default: by index).
    """
    count = int(functions.max()) + 1 if len(functions) else 1
    rank = np.arange(count, dtype=np.int64) if rank is None else rank
    of_rank = np.argsort(rank)
    lengths = np.diff(offsets)
    node = np.full(len(lengths), -1, np.int64)
    parents, chosen, made, depth = [], [], 0, 0
    active = np.flatnonzero(lengths > 0)
    while len(active):
        ranks = rank[functions[offsets[active + 1] - 1 - depth]]
        # A parent and a rank in one number, so that one sort finds the nodes of a level in their order.
        keys, inverse = np.unique((node[active] + 1) * len(of_rank) + ranks, return_inverse=True)
        parents.append(keys // len(of_rank) - 1)
        chosen.append(of_rank[keys % len(of_rank)])
        node[active] = made + inverse.reshape(-1)
        made, depth = made + len(keys), depth + 1
        active = active[lengths[active] > depth]
    empty = np.zeros(0, np.int64)
    return StackTree(np.concatenate([empty, *parents]), np.concatenate([empty, *chosen]), node)
