"""The trampoline's stubs: disassembled from real machine code, and found exactly."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_blcperf.errors import UsageError
from pytest_blcperf.symbols.python_stubs import StubLayout, StubRow, Stubs, stub_layout
from pytest_blcperf.symbols.unwind_machine import MACHINES
from pytest_blcperf.symbols.unwind_table import NOT_COVERED, OFFSET, SAME

PYTHON_ORG_3_12 = bytes.fromhex("4883ec08ffd14883c408c34883ec08ff")
DEBIAN_3_14 = bytes.fromhex("f30f1efa554889e5ffd15dc300000000")
AARCH64_3_12 = struct.pack("<5I", 0xA9BF7BFD, 0x910003FD, 0xD63F0060, 0xA8C17BFD, 0xD65F03C0)


def test_a_stub_that_only_aligns_the_stack():
    assert stub_layout(PYTHON_ORG_3_12, "x86_64") == StubLayout(
        (StubRow(0, 8, -8, None), StubRow(4, 16, -8, None), StubRow(10, 8, -8, None)), return_offset=6, size=11
    )


def test_a_hardened_stub_with_a_frame_pointer():
    assert stub_layout(DEBIAN_3_14, "x86_64") == StubLayout(
        (StubRow(0, 8, -8, None), StubRow(5, 16, -8, -16), StubRow(11, 8, -8, None)), return_offset=10, size=12
    )


def test_a_stub_on_arm_keeps_the_return_address_in_a_register_at_first():
    assert stub_layout(AARCH64_3_12, "aarch64") == StubLayout(
        (StubRow(0, 0, None, None), StubRow(4, 16, -8, -16), StubRow(16, 0, None, None)), return_offset=12, size=20
    )


@pytest.mark.parametrize("code", [b"", b"\x90" * 16, b"\xc3", b"\xe8\x00\x00\x00\x00\xc3", PYTHON_ORG_3_12[:8]])
def test_code_that_is_no_stub_is_refused(code):
    with pytest.raises(UsageError, match="not known here"):
        stub_layout(code, "x86_64")


@given(st.binary(max_size=40), st.sampled_from(["x86_64", "aarch64"]))
def test_any_bytes_are_a_stub_or_refused(code, machine):
    try:
        layout = stub_layout(code, machine)
    except UsageError:
        return
    assert 0 < layout.return_offset <= layout.size <= len(code)


def stubs():
    return Stubs([0x2000, 0x1000, 0x1010], [20, 10, 11], stub_layout(PYTHON_ORG_3_12, "x86_64"))


def test_only_the_return_address_of_the_call_counts():
    addresses = np.array([0x1006, 0x1016, 0x2006, 0x1005, 0x1007, 0x1000, 0x3006, 0, 2**64 - 1], np.uint64)
    assert stubs().called(addresses).tolist() == [10, 11, 20, -1, -1, -1, -1, -1, -1]


def test_a_leaf_may_be_anywhere_in_a_stub():
    addresses = np.array([0x1000, 0x100A, 0x100B, 0x1010, 0x2005, 0xFFF, 0], np.uint64)
    assert stubs().inside(addresses).tolist() == [10, 10, -1, 11, 20, -1, -1]


def test_without_stubs_nothing_is_found():
    none = Stubs([], [], stub_layout(PYTHON_ORG_3_12, "x86_64"))
    assert none.called(np.array([6], np.uint64)).tolist() == none.inside(np.array([6], np.uint64)).tolist() == [-1]
    assert len(none.unwind_table(MACHINES["x86_64"])) == 0


def test_the_unwind_table_covers_the_stubs_and_nothing_between_them():
    machine = MACHINES["x86_64"]
    table = Stubs([0x1000, 0x2000], [0, 1], stub_layout(DEBIAN_3_14, "x86_64")).unwind_table(machine)
    rule = table.lookup(np.array([0x1000, 0x1009, 0x100B, 0x100C, 0x1FFF, 0x2006], np.uint64))
    assert (rule == NOT_COVERED).tolist() == [False, False, False, True, True, False]
    assert table.rules.cfa_offset[rule[[0, 1, 2]]].tolist() == [8, 16, 8]
    pushed = rule[1]
    assert table.rules.how[pushed, machine.frame_pointer] == OFFSET
    assert table.rules.value[pushed, machine.frame_pointer] == -16
    assert table.rules.how[rule[0], machine.frame_pointer] == SAME
    assert (table.rules.value[rule[[0, 1, 2]], machine.return_address] == -8).all()
