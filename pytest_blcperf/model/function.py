"""Functions as they appear in profiles and counts."""

from __future__ import annotations

from dataclasses import dataclass, field

PYTHON, NATIVE, KERNEL, JIT = KINDS = ("python", "native", "kernel", "jit")


@dataclass(frozen=True)
class Function:
    """A function of the measured program; two are the same function when file and qualified name agree.

    `file` is relative to the side's checkout (`src/lib/parse.py`), or begins with `<stdlib>/`, `<site>/` or `<string>`.
    Of a function that is no Python function it is the object's base name (`libc.so.6`, `[kernel]`, `[vdso]`, `[jit]`),
    and `name` is demangled; an address without a name is called `+0x1f40` after its place in the file.
    `line` is the first line (1-based, 0 unknown). `fingerprint` is a hash of the code without its line numbers (of
    native code: of its normalised bytes), "" when unknown: equal fingerprints mean unchanged code. `kind` is one of
    KINDS.
    """

    file: str
    name: str
    line: int = field(default=0, compare=False)
    fingerprint: str = field(default="", compare=False)
    kind: str = field(default=PYTHON, compare=False)

    def encloses(self, other: Function) -> bool:
        """Whether the other is defined inside of it. Then its fingerprint changes with the other's."""
        return self.file == other.file and other.name.startswith(f"{self.name}.<locals>.")

    @property
    def location(self) -> str:
        """`file:line`, or the file alone where the line is unknown."""
        return f"{self.file}:{self.line}" if self.line else self.file
