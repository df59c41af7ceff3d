"""Two sides of captures compared: what became dearer, cheaper, new or gone, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_blcperf.model.function import Function
from pytest_blcperf.model.warning import Warning


@dataclass(frozen=True)
class Delta:
    """One row. `base` and `head` are CPUs in use (time a second of the window), or parts of the whole where the
    captures do not say how long they took; `change` is their difference as a part of the base's total, with its 95 %
    interval from `low` to `high`. `p` is two-sided, Holm-adjusted over the rows of its kind.
    """

    name: str
    base: float
    head: float
    change: float
    low: float
    high: float
    p: float
    function: Function | None = None

    @property
    def significant(self) -> bool:
        """At 5 % over all rows of its kind."""
        return self.p <= 0.05

    @property
    def state(self) -> str:
        """`new`, `gone`, or ""."""
        return "new" if not self.base and self.head else "gone" if self.base and not self.head else ""


@dataclass(frozen=True)
class CaptureComparison:
    """`functions` by self time, largest change first; `tables` by mode, class, library, role and system call.

    `between` says whether the intervals come from several captures a side, or from counting samples in one, which knows
    nothing of how captures differ from each other. `unit` is "CPUs" or "of the time".
    """

    base: str
    head: str
    unit: str
    between: bool
    captures: tuple[int, int]
    total: Delta
    functions: tuple[Delta, ...]
    tables: dict[str, tuple[Delta, ...]]
    warnings: tuple[Warning, ...] = ()
    calls: tuple[Delta, ...] = ()
    """System calls, where every capture counted them: `base` and `head` are calls a second, changes parts of all calls
    of the base.
    """
