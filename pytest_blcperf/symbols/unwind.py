"""Stacks of all samples of a batch, unwound together: one step in numpy for each frame of the deepest stack.

Most frames find their caller by adding a number to the stack or frame pointer and reading one or two words; those are
done here for all samples at once, and the others by `unwind_history`, rule by rule.

How a stack ends is told for each sample, and complete are only those whose outermost frame was reached. Code without
unwind tables is passed by its frame pointer where that chain ends well; else the stack ends at that code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pytest_blcperf.errors import UsageError
from pytest_blcperf.model.recording import MODE_KERNEL, SampleBatch
from pytest_blcperf.symbols.address_space import AddressSpaces, MappedCode
from pytest_blcperf.symbols.unwind_frames import NO_RULE, NOWHERE, Frames, Tables
from pytest_blcperf.symbols.unwind_history import MAX_LOOKS, WORD, At, History, Memory, Step
from pytest_blcperf.symbols.unwind_machine import MACHINES, Machine
from pytest_blcperf.symbols.unwind_table import OFFSET, SAME, UNDEFINED, UnwindRules

Ints = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int32]
Words = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

COMPLETE, TRUNCATED, NO_TABLE, BROKEN, TOO_DEEP, NO_USER_STACK, AS_RECORDED = range(7)
"""How a stack ended: at the outermost frame; where the copy of the stack ended, or went on elsewhere; at code of which
no way to the caller is known; where the caller could not be (outside every mapping, or below in the stack); after
MAX_DEPTH frames; in the kernel, as with kernel threads; as the kernel walked frame pointers, unverified.
"""
MAX_DEPTH = 2048
CHUNK = 8192
"""Samples that are unwound together: enough to make numpy's overhead small, few enough for 50 MB of memory."""

_GOING_ON = 255
_FAR = 64 << 20
"""Bytes beyond which a place in the stack is not believed: stacks have 8 MB as a rule."""
_STEP, _OUTERMOST, _BY_HISTORY, _GUESS = range(4)


@dataclass(frozen=True, eq=False)
class Chains:
    """The stacks of n samples: sample i has the frames `frame[offsets[i]:offsets[i + 1]]`, numbers of `Frames`, leaf
    first. The first `kernel_depth[i]` of them are the kernel's. `end[i]` tells how the stack ended: COMPLETE, ….
    """

    offsets: Ints
    frame: Indices
    kernel_depth: Ints
    end: Bytes

    def __len__(self) -> int:
        return len(self.end)


@dataclass(frozen=True, eq=False)
class Unwound:
    """The user frames of some samples of a batch, with their registers: those of sample `sample[i]` are row i of the
    steps of `history`, up to depth `depth[i]`, exclusively. `end[i]` is as in `Chains`.
    """

    sample: Ints
    history: History
    depth: Ints
    end: Bytes


class Unwinder:
    """Unwinds the batches of one recording. `frames` are the frames found so far; chains have their numbers.

    Raises UsageError for a machine it does not know.
    """

    def __init__(self, machine: str, spaces: AddressSpaces, code: MappedCode, tables: Tables) -> None:
        if machine not in MACHINES:
            raise UsageError(f"stacks of {machine} cannot be unwound", f"known: {', '.join(sorted(MACHINES))}")
        self.machine = MACHINES[machine]
        self.frames = Frames(spaces, code, tables, self.machine)
        self._steps = _steps(self.frames.rules, self.machine)

    def unwind(self, batch: SampleBatch, inspect: Callable[[Unwound], None] | None = None) -> Chains:
        """The stacks of a batch. `inspect` is called with the frames and registers of some samples at a time.

        Raises UsageError like `AddressSpaces.locate`.
        """
        parts = []
        for first in range(0, len(batch), CHUNK):
            sample = np.arange(first, min(first + CHUNK, len(batch)))
            unwound = self._unwound(batch, sample)
            if inspect is not None:
                unwound.history.looks_left = MAX_LOOKS
                inspect(unwound)
            parts.append(_chains(batch, sample, unwound, self.frames))
        return _concatenated(parts)

    def steps(self) -> _Steps:
        """How to step by each rule there is by now."""
        if len(self._steps.kind) != len(self.frames.rules):
            self._steps = _steps(self.frames.rules, self.machine)
        return self._steps

    def _unwound(self, batch: SampleBatch, sample: Ints) -> Unwound:
        begin, end = batch.stack_offsets[sample], batch.stack_offsets[sample + 1]
        walked = batch.has_registers[sample] & ((end > begin) | ~_has_recorded(batch, sample))
        sample, begin, end = sample[walked], begin[walked], end[walked]
        registers = batch.registers[sample]
        sp = registers[:, self.machine.sample_column[self.machine.stack_pointer]]
        history = History(self.machine, registers, Memory(batch.stack, begin, end, sp), self.frames.rules)
        walk = _Walk(self, history, batch.process[sample], batch.time[sample])
        walk.run()
        return Unwound(sample, history, walk.depth, walk.end)


class _Steps(NamedTuple):
    """By rule, what a step is made of: the kind of it; whether the CFA is counted from the frame pointer, and what is
    added; where the return address and the frame pointer are from there (the same place when it is not kept).
    """

    kind: Bytes
    by_fp: Mask
    cfa: Words
    pc: Ints
    fp: Ints
    keeps_fp: Mask


def _steps(rules: UnwindRules, machine: Machine) -> _Steps:
    pc_how, fp_how = rules.how[:, machine.return_address], rules.how[:, machine.frame_pointer]
    by_fp = rules.cfa_register == machine.frame_pointer
    easy = (
        (by_fp | (rules.cfa_register == machine.stack_pointer))
        & (pc_how == OFFSET)
        & ((fp_how == OFFSET) | (fp_how == SAME))
        & (rules.how[:, machine.stack_pointer] == SAME)
        & ~rules.signal
    )
    kind = np.where(easy, _STEP, np.where(pc_how == UNDEFINED, _OUTERMOST, _BY_HISTORY)).astype(np.uint8)
    kind[NO_RULE] = _GUESS
    pc = rules.value[:, machine.return_address].astype(np.int64)
    fp = np.where(fp_how == OFFSET, rules.value[:, machine.frame_pointer], pc)
    return _Steps(kind, by_fp, rules.cfa_offset.astype(np.int64).view(np.uint64), pc, fp, fp_how == OFFSET)


class _Next(NamedTuple):
    """Where the callers of frames are, and how stacks end there: _GOING_ON where they do not."""

    pc: Words
    sp: Words
    fp: Words
    end: Bytes


class _Walk:
    """Walks the stacks of some samples from frame to frame."""

    def __init__(self, unwinder: Unwinder, history: History, process: Ints, time: Ints) -> None:
        self._unwinder = unwinder
        self._history = history
        self._memory = history.memory
        self._seen = unwinder.frames.seen(process, time)
        machine = unwinder.machine
        self._address_mask = None if machine.stores_return_address else np.uint64(2**machine.address_bits - 1)
        self._row = np.arange(len(process))
        self._pc, self._sp, self._fp = (
            history.registers[:, column]
            for column in (
                machine.pc_column,
                machine.sample_column[machine.stack_pointer],
                machine.sample_column[machine.frame_pointer],
            )
        )
        self._caller: Mask | bool = False
        self._guessed = np.full(len(process), -1, np.int64)
        self.depth = np.full(len(process), MAX_DEPTH, np.int64)
        self.end = np.full(len(process), TOO_DEEP, np.uint8)

    def run(self) -> None:
        """Walk them all to their ends."""
        for depth in range(MAX_DEPTH):
            self._one_step(depth)
            if not len(self._row):
                break
        # What was guessed on the way is believed only where it led to the outermost frame.
        wrong = np.flatnonzero((self._guessed >= 0) & (self.end != COMPLETE))
        self.depth[wrong] = self._guessed[wrong] + 1
        self.end[wrong] = NO_TABLE

    def _one_step(self, depth: int) -> None:
        frames = self._unwinder.frames
        frame = frames.find(self._seen, self._row, self._pc, self._caller)
        lost = frame == NOWHERE
        if lost.any():
            frame = self._without_lost(frame, lost, depth)
        rule = frames.rule[frame]
        steps = self._unwinder.steps()
        self._history.rules = frames.rules
        cfa = np.where(steps.by_fp[rule], self._fp, self._sp) + steps.cfa[rule]
        step = Step(self._row, frame, rule, self._pc, self._sp, self._fp, cfa)
        self._history.steps.append(step)
        after = self._easily(step, steps)
        kind = steps.kind[rule]
        self._caller = True
        if kind.any():
            self._otherwise(kind, step, after, depth)
        self._go_on(after, depth)

    def _without_lost(self, frame: Indices, lost: Mask, depth: int) -> Indices:
        """A sampled address outside every mapping is a frame all the same; a return address there is none."""
        if depth == 0:
            frame[lost] = self._unwinder.frames.of_unknown(self._pc[lost])
            return frame
        self.depth[self._row[lost]] = depth
        self.end[self._row[lost]] = BROKEN
        self._keep(~lost)
        return frame[~lost]

    def _easily(self, step: Step, steps: _Steps) -> _Next:
        """The callers, as if every rule were of the kind _STEP."""
        memory, row, cfa = self._memory, step.row, step.cfa
        first, last = memory.first[row], memory.last[row]
        place = (cfa + memory.origin[row]).view(np.int64)
        at_pc = place + steps.pc[step.rule]
        good = (at_pc >= first) & (at_pc <= last) & (cfa > step.sp)
        end = np.full(len(row), _GOING_ON, np.uint8)
        if not good.all():
            bad = np.flatnonzero(~good)
            end[bad] = self._why(row[bad], step.sp[bad], cfa[bad], at_pc[bad])
            at_pc[bad] = 0
        pc = memory.at(at_pc)
        end[good & (pc == 0)] = COMPLETE
        at_fp = place + steps.fp[step.rule]
        # Below the stack pointer: it was just popped, and compilers do not say so where nobody can throw.
        kept = steps.keeps_fp[step.rule] & (at_fp >= first)
        beyond = at_fp > last
        at_fp[~kept | beyond] = 0
        fp = np.where(kept, np.where(beyond, 0, memory.at(at_fp)), step.fp)
        return _Next(pc, cfa, fp, end)

    def _why(self, row: Ints, sp: Words, cfa: Words, at_pc: Ints) -> Bytes:
        """Why a return address cannot be read."""
        memory = self._memory
        place = (sp + memory.origin[row]).view(np.int64)
        elsewhere = (place < memory.first[row]) | (place > memory.last[row] + WORD)
        beyond = at_pc - memory.last[row]
        cut = (cfa > sp) & (elsewhere | ((beyond > 0) & (beyond < _FAR)))
        return np.where(cut, TRUNCATED, BROKEN).astype(np.uint8)

    def _otherwise(self, kind: Bytes, step: Step, after: _Next, depth: int) -> None:
        after.end[kind == _OUTERMOST] = COMPLETE
        guessed = np.flatnonzero(kind == _GUESS)
        if len(guessed):
            self._guess(guessed, step, after, depth)
        other = np.flatnonzero(kind == _BY_HISTORY)
        if not len(other):
            return
        signal = self._history.rules.signal[step.rule]
        if signal.any():
            self._caller = ~signal
        for rule in np.unique(step.rule[other]).tolist():
            self._by_history(rule, other[step.rule[other] == rule], step, after, depth)

    def _guess(self, which: Ints, step: Step, after: _Next, depth: int) -> None:
        """The outermost frame has a frame pointer of 0 (System V ABI, AMD64, 3.4.1). The caller's one may be anything:
        code with tables need not keep any.
        """
        row, fp = step.row[which], step.fp[which]
        self._guessed[row] = np.where(self._guessed[row] < 0, depth, self._guessed[row])
        end = after.end[which]
        stuck = (fp < step.sp[which]) | ((end != _GOING_ON) & (end != COMPLETE))
        after.end[which[stuck]] = NO_TABLE
        if depth:
            after.end[which[fp == 0]] = COMPLETE

    def _by_history(self, rule: int, which: Ints, step: Step, after: _Next, depth: int) -> None:
        rules = self._history.rules
        caller = self._history.caller(rule, At(step.row[which], depth))
        known = caller.cfa.known & caller.pc.known & caller.sp.known
        step.cfa[which] = caller.cfa.value
        after.pc[which], after.sp[which] = caller.pc.value, caller.sp.value
        after.fp[which] = np.where(caller.fp.known, caller.fp.value, 0)
        # A handler may run on a stack of its own, above or below the interrupted one; and where calls do not push the
        # return address, a function may be left that has put nothing on the stack.
        stays = (caller.sp.value == step.sp[which]) & (
            self._unwinder.machine.stores_return_address | (caller.pc.value == step.pc[which])
        )
        falls = ((caller.sp.value < step.sp[which]) | stays) & ~rules.signal[rule]
        end = np.where(caller.pc.value == 0, COMPLETE, _GOING_ON)
        after.end[which] = np.where(known, np.where(falls, BROKEN, end), TRUNCATED)

    def _go_on(self, after: _Next, depth: int) -> None:
        self._pc, self._sp, self._fp = after.pc, after.sp, after.fp
        if self._address_mask is not None:
            self._pc = self._pc & self._address_mask
        ended = after.end != _GOING_ON
        if ended.any():
            self.depth[self._row[ended]] = depth + 1
            self.end[self._row[ended]] = after.end[ended]
            self._keep(~ended)

    def _keep(self, kept: Mask) -> None:
        self._row = self._row[kept]
        self._pc, self._sp, self._fp = self._pc[kept], self._sp[kept], self._fp[kept]
        if not isinstance(self._caller, bool):
            self._caller = self._caller[kept]


def _has_recorded(batch: SampleBatch, sample: Ints) -> Mask:
    """Whether the kernel recorded a chain of user frames."""
    return batch.chain_offsets[sample + 1] - batch.chain_offsets[sample] > batch.kernel_depth[sample]


def _chains(batch: SampleBatch, sample: Ints, unwound: Unwound, frames: Frames) -> Chains:
    """The kernel's frames of `sample`, neighbours in the batch, and their user frames."""
    first = int(sample[0])
    begin, kernel = batch.chain_offsets[sample], batch.kernel_depth[sample]
    # Where no chains were recorded, the sampled address is the kernel's only frame.
    alone = (kernel == 0) & (batch.mode[sample] == MODE_KERNEL)
    user = np.zeros(len(sample), np.int64)
    user[unwound.sample - first] = unwound.depth
    recorded = np.ones(len(sample), np.bool_)
    recorded[unwound.sample - first] = False
    recorded &= _has_recorded(batch, sample)
    user[recorded] = (batch.chain_offsets[sample + 1] - begin - kernel)[recorded]
    kernel_depth = kernel + alone
    offsets = np.concatenate([[0], np.cumsum(kernel_depth + user)])
    frame = np.zeros(offsets[-1], np.int32)

    place, depth, row = _runs(offsets[:-1], kernel)
    frame[place] = frames.of_kernel(batch.chain[begin[row] + depth], depth > 0)
    frame[offsets[:-1][alone]] = frames.of_kernel(batch.address[sample[alone]], np.zeros(alone.sum(), np.bool_))
    start = offsets[:-1] + kernel_depth
    for number, step in enumerate(unwound.history.steps):
        kept = unwound.depth[step.row] > number
        frame[start[unwound.sample[step.row[kept]] - first] + number] = step.frame[kept]
    place, depth, row = _runs(start, np.where(recorded, user, 0))
    if len(place):
        address = batch.chain[(begin + kernel)[row] + depth]
        seen = frames.seen(batch.process[sample], batch.time[sample])
        found = frames.find(seen, row, address, depth > 0)
        found[found == NOWHERE] = frames.of_unknown(address[found == NOWHERE])
        frame[place] = found
    end = np.where(recorded, AS_RECORDED, NO_USER_STACK).astype(np.uint8)
    end[unwound.sample - first] = unwound.end
    return Chains(offsets, frame, kernel_depth, end)


def _runs(start: Ints, length: Ints) -> tuple[Ints, Ints, Ints]:
    """Every place of runs of places; the number of each within its run; and the index of its run."""
    row = np.repeat(np.arange(len(start)), length)
    within = np.arange(len(row)) - np.repeat(np.cumsum(length) - length, length)
    return start[row] + within, within, row


def _concatenated(parts: list[Chains]) -> Chains:
    before = np.cumsum([0, *(part.offsets[-1] for part in parts)])
    return Chains(
        np.concatenate([[0], *(part.offsets[1:] + moved for part, moved in zip(parts, before, strict=False))]),
        np.concatenate([np.zeros(0, np.int32), *(part.frame for part in parts)]),
        np.concatenate([np.zeros(0, np.int64), *(part.kernel_depth for part in parts)]),
        np.concatenate([np.zeros(0, np.uint8), *(part.end for part in parts)]),
    )
