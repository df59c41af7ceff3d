"""Rates with their intervals."""

from __future__ import annotations


def wilson(hits: int, tries: int) -> tuple[float, float]:
    """Wilson's score interval at 95 % (Wilson 1927); (0, 1) of no tries."""
    if not tries:
        return 0.0, 1.0
    z = 1.959964
    centre = (hits + z * z / 2) / (tries + z * z)
    half = z / (tries + z * z) * (hits * (tries - hits) / tries + z * z / 4) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def rate(hits: int, tries: int) -> str:
    """`HITS/TRIES = RATE (LOW-HIGH)` for a table."""
    if not tries:
        return "–"
    low, high = wilson(hits, tries)
    return f"{hits:,}/{tries:,} = {hits / tries:.2%} ({low:.2%}–{high:.2%})"
