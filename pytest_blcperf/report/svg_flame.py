"""A flame graph as one static SVG file, for a README, a wiki or a mail: frames with tooltips, no script."""

from __future__ import annotations

from xml.sax.saxutils import escape

import numpy as np

from pytest_blcperf.model.function import Function
from pytest_blcperf.model.stack_tree import stack_tree
from pytest_blcperf.model.tracks import Tracks
from pytest_blcperf.report.stack_data import name_order
from pytest_blcperf.report.text import clean, time_ns

_WIDTH, _ROW, _LETTER = 1200, 17, 6.6
_TOP, _MARGIN = 34, 8
_LEAST = 0.3
"""Pixels below which a frame is left out: nobody can see it, and there are many."""
_DEPTH = 1_000
_STYLE = (
    "svg{background:#fff;color:#1b2129;font:11px monospace}"
    ".python{fill:#8fb4e6}.native{fill:#ecbd7d}.kernel{fill:#bda6d9}.jit{fill:#93cfb9}.root{fill:#d9dde3}"
    "text{fill:#14202e;pointer-events:none}h1,.title{font:600 14px sans-serif}rect:hover{stroke:#000}"
)


def render(tracks: Tracks) -> str:
    """The SVG document, icicle layout: roots at the top. Each track is a frame below the whole."""
    functions = [*tracks.functions, *(Function("", track.name, kind="track") for track in tracks.tracks)]
    offsets, frames, weights = _stacks(tracks)
    order = name_order(functions)
    rank = np.empty(len(functions), np.int64)
    rank[order] = np.arange(len(functions))
    tree = stack_tree(offsets, frames, rank)
    total = np.bincount(tree.leaf[tree.leaf >= 0], weights=weights[tree.leaf >= 0], minlength=len(tree))
    for node in range(len(tree) - 1, -1, -1):
        if tree.parent[node] >= 0:
            total[tree.parent[node]] += total[node]
    whole = float(total[tree.parent < 0].sum()) or 1.0
    boxes, depth = _boxes(tree.parent, total, (_WIDTH - 2 * _MARGIN) / whole)
    height = _TOP + (depth + 1) * _ROW + _MARGIN
    title = f"{clean(tracks.title, 120)}: {clean(tracks.event, 40)}, {_weight(whole, tracks.unit)}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<text class="title" x="{_MARGIN}" y="20">{escape(title)}</text>',
    ]
    for node, level, x, width in boxes:
        function = functions[int(tree.function[node])]
        weight = float(total[node])
        amount = f"{_weight(weight, tracks.unit)}, {weight / whole * 100:.2f} %"
        parts.append(_frame(function, level, x, width, amount))
    return "\n".join([*parts, "</svg>", ""])


def _stacks(tracks: Tracks) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Offsets, frames (leaf first, the track last) and weights of every stack of every track."""
    parts: list[tuple[int, ...]] = []
    weights: list[float] = []
    for number, track in enumerate(tracks.tracks):
        used, place = np.unique(track.stack, return_inverse=True)
        root = len(tracks.functions) + number
        parts += [(*tracks.stack_of(stack), root) for stack in used.tolist()]
        weights += np.bincount(place.reshape(-1), weights=track.weight, minlength=len(used)).tolist()
    offsets = np.cumsum([0, *map(len, parts)])
    return offsets, np.array([one for part in parts for one in part], np.int64), np.array(weights, np.float64)


def _boxes(parent: np.ndarray, total: np.ndarray, scale: float) -> tuple[list[tuple[int, int, float, float]], int]:
    """(node, level, x, width) of what is wide enough to be seen, and the deepest level."""
    boxes, depth = [], 0
    level: dict[int, int] = {}
    following: dict[int, float] = {-1: float(_MARGIN)}
    for node, (above, weight) in enumerate(zip(parent.tolist(), total.tolist(), strict=True)):
        if above >= 0 and above not in level:
            continue
        x, width = following[above], weight * scale
        following[above] = x + width
        at = level[above] + 1 if above >= 0 else 0
        if width < _LEAST or at > _DEPTH:
            continue
        level[node], following[node] = at, x
        depth = max(depth, at)
        boxes.append((node, at, x, width))
    return boxes, depth


def _frame(function: Function, level: int, x: float, width: float, amount: str) -> str:
    y = _TOP + level * _ROW
    name, kind = clean(function.name, 300), function.kind if function.kind != "track" else "root"
    where = f" ({clean(function.location, 300)})" if function.file else ""
    tip = escape(f"{name}{where}: {amount}")
    box = f'<rect class="{kind}" x="{x:.1f}" y="{y}" width="{max(width - 0.5, 0.3):.1f}" height="{_ROW - 1}" rx="1"/>'
    letters = int((width - 6) / _LETTER)
    label = ""
    if letters >= 3:
        text = name if len(name) <= letters else name[: letters - 1] + "…"
        label = f'<text x="{x + 3:.1f}" y="{y + 12}">{escape(text)}</text>'
    return f"<g><title>{tip}</title>{box}{label}</g>"


def _weight(value: float, unit: str) -> str:
    return time_ns(value) if unit == "ns" else f"{value:,.0f} {clean(unit, 30)}"
