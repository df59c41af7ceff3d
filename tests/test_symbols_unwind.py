"""The unwinder on stacks laid out by hand."""

import numpy as np
import pytest
from cfi_sections import sleb

from pytest_blcperf.errors import UsageError
from pytest_blcperf.model.capture import ObjectFile
from pytest_blcperf.model.recording import MODE_KERNEL, MODE_USER, REGISTERS, Mapping, SampleBatch
from pytest_blcperf.symbols import unwind, unwind_history
from pytest_blcperf.symbols.address_space import AddressSpaces, MappedCode
from pytest_blcperf.symbols.objects import ANONYMOUS_KIND, CodeObject
from pytest_blcperf.symbols.unwind import AS_RECORDED, BROKEN, COMPLETE, NO_TABLE, NO_USER_STACK, TOO_DEEP, TRUNCATED
from pytest_blcperf.symbols.unwind_frames import KERNEL, UNKNOWN
from pytest_blcperf.symbols.unwind_history import At
from pytest_blcperf.symbols.unwind_machine import AARCH64, MACHINES, X86_64
from pytest_blcperf.symbols.unwind_table import (
    BY_EXPRESSION,
    EXPRESSION,
    NOT_COVERED,
    OFFSET,
    REGISTER,
    SAME,
    UNDEFINED,
    VALUE_EXPRESSION,
    VALUE_OFFSET,
    Frame,
    rules_of,
    table_of,
)

STACK = 0x7FFE_0000_0000
CODE = 0x40_0000
FUNCTION_BYTES = 0x100


def frame(cfa, machine=X86_64, signal=False, **kept):
    """A rule: `kept` is by register, `r3=(OFFSET, -16)`; on x86-64 the return address is at CFA - 8 unless said."""
    said = {machine.return_address: (OFFSET, -8)} if machine is X86_64 else {}
    said |= {int(name[1:]): rule for name, rule in kept.items()}
    return Frame(cfa, tuple(said.get(register, (SAME, 0)) for register in range(machine.registers)), signal)


class World:
    """A process with code at CODE on: function i, of FUNCTION_BYTES, has the rule `frames[i]`; None: no table."""

    def __init__(self, *frames, machine=X86_64, expressions=()):
        self.machine = machine
        mappings = [Mapping(1, CODE, CODE + FUNCTION_BYTES * len(frames), 0, "//anon")]
        rows = [
            (CODE + FUNCTION_BYTES * index, NOT_COVERED if rule is None else index) for index, rule in enumerate(frames)
        ]
        filled = [rule or frame((0, 0), machine) for rule in frames]
        table = table_of(machine.name, rows, rules_of(filled, expressions, machine.registers))
        code = MappedCode(
            (CodeObject(ANONYMOUS_KIND, ObjectFile("//anon")),), np.zeros(1, np.int64), np.zeros(1, np.uint64)
        )
        self.unwinder = unwind.Unwinder(machine.name, AddressSpaces(mappings), code, lambda _: [table])

    def unwind(self, *samples, inspect=None):
        """[(addresses, end)] of samples that `Sample` made."""
        chains = self.unwinder.unwind(batch_of(self.machine, samples), inspect)
        frames = self.unwinder.frames
        return [
            (frames.address[chains.frame[chains.offsets[row] : chains.offsets[row + 1]]].tolist(), int(chains.end[row]))
            for row in range(len(samples))
        ]


class Sample:
    """A sample whose stack holds `words` from the stack pointer on, with registers by name (`bp=…`)."""

    def __init__(self, pc, words=(), kernel=(), user=(), mode=MODE_USER, **registers):
        self.pc, self.words, self.kernel, self.user, self.mode = pc, list(words), list(kernel), list(user), mode
        self.registers = {"sp": STACK} | registers
        self.has_registers = pc is not None


def batch_of(machine, samples):
    names = REGISTERS[machine.name]
    registers = np.zeros((len(samples), len(names)), np.uint64)
    for row, sample in enumerate(samples):
        for name, value in sample.registers.items():
            registers[row, names.index(name)] = value
        registers[row, machine.pc_column] = sample.pc or 0
    stacks = [np.array(sample.words, np.uint64).tobytes() for sample in samples]
    chains = [sample.kernel + sample.user for sample in samples]
    number = len(samples)
    return SampleBatch(
        machine=machine.name,
        **{name: np.ones(number, np.int64) for name in ("time", "process", "thread", "cpu", "period", "event")},
        mode=np.array([sample.mode for sample in samples], np.uint8),
        address=np.array([(sample.kernel or [sample.pc or 77])[0] for sample in samples], np.uint64),
        chain_offsets=np.cumsum([0, *map(len, chains)]),
        kernel_depth=np.array([len(sample.kernel) for sample in samples], np.int64),
        chain=np.array([address for chain in chains for address in chain], np.uint64),
        has_registers=np.array([sample.has_registers for sample in samples]),
        registers=registers,
        stack_offsets=np.cumsum([0, *map(len, stacks)]),
        stack=np.frombuffer(b"".join(stacks), np.uint8),
    )


def function(index, offset=0x10):
    return CODE + FUNCTION_BYTES * index + offset


LEAF, BY_FRAME_POINTER, START = (
    frame((7, 8)),
    frame((6, 16), r6=(OFFSET, -16)),
    frame((7, 8), r16=(UNDEFINED, 0)),
)


def test_by_stack_and_frame_pointer_to_the_outermost_frame():
    world = World(LEAF, BY_FRAME_POINTER, START)
    words = [function(1), 5, 6, STACK + 0x100, function(2)]
    expected = [function(0), function(1), function(2)]
    assert world.unwind(Sample(function(0), words, bp=STACK + 24)) == [(expected, COMPLETE)]


def test_a_return_address_of_zero_ends_the_stack():
    assert World(LEAF).unwind(Sample(function(0), [0])) == [([function(0)], COMPLETE)]


def test_the_code_before_a_return_address_is_looked_up():
    """A call that does not return is the last instruction of its function."""
    world = World(LEAF, frame((7, 24)), START)
    words = [function(2, 0), 1, 2, function(2)]
    assert world.unwind(Sample(function(0), words)) == [([function(0), function(2, 0), function(2)], COMPLETE)]


def test_many_samples_at_once_end_each_in_its_own_way():
    world = World(LEAF, frame((7, 16)), START, None)
    outside = CODE + FUNCTION_BYTES * 4 + 0x10
    samples = [
        Sample(function(0), [function(2)]),
        Sample(function(0), [function(1), 5]),
        Sample(function(0), [function(1), 5, outside]),
        Sample(function(0), [function(3), 0, 0], bp=3),
        Sample(function(3), [1, 2, 3]),
        Sample(function(2), []),
        Sample(outside, [1, 2]),
    ]
    assert world.unwind(*samples) == [
        ([function(0), function(2)], COMPLETE),
        ([function(0), function(1)], TRUNCATED),
        ([function(0), function(1)], BROKEN),
        ([function(0), function(3)], NO_TABLE),
        ([function(3)], NO_TABLE),
        ([function(2)], COMPLETE),
        ([outside], NO_TABLE),
    ]


def test_frame_pointers_are_believed_where_they_lead_to_the_end():
    world = World(LEAF, None, START)
    chain = [STACK + 0x18, function(1), 9, 1, function(2)]
    assert world.unwind(Sample(function(1), chain, bp=STACK)) == [([function(1), function(1), function(2)], COMPLETE)]
    chain[4] = 12345
    assert world.unwind(Sample(function(1), chain, bp=STACK)) == [([function(1)], NO_TABLE)]


def test_a_frame_pointer_of_zero_marks_the_outermost_frame():
    world = World(LEAF, None)
    assert world.unwind(Sample(function(0), [function(1)], bp=0)) == [([function(0), function(1)], COMPLETE)]
    # The sampled function may use the register for anything.
    assert world.unwind(Sample(function(1), [1], bp=0)) == [([function(1)], NO_TABLE)]


def test_a_frame_that_is_not_above_the_one_before_ends_the_stack():
    world = World(LEAF, BY_FRAME_POINTER)
    words = [function(1), STACK - 16, function(1), 0, 0]
    assert world.unwind(Sample(function(0), words, bp=STACK + 8)) == [([function(0), function(1), function(1)], BROKEN)]


def test_a_stack_far_away_is_not_believed():
    world = World(BY_FRAME_POINTER)
    assert world.unwind(Sample(function(0), [0] * 4, bp=STACK + (1 << 40)))[0][1] == BROKEN
    assert world.unwind(Sample(function(0), [0] * 4, bp=STACK + 4096))[0][1] == TRUNCATED


def test_endless_recursion_ends_at_the_largest_depth(monkeypatch):
    monkeypatch.setattr(unwind, "MAX_DEPTH", 50)
    frames, end = World(LEAF).unwind(Sample(function(0), [function(0)] * 100))[0]
    assert (len(frames), end) == (50, TOO_DEEP)


def test_addresses_that_are_not_aligned_are_read():
    world = World(frame((7, 11)), START)
    stack = np.zeros(24, np.uint8)
    stack[3:11] = np.array([function(1)], np.uint64).view(np.uint8)
    assert world.unwind(Sample(function(0), stack.view(np.uint64).tolist()))[0] == (
        [function(0), function(1)],
        COMPLETE,
    )


def test_registers_kept_in_every_way():
    """The CFA of the last function is in rbx, which the functions before kept in turn."""
    by_rbx = frame((3, 8))
    place = STACK + 48
    ways = {
        "unchanged": (SAME, 0),
        "kept": (OFFSET, 8),
        "a sum": (VALUE_OFFSET, 40),
        "where an expression says": (EXPRESSION, 0),
        "what an expression says": (VALUE_EXPRESSION, 1),
        "in another register": (REGISTER, 12),
    }
    words = [function(1), 0, place, 0, 0, 0, function(2)]
    for name, way in ways.items():
        expressions = (b"\x23\x08", b"\x23\x28")  # CFA + 8, CFA + 40
        world = World(frame((7, 8), r3=way), by_rbx, START, expressions=expressions)
        sample = Sample(function(0), words, bx=place, r12=place)
        if way[0] != SAME:
            sample.registers["bx"] = 1
        expected = [function(0), function(1), function(2)]
        found = world.unwind(sample)
        # CFA is rbx + 8 in `by_rbx`: the return address is the word that rbx points to.
        assert found == [(expected, COMPLETE)], name
    lost = World(frame((7, 8), r3=(UNDEFINED, 0)), by_rbx, START)
    assert lost.unwind(Sample(function(0), words, bx=place))[0][0] == [function(0), function(1)]


@pytest.mark.parametrize("way", ["at once", "by history"])
def test_a_register_that_was_just_popped_is_in_its_place_again(way):
    """At the `ret` behind `pop %rbp`, compilers leave it said that the register is kept at CFA - 16."""
    cfa = (7, 8) if way == "at once" else (BY_EXPRESSION, 0)
    popped = Frame(cfa, frame((7, 8), r6=(OFFSET, -16)).registers)
    world = World(popped, BY_FRAME_POINTER, START, expressions=(b"\x77\x08",))
    words = [function(1), 5, 0, function(2)]
    expected = [function(0), function(1), function(2)]
    assert world.unwind(Sample(function(0), words, bp=STACK + 16)) == [(expected, COMPLETE)]


def test_a_cfa_by_expression_that_depends_on_the_place_in_the_code():
    stub = Frame((BY_EXPRESSION, 0), frame((7, 8)).registers)
    expression = bytes([0x77, 8, 0x80, 0, 0x3F, 0x1A, 0x3B, 0x2A, 0x33, 0x24, 0x22])
    world = World(stub, START, expressions=(expression,))
    before, after = Sample(function(0, 0x26), [function(1), 4]), Sample(function(0, 0x2B), [4, function(1)])
    assert [addresses[-1] for addresses, _ in world.unwind(before, after)] == [function(1)] * 2


def test_an_expression_that_cannot_be_evaluated_is_no_rule():
    world = World(Frame((BY_EXPRESSION, 0), frame((7, 8)).registers), expressions=(b"\x28\0\0",))
    assert world.unwind(Sample(function(0), [0, 0]))[0][1] == NO_TABLE


def test_what_a_signal_interrupted_is_looked_up_where_it_was():
    """A signal may come at the first instruction of a function; its registers are in the signal's frame."""
    kept = {f"r{register}": (EXPRESSION, register) for register in range(17)}
    places = tuple(b"\x77" + sleb(8 * register) for register in range(17))
    signal = Frame((BY_EXPRESSION, 17), frame((7, 8), **kept).registers, signal=True)
    by_rcx = frame((2, 8))
    world = World(LEAF, signal, by_rcx, START, expressions=(*places, b"\x77\x38\x06"))
    interrupted = STACK + 8 + 17 * 8
    registers = [0] * 17
    registers[2], registers[7], registers[16] = interrupted + 8, interrupted, function(2, 0)
    words = [function(1), *registers, 0, function(3), 0]
    expected = [function(0), function(1), function(2, 0), function(3)]
    assert world.unwind(Sample(function(0), words)) == [(expected, COMPLETE)]


def test_a_handlers_own_stack_leads_out_of_the_copy():
    kept = {f"r{register}": (EXPRESSION, 0 if register == 16 else 1) for register in (7, 16)}
    signal = Frame((BY_EXPRESSION, 2), frame((7, 8), **kept).registers, signal=True)
    world = World(LEAF, signal, START, expressions=(b"\x77\0", b"\x77\x08", b"\x77\x08\x06"))
    words = [function(1), function(0), STACK - 0x10000, 0]
    assert world.unwind(Sample(function(0), words)) == [([function(0), function(1), function(0)], TRUNCATED)]


def test_kernel_frames_come_first():
    world = World(LEAF, START)
    kernel = [2**64 - 4096, 2**64 - 8192]
    chains = world.unwind(
        Sample(function(0), [function(1)], kernel=kernel, mode=MODE_KERNEL),
        Sample(None, kernel=kernel, mode=MODE_KERNEL),
        Sample(None, mode=MODE_KERNEL),
    )
    assert chains == [
        ([*kernel, function(0), function(1)], COMPLETE),
        (kernel, NO_USER_STACK),
        ([77], NO_USER_STACK),
    ]
    frames = world.unwinder.frames
    assert [frames.object[frames.address == address].tolist() for address in kernel] == [[KERNEL], [KERNEL]]
    assert [frames.caller[frames.address == address].tolist() for address in kernel] == [[False], [True]]


def test_a_recorded_chain_is_taken_where_there_is_no_stack():
    world = World(LEAF, START)
    outside = CODE + 10 * FUNCTION_BYTES
    chain = [function(0), function(1), outside]
    assert world.unwind(Sample(function(0), user=chain)) == [(chain, AS_RECORDED)]
    assert UNKNOWN in world.unwinder.frames.object


def test_the_same_place_is_one_frame_and_a_return_address_another():
    world = World(LEAF)
    chains = world.unwinder.unwind(batch_of(X86_64, [Sample(function(0), [function(0), function(0), 0])] * 2))
    first, second = chains.frame[:3].tolist(), chains.frame[3:].tolist()
    assert first == second
    assert first[0] != first[1] == first[2]


def test_registers_of_any_frame_can_be_asked_for():
    world = World(frame((7, 16), r3=(OFFSET, -16)), LEAF, START)
    seen = {}

    def inspect(unwound):
        everyone = np.arange(len(unwound.sample))
        for depth in range(3):
            for number in (3, 7, 16):
                seen[depth, number] = unwound.history.register(number, At(everyone, depth)).value.tolist()

    world.unwind(Sample(function(0), [42, function(1), function(2)], bx=7), inspect=inspect)
    assert [seen[depth, 3] for depth in range(3)] == [[7], [42], [42]]
    assert [seen[depth, 7] for depth in range(3)] == [[STACK], [STACK + 16], [STACK + 24]]
    assert [seen[depth, 16] for depth in range(3)] == [[function(0)], [function(1)], [function(2)]]


def test_mappings_that_come_later_are_taken_in():
    world = World(LEAF, START)
    frames, code = world.unwinder.frames, world.unwinder.frames._code
    mappings = world.unwinder.frames._spaces.mappings
    frames.renew(AddressSpaces([]), MappedCode((), np.zeros(0, np.int64), np.zeros(0, np.uint64)))
    sample = Sample(function(0), [function(1)])
    assert world.unwind(sample) == [([function(0)], NO_TABLE)]
    frames.renew(AddressSpaces(mappings), code)
    assert world.unwind(sample) == [([function(0), function(1)], COMPLETE)]


def test_registers_that_lead_from_expression_to_expression_end(monkeypatch):
    """Each frame's rbx is asked for by two expressions of the next one: without a limit, 2 to the power of the depth."""
    monkeypatch.setattr(unwind_history, "MAX_LOOKS", 500)
    both = b"\x73\x00\x73\x00\x22"  # rbx + rbx
    endless = Frame((BY_EXPRESSION, 1), frame((7, 8), r3=(VALUE_EXPRESSION, 0)).registers)
    world = World(endless, expressions=(both, b"\x73\x00\x73\x00\x1c\x77\x08\x22\x22"))
    addresses, end = world.unwind(Sample(function(0), [function(0)] * 1000))[0]
    assert end == TRUNCATED
    assert len(addresses) < 1000


def test_no_samples():
    world = World(LEAF)
    chains = world.unwinder.unwind(batch_of(X86_64, []))
    assert (len(chains), chains.offsets.tolist()) == (0, [0])


def test_more_samples_than_a_chunk(monkeypatch):
    monkeypatch.setattr(unwind, "CHUNK", 3)
    world = World(LEAF, START)
    samples = [Sample(function(0), [function(1)] if index % 2 else [0]) for index in range(10)]
    assert [len(addresses) for addresses, _ in world.unwind(*samples)] == [1, 2] * 5


def test_a_machine_that_is_not_known():
    with pytest.raises(UsageError, match="vax"):
        unwind.Unwinder("vax", AddressSpaces([]), MappedCode((), np.zeros(0, np.int64), np.zeros(0, np.uint64)), list)


def test_arm_finds_the_first_caller_in_the_link_register():
    """Untested on a real machine: no recording of one was at hand."""
    leaf = frame((31, 0), AARCH64)
    keeps = frame((29, 16), AARCH64, r29=(OFFSET, -16), r30=(OFFSET, -8))
    world = World(leaf, keeps, frame((31, 0), AARCH64, r30=(UNDEFINED, 0)), machine=AARCH64)
    signed = function(2) | 0x7F << 48
    sample = Sample(function(0), [STACK + 64, signed, 0], x29=STACK, lr=function(1))
    assert world.unwind(sample) == [([function(0), function(1), function(2)], COMPLETE)]
    assert set(MACHINES) == {"x86_64", "aarch64"}
