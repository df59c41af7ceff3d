"""How much a machine's launches scatter when nothing changed: what every error estimate starts from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_blcperf.model.environment import Environment

LEAST_DISPERSION = 0.4
"""φ: lowest dispersion of shares seen against binomial sampling (systematic sampling of a periodic workload: 0.43)."""


@dataclass(frozen=True)
class Noise:
    """What two sides with the same code differ by.

    `between_launches` is σ_b, the SD of the log ratio between launches that each side adds (0: unknown). `dispersion`
    is φ, the variance of sample counts relative to binomial sampling; no comparison assumes less, and None leaves it to
    the comparison's own samples.
    """

    between_launches: float = 0.0
    dispersion: float | None = None

    @property
    def least_spread(self) -> float:
        """The SD of launches' log ratios to reckon with at least, √2 σ_b / 2: the launches of a first look that scatter
        by less than half of what they did in calibration were lucky.
        """
        return self.between_launches / math.sqrt(2)


@dataclass(frozen=True)
class Calibration:
    """The noise of each benchmark by id, and of all others. `label` says where it is from, "" for the built-in one."""

    label: str = ""
    pooled: Noise = field(default_factory=Noise)
    benchmarks: Mapping[str, Noise] = field(default_factory=dict)

    def noise(self, benchmark: str) -> Noise:
        """What to expect of one benchmark."""
        return self.benchmarks.get(benchmark, self.pooled)


BUILT_IN = Calibration()


@dataclass(frozen=True)
class BenchmarkNoise:
    """One benchmark measured against itself.

    `spread` is the SD of the launches' log ratios, `between_launches` the part of it that each side adds between
    launches (σ_b), with `freedom` degrees of freedom. `dispersion` is φ, None without a profile. `seconds` is what a
    launch of both sides takes, start-up included.
    """

    id: str
    launches: int
    seconds: float
    spread: float
    between_launches: float
    freedom: int
    dispersion: float | None = None


@dataclass(frozen=True)
class CalibrationRecord:
    """What `blcperf calibrate` measured, with everything it depends on. `created` is UTC, ISO 8601."""

    created: str
    environment: Environment
    backend: str
    rate: int
    profile_window: float
    rounds: int
    pooled: Noise
    benchmarks: tuple[BenchmarkNoise, ...]

    @property
    def label(self) -> str:
        """How verdicts call it."""
        return f"calibrated {self.created[:10]}"
