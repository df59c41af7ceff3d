"""What was mapped where and when, against a replay one address at a time."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_blcperf.errors import UsageError
from pytest_blcperf.model.recording import Fork, Mapping, ThreadName
from pytest_blcperf.symbols import address_space
from pytest_blcperf.symbols.address_space import AddressSpaces, mapped_code
from pytest_blcperf.symbols.elf import string_at
from pytest_blcperf.symbols.objects import Objects

SMALL = st.integers(0, 12)


def ints(*values):
    return np.array(values, np.int64)


def words(*values):
    return np.array(values, np.uint64)


def locate(spaces, process, time, address):
    return int(spaces.locate(ints(process), ints(time), words(address))[0])


def executed(process, time):
    return ThreadName(process, process, time, "x", executed=True)


def forked(child, parent, time):
    return Fork(child, parent, child, parent, time)


def replayed(events, process, time, address):
    """The same by replaying every event up to `time`, one byte at a time."""
    mappings, names, forks = events
    events = [(fork.time, 0, 0, fork) for fork in forks if fork.process != fork.parent_process]
    events += [(name.time, 1, 0, name) for name in names if name.executed]
    events += [(mapping.time, 2, index, mapping) for index, mapping in enumerate(mappings)]
    memory = {}
    for when, _, index, event in sorted(events, key=lambda item: item[:3]):
        if when > time:
            break
        mine = memory.setdefault(event.process, {})
        if isinstance(event, Fork):
            memory[event.process] = dict(memory.get(event.parent_process) or mine)
        elif isinstance(event, ThreadName):
            mine.clear()
        else:
            mine.update(dict.fromkeys(range(event.start, event.end), index))
    return memory.get(process, {}).get(address, -1)


MAPPINGS = st.builds(
    lambda process, start, length, time: Mapping(process, start, start + length, 0, "/x", time),
    *(st.integers(1, 3), SMALL, SMALL, SMALL),
)
NAMES = st.builds(executed, st.integers(1, 3), SMALL)
FORKS = st.builds(forked, st.integers(1, 3), st.integers(1, 3), SMALL)


@settings(max_examples=80, deadline=None)
@given(st.lists(MAPPINGS, max_size=8), st.lists(NAMES, max_size=2), st.lists(FORKS, max_size=3))
def test_every_place_and_time_is_what_a_replay_says(mappings, names, forks):
    spaces = AddressSpaces(mappings, names, forks)
    process, time, address = (grid.ravel() for grid in np.mgrid[1:5, 0:14, 0:26])
    found = spaces.locate(process, time, address.astype(np.uint64))
    rows = zip(process.tolist(), time.tolist(), address.tolist(), strict=True)
    assert found.tolist() == [replayed((mappings, names, forks), *row) for row in rows]


@settings(max_examples=40, deadline=None)
@given(st.lists(MAPPINGS, max_size=8), st.lists(NAMES, max_size=2), st.lists(FORKS, max_size=3))
def test_one_layout_is_one_set_of_mappings(mappings, names, forks):
    spaces = AddressSpaces(mappings, names, forks)
    process, time = (grid.ravel() for grid in np.mgrid[1:5, 0:14])
    seen = {}
    for number, *row in zip(spaces.layout(process, time).tolist(), process.tolist(), time.tolist(), strict=True):
        shown = tuple(replayed((mappings, names, forks), *row, address) for address in range(26))
        assert seen.setdefault(number, shown) == shown


def test_a_fork_of_a_process_nothing_is_known_of_keeps_the_childs_own_mappings():
    spaces = AddressSpaces([Mapping(7, 0x1000, 0x2000, 0, "/a")], forks=[forked(7, 3, 50)])
    assert locate(spaces, 7, 60, 0x1800) == 0


def test_a_new_thread_changes_nothing():
    spaces = AddressSpaces([Mapping(7, 0x1000, 0x2000, 0, "/a")], forks=[Fork(7, 7, 8, 7, 50)])
    assert locate(spaces, 7, 60, 0x1800) == 0


def test_addresses_of_the_upper_half_and_the_last_byte():
    spaces = AddressSpaces([Mapping(1, 2**64 - 0x1000, 2**64, 0, "[vsyscall]")])
    assert locate(spaces, 1, 0, 2**64 - 0x800) == 0
    assert locate(spaces, 1, 0, 2**63) == -1


def test_mappings_that_are_not_ranges_hold_nothing():
    spaces = AddressSpaces([Mapping(1, 9, 9, 0, "/a"), Mapping(1, 9, 3, 0, "/b"), Mapping(1, 0, 2**64 + 1, 0, "/c")])
    assert locate(spaces, 1, 0, 9) == -1


def test_no_mappings_and_no_addresses():
    spaces = AddressSpaces([])
    assert locate(spaces, 1, 0, 9) == -1
    assert spaces.locate(ints(), ints(), words()).tolist() == []
    assert spaces.layout(ints(1), ints(0)).tolist() == [0]


def test_forked_children_see_what_the_parent_maps_before_and_not_after():
    children = range(100, 300)
    mappings = [Mapping(1, 0x1000, 0x2000, 0, "/a"), Mapping(1, 0x5000, 0x6000, 0, "/b", time=500)]
    spaces = AddressSpaces(mappings, forks=[forked(child, 1, 400) for child in children])
    process = np.repeat(np.array(children), 2)
    found = spaces.locate(process, np.full(400, 600), np.tile(words(0x1000, 0x5000), 200))
    assert found.tolist() == [0, -1] * 200


def test_mappings_made_to_take_all_memory_are_refused(monkeypatch):
    monkeypatch.setattr(address_space, "VERSION_LIMIT", 1000)
    spaces = AddressSpaces([Mapping(1, number, 200 - number, 0, "/a", number) for number in range(90)])
    with pytest.raises(UsageError, match="overlap in"):
        locate(spaces, 1, 0, 9)


def test_this_process_one_object_a_file_and_link_addresses():
    """The address of a function of libc in memory, less the bias, is the one in the file's symbol table."""
    import ctypes

    mappings = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split(None, 5)
        if len(fields) == 6 and "x" in fields[1]:
            start, end = (int(field, 16) for field in fields[0].split("-"))
            mappings.append(
                Mapping(os.getpid(), start, end, int(fields[2], 16), fields[5].strip(), inode=int(fields[4]))
            )
    address = ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p).value
    spaces = AddressSpaces(mappings)
    with Objects() as objects:
        code = mapped_code(mappings, objects)
        mapping = locate(spaces, os.getpid(), 0, address)
        elf = code.objects[code.object_of[mapping]].elf
        assert _dynamic_symbol(elf, "getpid") == (address - int(code.bias[mapping])) % 2**64
        files = [item.file.path for item in code.objects if item.elf]
        assert len(files) == len(set(files))


def _dynamic_symbol(elf, name):
    table = np.frombuffer(elf.data_of(".dynsym"), [("name", "<u4"), ("kind", "<u4"), ("value", "<u8"), ("size", "<u8")])
    strings = elf.data_of(".dynstr")
    return next(int(symbol["value"]) for symbol in table if string_at(strings, int(symbol["name"])) == name)
