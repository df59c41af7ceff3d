"""How far instructions counted by callgrind differ when nothing changed that runs, and when something did.

    python tests/accuracy/instruction_error.py --sessions 6            # A/A: the head has code that never runs
    python tests/accuracy/instruction_error.py --sessions 2 --planted  # a function does a twentieth more

Each session is a real gate with --blcperf-backend=callgrind in a new repository, in a folder of another length, with hash
seeds of its own; times are hardly measured. Printed are, over all benchmarks and their hot functions, the standard
deviation and the largest size of the log ratio, how many counts were the same to the instruction, and the verdicts.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gate_runs import run_gate
from gitrepo import GitRepo

LIBRARY = """\
import json
import re

WORD = re.compile(r"[a-z]+")


def index(text):
    found = {}
    for position, word in enumerate(WORD.findall(text)):
        found.setdefault(word, []).append(position)
    return found


class Node:
    def __init__(self, key):
        self.key, self.left, self.right = key, None, None

    def insert(self, key):
        side = "left" if key < self.key else "right"
        child = getattr(self, side)
        if child is None:
            setattr(self, side, Node(key))
        else:
            child.insert(key)

    def walk(self):
        if self.left:
            yield from self.left.walk()
        yield self.key
        if self.right:
            yield from self.right.walk()


def tree(size):
    root = Node(size // 2)
    for key in range(0, size, 3):
        root.insert((key * 7919) % size)
    return sum(root.walk())


def objects(size):
    things = {Node(key) for key in range(size)}
    return len({thing for thing in things if thing.key % 2})


def dump(size):
    return json.dumps([{"id": key, "name": str(key)} for key in range(size)], indent=1)


def numbers(size):
    total = 0
    for key in range(size):
        total += weight(key)
    return total


def weight(key):
    return sum([key % 7, key % 11, key % 13])
"""
PLANTED = LIBRARY.replace(
    "return sum([key % 7, key % 11, key % 13])", "return sum([key % 7, key % 11, key % 13, key % 17])"
)
BENCHMARKS = """\
from markdown_it import MarkdownIt

from lib import core

TEXT = "# Title\\n\\nSome *emphasis* and `code` and [a link](http://example.org).\\n\\n* one\\n* two\\n\\n> quote\\n\\n"


def test_index(benchmark):
    benchmark(core.index, "the quick brown fox jumps over the lazy dog " * 40)


def test_tree(benchmark):
    benchmark(core.tree, 300)


def test_objects(benchmark):
    benchmark(core.objects, 500)


def test_dump(benchmark):
    benchmark(core.dump, 60)


def test_numbers(benchmark):
    benchmark(core.numbers, 1000)


def test_markdown(benchmark):
    benchmark(MarkdownIt().render, TEXT * 3)
"""


def session(folder: Path, number: int, planted: bool) -> Mapping[str, Any]:
    """The verdict of one gate."""
    files = {
        "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["src"]\n',
        "src/lib/__init__.py": "",
        "src/lib/core.py": LIBRARY,
        "benchmarks/test_core.py": BENCHMARKS,
    }
    repo = GitRepo(folder / ("x" * (1 + number * 5))).write(files).commit("first").branch("change")
    idle = f"\n\ndef unused_{number}(one, two):\n    return one + two * {number + 2}\n"
    repo.write({"src/lib/core.py": (PLANTED if planted else LIBRARY) + idle * (1 + number % 3)}).commit("second")
    run = run_gate(repo, "--blcperf-backend=callgrind", "--blcperf-timeout=600s", timeout=3600)
    assert run.verdict is not None, run.output
    return run.verdict


def summary(name: str, logs: list[float]) -> str:
    """The spread of log ratios in a line."""
    sizes = sorted(map(abs, logs))
    same = sum(size == 0 for size in sizes)
    deviation = math.sqrt(statistics.fmean(size * size for size in sizes))
    return (
        f"{name}: {len(logs)} ratios, {same} of them exactly 1, SD {deviation:.3%}, "
        f"90 % within {sizes[int(0.9 * (len(sizes) - 1))]:.3%}, largest {sizes[-1]:.3%}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=6)
    parser.add_argument("--planted", action="store_true")
    options = parser.parse_args()
    whole: dict[str, list[float]] = {}
    functions: list[float] = []
    verdicts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.sessions):
            for one in session(Path(folder), number, options.planted)["benchmarks"]:
                name = one["id"].rpartition("::")[2]
                if one["instructions"] is None:
                    sys.exit(f"{name}: not counted: {one['measured'] and one['measured']['warnings']}")
                whole.setdefault(name, []).append(one["instructions"]["ratio"]["log_ratio"])
                verdicts[f"{name}: {one['outcome']}, {one['evidence']}"] += 1
                verdicts.update(
                    f"{name}: {each['name']} {each['kind']} {each['outcome']}"
                    for each in one["functions"]
                    if each["outcome"] in ("regressed", "improved")
                )
                logs = [each["ratio"]["log_ratio"] for each in one["functions"] if each["unit"] == "instructions"]
                functions += logs
                print(number, name, f"{whole[name][-1]:+.4%}", *(f"{log:+.4%}" for log in logs), flush=True)
    print(sys.version.split()[0])
    for name, logs in whole.items():
        print("  " + summary(name, logs))
    print(summary("benchmarks", [log for logs in whole.values() for log in logs]))
    if functions:
        print(summary("functions", functions))
    for told, times in sorted(verdicts.items()):
        print(f"  {told}: {times}")


if __name__ == "__main__":
    main()
