"""Stacks as `perf script` unwinds them (`perf record --call-graph dwarf`): the reference for our own."""

import re
import subprocess
from collections import defaultdict

import numpy as np

HEADER = re.compile(r"^\s*(-?\d+)/(-?\d+)\s+(\d+)\.(\d+):")
FRAME = re.compile(r"^\s+([0-9a-f]+)")


def record(data, *command, frequency=4000, stack_bytes=16384, event="cpu-clock:u"):
    """Record a command into the file `data`."""
    options = [
        "-q",
        "-m",
        "8M",
        "-F",
        str(frequency),
        "-e",
        event,
        "--call-graph",
        f"dwarf,{stack_bytes}",
        "-k",
        "CLOCK_MONOTONIC",
    ]
    subprocess.run(
        ["perf", "record", *options, "-o", str(data), "--", *map(str, command)],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def stacks(data):
    """By (thread, time in ns): the addresses of each sample, leaf first, as perf prints them."""
    command = ["perf", "script", "--ns", "--no-inline", "-F", "pid,tid,time,ip", "-i", str(data)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = defaultdict(list)
    key = None
    for line in text.splitlines():
        header = HEADER.match(line)
        if header:
            key = int(header[2]), int(header[3]) * 10**9 + int(header[4])
            found[key] = []
        elif key is not None and (frame := FRAME.match(line)):
            found[key].append(int(frame[1], 16))
    return dict(found)


class InFiles:
    """Collects what an unwinder went through as perf prints it, as `inspect` of `Unwinder.unwind`: offsets in the mapped
    files, and of callers the address before the return address, so that it is the line of the call.
    """

    def __init__(self, batch, spaces):
        self._batch = batch
        self._spaces = spaces
        self._shift = np.array([(mapping.offset - mapping.start) % 2**64 for mapping in spaces.mappings], np.uint64)
        self._paths = [mapping.path for mapping in spaces.mappings]
        self.stacks = {}
        self.ends = {}
        self.sampled_paths = {}

    def __call__(self, unwound):
        batch, sample = self._batch, unwound.sample
        keys = list(zip(batch.thread[sample].tolist(), batch.time[sample].tolist(), strict=True))
        rows = [[] for _ in keys]
        after_signal = np.zeros(len(keys), np.bool_)
        for depth, step in enumerate(unwound.history.steps):
            kept = unwound.depth[step.row] > depth
            row = step.row[kept]
            address = step.pc[kept] - (~after_signal[row] & (depth > 0)).astype(np.uint64)
            mapping = self._spaces.locate(batch.process[sample[row]], batch.time[sample[row]], address)
            shown = address + np.where(mapping >= 0, self._shift[mapping], np.uint64(0))
            for place, one in zip(row.tolist(), shown.tolist(), strict=True):
                rows[place].append(one)
            if depth == 0:
                paths = [self._paths[one] if one >= 0 else "" for one in mapping.tolist()]
                self.sampled_paths.update(zip([keys[place] for place in row.tolist()], paths, strict=True))
            after_signal[row] = unwound.history.rules.signal[step.rule[kept]]
        self.stacks.update(zip(keys, rows, strict=True))
        self.ends.update(zip(keys, unwound.end.tolist(), strict=True))
