"""Student's t distribution without scipy.

The regularised incomplete beta function is summed as the continued fraction DLMF 8.17.22
(https://dlmf.nist.gov/8.17.E22) by the modified Lentz method (Press et al., Numerical Recipes, 3rd ed., 5.2 and 6.4).
Tail probabilities come from the tail itself, never as one minus the rest, so they keep ten digits however small.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

_TINY = 1e-300
_STEPS = 10_000


def survival(t: float, freedom: float) -> float:
    """P(T ≥ t) for `freedom` > 0 degrees of freedom. Raises ValueError for a NaN or a freedom of zero or less."""
    if math.isnan(t) or not freedom > 0:
        raise ValueError(f"no t distribution for t={t}, freedom={freedom}")
    if math.isinf(t):
        return 0.0 if t > 0 else 1.0
    if t < 0:
        return 1.0 - survival(-t, freedom)
    if math.isinf(freedom):
        return 0.5 * math.erfc(t / math.sqrt(2))
    # Both x and 1 - x directly: the difference would lose the digits of a small t.
    whole = freedom + t * t
    return 0.5 * _beta(freedom / whole, t * (t / whole), freedom / 2, 0.5)


def cdf(t: float, freedom: float) -> float:
    """P(T ≤ t)."""
    return survival(-t, freedom)


def quantile(p: float, freedom: float) -> float:
    """The t with P(T ≤ t) = p, for 0 < p < 1. Raises ValueError outside."""
    if not 0 < p < 1:
        raise ValueError(f"no quantile at probability {p}")
    return -upper_quantile(p, freedom) if p < 0.5 else upper_quantile(1 - p, freedom)


@lru_cache(maxsize=1024)
def upper_quantile(p: float, freedom: float) -> float:
    """The t with P(T ≥ t) = p, exact in the upper tail, for 0 < p < 1. Raises ValueError outside."""
    if not 0 < p < 1:
        raise ValueError(f"no quantile at probability {p}")
    if p > 0.5:
        return -upper_quantile(1 - p, freedom)
    if p == 0.5:
        return 0.0
    if math.isinf(freedom):
        return -normal(p)
    low, high = 0.0, 1.0
    while survival(high, freedom) > p:
        low, high = high, high * 2
    return _newton(p, freedom, low, high)


def normal(p: float) -> float:
    """The z with P(Z ≤ z) = p of the standard normal distribution, for 0 < p < 1."""
    return NormalDist().inv_cdf(p)


def _newton(p: float, freedom: float, low: float, high: float) -> float:
    """Root of log survival = log p between low and high: Newton's steps, bisection where one leaves the bracket."""
    t = (low + high) / 2
    for _ in range(200):
        tail = survival(t, freedom)
        low, high = (t, high) if tail > p else (low, t)
        step = math.log(tail / p) * tail / _density(t, freedom) if tail > 0 else math.inf
        following = t + step if low < t + step < high else (low + high) / 2
        if abs(following - t) <= 1e-14 * abs(t):
            return following
        t = following
    return t


def _density(t: float, freedom: float) -> float:
    scale = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - 0.5 * math.log(freedom * math.pi)
    return math.exp(scale - (freedom + 1) / 2 * math.log1p(t * t / freedom))


def _beta(x: float, rest: float, a: float, b: float) -> float:
    """I_x(a, b) with rest = 1 - x given apart."""
    if x <= 0:
        return 0.0
    if rest <= 0:
        return 1.0
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * _log(x, rest) + b * _log(rest, x))
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(x, a, b) / a
    return 1.0 - front * _fraction(rest, b, a) / b


def _log(x: float, rest: float) -> float:
    """The logarithm of x, through 1 - x where x is near one."""
    return math.log1p(-rest) if rest < 0.5 else math.log(x)


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction; converges in about √max(a, b) steps for x below (a+1)/(a+b+2)."""
    c = 1.0
    d = _reciprocal(1.0 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = _reciprocal(1.0 + term * d)
            c = 1.0 + term / c or _TINY
            value *= c * d
        if abs(c * d - 1.0) < 1e-16:
            break
    return value


def _reciprocal(x: float) -> float:
    return 1.0 / (x or _TINY)
