"""A few damaged inputs for each parser that names addresses; `tests/fuzz/fuzz_symbols.py` tries 100,000 of each."""

from __future__ import annotations

import pytest
from fuzz.fuzz_symbols import PARSERS, fuzz
from programs import needed


@pytest.mark.parametrize("parser", PARSERS)
def test_damaged_input_is_an_error_or_less_knowledge(parser: str) -> None:
    needed("gcc", "gcc"), needed("objcopy", "binutils")
    fuzz(parser, inputs=250, seed=2, seconds=30)
