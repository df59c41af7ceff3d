"""Suggestions for misspelt words."""

from spelling.suggest import edit_distance, suggest

__all__ = ["edit_distance", "suggest"]
