"""Stacks of a recording that is going on: batches are unwound as they come, so that their copies of stacks can be
thrown away, and mappings that have come since are taken in between two of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_blcperf.model.capture import Capture
from pytest_blcperf.model.recording import Fork, Mapping, Recording, SampleBatch, ThreadName
from pytest_blcperf.model.warning import Warning
from pytest_blcperf.symbols.address_space import AddressSpaces, MappedCode, mapped_code
from pytest_blcperf.symbols.capture_builder import CaptureBuilder
from pytest_blcperf.symbols.objects import CodeObject, Objects
from pytest_blcperf.symbols.python_process import PythonProcesses
from pytest_blcperf.symbols.resolve import Resolver
from pytest_blcperf.symbols.table_cache import user_cache
from pytest_blcperf.symbols.unwind import Unwinder
from pytest_blcperf.symbols.unwind_machine import MACHINES
from pytest_blcperf.symbols.unwind_sources import TableSource


class LiveStacks:
    """Of one window. `resolver` and `objects` are those of the whole session: they keep what they have read.

    With `live` False the processes are those of another time, and nobody is asked for their Python functions.
    """

    def __init__(self, machine: str, objects: Objects, resolver: Resolver, live: bool = True) -> None:
        self._live = live
        self._machine = machine
        self._objects = objects
        self._resolver = resolver
        self._mappings: list[Mapping] = []
        self._forks = self._names = 0
        self._code_objects: list[CodeObject] = []
        self._code: MappedCode = mapped_code((), objects)
        self._pythons = PythonProcesses(machine)
        source = TableSource(self._code_objects, MACHINES[machine], user_cache(), extra=self._pythons.tables)
        self._unwinder = Unwinder(machine, AddressSpaces(()), self._code, source.tables)
        self._builder = CaptureBuilder()

    def add(
        self, batch: SampleBatch, mappings: Sequence[Mapping], names: Sequence[ThreadName], forks: Sequence[Fork]
    ) -> None:
        """The stacks of a batch. The sequences only grow from one call to the next."""
        if (len(mappings), len(names), len(forks)) != (len(self._mappings), self._names, self._forks):
            self._mappings += mappings[len(self._mappings) :]
            self._names, self._forks = len(names), len(forks)
            self._code = mapped_code(self._mappings, self._objects)
            self._code_objects[:] = self._code.objects
            if self._live:
                self._pythons.look(self._mappings, self._code)
            self._unwinder.frames.renew(AddressSpaces(self._mappings, names, forks), self._code)
        self._builder.add(batch, self._pythons.folded(self._unwinder.unwind(batch), self._unwinder.frames))

    def __len__(self) -> int:
        return len(self._builder)

    def build(self, recording: Recording, **details: Any) -> Capture:
        """The capture of the recording's first event; `details` are those of `CaptureBuilder.build`."""
        names = self._resolver.resolve(self._unwinder.frames, self._code, self._mappings)
        names = self._pythons.named(names, self._unwinder.frames, self._mappings)
        hints = [Warning("python-frames", hint) for hint in self._pythons.hints]
        return self._builder.build(recording, names, warnings=hints, **details)
