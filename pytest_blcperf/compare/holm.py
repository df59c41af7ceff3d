"""Holm's correction for several hypotheses tested at once."""

from __future__ import annotations

from collections.abc import Sequence


def adjust(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's step-down adjusted p-values, in the order given; reject where adjusted ≤ α for a family-wise error of α.

    Valid under any dependence between the tests: nested functions are strongly dependent, so nothing sharper (Hochberg,
    Šidák) was taken. Source: S. Holm (1979), Scandinavian Journal of Statistics 6(2), 65–70.
    """
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return tuple(adjusted)
