"""Which name an address gets: aliases, nested ranges, symbols without a size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_blcperf.symbols.perf_map import latest
from pytest_blcperf.symbols.symbol_table import RawSymbols, SymbolTable


def table(*symbols: tuple[int, int, str], ranks: tuple[int, ...] = (), limit: int = 1000) -> SymbolTable:
    start = np.array([one[0] for one in symbols], np.uint64)
    size = np.array([one[1] for one in symbols], np.uint64)
    rank = np.array(ranks or [0] * len(symbols), np.int64)
    return SymbolTable(
        RawSymbols(start, size, np.full(len(start), limit, np.uint64), rank, [one[2] for one in symbols])
    )


def names(found: SymbolTable, *addresses: int) -> list[str]:
    indices = found.find(np.array(addresses, np.uint64)).tolist()
    return [found.name(index) if index >= 0 else "" for index in indices]


def test_addresses_between_functions_have_no_name() -> None:
    found = table((100, 10, "first"), (200, 10, "second"))
    assert names(found, 99, 100, 109, 110, 200, 210, 2**64 - 1) == ["", "first", "first", "", "second", "", ""]
    assert names(table(), 0, 5) == ["", ""]


def test_the_innermost_range_names_an_address() -> None:
    found = table((100, 100, "outer"), (120, 10, "inner"), (122, 2, "innermost"), (150, 10, "other"))
    assert names(found, 119, 121, 123, 125, 130, 155, 160, 200) == [
        *("outer", "inner", "innermost", "inner", "outer", "other", "outer", ""),
    ]


def test_overlapping_ranges_are_no_trap() -> None:
    found = table((0, 50, "first"), (40, 60, "second"), (60, 10, "third"), (110, 1, "fourth"))
    assert names(found, 39, 45, 65, 75, 105, 110) == ["first", "second", "third", "second", "", "fourth"]


def test_a_symbol_without_size_reaches_to_the_next_one_and_to_the_end_of_its_section() -> None:
    found = table((100, 0, "start"), (140, 20, "sized"), (150, 0, "label"), (900, 0, "last"))
    assert names(found, 100, 139, 155, 160, 999, 1000) == ["start", "start", "sized", "", "last", ""]


@pytest.mark.parametrize(
    ("aliases", "ranks", "best"),
    [
        (("strong", "weak"), (14, 12), "strong"),
        (("_IO_puts", "puts"), (15, 15), "puts"),
        (("__memcpy", "_memcpy"), (15, 15), "_memcpy"),
        (("short", "much_longer"), (15, 15), "much_longer"),
        (("C2", "C1"), (15, 15), "C1"),
        (("memcpy@@GLIBC_2.14",), (15,), "memcpy"),
        (("puts@plt",), (0,), "puts@plt"),
    ],
)
def test_of_aliases_the_best_is_chosen_whatever_their_order(
    aliases: tuple[str, ...], ranks: tuple[int, ...], best: str
) -> None:
    for step in (1, -1):
        symbols = [(100, 10, name) for name in aliases[::step]]
        assert names(table(*symbols, ranks=ranks[::step]), 105) == [best]


def test_a_range_that_wraps_around_the_address_space_does_not() -> None:
    found = table((2**64 - 16, 2**64 - 1, "hostile"), (100, 10, "honest"))
    assert names(found, 105, 5, 2**64 - 8) == ["honest", "", "hostile"]


RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30)), max_size=12)


@given(RANGES)
def test_against_a_search_of_every_range(ranges: list[tuple[int, int]]) -> None:
    found = table(*((start, size, f"{start}+{size}") for start, size in ranges))
    sizes: dict[int, int] = {}
    for start, size in ranges:
        sizes[start] = max(size, sizes.get(start, 0))
    for address, index in enumerate(found.find(np.arange(100, dtype=np.uint64)).tolist()):
        holding = [start for start, size in sizes.items() if start <= address < start + size]
        assert (int(found.start[index]) if index >= 0 else None) == max(holding, default=None)


@given(RANGES)
def test_later_ranges_hide_earlier_ones(ranges: list[tuple[int, int]]) -> None:
    found = latest([one[0] for one in ranges], [sum(one) for one in ranges], [str(n) for n in range(len(ranges))])
    for address, index in enumerate(found.find(np.arange(100, dtype=np.uint64)).tolist()):
        holding = [n for n, (start, size) in enumerate(ranges) if start <= address < start + size]
        assert (found.name(index) if index >= 0 else "") == (str(holding[-1]) if holding else "")


def test_a_million_nested_ranges_are_searched_in_bounded_time() -> None:
    number = 1_000_000
    start = np.arange(number, dtype=np.uint64)
    symbols = RawSymbols(start, 2 * number - 2 * start, start, np.zeros(number, np.int64), ["x"] * number)
    found = SymbolTable(symbols)
    assert found.find(np.array([2 * number - 1, number - 1], np.uint64)).tolist() == [-1, number - 1]
