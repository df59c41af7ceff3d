"""Which changed lines most likely made a function dearer: its own, those it calls, or those that call it more often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import cached_property
from typing import NamedTuple

from pytest_blcperf.compare.align import match_functions
from pytest_blcperf.compare.explain import exact_calls
from pytest_blcperf.compare.spans import LINES_LIMIT, Module, Numbered
from pytest_blcperf.model.function import PYTHON, Function
from pytest_blcperf.model.run import Benchmark
from pytest_blcperf.model.verdict import (
    CALLED,
    CALLER,
    MODULE,
    OWN,
    RUN,
    BenchmarkVerdict,
    ChangedLines,
    FunctionVerdict,
)

Modules = Callable[[str], Module | None]
"""A path relative to the repository → the module there, None where there is none to be read."""

HUNKS_LISTED = 8
LINES_LISTED = 12
LINE_LIMIT = 200
MODULE_NAME = "<module>"
"""What the interpreter calls the code outside of functions."""


@dataclass(frozen=True, eq=False)
class Program:
    """The functions a benchmark ran: which of the base's each of the head's is, and which calls which in the head."""

    base: Benchmark
    head: Benchmark

    @cached_property
    def before(self) -> dict[Function, Function | None]:
        """Function of the head → that of the base, also under another name or in another file; None: it is new.

        `match_functions` leaves lambdas and comprehensions of another file, and what is not Python: those are moved
        where a single one of that name is left on either side.
        """
        match = match_functions(_functions(self.base), _functions(self.head))
        left = [Counter(one.name for one in side) for side in (match.only_base, match.only_head)]
        moved = {one.name: one for one in match.only_base if left[0][one.name] == left[1][one.name] == 1}
        return {new: old for old, new in match.pairs} | {one: moved.get(one.name) for one in match.only_head}

    def changed(self, function: Function) -> bool:
        """Whether its code differs between the sides, or may: fingerprints decide where both are known."""
        if function not in self.before or function.kind != PYTHON or function.file.startswith("<"):
            return False
        old, new = self.before[function], self._own[function]
        return old is None or not old.fingerprint or not new.fingerprint or old.fingerprint != new.fingerprint

    def around(self, function: Function) -> tuple[dict[Function, int], dict[Function, int]]:
        """What it calls, and what calls it, in the samples: function → the least number of calls between the two."""
        below: dict[int, int] = {}
        above: dict[int, int] = {}
        profile = self.head.profile
        if profile is None:
            return {}, {}
        own = {place for place, one in enumerate(profile.functions) if one == function}
        for stack in profile.stacks if own else ():
            depths = [depth for depth, place in enumerate(stack) if place in own]
            for at in {depths[0], depths[-1]} if depths else ():
                for depth, place in enumerate(stack):
                    side, distance = (below, at - depth) if depth < at else (above, depth - at)
                    if distance < side.get(place, distance + 1):
                        side[place] = distance
        named = [
            {profile.functions[place]: far for place, far in side.items() if place not in own}
            for side in (below, above)
        ]
        return named[0], named[1]

    @cached_property
    def more_called(self) -> frozenset[Function]:
        """Functions of the head with more exact calls per iteration than on the base."""
        known = exact_calls(self.base, self.head)
        if known is None:
            return frozenset()
        before, after = known
        return frozenset(one for one, calls in after.items() if calls > before.get(self.before[one] or one, 0.0))

    @cached_property
    def _own(self) -> dict[Function, Function]:
        """The functions with the fingerprints of the head, whoever asks with what."""
        return {one: one for one in self.before}


@dataclass(frozen=True)
class _Suspect:
    """A function whose code may have caused the growth; `rank` orders them, least first."""

    function: Function
    relation: str
    rank: tuple[int, ...]


def changed_lines(
    verdict: BenchmarkVerdict, guilty: FunctionVerdict, program: Program, base: Modules, head: Modules
) -> tuple[ChangedLines, ...]:
    """The changed lines that may have made `guilty` dearer, the most likely first; at most HUNKS_LISTED hunks.

    First its own; where more calls make up most of its growth, those of functions that call it, directly or not, stand
    before them. Then lines of its module outside functions that it names, then functions it calls: those that got
    dearer or are called more often first. Callers that do not call it more often are named where nothing else changed:
    they may hand it something else. Inside a function the lines in most loops stand first, and comments and
    docstrings are left out. A function counts as called when a sample saw it below, or when the guilty one names it.
    """
    found: list[ChangedLines] = []
    seen: set[tuple[str, int, int]] = set()
    for suspect in _suspects(verdict, guilty, program, head):
        if suspect.relation == CALLER and found and not _called_more(guilty):
            break
        hunks = _in_module(suspect, base, head) if suspect.relation == MODULE else _in(suspect, program, base, head)
        for hunk in hunks:
            place = hunk.function.file, hunk.first, hunk.last
            if place not in seen:
                seen.add(place)
                found.append(hunk)
        if len(found) >= HUNKS_LISTED:
            break
    return tuple(found[:HUNKS_LISTED])


def lines_run(program: Program, base: Modules, head: Modules) -> tuple[ChangedLines, ...]:
    """The changed lines of every function that ran, those called more often first; at most HUNKS_LISTED hunks."""
    changed = [one for one in program.before if program.changed(one)]
    changed.sort(key=lambda one: (one not in program.more_called, one.file, one.name))
    found: list[ChangedLines] = []
    for function in changed:
        found += _in(_Suspect(function, RUN, ()), program, base, head)
        if len(found) >= HUNKS_LISTED:
            break
    return tuple(found[:HUNKS_LISTED])


class Hunk(NamedTuple):
    """Lines that differ, as `git diff -U0` has them: `first` to `last` are those of the head; see ChangedLines."""

    first: int
    last: int
    gone: tuple[str, ...]
    come: tuple[str, ...]


def hunks(base: Numbered, head: Numbered) -> Iterator[Hunk]:
    """Where two texts differ, from the top down."""
    (_, old), (start, new) = base, head
    for step, i, i_end, j, j_end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if step != "equal":
            yield Hunk(start + j, start + j_end - 1, tuple(old[i:i_end]), tuple(new[j:j_end]))


def _suspects(verdict: BenchmarkVerdict, guilty: FunctionVerdict, program: Program, head: Modules) -> list[_Suspect]:
    own = guilty.comparison.function
    below, above = program.around(own)
    for one in _named(own, program, head):
        below.setdefault(one, 1)
    dearer = {one.comparison.function for one in verdict.functions if one.comparison.impact > 0}
    found = [_Suspect(own, OWN, (1,)), _Suspect(own, MODULE, (2,))]
    for function, distance in below.items():
        grown = function in program.more_called, function in dearer
        found.append(_Suspect(function, CALLED, (3, not grown[0], not grown[1], distance)))
    rank = 0 if _called_more(guilty) else 4
    # Of mutual recursion each is above and below the other.
    found += [
        _Suspect(one, CALLER, (rank, distance)) for one, distance in above.items() if rank == 0 or one not in below
    ]
    changed = [one for one in found if one.relation == MODULE or program.changed(one.function)]
    return sorted(changed, key=lambda one: (one.rank, one.function.file, one.function.name))


def _called_more(guilty: FunctionVerdict) -> bool:
    """Whether most of its growth is more calls of a function that the base called too."""
    parts, calls = guilty.explanation, guilty.comparison.calls_base
    return bool(calls) and parts is not None and parts.called_more_ns > max(parts.dearer_per_call_ns, 0)


def _named(function: Function, program: Program, head: Modules) -> list[Function]:
    """Functions that ran and that the code of `function` speaks of: short ones may have no sample of their own."""
    module = head(function.file)
    span = module.span(function) if module is not None else None
    names = module.names_in(span) if module is not None and span is not None else frozenset()
    return [one for one in program.before if one != function and one.name.rpartition(".")[2] in names]


def _in(suspect: _Suspect, program: Program, base: Modules, head: Modules) -> list[ChangedLines]:
    function, old = suspect.function, program.before.get(suspect.function)
    module = head(function.file)
    after = module.lines_of(function) if module is not None else None
    if module is None or after is None:
        return []
    earlier = base(old.file) if old is not None else None
    before = earlier.lines_of(old) if earlier is not None and old is not None else None
    if old is not None and before is None:
        return []
    found = [hunk for hunk in hunks(before or (1, ()), after) if _matters(module, hunk)]
    found.sort(key=lambda hunk: (-_loops(module, hunk), hunk.first))
    return [_listed(hunk, function, suspect.relation) for hunk in found]


def _in_module(suspect: _Suspect, base: Modules, head: Modules) -> list[ChangedLines]:
    """Lines outside functions whose change touches a name that the function speaks of."""
    earlier, module = base(suspect.function.file), head(suspect.function.file)
    span = module.span(suspect.function) if module is not None else None
    if earlier is None or module is None or span is None:
        return []
    names, old, new = module.names_in(span), earlier.outside(), module.outside()
    if max(len(old), len(new)) > LINES_LIMIT:
        return []
    function = replace(suspect.function, name=MODULE_NAME, line=0, fingerprint="")
    found = []
    for hunk in hunks((0, [line for _, line in old]), (0, [line for _, line in new])):
        if not hunk.come or not names & _words((*hunk.gone, *hunk.come)):
            continue
        placed = hunk._replace(first=new[hunk.first][0], last=new[hunk.last][0])
        # A function may stand between two lines that follow each other here.
        if placed.last - placed.first == hunk.last - hunk.first and _matters(module, placed):
            found.append(_listed(placed, function, MODULE))
    return found


def _listed(hunk: Hunk, function: Function, relation: str) -> ChangedLines:
    every = [*(f"-{line}" for line in hunk.gone), *(f"+{line}" for line in hunk.come)]
    # Some of both sides: a long removal must not hide what came instead.
    few = min(len(hunk.gone), max(LINES_LISTED // 2, LINES_LISTED - len(hunk.come)))
    kept = [*every[:few], *every[len(hunk.gone) :][: LINES_LISTED - few]]
    text = tuple(line if len(line) <= LINE_LIMIT else line[: LINE_LIMIT - 1] + "…" for line in kept)
    return ChangedLines(function, hunk.first, hunk.last, text, len(every) - len(kept), relation)


def _matters(module: Module, hunk: Hunk) -> bool:
    """Whether a hunk is more than blank lines, comments and docstrings."""
    numbered = list(enumerate(hunk.come, hunk.first))
    if any(_is_code(line) for number, line in numbered if number not in module.documentation):
        return True
    documents = any(number in module.documentation for number, _ in numbered)
    return not documents and any(map(_is_code, hunk.gone))


def _is_code(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _loops(module: Module, hunk: Hunk) -> int:
    return max(module.loop_depth.get(line, 0) for line in range(hunk.first, max(hunk.first, hunk.last) + 1))


def _words(lines: Iterable[str]) -> set[str]:
    return {
        word for line in lines for word in "".join(c if c.isidentifier() or c.isdigit() else " " for c in line).split()
    }


def _functions(benchmark: Benchmark) -> list[Function]:
    counted = [one.function for one in benchmark.counts.calls] if benchmark.counts else []
    return [*(benchmark.profile.functions if benchmark.profile else ()), *counted]
