"""DWARF expressions for many frames, against one frame at a time in plain Python."""

import numpy as np
import pytest
from cfi_sections import sleb, uleb
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_blcperf.symbols import dwarf_expression
from pytest_blcperf.symbols.dwarf_expression import ExpressionError, Values, evaluate, parsed

WORD = 2**64
MEMORY = {address: address * 0x9E3779B97F4A7C15 % WORD for address in range(0, 4096, 8)}


def words(*values):
    return np.array(values, np.uint64)


def register_of(registers):
    def register(number):
        return Values(words(*registers[number]), np.ones(len(registers[number]), np.bool_))

    return register


def read(address):
    found = [MEMORY.get(one) for one in address.tolist()]
    return Values(words(*(one or 0 for one in found)), np.array([one is not None for one in found], np.bool_))


def value_of(expression, registers=None, initial=None, number=1):
    values = evaluate(
        expression, number, register_of(registers or {}), read, None if initial is None else words(*initial)
    )
    return [value if known else None for value, known in zip(values.value.tolist(), values.known.tolist(), strict=True)]


def test_the_expression_of_linkage_stubs():
    """CFA = rsp + 8 + ((rip & 15) >= 11) * 8, for all places in a stub at once."""
    expression = bytes([0x77, 8, 0x80, 0, 0x3F, 0x1A, 0x3B, 0x2A, 0x33, 0x24, 0x22])
    registers = {7: [1000] * 16, 16: list(range(0x5000, 0x5010))}
    assert value_of(expression, registers, number=16) == [1008] * 11 + [1016] * 5


def test_what_cannot_be_read_makes_that_frames_value_unknown():
    assert value_of(b"\x77\x08\x06", {7: [0, 100_000]}, number=2) == [MEMORY[8], None]


def test_the_cfa_is_on_the_stack_before():
    assert value_of(b"\x23\x10\x06", initial=[16]) == [MEMORY[32]]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        (b"\x03" + bytes(range(8)), 0x0706050403020100),
        (b"\x08\xff", 255),
        (b"\x09\xff", WORD - 1),
        (b"\x0a\xfe\xff", 0xFFFE),
        (b"\x0b\xfe\xff", WORD - 2),
        (b"\x0c\xff\xff\xff\xff", 2**32 - 1),
        (b"\x0d\xff\xff\xff\xff", WORD - 1),
        (b"\x0e" + b"\xff" * 8, WORD - 1),
        (b"\x0f" + b"\xfe" + b"\xff" * 7, WORD - 2),
        (b"\x10\x80\x01", 128),
        (b"\x11\x80\x7f", WORD - 128),
        (b"\x31\x32\x12\x1e\x22", 5),  # 1 2 dup * +
        (b"\x31\x32\x13", 1),  # drop
        (b"\x31\x32\x14\x22\x22", 4),  # over
        (b"\x35\x36\x37\x15\x02", 5),  # pick
        (b"\x35\x36\x16\x1c", 1),  # swap -
        (b"\x35\x36\x37\x17\x1c\x1c", 8),  # rot: 7 5 6, 7 - (5 - 6)
        (b"\x35\x96\x23\x80\x01", 133),
        (b"\x40\x94\x01", MEMORY[16] & 0xFF),
    ],
)  # fmt: skip
def test_single_operations(expression, value):
    assert value_of(expression) == [value]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (b"", "takes more than it has"),
        (b"\x22", "takes more than it has"),
        (b"\x31\x14", "takes more than it has"),
        (b"\x0e\x01", "ends too early"),
        (b"\x10\xff\xff", "ends too early"),
        (b"\x28\x00\x00", "operation 0x28"),
        (b"\x31\x94\x03", "a read of 3 bytes"),
        (b"\x31" * 65, "deep stack"),
        (b"\x31" * 513, "513 bytes"),
    ],
)
def test_expressions_that_cannot_be_evaluated(expression, message):
    with pytest.raises(ExpressionError, match=message):
        value_of(expression)


def signed(value):
    return value - WORD if value >> 63 else value


def divided(left, right):
    quotient = abs(signed(left)) // abs(signed(right)) if right else 0
    return -quotient if signed(left) * signed(right) < 0 else quotient


BINARY = {
    0x1A: lambda a, b: a & b,
    0x1B: divided,
    0x1C: lambda a, b: a - b,
    0x1D: lambda a, b: a % b if b else 0,
    0x1E: lambda a, b: a * b,
    0x21: lambda a, b: a | b,
    0x22: lambda a, b: a + b,
    0x24: lambda a, b: a << b if b < 64 else 0,
    0x25: lambda a, b: a >> b if b < 64 else 0,
    0x26: lambda a, b: signed(a) >> min(b, 63),
    0x27: lambda a, b: a ^ b,
    0x29: lambda a, b: a == b,
    0x2A: lambda a, b: signed(a) >= signed(b),
    0x2B: lambda a, b: signed(a) > signed(b),
    0x2C: lambda a, b: signed(a) <= signed(b),
    0x2D: lambda a, b: signed(a) < signed(b),
    0x2E: lambda a, b: a != b,
}
UNARY = {0x19: lambda a: abs(signed(a)), 0x1F: lambda a: -a, 0x20: lambda a: ~a}
NUMBERS = st.one_of(st.integers(0, 70), st.integers(0, WORD - 1), st.integers(2**63 - 2, 2**63 + 2))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(BINARY)), st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=8))
def test_binary_operations_are_those_of_64_bits(code, pairs):
    left, right = ([pair[side] for pair in pairs] for side in (0, 1))
    found = value_of(bytes([0x70, 0, 0x71, 0, code]), {0: left, 1: right}, number=len(pairs))
    assert found == [int(BINARY[code](*pair)) % WORD for pair in pairs]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(UNARY)), NUMBERS)
def test_unary_operations_are_those_of_64_bits(code, number):
    assert value_of(bytes([0x70, 0, code]), {0: [number]}) == [UNARY[code](number) % WORD]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 40), st.integers(-(2**70), 2**70), NUMBERS)
def test_registers_with_offsets(number, offset, value):
    expression = b"\x92" + uleb(number) + sleb(offset)
    assert value_of(expression, {number: [value]}) == [(value + offset) % WORD]


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_give_a_value_or_an_error(expression):
    registers = {number: [number * 8, 2**63 + number] for number in range(300)}
    try:
        operations = parsed(expression)
        unknown = any(operation.code == 0x92 and operation.first >= 300 for operation in operations)
        if not unknown:
            assert len(value_of(expression, registers, number=2)) == 2
    except ExpressionError:
        pass
    assert len(expression) <= dwarf_expression.MAX_BYTES
