"""Cost ratios head / base with their standard errors: of a benchmark from its rounds, of a function from its shares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from pytest_blcperf.compare.launch_mean import LEAST_SPREAD, NOTHING, launch_mean
from pytest_blcperf.compare.shares import Tally
from pytest_blcperf.model.calibration import LEAST_DISPERSION
from pytest_blcperf.model.comparison import Estimate
from pytest_blcperf.model.profile import Floats
from pytest_blcperf.model.run import Benchmark, Launch, Round
from pytest_blcperf.model.warning import Warning

SESSION_DRIFT = 0.20
"""σ_drift: SD of a whole session's time on a shared machine; launch medians drifted by 22–27 % over minutes."""


@dataclass(frozen=True)
class Times:
    """A benchmark's time on both sides. `launches_*` are the indices used; equal in a paired measurement.

    Times are medians over launches of CPU and wall time per iteration, ns; 0 without data.
    """

    ratio: Estimate
    launches_base: tuple[int, ...]
    launches_head: tuple[int, ...]
    base_ns: float
    head_ns: float
    base_wall_ns: float
    head_wall_ns: float
    warnings: tuple[Warning, ...] = ()


def paired_times(base: Benchmark, head: Benchmark, phase: str | None, least_spread: float = LEAST_SPREAD) -> Times:
    """The lockstep estimate: r, the mean over launches (`launch_mean`) of log(T_head / T_base) of paired rounds.

    Only launches of that phase (None: any) that both sides have count. `least_spread` as there.
    """
    old, new = _launches(base, phase), _launches(head, phase)
    pairs = {index: paired_rounds(old[index], new[index]) for index in sorted(old.keys() & new.keys())}
    used = tuple(index for index, rounds in pairs.items() if rounds)
    logs = [log_ratios(pairs[index]) for index in used]
    usable = sum(len(pairs[index]) for index in used)
    taken = sum(max(len(old[index].rounds), len(new[index].rounds)) for index in pairs)
    before = [[one for one, _ in pairs[index]] for index in used]
    after = [[two for _, two in pairs[index]] for index in used]
    ratio = launch_mean(logs, least_spread)
    return Times(ratio, used, used, *_medians(before, after), warnings=_dropped(taken - usable, taken))


def unpaired_times(base: Benchmark, head: Benchmark, phase: str | None) -> Times:
    """The estimate against a stored run: difference of the mean over launches of log(median time per iteration).

    SE² = s_b²/K_b + s_h²/K_h + σ_drift²: the two sessions ran at different times, and launches of one session share its
    drift, so no number of them averages it out. Degrees of freedom by Welch–Satterthwaite, at most K_b + K_h − 2.
    """
    old, new = _launches(base, phase), _launches(head, phase)
    before, after = _usable(old), _usable(new)
    taken = sum(len(launch.rounds) for launch in (*old.values(), *new.values()))
    usable = sum(len(rounds) for rounds in (*before.values(), *after.values()))
    logs = [np.log([_median_cpu(rounds) for rounds in side.values()]) for side in (before, after)]
    medians = _medians(list(before.values()), list(after.values()))
    return Times(welch(*logs), tuple(before), tuple(after), *medians, warnings=_dropped(taken - usable, taken))


def share_ratio(
    base: Floats, base_all: Floats, head: Floats, head_all: Floats, *, dispersion: float, paired: bool
) -> Estimate:
    """L = log(π_head / π_base), π = (Σc + ½)/(Σn + 1), from samples c of n a launch [K]; all in samples.

    SE² = max(jackknife over launches, φ Σ_v (1 − π_v)/(n_v π_v)), φ the `dispersion` (see `dispersion`). The jackknife
    leaves out a launch of both sides at once when they are paired: what both share (the hash seed) cancels. SE is
    infinite for fewer than two launches with samples.

    Degrees of freedom: K − 1 where the jackknife is the larger. Where the sampling error is, its φ comes from all
    functions of both sides: 2 (K − 1). Simulated error rates relative to α = 0.001, each ± 0.12: plain K − 1 gave 0.05
    for binomial samples (12 launches of 400), 2 (K − 1) gave 0.2; for one function whose cost varied by 10–15 % between
    launches, the worst case, 0.7, and 1.06 at most; 3 (K − 1) reached 1.2.
    """
    if paired:
        both = (base_all > 0) & (head_all > 0)
        base, base_all, head, head_all = (column[both] for column in (base, base_all, head, head_all))
    else:
        base, base_all = base[base_all > 0], base_all[base_all > 0]
        head, head_all = head[head_all > 0], head_all[head_all > 0]
    if min(len(base_all), len(head_all)) == 0:
        return NOTHING
    shares = _share(base.sum(), base_all.sum()), _share(head.sum(), head_all.sum())
    ratio = math.log(shares[1] / shares[0])
    if min(len(base_all), len(head_all)) < 2:
        return Estimate(ratio, math.inf, 0)
    old, new = (np.log(_share(c.sum() - c, n.sum() - n)) for c, n in ((base, base_all), (head, head_all)))
    jackknife = _jackknife(new - old) if paired else _jackknife(new) + _jackknife(old)
    sampling = dispersion * sum(
        (1 - share) / ((samples.sum() + 1) * share) for share, samples in zip(shares, (base_all, head_all), strict=True)
    )
    freedom = min(len(base_all), len(head_all)) - 1
    return Estimate(ratio, math.sqrt(max(jackknife, sampling)), freedom if jackknife > sampling else 2 * freedom)


def function_ratio(benchmark: Estimate, share: Estimate) -> Estimate:
    """θ = r + L with SE² = SE_r² + SE_L².

    Degrees of freedom are the smaller of the two, or Welch–Satterthwaite's where the share's are the larger.
    """
    error = math.hypot(benchmark.standard_error, share.standard_error)
    freedom = min(benchmark.freedom, share.freedom)
    if freedom > 0 and share.freedom > benchmark.freedom:
        parts = ((one.standard_error / error) ** 4 / one.freedom for one in (benchmark, share))
        freedom = max(freedom, int(1 / sum(parts)))
    return Estimate(benchmark.log_ratio + share.log_ratio, error, freedom)


def dispersion(base: Tally, head: Tally, *, leaf: bool, known: float | None = None) -> float:
    """φ: the variance of sample counts over launches, relative to binomial sampling; the sampling error's lower bound.

    Neither extreme fits: systematic sampling of a periodic workload spreads less than binomial counts (0.43 was
    measured), and samples of unequal weight (a weight of k periods is k samples that always fall together) spread more.
    So it is estimated: the median, over both sides and all functions with at least five samples a launch, of
    Σ_l (c_l − n_l π)² / (n_l π (1 − π)) / (K − 1), at least 0.4 × Kish's design effect of the weights. Median, because
    one function whose share truly differs between launches must not widen all others; its own jackknife covers it.
    With too little data (fewer than ten degrees of freedom in all) it is max(1, the design effect). A φ that is `known`
    from calibration, where the same sampler saw the same workload, takes the place of both when it is given.
    """
    design = max(base.design_effect, head.design_effect, 1.0)
    found: list[float] = []
    freedom = 0
    for side in (base, head):
        values = _dispersions(side.self_samples if leaf else side.total_samples, side.samples)
        found += values
        freedom += len(values) * (int((side.samples > 0).sum()) - 1)
    least = LEAST_DISPERSION * design if known is None else known
    if freedom >= 10:
        return max(least, float(np.median(found)))
    return design if known is None else known


def _dispersions(counts: Floats, samples: Floats) -> list[float]:
    counts, samples = counts[:, samples > 0], samples[samples > 0]
    if len(samples) < 2:
        return []
    share = counts.sum(axis=1, keepdims=True) / samples.sum()
    expected = share * samples
    usable = ((expected >= 5).all(axis=1)) & (share[:, 0] < 0.98)
    spread = (counts - expected)[usable] ** 2 / (expected * (1 - share))[usable]
    values: list[float] = (spread.sum(axis=1) / (len(samples) - 1)).tolist()
    return values


def _share(part: Floats | float, whole: Floats | float) -> Floats:
    return np.asarray((part + 0.5) / (whole + 1), dtype=np.float64)


def _jackknife(left_out: Floats) -> float:
    """Variance of an estimate from its values with one launch left out each (Efron & Stein 1981)."""
    count = len(left_out)
    return float((count - 1) / count * ((left_out - left_out.mean()) ** 2).sum())


def welch(base: Floats, head: Floats) -> Estimate:
    """The difference of the means of two sides' logarithms, a value a launch; see `unpaired_times`."""
    if not len(base) or not len(head):
        return NOTHING
    ratio = float(head.mean() - base.mean())
    if min(len(base), len(head)) < 2:
        return Estimate(ratio, math.inf, 0)
    parts = [float(side.var(ddof=1)) / len(side) for side in (base, head)]
    variance = sum(parts) + SESSION_DRIFT**2
    spent = sum(part**2 / (len(side) - 1) for part, side in zip(parts, (base, head), strict=True))
    limit = len(base) + len(head) - 2
    freedom = limit if spent * limit <= variance**2 else max(1, int(variance**2 / spent))
    return Estimate(ratio, math.sqrt(variance), freedom)


def _launches(benchmark: Benchmark, phase: str | None) -> dict[int, Launch]:
    return {launch.index: launch for launch in benchmark.launches if phase is None or launch.phase == phase}


def paired_rounds(base: Launch, head: Launch) -> list[tuple[Round, Round]]:
    """The rounds of one launch on both sides that can be compared."""
    both = zip(base.rounds, head.rounds, strict=False)
    return [(one, two) for one, two in both if _measured(one) and _measured(two)]


def log_ratios(pairs: Sequence[tuple[Round, Round]]) -> Floats:
    """log(T_head / T_base) of paired rounds, T their CPU time an iteration."""
    return np.array([math.log(_cpu(two) / _cpu(one)) for one, two in pairs])


def _usable(launches: dict[int, Launch]) -> dict[int, list[Round]]:
    rounds = {index: [one for one in launches[index].rounds if _measured(one)] for index in sorted(launches)}
    return {index: usable for index, usable in rounds.items() if usable}


def _measured(taken: Round) -> bool:
    return taken.iterations > 0 and taken.cpu_ns > 0


def _cpu(taken: Round) -> float:
    return taken.cpu_ns / taken.iterations


def _median_cpu(rounds: Sequence[Round]) -> float:
    return median(_cpu(one) for one in rounds)


def _medians(before: Sequence[Sequence[Round]], after: Sequence[Sequence[Round]]) -> tuple[float, float, float, float]:
    """Median over launches of the median CPU, then wall, time per iteration of base and head, ns."""

    def over(side: Sequence[Sequence[Round]], wall: bool) -> float:
        launches = [
            median(max(one.wall_ns, 0) / one.iterations for one in rounds) if wall else _median_cpu(rounds)
            for rounds in side
        ]
        return median(launches) if launches else 0.0

    return over(before, False), over(after, False), over(before, True), over(after, True)


def _dropped(dropped: int, taken: int) -> tuple[Warning, ...]:
    if not dropped:
        return ()
    text = f"{dropped} of {taken} rounds were left out: no partner, or a CPU time or iteration count of zero or less"
    return (Warning("rounds-dropped", text),)
