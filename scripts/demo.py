"""Show the gate at work: a real library with two benchmarks, three harmless branches and a slower one (`make demo`).

The library is a pinned release of markdown-it-py, made into the source of a git repository under `.demo/`. Each branch
is checked out and gated against `main` with the command a user would type; the last lines say whether every branch came
out as it should, and the exit code is 0 only then.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIBRARY = "markdown-it-py==3.0.0"
NEEDS = "mdurl~=0.1.2"
TEXT_RULE = "src/markdown_it/rules_inline/text.py"
INLINE_PARSER = "src/markdown_it/parser_inline.py"
GATE = ["-m", "pytest", "--blcperf", "--blcperf-baseline", "main", "--blcperf-only"]


@dataclass(frozen=True)
class Edit:
    """`old`, which must occur exactly once in the file, becomes `new`."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Branch:
    """A change and what the gate must say: the function it must name first, or "" for a change it must let pass.

    `unmeasured` asks for a verdict from identical code, without measuring.
    """

    name: str
    what: str
    edits: tuple[Edit, ...]
    guilty: str = ""
    unmeasured: bool = False

    @property
    def expected(self) -> str:
        """The expectation in words."""
        if self.guilty:
            return f"fails, {self.guilty} first"
        return "passes, not measured" if self.unmeasured else "passes"


@dataclass(frozen=True)
class Result:
    """How the gate judged a branch: in words, whether that is right, the function named first, the seconds it took."""

    branch: Branch
    got: str
    right: bool
    first: str
    seconds: float


BRANCHES = (
    Branch(
        "docs-only",
        "a sentence more in README.md",
        (Edit("README.md", "A Markdown parser.", "A Markdown parser, with plugins."),),
        unmeasured=True,
    ),
    Branch(
        "comment-only",
        "comments in the two hottest modules; every line below them moves",
        (
            Edit(
                TEXT_RULE,
                "def text(",
                "# The first rule that is tried, and nearly always the one that matches.\ndef text(",
            ),
            Edit(
                INLINE_PARSER,
                '        ok = False\n        rules = self.ruler.getRules("")\n        end',
                "        # Rules are asked in order; the first that matches wins.\n"
                '        ok = False\n        rules = self.ruler.getRules("")\n        end',
            ),
        ),
    ),
    Branch(
        "refactor",
        "hot functions written differently at the same cost: names, a frozen constant, the order of branches",
        (
            Edit(TEXT_RULE, "_TerminatorChars = {", "_TERMINATORS = frozenset({"),
            Edit(TEXT_RULE, '    "~",\n}', '    "~",\n})'),
            Edit(
                TEXT_RULE,
                """\
    pos = state.pos
    posMax = state.posMax
    while (pos < posMax) and state.src[pos] not in _TerminatorChars:
        pos += 1

    if pos == state.pos:
        return False

    if not silent:
        state.pending += state.src[state.pos : pos]

    state.pos = pos

    return True
""",
                """\
    cursor = state.pos
    end = state.posMax
    while (cursor < end) and state.src[cursor] not in _TERMINATORS:
        cursor += 1

    if cursor != state.pos:
        if not silent:
            state.pending += state.src[state.pos : cursor]
        state.pos = cursor
        return True

    return False
""",
            ),
            Edit(
                INLINE_PARSER,
                """\
            if ok:
                if state.pos >= end:
                    break
                continue

            state.pending += state.src[state.pos]
            state.pos += 1

        if state.pending:
""",
                """\
            if not ok:
                state.pending += state.src[state.pos]
                state.pos += 1
            elif state.pos >= end:
                break

        if state.pending:
""",
            ),
        ),
    ),
    Branch(
        "slower",
        "plain text is scanned by slices, which cannot raise an IndexError, in place of indexing",
        (Edit(TEXT_RULE, "state.src[pos] not in", "state.src[pos : pos + 1] not in"),),
        guilty="text",
    ),
)

BENCHMARKS = '''\
"""Benchmarks of the parser: a whole article, and block structure alone."""

import pytest
from markdown_it import MarkdownIt

PARAGRAPH = """\\
A gate is worth its place in the pipeline when it stays quiet on harmless changes and names the function that became
dearer when a change is not harmless, so that nobody has to search for it. It compares *launches* rather than rounds,
because the rounds of one process share what that process was given at its start, and it takes a second look before it
speaks. What it cannot tell it calls **inconclusive**, and says [how much more](#more) data it would have taken.
"""
ARTICLE = "".join(f"## Part {number}\\n\\n{PARAGRAPH}\\n" for number in range(8))
LISTS = "".join(f"- item {number}\\n  - below it\\n\\n    > quoted\\n\\n" for number in range(12))
TABLE = "| name | cost |\\n|------|-----:|\\n" + "".join(f"| f{number} | {number} |\\n" for number in range(20))


def test_render_article(benchmark):
    html = benchmark(MarkdownIt().render, ARTICLE)
    assert html.count("<h2>") == 8


def test_parse_blocks(benchmark):
    parser = MarkdownIt("commonmark").enable("table").disable("inline")
    tokens = benchmark(parser.parse, LISTS + "\\n" + TABLE)
    assert sum(token.type == "tr_open" for token in tokens) == 21
'''

FILES = {
    "README.md": "# markdown-it\n\nA Markdown parser.\n",
    ".gitignore": "__pycache__/\n.pytest_cache/\n.blcperf/\n",
    "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["src"]\ntestpaths = ["benchmarks"]\n',
    "benchmarks/test_markdown.py": BENCHMARKS,
}


# Measured with clocks around `text` in alternating processes of `main` and `slower`, without the gate.
PLANTED = """\
planted in `slower`: `text` +41 % on Python 3.10, +37 % on 3.11, +57 % on 3.12, +80 % on 3.13; it holds a fifth
to a quarter of test_render_article, which gets 10 to 15 % dearer; test_parse_blocks never calls it"""


def run(*command: str | Path, cwd: Path, **options: Any) -> None:
    """Run a command that must succeed. Raises subprocess.CalledProcessError."""
    subprocess.run([str(part) for part in command], cwd=cwd, check=True, **options)


def git(repository: Path, *arguments: str) -> None:
    """Run git as the demo's own author, free of the user's settings and hooks."""
    author = ["-c", "user.name=demo", "-c", "user.email=demo@example.org"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    run("git", *author, *arguments, cwd=repository, env=environment)


def fetch(folder: Path) -> Path:
    """The library's wheel, from `folder` when an earlier demo left it there; what it imports is installed."""
    folder.mkdir(parents=True, exist_ok=True)
    name, version = LIBRARY.replace("-", "_").split("==")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    if not list(folder.glob(f"{name}-{version}-*.whl")):
        run(*pip, "download", "--no-deps", "--only-binary", ":all:", "--dest", folder, LIBRARY, cwd=folder)
    run(*pip, "install", NEEDS, cwd=folder)
    return next(folder.glob(f"{name}-{version}-*.whl"))


def apply(repository: Path, edit: Edit) -> None:
    """Make one edit. Raises ValueError unless the text to be replaced is there exactly once."""
    file = repository / edit.file
    text = file.read_text(encoding="utf-8")
    if text.count(edit.old) != 1:
        raise ValueError(f"{edit.file}: expected once, found {text.count(edit.old)} times: {edit.old[:60]!r}")
    file.write_text(text.replace(edit.old, edit.new), encoding="utf-8")


def build(repository: Path, wheel: Path) -> None:
    """Make the repository: `main` with the library and its benchmarks, and one branch for each change."""
    shutil.rmtree(repository, ignore_errors=True)
    repository.mkdir(parents=True)
    with zipfile.ZipFile(wheel) as archive:
        sources = [name for name in archive.namelist() if name.startswith("markdown_it/")]
        archive.extractall(repository / "src", members=sources)
    for name, text in FILES.items():
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text(text, encoding="utf-8")
    git(repository, "init", "--quiet")
    git(repository, "symbolic-ref", "HEAD", "refs/heads/main")
    commit(repository, f"{LIBRARY} with benchmarks")
    for branch in BRANCHES:
        git(repository, "checkout", "--quiet", "-b", branch.name, "main")
        for edit in branch.edits:
            apply(repository, edit)
        commit(repository, branch.what)


def commit(repository: Path, message: str) -> None:
    """Commit everything there is."""
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", message)


def gate(repository: Path, branch: Branch) -> Result:
    """Gate one branch against `main`, its output on the screen, and judge the outcome."""
    git(repository, "checkout", "--quiet", branch.name)
    answer = repository.parent / f"{branch.name}.json"
    answer.unlink(missing_ok=True)
    print(f"\n===== {branch.name}: {branch.what}\n$ python {' '.join(GATE)}", flush=True)
    started = time.monotonic()
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("BLCPERF_", "PYTEST_", "GIT_"))}
    command = [sys.executable, *GATE, f"--blcperf-json={answer}"]
    exit_code = subprocess.run(command, cwd=repository, env=inherited, check=False).returncode
    seconds = time.monotonic() - started
    verdict = json.loads(answer.read_text(encoding="utf-8")) if answer.exists() else {"benchmarks": []}
    return judge(branch, exit_code, verdict["benchmarks"], seconds)


def judge(branch: Branch, exit_code: int, benchmarks: list[Mapping[str, Any]], seconds: float) -> Result:
    """Hold what the gate said against what the branch is: pytest's exit code, and the benchmarks of `verdict.json`."""
    regressed = [benchmark for benchmark in benchmarks if benchmark["outcome"] == "regressed"]
    firsts = [next((item["name"] for item in it["functions"] if item["guilty"]), "") for it in regressed]
    if branch.guilty:
        right = exit_code == 1 and bool(firsts) and all(first == branch.guilty for first in firsts)
    else:
        right = exit_code == 0 and bool(benchmarks) and not regressed
    if any(benchmark["outcome"] == "not compared" for benchmark in benchmarks):
        right = False
    measured = [benchmark for benchmark in benchmarks if benchmark["evidence"] != "identical code"]
    if branch.unmeasured and measured:
        right = False
    outcomes = [benchmark["outcome"] for benchmark in benchmarks]
    got = ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in sorted(set(outcomes))) or f"exit {exit_code}"
    if benchmarks and not measured:
        got += ", not measured"
    return Result(branch, got, right, ", ".join(sorted(set(firsts))), seconds)


def summary(results: list[Result]) -> str:
    """The closing table."""
    rows = [("branch", "expected", "got", "named first", "time", "")]
    for result in results:
        mark = "as it should" if result.right else "WRONG"
        branch = result.branch
        rows.append((branch.name, branch.expected, result.got, result.first or "-", f"{result.seconds:.0f} s", mark))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def main() -> int:
    """Build, gate every branch, sum up. 0 when all came out as they should, 1 otherwise."""
    folder = Path(__file__).resolve().parent.parent / ".demo"
    repository = folder / "markdown-it"
    print(f"building a git repository from {LIBRARY} in .demo/markdown-it ...", flush=True)
    try:
        build(repository, fetch(folder / "download"))
    except subprocess.CalledProcessError as error:
        print(f"demo: `{' '.join(error.cmd[:6])} ...` failed; its message is above", file=sys.stderr)
        print("hint: the library comes from the package index: check the network, or PIP_INDEX_URL", file=sys.stderr)
        return 1
    results = [gate(repository, branch) for branch in BRANCHES]
    print("\n" + textwrap.indent(f"{summary(results)}\n\n{PLANTED}", "  "))
    return 0 if all(result.right for result in results) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
