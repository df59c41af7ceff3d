"""How often the whole gate is right: real sessions in real repositories, slowed down on purpose or not at all.

    python tests/accuracy/gate_accuracy.py --runs 20 --out .accuracy/gate.jsonl

Each workload is a copy of a pure-Python standard library module in a repository of its own, with one benchmark. A
calibration run finds the share of the function to be slowed down; a loop is then planted at its start and lengthened until
the lockstep time says that the function got 20 % dearer (within a tenth of that). The `same` branch differs from `main` by an unused constant, so that it
has to be measured. Sessions of the two branches alternate. A line of JSON a session is appended to the output, and a
second call goes on where the first one stopped; `--report` prints the table.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_blcperf.model.hottest import hottest
from pytest_blcperf.store import run_file

SLOWDOWN = 0.20
CALIBRATIONS = 5
GIT = ("git", "-c", "user.name=A Tester", "-c", "user.email=tester@example.invalid")


@dataclass(frozen=True)
class Workload:
    """A module, what its benchmark does, and the function that is made slower."""

    name: str
    module: str
    function: str
    benchmark: str


WORKLOADS = (
    Workload(
        "json",
        "json",
        "py_scanstring",
        """\
import json
import random
from src_json import decoder, scanner

generator = random.Random(3)
DATA = [
    {"id": i, "tags": ["t%d" % generator.randrange(99) for _ in range(5)], "text": "three words, one escape\\n" * 3}
    for i in range(8)
]
TEXT = json.dumps(DATA)


def decode():
    machine = decoder.JSONDecoder()
    machine.parse_object, machine.parse_array = decoder.JSONObject, decoder.JSONArray
    machine.parse_string = decoder.py_scanstring
    machine.scan_once = scanner.py_make_scanner(machine)
    return machine.decode(TEXT)


def test_decode(benchmark):
    assert len(benchmark(decode)) == 8
""",
    ),
    Workload(
        "difflib",
        "difflib",
        "SequenceMatcher.__chain_b",
        """\
import random
from src_difflib import SequenceMatcher

generator = random.Random(2)
A = [generator.choice("abcdefgh") + str(generator.randrange(40)) for _ in range(300)]
B = [word for word in A if generator.random() < 0.9]


def test_ratio(benchmark):
    assert benchmark(lambda: SequenceMatcher(None, A, B).quick_ratio()) > 0.8
""",
    ),
    Workload(
        "textwrap",
        "textwrap",
        "TextWrapper._wrap_chunks",
        """\
import random
from src_textwrap import wrap

generator = random.Random(1)
TEXT = " ".join("x" * generator.randrange(1, 12) for _ in range(400))


def test_wrap(benchmark):
    assert benchmark(wrap, TEXT, width=60)
""",
    ),
)


def main() -> None:
    """Run or resume, then report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20, help="sessions of each branch, over all workloads together")
    parser.add_argument("--out", type=Path, default=Path(".accuracy/gate.jsonl"))
    parser.add_argument("--only", default="", help="names of workloads and branches, such as 'difflib slower'")
    parser.add_argument("--loop", type=int, help="turns of the planted loop, from an earlier calibration")
    parser.add_argument("--report", action="store_true", help="print the table of what there is and stop")
    parser.add_argument("--calibrate", action="store_true", help="print shares and planted loops and stop")
    options = parser.parse_args()
    if not options.report:
        run(options.runs, options.out, options.calibrate, options.only.split(), options.loop)
    if not options.calibrate:
        print(table(options.out))


def run(runs: int, out: Path, only_calibrate: bool, only: list[str], loop: int | None) -> None:
    """Sessions in turn, `same` and `slower`, one workload after the other."""
    out.parent.mkdir(parents=True, exist_ok=True)
    done = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    with tempfile.TemporaryDirectory() as folder:
        prepared = {}
        for number in range(runs):
            workloads = [one for one in WORKLOADS if one.name in only] or WORKLOADS
            workload = workloads[number % len(workloads)]
            for branch in [one for one in ("same", "slower") if one in only] or ("same", "slower"):
                if any((one["number"], one["branch"]) == (number, branch) for one in done):
                    continue
                if workload.name not in prepared:
                    prepared[workload.name] = prepare(Path(folder) / workload.name, workload, loop)
                if only_calibrate:
                    continue
                result = session(Path(folder) / workload.name, workload, branch)
                result.update(number=number, **prepared[workload.name])
                with out.open("a") as file:
                    file.write(json.dumps(result) + "\n")
                print(
                    f"{number:3} {workload.name:9} {branch:7} {result['outcome']:13} {result['named'] or ''}",
                    flush=True,
                )


def prepare(repository: Path, workload: Workload, loop: int | None) -> dict[str, Any]:
    """Make the repository, calibrate, plant; gives the share, the calls and the loop."""
    package = repository / "src" / f"src_{workload.module}"
    spec = importlib.util.find_spec(workload.module)
    assert spec is not None and spec.origin is not None
    origin = Path(spec.origin)
    package.mkdir(parents=True)
    if origin.name == "__init__.py":
        for source in origin.parent.glob("*.py"):
            (package / source.name).write_text(source.read_text())
    else:
        (package / "__init__.py").write_text(origin.read_text())
    (repository / "benchmarks").mkdir()
    (repository / "benchmarks" / "test_it.py").write_text(workload.benchmark)
    (repository / "pyproject.toml").write_text('[tool.pytest.ini_options]\npythonpath = ["src"]\n')
    (repository / ".gitignore").write_text("__pycache__/\n")
    git(repository, "init", "--quiet", "--initial-branch=main")
    commit(repository, "base")
    calibration = calibrate(repository, workload) if loop is None else {"loop": loop}
    module = package / ("decoder.py" if workload.module == "json" else "__init__.py")
    source = module.read_text()
    git(repository, "checkout", "--quiet", "-b", "same")
    module.write_text(source + "\n_UNUSED = 1\n")
    commit(repository, "an unused constant")
    git(repository, "checkout", "--quiet", "-b", "slower", "main")
    if loop is None:
        plant(repository, module, workload, calibration)
    else:
        module.write_text(planted(source, workload.function, loop))
        commit(repository, "slower")
    print(f"{workload.name}: {workload.function}: {calibration}", flush=True)
    return calibration


def calibrate(repository: Path, workload: Workload) -> dict[str, Any]:
    """Share and calls of the function, from a recorded run."""
    pytest(repository, "--blcperf", "--blcperf-save=calibration", "--blcperf-profile-window=1s")
    (benchmark,) = run_file.read(repository / ".blcperf/baselines/calibration.blcperf").benchmarks
    assert benchmark.profile is not None and benchmark.counts is not None
    hot = next(one for one in hottest(benchmark.profile) if one.name.endswith(workload.function))
    calls = next(one.calls for one in benchmark.counts.calls if one.function == hot.function)
    return {"share": round(hot.self_share or 0.0, 3), "calls": calls}


def plant(repository: Path, module: Path, workload: Workload, calibration: dict[str, Any]) -> None:
    """Commit the loop on branch `slower`, of the length that makes the function SLOWDOWN dearer by the lockstep time.

    Loops are timed in place: one timed elsewhere, in a quieter or noisier moment, was off by a factor of two.
    """
    source = module.read_text()
    wanted = SLOWDOWN * calibration["share"]
    turns = 100
    for _ in range(CALIBRATIONS):
        module.write_text(planted(source, workload.function, turns))
        report = repository.parent / f"{workload.name}-calibration.json"
        pytest(
            repository,
            "--blcperf",
            "--blcperf-baseline=main",
            "--blcperf-launches=8",
            "--blcperf-profile-window=0",
            "--blcperf-gate=off",
            f"--blcperf-json={report}",
        )
        (verdict,) = json.loads(report.read_text())["benchmarks"]
        calibration.update(loop=turns, planted=round(verdict["measured"]["ratio"]["change"] / calibration["share"], 3))
        if abs(calibration["planted"] / SLOWDOWN - 1) < 0.1:
            break
        turns = max(1, round(turns * wanted / max(verdict["measured"]["ratio"]["change"], wanted / 20)))
    commit(repository, "slower")


def planted(source: str, function: str, turns: int) -> str:
    """The source with a loop at the start of the function's body."""
    *classes, name = function.split(".")
    body: list[ast.stmt] = ast.parse(source).body
    for wanted in classes:
        body = next(node.body for node in body if isinstance(node, ast.ClassDef) and node.name == wanted)
    found = next(node for node in body if isinstance(node, ast.FunctionDef) and node.name == name)
    first = found.body[1] if isinstance(found.body[0], ast.Expr) else found.body[0]
    lines = source.splitlines(keepends=True)
    indent = " " * first.col_offset
    lines.insert(first.lineno - 1, f"{indent}for _ in range({turns}):\n{indent}    pass\n")
    return "".join(lines)


def session(repository: Path, workload: Workload, branch: str) -> dict[str, Any]:
    """One gate, as a user runs it."""
    git(repository, "checkout", "--quiet", branch)
    report = repository.parent / f"{workload.name}.json"
    start = time.monotonic()
    done = pytest(repository, "--blcperf", "--blcperf-baseline=main", f"--blcperf-json={report}")
    (verdict,) = json.loads(report.read_text())["benchmarks"]
    guilty = [one["name"] for one in verdict["functions"] if one["guilty"]]
    own = [one for one in verdict["functions"] if one["name"].endswith(workload.function) and one["kind"] == "self"]
    return {
        "workload": workload.name,
        "share": own[0]["share_base"] if own else 0.0,
        "function": own[0]["ratio"]["change"] if own else 0.0,
        "branch": branch,
        "exit": done.returncode,
        "outcome": verdict["outcome"],
        "named": guilty[0] if guilty else None,
        "right": bool(guilty) and guilty[0].endswith(workload.function),
        "change": verdict["measured"]["ratio"]["change"],
        "error": verdict["measured"]["ratio"]["standard_error"],
        "launches": verdict["measured"]["launches"],
        "seconds": round(time.monotonic() - start, 1),
        "load": os.getloadavg()[0],
    }


def pytest(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Pytest in the repository; its output is shown when it breaks."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"pytest exited with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done


def git(repository: Path, *arguments: str) -> None:
    """One git command."""
    subprocess.run([*GIT, *arguments], cwd=repository, check=True)


def commit(repository: Path, message: str) -> None:
    """Everything on disk."""
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "-m", message)


def table(out: Path) -> str:
    """The results as Markdown, with Wilson 95 % intervals."""
    results = [json.loads(line) for line in out.read_text().splitlines()]
    lines = [
        f"CPython {platform.python_version()}, {os.cpu_count()} cores, kernel {platform.release().split('-')[0]}; "
        f"{len(results)} sessions",
        "",
        "| branch | workload | function's share | sessions | failed | right function first | inconclusive | whole benchmark | median s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for branch in ("same", "slower"):
        for name in [*[workload.name for workload in WORKLOADS], "all"]:
            chosen = [one for one in results if one["branch"] == branch and name in (one["workload"], "all")]
            if chosen:
                lines.append(row(branch, name, chosen))
    return "\n".join(lines)


def row(branch: str, name: str, chosen: list[dict[str, Any]]) -> str:
    """One line of the table."""
    failed = sum(one["exit"] == 1 for one in chosen)
    right = sum(one["right"] for one in chosen)
    open_ = sum(one["outcome"] == "inconclusive" for one in chosen)
    share = f"{chosen[0]['share']:.0%}" if name != "all" else ""
    seconds = sorted(one["seconds"] for one in chosen)[len(chosen) // 2]
    low, high = wilson(failed, len(chosen))
    changes = sorted(one["change"] for one in chosen)
    span = f"{changes[0]:+.1%} to {changes[-1]:+.1%}" if name != "all" else ""
    failures = f"{failed} ({low:.0%}-{high:.0%})"
    cells = branch, name, share, len(chosen), failures, right, open_, span, f"{seconds:.0f}"
    return "| " + " | ".join(map(str, cells)) + " |"


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's score interval at 95 % (Wilson 1927)."""
    z = 1.959964
    centre = (successes + z * z / 2) / (trials + z * z)
    half = z / (trials + z * z) * (successes * (trials - successes) / trials + z * z / 4) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


if __name__ == "__main__":
    main()
