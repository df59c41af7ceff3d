"""Captures and profiles as the data of the run page: a tree of stacks, and who was seen in it when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_blcperf.model.capture import Capture
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.profile import Profile
from pytest_blcperf.model.recording import MODE_GUEST_KERNEL, MODE_HYPERVISOR, MODE_KERNEL
from pytest_blcperf.model.stack_tree import StackTree, flattened, stack_tree
from pytest_blcperf.report.html import name_text
from pytest_blcperf.report.stack_data import differences, functions_data, name_order, rounded, tree_data

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

CELLS = 1_500
"""Cells of time across a page: about one a pixel."""
ROWS = 300_000
"""Rows of (cell, thread, mode, stack) in a page, about 1.2 MB; with more, cells become longer."""
_MILLISECOND = 1_000_000
_LONGEST_CELL = 500 * _MILLISECOND
_KERNEL_MODES = (MODE_KERNEL, MODE_HYPERVISOR, MODE_GUEST_KERNEL)


def profile_data(profile: Profile) -> dict[str, Any]:
    """One benchmark's stacks with their CPU time in ns, summed over its launches."""
    tree, place, ordered = _tree(profile.functions, *flattened(profile.stacks))
    node = tree.leaf[profile.stack]
    counted = node >= 0
    weight = np.bincount(node[counted], weights=profile.weight[counted], minlength=len(tree)).astype(np.float64)
    used = np.flatnonzero(weight)
    return {
        "functions": functions_data(ordered),
        "tree": tree_data(tree, place),
        "node": differences(used),
        "weight": rounded(weight[used]),
        "unit": "ns",
        "self_time": profile.self_time,
    }


def capture_data(capture: Capture) -> dict[str, Any]:
    """A capture's stacks, and rows of who was seen in them when.

    Row r: in cell `cell` (of `cell_ns` ns) the thread `thread >> 1` was seen in node `node`, in the kernel where the
    lowest bit of `thread` is set, with `weight` times `weight_unit`. Rows come by cell, as differences.
    """
    tree, place, ordered = _tree(capture.functions, capture.stack_offsets, capture.stack_functions)
    node = tree.leaf[capture.stack]
    counted = node >= 0
    node, time, weight = node[counted], capture.time[counted], capture.weight[counted]
    kernel = np.isin(capture.mode[counted], _KERNEL_MODES).astype(np.int64)
    owner = capture.thread[counted] * 2 + kernel
    cell_ns, summed, cell, owner, node = _rows(capture.duration_ns, time, owner, node, weight)
    weight_unit, short = _quantized(summed)
    return {
        "functions": functions_data(ordered),
        "tree": tree_data(tree, place),
        "threads": [_thread_name(capture, number) for number in range(len(capture.threads))],
        "cell_ns": cell_ns,
        "duration_ns": capture.duration_ns,
        "cell": differences(cell),
        "thread": owner.tolist(),
        "node": node.tolist(),
        "weight": short.tolist(),
        "weight_unit": weight_unit,
        "unit": name_text(capture.unit, 30),
        "self_time": capture.self_time,
    }


def _tree(functions: Sequence[Function], offsets: Ints, frames: Ints) -> tuple[StackTree, Ints, list[Function]]:
    """The tree, each function's place in the order of names, and the functions in that order."""
    order = name_order(functions)
    place = np.empty(len(functions), np.int64)
    place[order] = np.arange(len(functions))
    return stack_tree(offsets, frames, place), place, [functions[index] for index in order]


def cell_length(duration_ns: int) -> int:
    """Ns of a cell: 1, 2 or 5 times a power of ten of ms, so that `CELLS` of them hold the window; at most half a
    second as long as that makes no more than 20,000 cells.
    """
    length = _MILLISECOND
    steps = (2, 2.5, 2)
    step = 0
    while duration_ns > length * CELLS:
        length = int(length * steps[step % 3])
        step += 1
    return _LONGEST_CELL if length > _LONGEST_CELL and duration_ns <= 20_000 * _LONGEST_CELL else length


def _rows(duration_ns: int, time: Ints, owner: Ints, node: Ints, weight: Ints) -> tuple[int, Floats, Ints, Ints, Ints]:
    """Samples of one cell, thread, mode and stack as one row; longer cells while there are too many rows.

    (cell_ns, weights, cells, owners, nodes).
    """
    cell_ns = cell_length(duration_ns)
    owners, nodes = int(owner.max(initial=0)) + 1, int(node.max(initial=0)) + 1
    while True:
        keys = (time // cell_ns * owners + owner) * nodes + node
        unique, inverse = np.unique(keys, return_inverse=True)
        if len(unique) <= ROWS or cell_ns * 2 > _LONGEST_CELL:
            break
        cell_ns *= 2
    summed = np.bincount(inverse.reshape(-1), weights=weight, minlength=len(unique)).astype(np.float64)
    return cell_ns, summed, unique // nodes // owners, unique // nodes % owners, unique % nodes


def _quantized(weights: Floats) -> tuple[float, Ints]:
    """Weights as whole multiples of an eighth of the usual one: a sample's jitter is noise, and would not compress."""
    unit = float(np.median(weights)) / 8 if len(weights) else 1.0
    unit = unit if unit > 0 else 1.0
    return unit, np.rint(weights / unit).astype(np.int64)


def _thread_name(capture: Capture, number: int) -> str:
    thread = capture.threads[number]
    process = f" · {thread.process_name or thread.process}" if thread.process_name or thread.process else ""
    return name_text(f"{thread.name or thread.thread} ({thread.thread}){process}", 120)
