"""Cached unwind tables: what comes back, and what is not believed."""

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_blcperf.symbols import table_cache
from pytest_blcperf.symbols.table_cache import CacheFileError, TableCache, decoded, encoded, user_cache
from pytest_blcperf.symbols.unwind_machine import X86_64
from pytest_blcperf.symbols.unwind_table import (
    BY_EXPRESSION,
    EXPRESSION,
    NOT_COVERED,
    OFFSET,
    REGISTER,
    SAME,
    Frame,
    UnwindTable,
    rules_of,
)

BUILD_ID = "00112233445566778899aabbccddeeff00112233"


def some_table(rows=3):
    kept = {16: (OFFSET, -8), 3: (EXPRESSION, 1), 6: (REGISTER, 12)}
    registers = tuple(kept.get(register, (SAME, 0)) for register in range(X86_64.registers))
    frames = [Frame((7, 8), registers), Frame((BY_EXPRESSION, 0), registers, signal=True)]
    rules = rules_of(frames, (b"\x77\x08", b"\x77\x10\x06"), X86_64.registers)
    rule = np.arange(rows, dtype=np.int32) % 3 - 1
    return UnwindTable("x86_64", np.arange(rows, dtype=np.uint64) * 16 + 4096, rule, rules, {"entry too short": 2})


def same(one, other):
    columns = [(one.pc, other.pc), (one.rule, other.rule)]
    columns += [
        (getattr(one.rules, name), getattr(other.rules, name))
        for name in ("cfa_register", "cfa_offset", "how", "value", "signal")
    ]
    return (
        all((mine == theirs).all() and mine.dtype == theirs.dtype for mine, theirs in columns)
        and one.rules.expressions == other.rules.expressions
        and (one.machine, one.problems) == (other.machine, other.problems)
    )


class Maker:
    """Makes tables, and counts how many."""

    def __init__(self, table=None):
        self.table = table or some_table()
        self.made = 0

    def __call__(self):
        self.made += 1
        return self.table


def test_a_table_comes_back_as_it_was():
    assert same(decoded(encoded(some_table())), some_table())


def test_a_table_is_made_once(tmp_path):
    make = Maker()
    for _ in range(3):
        assert same(TableCache(tmp_path / "cache").table(BUILD_ID, "eh_frame", make), some_table())
    assert make.made == 1
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [f"{BUILD_ID}.eh_frame"]


def test_a_file_without_a_build_id_is_not_cached(tmp_path):
    make = Maker()
    for name in ("", "../../x", "00"):
        TableCache(tmp_path / "cache").table(name, "eh_frame", make)
    assert make.made == 3
    assert not (tmp_path / "cache").exists()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_changed_file_is_refused(data):
    whole = encoded(some_table())
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[place] ^= 1 << data.draw(st.integers(0, 7))
    with suppress(CacheFileError):
        # The header is not under the checksum; what it counts may change.
        assert same(replace(decoded(bytes(changed)), problems=some_table().problems), some_table())
    with pytest.raises(CacheFileError):
        decoded(whole[:place])


def test_a_wrong_file_is_made_again(tmp_path):
    cache, make = TableCache(tmp_path), Maker()
    path = tmp_path / f"{BUILD_ID}.eh_frame"
    for content in (b"", b"{", b"{}\n", b"[" * 100_000 + b"\n", encoded(some_table())[:-1]):
        path.write_bytes(content)
        assert same(cache.table(BUILD_ID, "eh_frame", make), some_table())
        assert path.read_bytes() == encoded(some_table())
    assert make.made == 5


def forged(change):
    """A cache file with a right checksum and something else in it."""
    table = some_table()
    change(table)
    return encoded(table)


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.pc.__setitem__(1, 0),
        lambda table: table.rule.__setitem__(0, 2),
        lambda table: table.rule.__setitem__(0, NOT_COVERED - 1),
        lambda table: table.rules.cfa_register.__setitem__(0, X86_64.registers),
        lambda table: table.rules.cfa_register.__setitem__(0, -2),
        lambda table: table.rules.cfa_offset.__setitem__(1, 2),
        lambda table: table.rules.how.__setitem__((0, 0), 7),
        lambda table: table.rules.value.__setitem__((0, 3), 2),
        lambda table: table.rules.value.__setitem__((0, 6), X86_64.registers),
        lambda table: table.rules.value.__setitem__((0, 3), -1),
    ],
)
def test_numbers_that_would_index_beyond_something_are_refused(change):
    with pytest.raises(CacheFileError, match="out of range"):
        decoded(forged(change))


@pytest.mark.parametrize(
    "fields",
    [
        {"format": "blcperf.unwind/0"},
        {"machine": "vax"},
        {"machine": ["x86_64"]},
        {"rows": -1},
        {"rows": 2**40},
        {"rows": True},
        {"rules": 1.0},
        {"expressions": "ab"},
        {"expressions": [10**9]},
        {"problems": {"a": "b"}},
        {"problems": []},
        {"sha256": None},
    ],
)
def test_headers_that_claim_nonsense_are_refused(fields):
    line, _, body = encoded(some_table()).partition(b"\n")
    header = json.loads(line) | {"sha256": hashlib.sha256(body).hexdigest()} | fields
    with pytest.raises(CacheFileError):
        decoded(json.dumps(header).encode() + b"\n" + body)


def test_the_longest_unused_files_make_room(tmp_path):
    size = len(encoded(some_table(300)))
    cache, make = TableCache(tmp_path, max_bytes=3 * size), Maker(some_table(300))
    for number in range(3):
        cache.table(BUILD_ID[:-1] + str(number), "eh_frame", make)
        os.utime(tmp_path / f"{BUILD_ID[:-1]}{number}.eh_frame", (number, number))
    cache.table(BUILD_ID[:-1] + "0", "eh_frame", make)  # used again, and so the newest
    cache.table(BUILD_ID[:-1] + "9", "eh_frame", make)
    assert sorted(path.name[-10] for path in tmp_path.iterdir()) == ["0", "2", "9"]


def test_a_table_larger_than_the_cache_is_not_kept(tmp_path):
    TableCache(tmp_path, max_bytes=100).table(BUILD_ID, "eh_frame", Maker())
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_costs_the_cache_only(tmp_path):
    (tmp_path / "file").write_text("")
    assert same(TableCache(tmp_path / "file" / "cache").table(BUILD_ID, "eh_frame", Maker()), some_table())


def test_a_failure_to_make_leaves_nothing(tmp_path):
    def fail():
        raise ValueError

    with pytest.raises(ValueError):
        TableCache(tmp_path).table(BUILD_ID, "eh_frame", fail)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_too_long_is_not_read_whole(tmp_path, monkeypatch):
    cache, make = TableCache(tmp_path), Maker()
    cache.table(BUILD_ID, "eh_frame", make)
    monkeypatch.setattr(table_cache, "MAX_FILE_BYTES", 100)
    cache.table(BUILD_ID, "eh_frame", make)
    assert make.made == 2


def test_the_users_cache_directory(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert user_cache()._folder == Path("/somewhere/blcperf/unwind")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert user_cache()._folder == Path("/home/somebody/.cache/blcperf/unwind")
