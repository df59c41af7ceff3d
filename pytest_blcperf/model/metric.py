"""Figures that tests report themselves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A figure a test reports by itself (`blcperf.metric`): positive, and `better` when "higher" or "lower"."""

    name: str
    unit: str
    better: str
