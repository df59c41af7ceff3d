"""What memory layouts are worth: launches of equal cost under four regimes, in turn.

    PYTHONPATH=tests python tests/accuracy/memory_layout.py --pool DIR --launches 20 [--only difflib,json]

DIR is a pool whose repositories are prepared (`accuracy.pools.gather --prepare`). Addresses are one layout for both sides
of a launch, as the product has it, or drawn by the kernel for each process, as for any other; and the heap shifts between
sweeps of rounds, as in the product, or stays. Prints a Markdown table of the mean and the standard deviation over launches
of log(head / base), each launch the interquartile mean of its rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from accuracy.pools.gather import chosen_cells
from accuracy.pools.launches import Bench, open_bench
from accuracy.pools.pool_file import benchmark_from

from pytest_blcperf.bench import launch, memory_layout
from pytest_blcperf.compare.launch_mean import interquartile_mean
from pytest_blcperf.model.run import LOOK

SHARED = memory_layout.fixed_addresses
REQUEST = launch._Conversation.request
REGIMES = {
    "one layout, shifting": (True, True),
    "one layout": (True, False),
    "layouts of their own, shifting": (False, True),
    "layouts of their own": (False, False),
}
"""Name → whether addresses are shared, and whether the heap shifts."""


@contextlib.contextmanager
def drawn_by_the_kernel() -> Iterator[bool]:
    """In the place of `fixed_addresses`."""
    yield False


def staying(conversation: Any, op: str, **arguments: Any) -> Mapping[str, Any]:
    """In the place of a request: one that shifts nothing."""
    return REQUEST(conversation, op, **{name: value for name, value in arguments.items() if name != "layout"})


def main() -> None:
    """Launch in turn, then print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--launches", type=int, default=20)
    parser.add_argument("--only", default="*")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    os.environ.pop("PYTHONPATH", None)
    generator = random.Random(arguments.seed)
    print(f"| workload | launches each | {' | '.join(REGIMES)} |\n|---|---|{'---|' * len(REGIMES)}")
    for cell in chosen_cells([f"{name}.same" if name != "*" else "*.same" for name in arguments.only.split(",")]):
        bench = open_bench(arguments.pool / "repositories" / cell.name, ["--blcperf-profile-window=0"])
        try:
            found = measured(bench, arguments.launches, generator)
        finally:
            bench.close()
        shown = [f"{100 * np.mean(values):+.2f} %, {100 * np.std(values, ddof=1):.2f} %" for values in found.values()]
        print(f"| {cell.workload.name} | {arguments.launches} | {' | '.join(shown)} |", flush=True)


def measured(bench: Bench, launches: int, generator: random.Random) -> dict[str, list[float]]:
    """The launches' log ratios under each regime."""
    found: dict[str, list[float]] = {name: [] for name in REGIMES}
    iterations = None
    for index in range(len(REGIMES) * launches):
        name = list(REGIMES)[index % len(REGIMES)]
        shared, shifting = REGIMES[name]
        memory_layout.fixed_addresses = SHARED if shared else drawn_by_the_kernel
        launch._Conversation.request = REQUEST if shifting else staying  # type: ignore[method-assign]
        record = bench.launch(index, LOOK, generator.randrange(2**32), iterations, profile=False)
        iterations = record["iterations"]
        found[name].append(ratio(record))
    return found


def ratio(record: dict[str, Any]) -> float:
    """One launch's log ratio."""
    base, head = (benchmark_from(side).launches[0].rounds for side in record["sides"])
    return interquartile_mean(np.log([two.cpu_ns / one.cpu_ns for one, two in zip(base, head, strict=True)]))


if __name__ == "__main__":
    main()
