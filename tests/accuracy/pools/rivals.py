"""What other tools' rules say of the same changes, at the same time a benchmark: their false alarms and detections.

    PYTHONPATH=tests python -m accuracy.pools.rivals --pool DIR --comparisons 2000 --budget 20 [--out FILE.json]

The data are the pool's *solos*: base or head alone in its process, run by pytest-benchmark itself, neither pinned nor
alternated inside, one after the other all through the gathering. They are not the lockstep rounds that the gate sees: both
kinds of launches were taken on the same machine in the same hours, cell after cell.

- **pytest-benchmark** (`--benchmark-compare-fail=mean:5%` and so on): as many solos of the base as fill half of the budget,
  from one stretch of time, then as many of the head, from the stretch after it; means are averaged, minima are the least.
  One run of its default length (1 s) a side stands beside it (`as it comes`).
- **asv**: the same stretches; samples of 10 ms; Mann-Whitney p < 0.002 and medians a factor 1.1 apart
  (`asv compare --factor`, `asv continuous`).
- **whole launches in turn**: a solo of each side in turn, Student's t of the log ratios of their medians, p < 0.001 one-sided.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

from accuracy.pools import pool_file
from accuracy.pools.gather import chosen_cells
from accuracy.pools.wilson import rate

from pytest_blcperf.compare.student import survival

Solo = Mapping[str, Any]
ASV_P, ASV_FACTOR = 0.002, 1.1
ALPHA = 0.001


@dataclass(frozen=True)
class Data:
    """What a rule gets: solos of the base and of the head, each in order of time; pair i was taken together."""

    base: Sequence[Solo]
    head: Sequence[Solo]


def benchmark_fails(data: Data, statistic: str, percent: float) -> bool:
    """pytest-benchmark's `--benchmark-compare-fail=STATISTIC:PERCENT%`: the head's is that much above the base's."""
    over = min if statistic == "min" else fmean
    base, head = (over([one["stats"][statistic] for one in side]) for side in (data.base, data.head))
    return (head - base) / base * 100 > percent


def asv_fails(data: Data) -> bool:
    """Asv's rule for "slower": medians a factor apart, and Mann-Whitney's test says that it is no accident."""
    base, head = ([value for one in side for value in one["samples"]] for side in (data.base, data.head))
    return median(head) > median(base) * ASV_FACTOR and mann_whitney(base, head) < ASV_P


def alternation_fails(data: Data) -> bool:
    """Whole launches in turn: paired t of the logarithms of medians, one-sided, at the gate's own alpha."""
    logs = [
        math.log(two["stats"]["median"] / one["stats"]["median"]) for one, two in zip(data.base, data.head, strict=True)
    ]
    if len(logs) < 2 or stdev(logs) == 0:
        return False
    return survival(fmean(logs) / (stdev(logs) / math.sqrt(len(logs))), len(logs) - 1) < ALPHA


def mann_whitney(one: Sequence[float], two: Sequence[float]) -> float:
    """Two-sided p-value of Mann and Whitney's test, normal approximation with ties corrected (as asv above 20 samples)."""
    merged = sorted([(value, 0) for value in one] + [(value, 1) for value in two])
    ranks, ties, at = 0.0, 0.0, 0
    while at < len(merged):
        end = at
        while end < len(merged) and merged[end][0] == merged[at][0]:
            end += 1
        size = end - at
        ranks += sum(side == 0 for _, side in merged[at:end]) * (at + 1 + end) / 2
        ties += size**3 - size
        at = end
    first, second, count = len(one), len(two), len(merged)
    spread = math.sqrt(first * second / 12 * (count + 1 - ties / (count * (count - 1))))
    if spread == 0:
        return 1.0
    distance = abs(ranks - first * (first + 1) / 2 - first * second / 2)
    return min(1.0, 2 * (1 - normal_cdf(max(0.0, distance - 0.5) / spread)))


def normal_cdf(z: float) -> float:
    """Of the standard normal distribution."""
    return 0.5 * math.erfc(-z / math.sqrt(2))


RULES: dict[str, tuple[str, Callable[[Data], bool]]] = {
    **{
        f"pytest-benchmark {statistic}:{percent}%, {label}": (
            how,
            lambda data, s=statistic, p=percent: benchmark_fails(data, s, p),
        )
        for label, how in (("as it comes", "one"), ("equal time", "apart"))
        for statistic in ("mean", "min")
        for percent in (5, 10)
    },
    "asv (p < 0.002, factor 1.1), equal time": ("apart", asv_fails),
    "whole launches in turn, t, p < 0.001, equal time": ("in turn", alternation_fails),
}
"""By name, how its data are taken and what it says of them."""


def drawn(solos: Sequence[Solo], budget: float, how: str, generator: random.Random) -> Data | None:
    """Solos for one comparison from a random place in time; None when there are too few.

    `one`: one of the base, one of the head after it; `apart`: all of the base, then all of the head; `in turn`: pairs.
    """
    base, head = ([one for one in solos if one["solo"] == side] for side in ("base", "head"))
    pairs = min(len(base), len(head))
    if not pairs:
        return None
    each = fmean(one["seconds"] for one in solos)
    wanted = 1 if how == "one" else max(1, round(budget / (2 * each)))
    needed = wanted if how == "in turn" else 2 * wanted
    if needed > pairs:
        return None
    start = generator.randrange(pairs - needed + 1)
    if how == "in turn":
        return Data(base[start : start + wanted], head[start : start + wanted])
    return Data(base[start : start + wanted], head[start + wanted : start + needed])


def main() -> None:
    """Compare, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--comparisons", type=int, default=2000, help="of each rule and variant")
    parser.add_argument("--budget", type=float, default=20.0, help="seconds a benchmark")
    parser.add_argument("--only", default="*")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    rows = compared(arguments.pool, arguments.only.split(","), arguments.comparisons, arguments.budget, arguments.seed)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps({"budget": arguments.budget, "rows": rows}, indent=1) + "\n")
    print("| change | rule | failed |\n|---|---|---|")
    for row in rows:
        print(f"| {row['variant']} | {row['rule']} | {rate(row['failed'], row['comparisons'])} |")


def compared(pool: Path, only: Sequence[str], comparisons: int, budget: float, seed: int) -> list[dict[str, Any]]:
    """By variant and rule, how many of how many comparisons failed; workloads in equal parts."""
    by_variant: dict[str, list[list[Solo]]] = {}
    for cell in chosen_cells(only):
        solos = [one for one in pool_file.records(pool / (cell.name + pool_file.SUFFIX)) if "solo" in one]
        if solos:
            by_variant.setdefault(cell.variant.name, []).append(solos)
    rows = []
    for variant, cells in by_variant.items():
        for rule, (how, fails) in RULES.items():
            generator = random.Random(f"{seed} {variant} {rule}")
            tried = [drawn(cells[number % len(cells)], budget, how, generator) for number in range(comparisons)]
            usable = [data for data in tried if data is not None]
            failed = sum(fails(data) for data in usable)
            rows.append({"variant": variant, "rule": rule, "failed": failed, "comparisons": len(usable)})
    return rows


if __name__ == "__main__":
    main()
