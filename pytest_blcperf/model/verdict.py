"""Verdicts, each with its evidence."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pytest_blcperf.model.comparison import INSTRUCTIONS, BenchmarkComparison, FunctionComparison
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
    WALL = "lockstep wall time"
    ATTRIBUTED = "lockstep time of what it runs in"
    PROFILE = "profile share × lockstep time"
    ELIMINATION = "only change"
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


OWN, CALLED, CALLER, MODULE, RUN = RELATIONS = ("own code", "called by it", "calls it", "module", "run by it")


@dataclass(frozen=True)
class ChangedLines:
    """Lines that differ between the sides, in a function on the way to a regression: one hunk of their difference.

    `first` to `last` are its lines in the head, 1-based; where lines were only taken away, `last` is `first` − 1 and
    they stood before `first`. `text` has lines of a diff, each beginning with `-` or `+`; `hidden` more were left out.
    `relation` says how `function` has to do with the guilty one, one of RELATIONS; MODULE: in no function, and named in
    the guilty one's code. RUN: the benchmark runs it, and more is not known.
    """

    function: Function
    first: int
    last: int
    text: tuple[str, ...]
    hidden: int = 0
    relation: str = OWN

    @property
    def line(self) -> int:
        """A line of the head to point at; where lines were taken away, the one before them."""
        return self.first if self.last >= self.first else max(self.last, 1)


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
    threshold: float = 0.0
    explanation: Explanation | None = None
    follows_from: Function | None = None
    """The guilty function this one calls, when its growth is explained by that one's."""
    carrier: bool = False
    """Regressed because it carries the slowdown of what failed, whatever its own test says: measured, or by
    elimination."""
    changed_lines: tuple[ChangedLines, ...] = ()
    """Of a guilty function: the changed lines that may have caused its growth, the most likely first."""


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
    changed_lines: tuple[ChangedLines, ...] = ()
    """Of a regression whose guilty functions, if any, led to no changed lines: those of all functions that it runs."""

    @property
    def judged(self) -> BenchmarkComparison | None:
        """The comparison that the gate judges: that of instructions where they are gated, else `comparison`."""
        times = self.comparison
        return self.instructions if self.instructions and times and times.judged == INSTRUCTIONS else times

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
