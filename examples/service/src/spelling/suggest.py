"""Nearest words by edit distance."""

from __future__ import annotations

from collections.abc import Iterable


def edit_distance(first: str, second: str) -> int:
    """Levenshtein distance: insertions, deletions and substitutions (Wagner and Fischer, 1974; two rows)."""
    above = list(range(len(second) + 1))
    for row, left in enumerate(first, 1):
        current = [row]
        for column, right in enumerate(second, 1):
            substitution = above[column - 1] + (left != right)
            current.append(min(substitution, above[column] + 1, current[-1] + 1))
        above = current
    return above[-1]


def suggest(word: str, vocabulary: Iterable[str], limit: int = 5) -> list[str]:
    """The `limit` nearest words of the vocabulary, nearest first; ties in alphabetical order."""
    return sorted(vocabulary, key=lambda known: (edit_distance(word, known), known))[:limit]
