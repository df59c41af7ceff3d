"""Where a series of runs changed its level.

The scheme of E-divisive (Matteson & James, Journal of the American Statistical Association 109, 2014), by which
Apache Otava finds its change points: of all beginnings of the series and all stretches that follow one, the pair that
differs most is tested against random orders of the same values, and both sides of the split are searched again. A
stretch need not reach the end: else a level that went away again would hide. Random orders need no assumption about
how runs scatter, and the best of many splits looks clear by chance alone.

Two things differ. The distance is that of mean ranks (as in Pettitt's test, Applied Statistics 28, 1979), not of
energy: one disturbed run must not look like two changes. And ranks say whether, not where: in uneven parts they
favour the middle, so the place is the one that leaves the least absolute deviation from the two medians. Otava itself
is not used: it wants one exact numpy (2.2.0), which cannot be asked of the projects that are measured, and clients of
BigQuery, PostgreSQL and Slack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEAST_SEGMENT = 3
"""Runs on either side of a change: fewer could be one bad day."""
_ORDERS = 9_999
_FIRST_ORDERS = 199
_CLEARLY_NOTHING = 0.1
_SEED = 20_240_229
_STRETCHES = 32
"""Ends of stretches that are tried; of longer series not every one."""


@dataclass(frozen=True)
class Split:
    """A series parted before place `index`, and the probability of so clear a split in a random order."""

    index: int
    p: float


def best_split(values: Sequence[float]) -> Split | None:
    """The clearest split with at least `LEAST_SEGMENT` values on either side, None for a series too short for one.

    p is (1 + orders at least as clear) / (1 + orders), from 9,999 random orders; from 199 where those already show that
    there is nothing. The same values always give the same p.
    """
    if len(values) < 2 * LEAST_SEGMENT:
        return None
    series = np.asarray(values, np.float64)
    ranks = _ranks(series)
    observed, ends = _clearest(ranks[None, :])
    clearest = float(observed[0])
    random = np.random.default_rng(_SEED)
    exceeding, drawn = 0, 0
    for orders in (_FIRST_ORDERS, _ORDERS - _FIRST_ORDERS):
        shuffled = random.permuted(np.broadcast_to(ranks, (orders, len(ranks))), axis=1)
        exceeding += int((_clearest(shuffled)[0] >= clearest - 1e-9).sum())
        drawn += orders
        if (1 + exceeding) / (1 + drawn) > _CLEARLY_NOTHING:
            break
    return Split(_place(series[: int(ends[0])]), (1 + exceeding) / (1 + drawn))


def further_splits(values: Sequence[float], first: Split, alpha: float) -> list[Split]:
    """The first split and those of its two sides, and so on, each with p ≤ alpha, in order."""
    found = [first]
    for start, end in ((0, first.index), (first.index, len(values))):
        split = best_split(values[start:end])
        if split is not None and split.p <= alpha:
            found += [Split(start + one.index, one.p) for one in further_splits(values[start:end], split, alpha)]
    return sorted(found, key=lambda split: split.index)


def accepted(p_values: Sequence[float], rate: float) -> list[bool]:
    """Which of many tests to believe so that `rate` of those believed are expected to be wrong (Benjamini-Hochberg)."""
    count = len(p_values)
    order = sorted(range(count), key=lambda index: p_values[index])
    last = max((rank for rank, index in enumerate(order, 1) if p_values[index] <= rate * rank / count), default=0)
    chosen = set(order[:last])
    return [index in chosen for index in range(count)]


def _place(values: Floats) -> int:
    """The split with the least absolute deviation from the medians of its sides."""
    places = range(LEAST_SEGMENT, len(values) - LEAST_SEGMENT + 1)
    return min(places, key=lambda place: _deviation(values[:place]) + _deviation(values[place:]))


def _deviation(values: Floats) -> float:
    return float(np.abs(values - np.median(values)).sum())


def _ranks(values: Floats) -> Floats:
    """Ranks from 1, equal values sharing their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[inverse.reshape(-1)], np.float64)


def _clearest(ranks: Floats) -> tuple[Floats, Ints]:
    """For every row [orders, n]: the largest distance of two mean ranks in standard errors, and where its stretch ends.

    Of a beginning of l values and the r that follow, in ranks of unit variance: |m_l − m_r| / √(1/l + 1/r).
    """
    count = ranks.shape[1]
    sums = np.cumsum(ranks, axis=1)
    best, where = np.full(len(ranks), -1.0), np.full(len(ranks), count)
    for end in _ends(count):
        left = np.arange(LEAST_SEGMENT, end - LEAST_SEGMENT + 1)
        right = end - left
        first = sums[:, left - 1]
        distance = np.abs(first / left - (sums[:, end - 1 : end] - first) / right)
        clear = (distance / np.sqrt(1 / left + 1 / right)).max(axis=1)
        better = clear > best
        best[better], where[better] = clear[better], end
    return best, where


def _ends(count: int) -> list[int]:
    """Where stretches end, the end of the series first: of equally clear ones the longest counts."""
    step = max(1, -(-count // _STRETCHES))
    return list(range(count, 2 * LEAST_SEGMENT - 1, -step))
