"""Makes `run-1.blcperf`, the sample of the format blcperf.run/1: `python tests/formats/make_run_1.py`.

The sample is kept for ever: every later release must read it as `sample_run` has it. A new format gets a new sample.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pytest_blcperf.model.environment import Environment
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.profile import Profile
from pytest_blcperf.model.run import CONFIRM, LOOK, Benchmark, Count, Counts, Launch, Round, Run
from pytest_blcperf.model.warning import Warning

SAMPLE = Path(__file__).with_name("run-1.blcperf")

PARSE = Function("src/shop/parse.py", "Parser.parse", 12, "1f2e3d4c")
TOKEN = Function("src/shop/parse.py", "Parser.parse.<locals>.<lambda>", 20, "5b6a7988")
OTHER_LAMBDA = Function("src/shop/parse.py", "Parser.parse.<locals>.<lambda>", 31, "00112233")
JSON = Function("<stdlib>/json/decoder.py", "JSONDecoder.decode")


def sample_profile() -> Profile:
    """Three stacks in two launches."""
    return Profile(
        functions=(PARSE, TOKEN, JSON, OTHER_LAMBDA),
        stacks=((1, 0), (2, 1, 0), (0,)),
        launch=np.array([0, 0, 1, 1]),
        stack=np.array([0, 1, 0, 2]),
        weight=np.array([6e6, 3e6, 5e6, 1.5e6]),
        samples=np.array([6, 3, 5, 1]),
        backend="perf-signal",
    )


def sample_run() -> Run:
    """Every field of the model, the optional ones with and without a value."""
    rounds = (Round(40, 8_000_000, 8_100_000), Round(40, 8_040_000, 8_090_000), Round(40, 7_990_000, 8_050_000))
    parse = Benchmark(
        id="tests/bench_parse.py::test_parse[big]",
        name="test_parse[big]",
        file="tests/bench_parse.py",
        line=7,
        launches=(Launch(0, LOOK, 17, 1, rounds), Launch(1, CONFIRM, 4_294_967_295, None, rounds[:2])),
        profile=sample_profile(),
        counts=Counts((Count(PARSE, 1.0), Count(TOKEN, 36.0), Count(OTHER_LAMBDA, 0.5)), deterministic=True),
        group="parser",
        params={"size": 1000, "text": "größer"},
        extra_info={"nested": {"list": [1, 2.5, None, True, "x"]}},
        code="9d8c7b6a",
        warnings=(Warning("io-bound", "CPU time is less than half of wall time"),),
    )
    empty = Benchmark(
        id="tests/bench_parse.py::test_nothing", name="test_nothing", file="tests/bench_parse.py", line=0, launches=()
    )
    return Run(
        name="main",
        created="2026-01-02T03:04:05+00:00",
        commit="0123456789abcdef0123456789abcdef01234567",
        dirty=True,
        environment=Environment(
            machine="x86_64",
            cpu_model="Example CPU 3000",
            cpu_count=2,
            memory_bytes=8 << 30,
            system="Linux",
            kernel="6.1.0",
            python="CPython 3.12.1",
            python_build="GCC 12.2.0, PGO",
            packages={"numpy": "2.0.0", "pytest": "8.0.0"},
        ),
        benchmarks=(parse, empty),
        settings={"rate": 1000, "delay_start": None, "source_roots": ["src"]},
        pair="a1b2c3",
        warnings=(Warning("environment-kernel", "the kernel differs: 6.0 → 6.1"),),
    )


if __name__ == "__main__":
    from pytest_blcperf.store import run_file

    run_file.write(sample_run(), SAMPLE)
