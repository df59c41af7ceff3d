"""Which functions a profile says are hot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pytest_blcperf.model.function import Function
from pytest_blcperf.model.profile import Profile


@dataclass(frozen=True)
class HotFunction:
    """A function and its shares of a profile's CPU time. `self_share` is None when the backend knows no self time."""

    function: Function
    self_share: float | None
    total_share: float

    @property
    def name(self) -> str:
        """Its qualified name."""
        return self.function.name


def hottest(profile: Profile, top: int = 100, *, leaves_first: bool = False) -> list[HotFunction]:
    """The functions with most self time (total time where self time is unknown), at most `top`.

    `leaves_first` puts those in order by what the samples end in, though the backend's self time is not exact: by total
    time a main loop is first that does nothing itself.
    """
    whole = profile.total_weight
    if whole <= 0:
        return []
    by_stack = np.bincount(profile.stack, weights=profile.weight, minlength=len(profile.stacks))
    own: dict[Function, float] = {}
    total: dict[Function, float] = {}
    for stack, weight in zip(profile.stacks, by_stack.tolist(), strict=True):
        functions = [profile.functions[index] for index in stack]
        if functions:
            own[functions[0]] = own.get(functions[0], 0.0) + weight
        for function in set(functions):
            total[function] = total.get(function, 0.0) + weight
    hot = [
        HotFunction(function, own.get(function, 0.0) / whole if profile.self_time else None, weight / whole)
        for function, weight in total.items()
    ]
    by_self = own if profile.self_time or leaves_first else {}
    return sorted(hot, key=lambda one: (-by_self.get(one.function, 0.0), -one.total_share, one.function.name))[:top]
