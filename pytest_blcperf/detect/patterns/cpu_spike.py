"""CPU spike: for a while the target uses several times what it uses otherwise."""

from __future__ import annotations

import numpy as np

from pytest_blcperf.detect.judge import FEW_SAMPLES, level_finding, unjudged
from pytest_blcperf.detect.rules import Rules
from pytest_blcperf.detect.view import Booleans, Floats, View
from pytest_blcperf.model.finding import Evidence, Finding

NAME = "cpu-spike"
TITLE = "CPU spike"
NEXT_STEP = "capture that moment alone: blcperf record --trigger 'cpu > 80% for 1s' --profile-window 5s …"

_CELLS_A_SPIKE = 2
_CELLS_LIMIT = 5_000


def find(view: View, rules: Rules) -> Finding:
    """The longest spike's CPU use as a multiple of the median, over cells of half the shortest spike."""
    capture = view.capture
    if len(capture) < FEW_SAMPLES:
        return unjudged(NAME, TITLE, f"{len(capture)} samples are too few: capture for longer")
    seconds = rules.threshold(NAME, "seconds")
    cells = min(_CELLS_LIMIT, int(capture.duration_ns / 1e9 / seconds * _CELLS_A_SPIKE))
    if not capture.settings.get("timed", True):
        return unjudged(NAME, TITLE, "its samples have no times")
    if capture.unit != "ns" or cells < 5 * _CELLS_A_SPIKE:
        return unjudged(NAME, TITLE, f"the window is too short to see a change: {5 * seconds:g} s are needed")
    use = usage(view, cells)
    usual = float(np.median(use))
    floor = max(usual * rules.threshold(NAME, "ratio"), usual + rules.threshold(NAME, "cpus"))
    start, end = _longest(use >= floor)
    spike = end - start >= _CELLS_A_SPIKE
    height = float(use[start:end].mean()) if spike else float(use.max())
    # A target that is idle otherwise has no ratio: what a fifth of the smallest spike is then stands for idleness.
    ratio = height / max(usual, rules.threshold(NAME, "cpus") / 5)
    cell = capture.duration_ns / cells / 1e9
    summary = (
        f"{height:.2f} CPUs for {(end - start) * cell:.2g} s from {start * cell:.2f} s on, {usual:.2f} usually"
        if spike
        else f"at most {height:.2f} CPUs in {cell:.2g} s, {usual:.2f} usually"
    )
    return level_finding(
        name=NAME,
        title=TITLE,
        value=ratio if spike else min(ratio, 0.99 * rules.threshold(NAME, "ratio")),
        threshold=rules.threshold(NAME, "ratio"),
        unit="times the median",
        summary=summary,
        confidence=_confidence(use, floor, start, end, view) if spike else 0.9,
        evidence=_grown(view, start * cell * 1e9, end * cell * 1e9) if spike else (),
        next_step=NEXT_STEP,
    )


def usage(view: View, cells: int) -> Floats:
    """CPUs in use in each of so many equal parts of the window."""
    capture = view.capture
    length = capture.duration_ns / cells
    cell = np.clip((capture.time / length).astype(np.int64), 0, cells - 1)
    use = np.bincount(cell, weights=capture.weight, minlength=cells) / length
    return use.astype(np.float64)


def _longest(high: Booleans) -> tuple[int, int]:
    """[start, end) of the longest run of true cells."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], high, [False]]).astype(np.int8)))
    if not len(edges):
        return 0, 0
    starts, ends = edges[::2], edges[1::2]
    best = int(np.argmax(ends - starts))
    return int(starts[best]), int(ends[best])


def _confidence(use: Floats, floor: float, start: int, end: int, view: View) -> float:
    """From the number of samples in the spike: counts scatter by their square root."""
    samples = float(use[start:end].sum() / max(use.sum(), 1e-12)) * len(view.capture)
    excess = (float(use[start:end].mean()) - floor) / max(float(use[start:end].mean()), 1e-12)
    return float(1 - 0.5 * np.exp(-((excess * np.sqrt(max(samples, 1))) ** 2) / 2))


def _grown(view: View, start_ns: float, end_ns: float) -> tuple[Evidence, ...]:
    """The functions whose own time a second grew most inside the spike."""
    capture = view.capture
    inside = (capture.time >= start_ns) & (capture.time < end_ns)
    functions = len(capture.functions)
    rates = []
    for chosen, length in ((inside, end_ns - start_ns), (~inside, capture.duration_ns - (end_ns - start_ns))):
        leaf = view.leaf[capture.stack[chosen]]
        known = leaf >= 0
        time = np.bincount(leaf[known], weights=capture.weight[chosen][known], minlength=functions)
        rates.append(time / max(length, 1.0))
    growth = rates[0] - rates[1]
    whole = max(float(rates[0].sum()), 1e-12)
    order = [index for index in np.argsort(-growth, kind="stable")[:5].tolist() if growth[index] > 0]
    return tuple(Evidence(capture.functions[i], float(rates[0][i]) / whole, "in the spike") for i in order)
