"""One launch of a cell at a time, measured by the product's own code, written down as it came."""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accuracy.pools.pool_file import benchmark_data

from pytest_blcperf.bench import lockstep
from pytest_blcperf.bench.base_side import base_tree, check_leaks
from pytest_blcperf.bench.harvest import Conditions
from pytest_blcperf.bench.launch import LaunchData
from pytest_blcperf.bench.measure import Measurement
from pytest_blcperf.bench.scratch import scratch_folder
from pytest_blcperf.bench.worker_process import Side
from pytest_blcperf.model.function import Function
from pytest_blcperf.session import Session, _package_link
from pytest_blcperf.settings import Settings

Suspects = Sequence[tuple[Function, Function]]
TESTS = Path(__file__).resolve().parents[2]


_PROFILED: list[float] = []
"""Seconds that profiled rounds took in the launch at hand; a session that needs no profile does without them."""
_profile = lockstep._profile


def _timed_profile(*arguments: Any, **named: Any) -> None:
    start = time.monotonic()
    _profile(*arguments, **named)
    _PROFILED.append(time.monotonic() - start)


lockstep._profile = _timed_profile


class OneLaunch(Measurement):
    """A measurement that keeps how long its launch took besides."""

    taken: LaunchData | None = None

    def _run(self, sides: Sequence[Side], ids: Sequence[str], conditions: Conditions) -> LaunchData:
        self.taken = super()._run(sides, ids, conditions)
        return self.taken


@dataclass
class Bench:
    """A cell ready to be measured: the base checked out, discovered, the backend chosen. Close it to clean up."""

    measurement: OneLaunch
    roots: tuple[Path, Path]
    stack: ExitStack

    @property
    def settings(self) -> Settings:
        """Those of the benchmark."""
        return self.measurement.items[0].settings

    def launch(
        self,
        index: int,
        phase: str,
        seed: int,
        iterations: int | None,
        suspects: Suspects = (),
        *,
        profile: bool = True,
    ) -> dict[str, Any]:
        """Measure one launch; gives its record. `iterations` a round are those of the cell's first launch.

        `suspects` are functions to time exactly, `profile` says whether there is a profile too. Raises RuntimeError when a side gave nothing.
        """
        one = replace(self.measurement, failures={}, reports={}, launches=index)
        (item,) = one.items
        one._random = random.Random(seed)
        one.focus(item.id, suspects, profile)
        _PROFILED.clear()
        if iterations is not None:
            one._iterations[item.id] = iterations
        start, load = time.monotonic(), os.getloadavg()[0]
        one.measure([item.id], 1, phase)
        seconds = time.monotonic() - start
        if one.failures or one.taken is None or item.nodeid not in one.taken.measured:
            raise RuntimeError(f"{item.id}: {one.failures or 'no data'}")
        inside = sum(one.taken.seconds.values())
        return {
            "index": index,
            "phase": phase,
            "at": round(time.time(), 1),
            "load": round(load, 2),
            "seconds": round(inside, 3),
            "start_up": round(max(0.0, seconds - inside), 3),
            "profiled": round(sum(_PROFILED), 3),
            "iterations": one.taken.iterations[item.nodeid],
            "sides": [benchmark_data(one.benchmarks(side)[item.id]) for side in (0, 1)],
        }

    def close(self) -> None:
        """Remove the checkout."""
        self.stack.close()


def open_bench(repository: Path, options: Sequence[str]) -> Bench:
    """Check the base out and discover the benchmark, as a session with these options does. Raises RuntimeError."""
    suite, settings, found, choice = _caught(repository, options)
    suite = replace(suite, plugins=())
    stack = ExitStack()
    try:
        scratch = stack.enter_context(scratch_folder())
        session = Session(suite, settings, found, _quiet)
        tree = stack.enter_context(base_tree(suite, found, choice.commit.commit, settings, _package_link(scratch)))
        head = session._head(scratch)
        base_found, head_found = session._discover([tree.side, head], suite.items, scratch)
        check_leaks(base_found)
        if base_found.failures or head_found.failures:
            raise RuntimeError(f"{repository.name}: {base_found.failures or head_found.failures}")
        proofs = tree.proofs(suite.items, base_found, head_found)
        if any(proof.identical for proof in proofs.values()):
            raise RuntimeError(f"{repository.name}: both sides load the same code, so nothing would be measured")
        made = session._measurement([tree.side, head], suite.items, head_found, scratch)
        measurement = OneLaunch(
            made.sides, made.items, settings, made.backend, scratch, made.clock, made.tell, made.codes, made.tools
        )
        return Bench(measurement, (tree.side.root, suite.root), stack)
    except BaseException:
        stack.close()
        raise


def _quiet(line: str) -> None:
    """Progress is told by the gatherer."""


def _caught(repository: Path, options: Sequence[str]) -> Any:
    """Suite, settings, repository and base, as pytest with the plugin makes them."""
    with tempfile.NamedTemporaryFile() as file:
        environment = os.environ | {"BLCPERF_CATCH": file.name, "PYTHONPATH": str(TESTS)}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "accuracy.pools.catch"]
        command += ["--blcperf", "--blcperf-baseline=main", *options]
        done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)
        data = Path(file.name).read_bytes()
    if not data:
        raise RuntimeError(f"pytest in {repository.name} measured nothing:\n{done.stdout}{done.stderr}")
    return pickle.loads(data)
