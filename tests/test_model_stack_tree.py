"""Stacks as a tree."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pytest_blcperf.model.stack_tree import StackTree, flattened, stack_tree

STACKS = st.lists(st.lists(st.integers(0, 6), max_size=8).map(tuple), max_size=30)


def path(tree: StackTree, node: int) -> tuple[int, ...]:
    """The functions from a node to its root."""
    found = []
    while node >= 0:
        found.append(int(tree.function[node]))
        node = int(tree.parent[node])
    return tuple(found)


@given(STACKS)
def test_every_stack_is_a_path_and_no_node_is_there_twice(stacks: list[tuple[int, ...]]) -> None:
    tree = stack_tree(*flattened(stacks))
    assert [path(tree, int(leaf)) for leaf in tree.leaf] == stacks
    prefixes = {stack[start:] for stack in stacks for start in range(len(stack))}
    assert len(tree) == len(prefixes)


@given(STACKS, st.permutations(range(7)))
def test_nodes_come_by_level_parent_and_rank(stacks: list[tuple[int, ...]], rank: list[int]) -> None:
    tree = stack_tree(*flattened(stacks), rank=np.array(rank))
    places = [(len(path(tree, node)), int(tree.parent[node]), rank[tree.function[node]]) for node in range(len(tree))]
    assert places == sorted(places)
    assert all(parent < node for node, parent in enumerate(tree.parent.tolist()))


def test_nothing() -> None:
    assert len(stack_tree(*flattened([]))) == 0
    assert stack_tree(*flattened([()])).leaf.tolist() == [-1]
