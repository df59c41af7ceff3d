"""Verdicts, each with its evidence."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pytest_blcperf.model.comparison import BenchmarkComparison, FunctionComparison
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.warning import Warning


class Outcome(str, Enum):
    """The four verdicts, and NOT_COMPARED where there was only one side to look at."""

    REGRESSED = "regressed"
    IMPROVED = "improved"
    UNCHANGED = "unchanged"
    INCONCLUSIVE = "inconclusive"
    NOT_COMPARED = "not compared"


class Evidence(str, Enum):
    """What a verdict rests on, strongest first."""

    IDENTICAL = "identical code"
    COUNTS = "exact counts"
    LOCKSTEP = "lockstep time"
    PROFILE = "profile share × lockstep time"
    METRIC = "metric"
    STORED = "stored baseline"
    NONE = "none"


@dataclass(frozen=True)
class Explanation:
    """ΔF = called more often + dearer per call, ns per iteration; None where calls are unknown."""

    called_more_ns: float
    dearer_per_call_ns: float


@dataclass(frozen=True)
class CallChange:
    """A function, of C as well, that is called more or less often per iteration: exact counts of both sides."""

    function: Function
    base: float
    head: float


@dataclass(frozen=True)
class FunctionVerdict:
    """A hot function judged. `p` is the confirmation's adjusted p-value (None when it was not a candidate);
    `detectable` the smallest relative change this data could have shown with 95 % power.
    """

    comparison: FunctionComparison
    outcome: Outcome
    evidence: Evidence
    p: float | None = None
    detectable: float | None = None
    explanation: Explanation | None = None
    follows_from: Function | None = None
    """The guilty function this one calls, when its growth is explained by that one's."""


@dataclass(frozen=True)
class BenchmarkVerdict:
    """A benchmark judged. `comparison` is None when nothing was measured (identical code, or one side only).

    `functions` are all the hot functions that were judged, the guilty ones first. `reason` is one sentence, never
    empty for INCONCLUSIVE and NOT_COMPARED. `gate` is the policy in force: fail, warn, off, or accepted.
    """

    id: str
    outcome: Outcome
    evidence: Evidence
    reason: str = ""
    comparison: BenchmarkComparison | None = None
    functions: tuple[FunctionVerdict, ...] = ()
    p: float | None = None
    detectable: float | None = None
    threshold: float = 0.0
    gate: str = "fail"
    warnings: tuple[Warning, ...] = ()
    changed_code: tuple[Function, ...] = ()
    """Functions that the benchmark runs and whose code differs between the sides, those with most time first."""
    instructions: BenchmarkComparison | None = None
    """The same benchmark in instructions, where callgrind counted them."""
    changed_calls: tuple[CallChange, ...] = ()
    """Where exact counts differ between the sides, the largest difference first."""

    @property
    def guilty(self) -> tuple[FunctionVerdict, ...]:
        """The regressed functions that no other regressed function explains, worst first."""
        return tuple(
            verdict
            for verdict in self.functions
            if verdict.outcome is Outcome.REGRESSED and verdict.follows_from is None
        )

    @property
    def fails(self) -> bool:
        """Whether this verdict fails the benchmark's test."""
        return self.outcome is Outcome.REGRESSED and self.gate == "fail"


@dataclass(frozen=True)
class GateVerdict:
    """The whole gate: what was compared with what, and how it came out."""

    base: str
    head: str
    mode: str
    benchmarks: tuple[BenchmarkVerdict, ...]
    alpha: float
    seconds: float = 0.0
    warnings: tuple[Warning, ...] = ()
    calibration: str = ""
    """Where the noise is from that errors start from: `blcperf calibrate` on such a machine; "": the built-in one."""

    def count(self, outcome: Outcome) -> int:
        """Number of benchmarks with that outcome."""
        return sum(verdict.outcome is outcome for verdict in self.benchmarks)

    @property
    def compared(self) -> int:
        """Number of benchmarks that had two sides to compare."""
        return sum(verdict.outcome is not Outcome.NOT_COMPARED for verdict in self.benchmarks)

    @property
    def failed(self) -> bool:
        """Whether any benchmark fails."""
        return any(verdict.fails for verdict in self.benchmarks)
