"""Real regressions between two released versions of libraries from PyPI: does the gate find them and name the function?

    PYTHONPATH=tests python tests/accuracy/pypi_regressions.py --pool DIR [--only click] [--effects] [-- GATE OPTIONS]

Each case is a repository whose `main` is the sources of one release and whose branch `change` those of a later one, beside
their dependencies, the same on both, with a benchmark written for it. `--effects` measures how much dearer the benchmark is
without the gate (`accuracy.pools.calibrate`) and stops. The verdict of each session is kept under DIR/pypi.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accuracy.pools.calibrate import effect
from gitrepo import GitRepo

_PROJECT = '[tool.pytest.ini_options]\npythonpath = ["src"]\n'
_TEST = "\n\ndef test_it(benchmark):\n    benchmark(work)\n"


@dataclass(frozen=True)
class Case:
    """A library, the releases of base and head, what both need besides, and `work()`."""

    name: str
    base: str
    head: str
    benchmark: str
    needs: tuple[str, ...] = ()
    guilty: str = ""
    """The function that got dearer, as found by reading the two releases: its qualified name."""


CASES = (
    Case(
        "bs4",
        "beautifulsoup4==4.12.3",
        "beautifulsoup4==4.13.4",
        """\
from bs4 import BeautifulSoup

TEXT = "<html><body>" + "".join(f"<div class='a'><p>text {i} <b>bold</b></p></div>" for i in range(40)) + "</body></html>"


def work():
    return BeautifulSoup(TEXT, "html.parser")
""",
        ("soupsieve==2.6", "typing-extensions==4.12.2"),
    ),
    Case(
        "click",
        "click==8.1.8",
        "click==8.2.1",
        """\
import click


@click.command()
@click.option("--count", default=1, type=int)
@click.option("--name", default="x")
@click.option("--flag/--no-flag", default=False)
@click.argument("files", nargs=-1)
def command(count, name, flag, files):
    return count


def work():
    return command.main(["--count", "3", "--name", "abc", "--flag", "a", "b"], standalone_mode=False)
""",
        guilty="Command.get_params",
    ),
    Case(
        "pyparsing",
        "pyparsing==2.4.7",
        "pyparsing==3.0.9",
        """\
import pyparsing as pp

number = pp.Word(pp.nums).setParseAction(lambda found: int(found[0]))
expression = pp.infixNotation(number, [(pp.oneOf("* /"), 2, pp.opAssoc.LEFT), (pp.oneOf("+ -"), 2, pp.opAssoc.LEFT)])


def work():
    return expression.parseString("1 + 2 * 3 - 4 / 2", parseAll=True)
""",
    ),
    Case(
        "cssselect",
        "cssselect==1.1.0",
        "cssselect==1.2.0",
        """\
from cssselect import GenericTranslator

translator = GenericTranslator()
SELECTORS = ("div.a > p:first-child", "ul li a[href^=x]", "#id .b + .c")


def work():
    return [translator.css_to_xpath(one) for one in SELECTORS]
""",
    ),
    Case(
        "wcwidth",
        "wcwidth==0.2.6",
        "wcwidth==0.2.13",
        """\
from wcwidth import wcswidth

TEXTS = ["hello world, this is text", "\\u5bff\\u53f8 sushi", "caf\\u00e9 na\\u00efve"] * 5


def work():
    return [wcswidth(text) for text in TEXTS]
""",
        guilty="wcswidth",
    ),
    Case(
        "termcolor",
        "termcolor==2.0.0",
        "termcolor==2.3.0",
        """\
from termcolor import colored


def work():
    return [colored(f"text {number}", "red", attrs=["bold"]) for number in range(20)]
""",
    ),
    Case(
        "markdown-it",
        "markdown-it-py==2.2.0",
        "markdown-it-py==3.0.0",
        """\
from markdown_it import MarkdownIt

TEXT = "# Title\\n\\nA *short* text with [a link](https://example.org), `code` and **more** words.\\n\\n- one\\n- two *x*\\n" * 4
parser = MarkdownIt()


def work():
    return parser.render(TEXT)
""",
        ("mdurl==0.1.2",),
    ),
)


def main() -> None:
    """Every case in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--only", default="", help="names of cases, with commas between")
    parser.add_argument("--effects", action="store_true")
    parser.add_argument("gate", nargs="*")
    arguments = parser.parse_args()
    os.environ.pop("PYTHONPATH", None)
    only = [name for name in arguments.only.split(",") if name]
    for case in CASES:
        if only and case.name not in only:
            continue
        folder = arguments.pool / "pypi" / case.name
        build(case, folder)
        if arguments.effects:
            change, error = effect(folder / "base", folder / "head", 4, sorted(os.sched_getaffinity(0)))
            print(f"{case.name}: {case.base} → {case.head}: {change:+.1%} ± {error:.1%}", flush=True)
        else:
            print(line(case, session(folder, arguments.gate)), flush=True)


def build(case: Case, folder: Path) -> None:
    """The two trees, and the repository that has one on each branch."""
    if (folder / "done").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    for side, release in (("base", case.base), ("head", case.head)):
        tree = folder / side
        (tree / "benchmarks").mkdir(parents=True)
        (tree / "benchmarks" / "test_it.py").write_text(case.benchmark + _TEST)
        (tree / "pyproject.toml").write_text(_PROJECT)
        (tree / ".gitignore").write_text("__pycache__/\n.blcperf/\n")
        for one in (release, *case.needs):
            unpack(one, tree / "src")
    repository = GitRepo(folder / "repository")
    for side, branch in (("base", ""), ("head", "change")):
        if branch:
            repository.branch(branch)
            shutil.rmtree(repository.path / "src")
        shutil.copytree(folder / side, repository.path, dirs_exist_ok=True)
        repository.commit(side)
    (folder / "done").touch()


def unpack(requirement: str, target: Path) -> None:
    """The Python files of a release's wheel."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, requirement]
        subprocess.run(command, check=True, capture_output=True)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            names = [name for name in wheel.namelist() if ".dist-info/" not in name and "/tests/" not in name]
            wheel.extractall(target, names)


def session(folder: Path, options: list[str]) -> dict[str, Any]:
    """One gate, as a user runs it; what it said is kept."""
    report = (folder / "verdict.json").resolve()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--blcperf", "--blcperf-baseline=main"]
    start = time.monotonic()
    done = subprocess.run(
        [*command, f"--blcperf-json={report}", *options],
        cwd=folder / "repository",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"pytest exited with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return {"seconds": time.monotonic() - start, "exit": done.returncode, **json.loads(report.read_text())}


def line(case: Case, found: dict[str, Any]) -> str:
    """A row of the table: case, verdict, the functions blamed."""
    (verdict,) = found["benchmarks"]
    guilty = [one for one in verdict["functions"] if one["guilty"]]
    blamed = ", ".join(f"{one['name']} {grown(one)}" for one in guilty[:3]) or "–"
    change = verdict["measured"]["ratio"]["change"]
    right = "" if not case.guilty else "yes" if guilty and guilty[0]["name"] == case.guilty else "no"
    cells = (case.base, case.head, verdict["outcome"], f"{change:+.1%}", blamed, right, f"{found['seconds']:.0f} s")
    return "| " + " | ".join(cells) + " |"


def grown(function: dict[str, Any]) -> str:
    """By how much a function got dearer; `new` when the base did not run it."""
    return f"{function['ratio']['change']:+.0%}" if function["cost_base_ns"] > 0 else "new"


if __name__ == "__main__":
    main()
