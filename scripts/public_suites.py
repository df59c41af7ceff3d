"""Run the benchmark suites of public projects, unmodified, under `pytest --blcperf`, and say how it went.

    python scripts/public_suites.py [NAME ...]

Each suite comes from its project's source archive on the package index, and runs in an environment of its own with the
project's released build and the plugin it was written for. Nothing of them is kept in this repository; everything
lies in `.public-suites/`. Three runs each:

1. without this plugin, and with it but without `--blcperf`: outcomes and output must be the same;
2. with `--blcperf`: how many benchmarks there are, how many were measured, and why not the others.

Prints a table in Markdown (docs/compatibility.md has the last one) and exits with 1 where 1 finds a difference.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import venv
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".public-suites"
QUICK = (
    "--blcperf-launches=2",
    "--blcperf-rounds=3",
    "--blcperf-delay-start=0",
    "--blcperf-profile-window=20ms",
)
COUNT = (
    "import sys; from pathlib import Path; from pytest_blcperf.store import run_file; "
    "run = run_file.read(Path(sys.argv[1])); print(len(run.benchmarks), "
    "sum(one.profile is not None for one in run.benchmarks))"
)


@dataclass(frozen=True)
class Suite:
    """A project, its release, what its benchmarks need, and how they are called."""

    project: str
    version: str
    peer: str
    arguments: tuple[str, ...]
    requirements: tuple[str, ...] = ()
    compiled: bool = False
    """The archive's source folder is not what is tested: the released build is installed."""

    @property
    def folder(self) -> Path:
        """Where its environment and archive lie."""
        return WORK / f"{self.project}-{self.version}{'' if self.peer else '-absent'}"


BENCHMARK, CODSPEED, NOTHING = "pytest-benchmark", "pytest-codspeed", ""
NO_CONFIGURATION = ("-c", os.devnull, "--rootdir=.")
"""Where the archive's own configuration is one that today's pytest refuses, or asks for what is not in it."""
SURFACE = tuple(
    f"tests/test_{name}.py"
    for name in ("normal", "pedantic", "sample", "skip", "with_testcase", "with_weaver", "calibration", "precision")
)
"""pytest-benchmark's tests of its fixture; the others test its tables, files and command."""
AIO = ("pytest-cov", "pytest-xdist", "hypothesis", "idna", "covdefaults", "Cython")
"""What their configuration files name."""
SUITES = (
    Suite("attrs", "26.1.0", CODSPEED, ("bench",)),
    Suite(
        "cattrs",
        "26.2.1",
        BENCHMARK,
        ("bench",),
        ("attrs", "msgspec", "orjson", "msgpack", "pyyaml", "tomlkit", "hypothesis"),
    ),
    Suite(
        "fields",
        "5.0.0",
        BENCHMARK,
        (*NO_CONFIGURATION, "tests/test_perf.py"),
        ("attrs", "characteristic", "pytest<9"),
    ),
    Suite(
        "lazy-object-proxy",
        "1.13.0",
        BENCHMARK,
        ("tests/test_perf.py",),
        ("Django", "objproxies", "wrapt"),
        compiled=True,
    ),
    Suite("multidict", "7.2.1", CODSPEED, ("tests", "-k", "bench"), (*AIO, "objgraph"), compiled=True),
    Suite("pluggy", "1.7.0", BENCHMARK, ("testing/benchmark.py",)),
    Suite("propcache", "0.5.4", CODSPEED, ("tests/test_benchmarks.py",), AIO, compiled=True),
    Suite("tblib", "3.2.2", BENCHMARK, ("tests/test_perf.py",), ("six",)),
    Suite("yarl", "1.25.1", CODSPEED, ("tests", "-k", "bench"), AIO, compiled=True),
    Suite("pytest-benchmark", "5.3.1", BENCHMARK, (*NO_CONFIGURATION, *SURFACE), ("aspectlib",), compiled=True),
    Suite("pytest-benchmark", "5.3.1", NOTHING, (*NO_CONFIGURATION, *SURFACE), ("aspectlib",), compiled=True),
    Suite(
        "zeroconf",
        "0.154.0",
        CODSPEED,
        ("tests/benchmarks",),
        ("pytest-asyncio", "pytest-timeout", "pytest-cov"),
        compiled=True,
    ),
)


@dataclass
class Result:
    """What came of one suite."""

    suite: Suite
    collected: int = 0
    measured: int = 0
    profiled: int = 0
    others: dict[str, int] = field(default_factory=dict)
    """Why the rest was not measured → how many."""
    unchanged: bool = False


def main(names: list[str]) -> int:
    """All suites, or those named."""
    results = []
    for suite in SUITES:
        if not names or suite.project in names:
            print(f"{suite.project} {suite.version} ...", file=sys.stderr, flush=True)
            results.append(run(suite))
            print(row(results[-1]), file=sys.stderr, flush=True)
    print("| suite | written for | tests | measured | not measured | same without `--blcperf` |")
    print("|---|---|---|---|---|---|")
    for result in results:
        print(row(result))
    return 0 if all(result.unchanged for result in results) else 1


def run(suite: Suite) -> Result:
    """Install, unpack, and run the suite three ways."""
    python = environment(suite)
    folder = archive(suite, python)
    result = Result(suite)
    quiet = ["--benchmark-disable"] if suite.peer == BENCHMARK else []
    # Which lines are covered depends on chance in some of them.
    quiet += ["--no-cov"] if "pytest-cov" in suite.requirements else []
    without = session(suite, python, folder, "without", "-p", "no:blcperf", *quiet)
    beside = session(suite, python, folder, "beside", *quiet)
    # Without the plugin it was written for, a suite has no outcomes of its own to keep.
    result.unchanged = without == beside or not suite.peer
    if not result.unchanged:
        for one, other in zip(*map(str.splitlines, (without[1], beside[1])), strict=False):
            if one != other:
                print(f"  - {one}\n  + {other}", file=sys.stderr)
    roots = ("--blcperf-source-roots=none",) if suite.compiled else ()
    outcomes, _ = session(suite, python, folder, "measured", "--blcperf", "--blcperf-save=it", *QUICK, *roots)
    result.collected = len(outcomes)
    saved = folder / ".blcperf/baselines/it.blcperf"
    if saved.exists():
        counted = subprocess.run([python, "-c", COUNT, saved], capture_output=True, text=True, check=True).stdout
        result.measured, result.profiled = map(int, counted.split())
    for outcome in outcomes.values():
        if outcome != "passed":
            result.others[outcome] = result.others.get(outcome, 0) + 1
    return result


def environment(suite: Suite) -> Path:
    """The suite's own environment, made once; gives its interpreter."""
    folder = suite.folder / "environment"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        # The plugin's own tests, with the plugin absent, are a suite like any other.
        wanted = [f"{suite.project}=={suite.version}", suite.peer] if suite.peer else []
        wanted += [*suite.requirements, "pytest"]
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--editable", ROOT, *wanted], check=True)
        (folder / "ready").touch()
    return python


def archive(suite: Suite, python: Path) -> Path:
    """The unpacked source archive, in a fresh copy of its own repository-less folder."""
    folder = suite.folder / "archive"
    if not any(folder.glob("*.tar.gz")):
        wanted = [f"{suite.project}=={suite.version}", "--no-deps", "--no-binary", suite.project, "--dest", folder]
        subprocess.run([python, "-m", "pip", "download", "--quiet", *wanted], check=True)
    (packed,) = folder.glob("*.tar.gz")
    with tarfile.open(packed) as tar:
        top = tar.getnames()[0].split("/")[0]
        tar.extractall(folder, **({"filter": "data"} if sys.version_info >= (3, 12) else {}))
    # A repository of its own, so that this one's is not taken for the suite's.
    subprocess.run(["git", "init", "--quiet", folder / top], check=True)
    return folder / top


def session(suite: Suite, python: Path, folder: Path, name: str, *arguments: str) -> tuple[dict[str, str], str]:
    """One pytest session: test → outcome with the reason, and the output without times and plugin names."""
    junit = folder.parent / f"{name}.xml"
    command = [python.parent / "pytest", *suite.arguments, "-p", "no:cacheprovider", f"--junitxml={junit}", *arguments]
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "BLCPERF_", "CI"))}
    done = subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True, check=False)
    (folder.parent / f"{name}.log").write_text(done.stdout + done.stderr)
    outcomes = {}
    for case in ElementTree.parse(junit).iter("testcase") if junit.exists() else ():
        worst = next((one for one in case if one.tag in ("failure", "error", "skipped")), None)
        outcomes[f"{case.get('classname')}::{case.get('name')}"] = "passed" if worst is None else why(worst)
    return outcomes, normalised(done.stdout)


def why(element: ElementTree.Element) -> str:
    """`skipped: reason`, `failure: first line`."""
    lines = (element.get("message") or element.text or "").strip().splitlines() or ["no message"]
    return f"{element.tag}: {lines[0][:160]}"


def normalised(output: str) -> str:
    """Pytest's output without what differs between two runs of the same suite."""
    lines = [re.sub(r" in [0-9.]+s( \([0-9:]+\))?", " in TIME", line) for line in output.splitlines()]
    lines = [re.sub(r"0x[0-9a-f]+", "0xADDRESS", line).strip("=") for line in lines]
    chance = re.compile(r"plugins:|- generated xml|-|codspeed:|[0-9.]+s (call|setup|teardown) |\([0-9]+ durations <|$")
    return "\n".join(line for line in lines if not chance.match(line))


def row(result: Result) -> str:
    """A line of the table."""
    reasons = "; ".join(f"{number} {reason}" for reason, number in sorted(result.others.items())) or "–"
    same = "yes" if result.unchanged else "**no**"
    suite = result.suite
    written_for = suite.peer or "pytest-benchmark, which is absent"
    cells = (f"{suite.project} {suite.version}", written_for, result.collected, result.measured, reasons, same)
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
