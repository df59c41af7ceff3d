"""Functions as they appear in profiles and counts."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Function:
    """A function of the measured program; two are the same function when file and qualified name agree.

    `file` is relative to the side's checkout (`src/lib/parse.py`), or begins with `<stdlib>/`, `<site>/` or `<string>`.
    `line` is the first line (1-based, 0 unknown). `fingerprint` is a hash of the code without its line numbers, "" when
    unknown: equal fingerprints mean unchanged code.
    """

    file: str
    name: str
    line: int = field(default=0, compare=False)
    fingerprint: str = field(default="", compare=False)

    @property
    def location(self) -> str:
        """`file:line`, or the file alone where the line is unknown."""
        return f"{self.file}:{self.line}" if self.line else self.file
