"""Warnings are data: they travel with the result they qualify, and every renderer shows them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Warning:
    """Something the reader must know to trust a result. `code` is stable, `text` is one sentence."""

    code: str
    text: str
