"""Two runs compared: estimates with their uncertainty, before any policy says what they mean."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pytest_blcperf.model.function import Function
from pytest_blcperf.model.metric import Metric
from pytest_blcperf.model.warning import Warning

SELF = "self"
TOTAL = "total"

NANOSECONDS = "ns"
INSTRUCTIONS = "instructions"

CPU = "cpu"
WALL = "wall"


@dataclass(frozen=True)
class Estimate:
    """The logarithm of a cost ratio head / base, its standard error, and the degrees of freedom of that error."""

    log_ratio: float
    standard_error: float
    freedom: int

    @property
    def change(self) -> float:
        """Relative change: 0.05 is 5 % dearer."""
        return math.expm1(self.log_ratio)


@dataclass(frozen=True)
class FunctionComparison:
    """One hot function. Costs in ns of CPU time per iteration of the benchmark, or in what `unit` says; shares as
    fractions of the benchmark.

    `kind` says whose time is compared: SELF (leaf) or TOTAL (with what it calls). `impact` is the part of the
    benchmark's relative slowdown that this function's growth makes up (0.02 is 2 % of the benchmark). `calls_*` are
    calls per iteration, None when unknown; `counts_exact` says both were deterministic. `code_changed` is None when
    either fingerprint is unknown.
    """

    function: Function
    kind: str
    share_base: float
    share_head: float
    cost_base_ns: float
    cost_head_ns: float
    ratio: Estimate
    impact: float
    samples_base: int
    samples_head: int
    calls_base: float | None = None
    calls_head: float | None = None
    counts_exact: bool = False
    code_changed: bool | None = None
    unit: str = NANOSECONDS
    timed: bool = False
    """Measured by clocks at its entry and exit, or in the time of what it runs in; otherwise from its share."""
    timed_in: Function | None = None
    """The function in whose time it was measured, as the only change in there; None where clocks timed it itself."""
    around: float = math.inf
    """Of one that is not timed: by how much of the benchmark what it runs in can have changed at most, either way, by
    its 90 % interval: the benchmark itself, or a timed function that always calls it. Infinite when unknown."""

    @property
    def new(self) -> bool:
        """Whether the base never ran it: how much dearer it got then says nothing."""
        return self.cost_base_ns <= 0 < self.cost_head_ns and not self.calls_base


@dataclass(frozen=True)
class BenchmarkComparison:
    """One benchmark on both sides. CPU time in ns per iteration (median over launches), or what `unit` says."""

    id: str
    base_ns: float
    head_ns: float
    ratio: Estimate
    functions: tuple[FunctionComparison, ...]
    launches: int
    paired: bool
    base_wall_ns: float = 0.0
    head_wall_ns: float = 0.0
    backend: str = ""
    warnings: tuple[Warning, ...] = ()
    unit: str = NANOSECONDS
    metric: Metric | None = None
    """Set where no time was compared but a metric: both `_ns` are then in its unit, and a positive ratio is worse."""
    judged: str = CPU
    """What the gate judges: CPU, WALL (the ratio is then that of wall times; functions have CPU time all the same), or
    INSTRUCTIONS (what is compared here is then shown only, unless it is in that unit)."""

    @property
    def costs(self) -> tuple[float, float]:
        """What the ratio is of, base and head: CPU or wall time in ns, instructions, or the metric's values."""
        if self.judged == WALL:
            return self.base_wall_ns, self.head_wall_ns
        return self.base_ns, self.head_ns

    @property
    def shown(self) -> Estimate:
        """The ratio as it is shown: of a metric that is better when higher, that of its values."""
        if self.metric is None or self.metric.better == "lower":
            return self.ratio
        return Estimate(-self.ratio.log_ratio, self.ratio.standard_error, self.ratio.freedom)

    @property
    def io_bound(self) -> bool:
        """CPU time is less than half of wall time on either side: the CPU metric misses most of what happens."""
        return self.base_ns < 0.5 * self.base_wall_ns or self.head_ns < 0.5 * self.head_wall_ns
