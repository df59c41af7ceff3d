"""The inverted index."""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from dataclasses import dataclass

from wordindex.words import words

# The usual constants of Okapi BM25 (Robertson and Zaragoza, 2009): saturation of repeats, and length normalisation.
_K1 = 1.2
_B = 0.75


@dataclass(frozen=True, order=True)
class Hit:
    """A document found, with its BM25 score; more is better."""

    score: float
    document: str


class Index:
    """Terms to the documents that contain them. Documents are added once and stay."""

    def __init__(self) -> None:
        self._postings: dict[str, dict[str, int]] = defaultdict(dict)
        self._lengths: dict[str, int] = {}
        self._total = 0

    def __len__(self) -> int:
        return len(self._lengths)

    def add(self, document: str, text: str) -> None:
        """Index a text under a name. Raises ValueError when the name is taken."""
        if document in self._lengths:
            raise ValueError(f"document {document!r} is already in the index")
        counts = Counter(words(text))
        for term, count in counts.items():
            self._postings[term][document] = count
        self._lengths[document] = counts.total()
        self._total += counts.total()

    def search(self, query: str, limit: int = 10) -> list[Hit]:
        """The best `limit` documents that contain any term of the query, best first; ties by name."""
        scores: dict[str, float] = defaultdict(float)
        for term in set(words(query)):
            postings = self._postings.get(term, {})
            weight = self._rarity(len(postings))
            for document, count in postings.items():
                scores[document] += weight * self._saturation(count, self._lengths[document])
        best = heapq.nsmallest(limit, scores.items(), key=lambda item: (-item[1], item[0]))
        return [Hit(score, document) for document, score in best]

    def _rarity(self, containing: int) -> float:
        return math.log(1 + (len(self) - containing + 0.5) / (containing + 0.5))

    def _saturation(self, count: int, length: int) -> float:
        average = self._total / len(self)
        return count * (_K1 + 1) / (count + _K1 * (1 - _B + _B * length / average))
