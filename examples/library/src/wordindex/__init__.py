"""A small full-text index, ranked by BM25."""

from wordindex.index import Hit, Index
from wordindex.words import words

__all__ = ["Hit", "Index", "words"]
