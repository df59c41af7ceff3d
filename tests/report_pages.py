"""Pages for the tests of the HTML reports: measured-looking runs of a made-up library, judged by the real gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from gitrepo import GitRepo

from pytest_blcperf.bench.repository import find
from pytest_blcperf.model.environment import Environment
from pytest_blcperf.model.function import Function
from pytest_blcperf.model.profile import Profile
from pytest_blcperf.model.run import CONFIRM, LOOK, Benchmark, Count, Counts, Launch, Round, Run
from pytest_blcperf.model.warning import Warning
from pytest_blcperf.pages import comparison_page
from pytest_blcperf.report.comparison_page import ComparisonPage
from pytest_blcperf.session import compare_runs
from pytest_blcperf.settings import resolve

MACHINE = Environment(
    machine="x86_64",
    cpu_model="Example CPU 3000",
    cpu_count=8,
    memory_bytes=16 << 30,
    system="Linux",
    kernel="6.1.0",
    python="CPython 3.12.4",
    packages={"pytest": "8.2.0"},
)

TEXT_RULE = '''\
"""Text."""

TERMINATORS = set("\\n!#$%&*+-:<=>@[\\\\]^_`{}~")


def text(state, silent):
    """Take characters up to the next terminator."""
    pos = state.pos
    while pos < state.maximum and state.src[pos] not in TERMINATORS:
        pos += 1
    if pos == state.pos:
        return False
    if not silent:
        state.pending += state.src[state.pos : pos]
    state.pos = pos
    return True
'''
SLOWER_TEXT_RULE = TEXT_RULE.replace("state.src[pos] not in", "state.src[pos : pos + 1] not in")
TEXT_FILE = "src/markup/rules/text.py"

FUNCTIONS = {
    "text": Function(TEXT_FILE, "text", 6, "f-text"),
    "tokenize": Function("src/markup/inline.py", "InlineParser.tokenize", 24, "f-tokenize"),
    "inline": Function("src/markup/inline.py", "InlineParser.parse", 58, "f-inline"),
    "emphasis": Function("src/markup/rules/emphasis.py", "emphasis", 11, "f-emphasis"),
    "link": Function("src/markup/rules/link.py", "link", 8, "f-link"),
    "push": Function("src/markup/state.py", "State.push", 107, "f-push"),
    "block": Function("src/markup/block.py", "BlockParser.parse", 88, "f-block"),
    "paragraph": Function("src/markup/rules/paragraph.py", "paragraph", 9, "f-paragraph"),
    "table": Function("src/markup/rules/table.py", "table", 30, "f-table"),
    "core": Function("src/markup/core.py", "Core.process", 15, "f-core"),
    "parse": Function("src/markup/main.py", "Markup.parse", 120, "f-parse"),
    "render": Function("src/markup/main.py", "Markup.render", 140, "f-render"),
    "renderer": Function("src/markup/renderer.py", "HtmlRenderer.render", 40, "f-renderer"),
    "escape": Function("src/markup/escape.py", "escape_html", 5, "f-escape"),
    "test": Function("benchmarks/test_markup.py", "test_render_article", 10, "f-test"),
    "search": Function("<stdlib>/re/__init__.py", "search", 170),
}
_PARSE = "parse render test"
_INLINE = f"tokenize inline core {_PARSE}"
ARTICLE = {
    f"text {_INLINE}": 620.0,
    _INLINE: 410.0,
    f"emphasis {_INLINE}": 300.0,
    f"push emphasis {_INLINE}": 120.0,
    f"link {_INLINE}": 190.0,
    f"search link {_INLINE}": 90.0,
    f"block core {_PARSE}": 150.0,
    f"paragraph block core {_PARSE}": 280.0,
    f"push paragraph block core {_PARSE}": 110.0,
    f"table block core {_PARSE}": 160.0,
    "renderer render test": 330.0,
    "escape renderer render test": 240.0,
    "test": 30.0,
}
"""Stacks, leaf first, and what each costs in µs per iteration."""


def benchmark(
    name: str, costs: Mapping[str, float], seed: int, fingerprints: Mapping[str, str], calls: Mapping[str, float]
) -> Benchmark:
    """A benchmark of 12 looking and 24 confirming launches; launches scatter by 0.6 %, rounds by 1 %."""
    random = np.random.default_rng(seed)
    whole = sum(costs.values()) * 1e3
    launches = []
    for index in range(36):
        level = whole * random.normal(1, 0.006)
        times = (level * random.normal(1, 0.01, 12) * 4).astype(int).tolist()
        rounds = tuple(Round(4, cpu, int(cpu * 1.004)) for cpu in times)
        launches.append(Launch(index, LOOK if index < 12 else CONFIRM, index, index % 2, rounds))
    return Benchmark(
        id=f"benchmarks/test_markup.py::{name}",
        name=name,
        file="benchmarks/test_markup.py",
        line=9,
        launches=tuple(launches),
        profile=profile(costs, random, fingerprints),
        counts=Counts(tuple(Count(FUNCTIONS[key], number) for key, number in calls.items()), True),
        code="test",
    )


def profile(costs: Mapping[str, float], random: np.random.Generator, fingerprints: Mapping[str, str]) -> Profile:
    """About 500 samples a launch, shared out by cost as a sampler would."""
    keys = list(FUNCTIONS)
    functions = tuple(
        Function(one.file, one.name, one.line, fingerprints.get(key, one.fingerprint)) for key, one in FUNCTIONS.items()
    )
    share = np.array(list(costs.values())) / sum(costs.values())
    seen = np.stack([random.multinomial(500 if launch < 12 else 1000, share) for launch in range(36)])
    launch, stack = np.nonzero(seen)
    return Profile(
        functions=functions,
        stacks=tuple(tuple(keys.index(part) for part in stack.split()) for stack in costs),
        launch=launch.astype(np.int64),
        stack=stack.astype(np.int64),
        weight=seen[launch, stack] * 1e6,
        samples=seen[launch, stack].astype(np.int64),
        backend="perf-signal",
    )


def changed(costs: Mapping[str, float], factor: float, leaf: str) -> dict[str, float]:
    """The costs with one leaf's made `factor` times as large."""
    return {stack: cost * (factor if stack.split()[0] == leaf else 1) for stack, cost in costs.items()}


@cache
def runs() -> tuple[Run, Run]:
    """Base and head of one lockstep measurement: `text` dearer in one benchmark, `escape` cheaper in another."""
    plain = {stack: cost / 3 for stack, cost in ARTICLE.items() if not stack.startswith(("table", "link", "search"))}
    escaped = {stack: cost * (4 if stack.startswith("escape") else 0.4) for stack, cost in ARTICLE.items()}
    calls = {"text": 160.0, "tokenize": 36.0, "push": 220.0, "escape": 48.0}
    sides = []
    for number in (0, 1):
        fingerprints = {"text": "f-text-2", "escape": "f-escape-2"} if number else {}
        article = changed(ARTICLE, 1.55, "text") if number else ARTICLE
        faster = changed(escaped, 0.6, "escape") if number else escaped
        more = calls | ({"push": 260.0} if number else {})
        benchmarks = (
            benchmark("test_render_article", article, 10 + number, fingerprints, more),
            benchmark("test_plain_text", plain, 20 + number, {}, calls),
            benchmark("test_escape[long]", faster, 30 + number, fingerprints, calls),
        )
        sides.append(
            Run(
                name=("base", "head")[number],
                created="2026-03-04T05:06:07+00:00",
                commit="",
                dirty=False,
                environment=MACHINE,
                benchmarks=benchmarks,
                pair="one",
                warnings=(Warning("cpu-frequency", "the CPU frequency is not fixed on this machine"),) * number,
            )
        )
    return sides[0], sides[1]


def compared(folder: Path) -> ComparisonPage:
    """The comparison of `runs`, in a real repository whose two commits hold the sources of `text`."""
    repo = GitRepo(folder).write({TEXT_FILE: TEXT_RULE}).commit("base")
    commits = [repo.git("rev-parse", "HEAD").strip()]
    repo.write({TEXT_FILE: SLOWER_TEXT_RULE}).commit("head")
    commits.append(repo.git("rev-parse", "HEAD").strip())
    base, head = (_at(run, commit) for run, commit in zip(runs(), commits, strict=True))
    return comparison_page(compare_runs(base, head, resolve({}, {}, {}, {})), base, head, find(folder))


def hostile(names: Sequence[str]) -> ComparisonPage:
    """The comparison of `runs`, with functions, files and benchmarks called those names."""
    base, head = (_renamed(run, names) for run in runs())
    return comparison_page(compare_runs(base, head, resolve({}, {}, {}, {})), base, head, None)


def _renamed(run: Run, names: Sequence[str]) -> Run:
    benchmarks = []
    for number, one in enumerate(run.benchmarks):
        assert one.profile is not None
        functions = tuple(
            replace(function, name=names[place % len(names)] + str(place // len(names)), file=names[-1 - place % 2])
            for place, function in enumerate(one.profile.functions)
        )
        benchmarks.append(replace(one, id=names[number] + one.id, profile=replace(one.profile, functions=functions)))
    return replace(run, benchmarks=tuple(benchmarks))


def _at(run: Run, commit: str) -> Run:
    return replace(run, commit=commit)


def many_stacks(count: int, random: np.random.Generator, launches: int = 36) -> Profile:
    """A profile of `count` different stacks as a large service has them: 2,000 functions, calls 15 to 80 deep.

    Every stack leaves an earlier one a few frames above its leaf and goes on with some of its own, so stacks share their
    beginnings as real ones do: about four new frames a stack.
    """
    functions = tuple(
        Function(f"src/service/{number % 97}/module_{number % 211}.py", f"Handler{number % 173}.process_{number}", 10)
        for number in range(2_000)
    )
    paths: list[tuple[int, ...]] = [tuple(random.integers(0, len(functions), 15).tolist())]
    known = set(paths)
    while len(paths) < count:
        size = count - len(paths) + 100
        parents, cuts, lengths = random.random(size), random.geometric(0.25, size), random.geometric(0.25, size)
        for parent, cut, length in zip(parents.tolist(), cuts.tolist(), lengths.tolist(), strict=True):
            start = paths[int(parent * len(paths))]
            stem = start[: max(len(start) - cut, 10)][:76]
            path = (
                *stem,
                *((stem[-1] * 31 + step * 977 + cut * 131 + length) % len(functions) for step in range(length)),
            )
            if path not in known and len(paths) < count:
                known.add(path)
                paths.append(path)
    kept = [path[::-1] for path in paths]
    weight = random.pareto(1.2, count) + 0.1
    launch, stack = np.divmod(np.arange(count), count)
    return Profile(
        functions=functions,
        stacks=tuple(kept),
        launch=launch.astype(np.int64) % launches,
        stack=stack.astype(np.int64),
        weight=weight * 1e6,
        samples=np.ceil(weight).astype(np.int64),
        backend="perf-signal",
    )


def with_profiles(base: Run, head: Run, of_base: Profile, of_head: Profile) -> ComparisonPage:
    """The comparison of two runs whose first benchmarks have those profiles instead of their own."""
    verdict = compare_runs(base, head, resolve({}, {}, {}, {}))
    runs = [
        replace(run, benchmarks=(replace(run.benchmarks[0], profile=profile), *run.benchmarks[1:]))
        for run, profile in ((base, of_base), (head, of_head))
    ]
    return comparison_page(verdict, *runs, None)
