"""Where the unwind tables of an object come from: its file's sections, what is known of stubs, the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pytest_blcperf.symbols.eh_frame import CfiError, CfiSection, unwind_table
from pytest_blcperf.symbols.elf import ElfError, ElfFile
from pytest_blcperf.symbols.objects import CodeObject
from pytest_blcperf.symbols.stubs import plt_table, sigreturn_table
from pytest_blcperf.symbols.table_cache import TableCache
from pytest_blcperf.symbols.unwind_machine import Machine
from pytest_blcperf.symbols.unwind_table import UnwindTable

SECTIONS = (".eh_frame", ".debug_frame")
"""Those to believe first coming first: only `.eh_frame` is loaded, and must be right for exceptions to work."""


class TableSource:
    """The unwind tables of code objects. `problems` says what stood in the way, by the object's path.

    `extra` gives tables of objects without files (stubs of a JIT), whose link addresses are the ones in memory, and
    `debug_file` the separate debug file of a program, if there is one.
    """

    def __init__(
        self,
        objects: Sequence[CodeObject],
        machine: Machine,
        cache: TableCache | None = None,
        extra: Callable[[int], Sequence[UnwindTable]] = lambda _: (),
        debug_file: Callable[[CodeObject], ElfFile | None] = lambda _: None,
    ) -> None:
        self._objects = objects
        self._machine = machine
        self._cache = cache
        self._extra = extra
        self._debug_file = debug_file
        self.problems: dict[str, str] = {}

    def tables(self, index: int) -> list[UnwindTable]:
        """The tables of the object with that index."""
        code = self._objects[index]
        tables = list(self._extra(index))
        if code.elf is None:
            return tables
        if (code.elf.machine, code.elf.bits, code.elf.byte_order) != (self._machine.name, 64, "<"):
            self.problems[code.file.path] = f"code of another machine: {code.elf.machine}, {code.elf.bits} bits"
            return tables
        tables += [table for name in SECTIONS if (table := self._section(code, code.elf, name)) is not None]
        debug = self._debug_file(code)
        if debug is not None and (table := self._section(code, debug, ".debug_frame")) is not None:
            tables.append(table)
        return tables + self._stubs(code, code.elf)

    def _section(self, code: CodeObject, elf: ElfFile, name: str) -> UnwindTable | None:
        section = elf.section(name)
        if section is None or not section.size:
            return None

        def make() -> UnwindTable:
            return unwind_table(CfiSection(elf.data(section), section.address, name == ".debug_frame"), self._machine)

        try:
            if self._cache is None:
                return make()
            return self._cache.table(elf.build_id, name.strip("."), make)
        except (ElfError, CfiError) as error:
            self.problems[code.file.path] = f"{name}: {error.message}"
            return None

    def _stubs(self, code: CodeObject, elf: ElfFile) -> list[UnwindTable]:
        try:
            found = [plt_table(elf, self._machine), sigreturn_table(elf, self._machine)]
        except ElfError as error:
            self.problems[code.file.path] = error.message
            return []
        return [table for table in found if len(table)]
