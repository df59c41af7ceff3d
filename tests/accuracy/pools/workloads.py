"""The workloads: code that nobody here wrote, a benchmark each, and the functions that carry planted changes."""

from __future__ import annotations

from dataclasses import dataclass, field

from accuracy.pools.benchmarks import BENCHMARKS
from accuracy.pools.edits import Edit, Move, Plant, Rename, Reorder, Replace


@dataclass(frozen=True)
class Workload:
    """A package in `src/`, the benchmark `benchmarks/test_it.py` with its `work()`, and where changes go.

    `source` is a standard library module (`std:json`), a wheel (`wheel:sqlparse==0.5.3`) or C code next to this file
    (`native:`). `places` maps a variant to the function that carries it: `FILE::FUNCTION`, the file inside the package.
    `twice` is an edit that calls a cheap function twice as often, that function, and the one that was edited. `refactorings` cost nothing.
    """

    name: str
    kind: str
    source: str
    places: dict[str, str]
    held: float = 0.05
    """What the function of `five_5` holds of the benchmark's total, with what it calls."""
    twice: tuple[Edit, str, str] | None = None
    refactorings: dict[str, tuple[Edit, ...]] = field(default_factory=dict)

    @property
    def package(self) -> str:
        """The package's name: never that of what it is a copy of."""
        return f"src_{self.name}"

    @property
    def benchmark(self) -> str:
        """The benchmark file."""
        return BENCHMARKS[self.name]


@dataclass(frozen=True)
class Variant:
    """A change whose truth is known.

    `plants` are made dearer, each by a fraction of the benchmark's total: on the head, or for `base` ones on the base
    (the head then lacks that cost: it got faster). `edits` are made on the head as they are. `expected` is what is true:
    `same`, `slower` or `faster`; `guilty` names the function that carries a slowdown, `edited` the one that causes it
    where that is another.
    """

    name: str
    expected: str
    plants: tuple[Plant, ...] = ()
    edits: tuple[Edit, ...] = ()
    guilty: str = ""
    edited: str = ""


SAME = Replace("__init__.py", "", "\n_UNUSED = 1\n")
PLANTED = {"third_6": 0.02, "tenth_20": 0.02, "one_percent": 0.01}
"""By variant, the part of the benchmark's total by which it gets dearer."""
FIVE_5 = 0.05
"""By how much of itself the function of `five_5` gets dearer."""
FASTER = 0.05
"""By how much of the total another function gets faster in `improved` and `five_5_faster`."""

WORKLOADS = (
    Workload(
        "difflib",
        "pure Python",
        "std:difflib",
        {
            "third_6": "__init__.py::SequenceMatcher.__chain_b",
            "tenth_20": "__init__.py::SequenceMatcher.get_matching_blocks",
            "one_percent": "__init__.py::SequenceMatcher.find_longest_match",
            "five_5": "__init__.py::_calculate_ratio",
            "faster": "__init__.py::SequenceMatcher.quick_ratio",
        },
        held=0.035,
        refactorings={
            "rename": (Rename("find_longest_match", "find_best_match"),),
            "reorder": (Reorder("__init__.py", "SequenceMatcher.find_longest_match"),),
            "extract": (
                Replace(
                    "__init__.py",
                    "        matching_blocks.sort()\n",
                    "        return self._collapsed(matching_blocks, la, lb)\n\n    def _collapsed(self, matching_blocks, la, lb):\n        matching_blocks.sort()\n",
                ),
            ),
        },
    ),
    Workload(
        "json",
        "pure Python, recursive",
        "std:json",
        {
            "third_6": "decoder.py::JSONArray",
            "tenth_20": "decoder.py::py_scanstring",
            "one_percent": "decoder.py::JSONObject",
            "faster": "decoder.py::py_scanstring",
        },
        twice=(
            Replace(
                "decoder.py",
                "        content, terminator = chunk.groups()\n",
                "        chunk.groups()\n        content, terminator = chunk.groups()\n",
            ),
            "decoder.py::py_scanstring",
            "decoder.py::py_scanstring",
        ),
        refactorings={
            "rename": (Rename("py_scanstring", "scan_text"),),
            "move": (
                Move(
                    "decoder.py",
                    "_decode_uXXXX",
                    "escapes.py",
                    "from .escapes import _decode_uXXXX\n",
                    "import re\nFLAGS = re.VERBOSE | re.MULTILINE | re.DOTALL\n_HEXDIGITS = re.compile(r'[0-9A-Fa-f]{4}', FLAGS)\n",
                ),
            ),
            "reorder": (Reorder("decoder.py", "JSONArray"),),
        },
    ),
    Workload(
        "textwrap",
        "pure Python, regular expressions",
        "std:textwrap",
        {
            "third_6": "__init__.py::TextWrapper._wrap_chunks",
            "tenth_20": "__init__.py::dedent",
            "one_percent": "__init__.py::indent",
            "five_5": "__init__.py::indent",
            "faster": "__init__.py::TextWrapper._fix_sentence_endings",
        },
        held=0.086,
        twice=(
            Replace("__init__.py", "if predicate(line) else", "if predicate(line) and predicate(line) else"),
            "__init__.py::indent.<locals>.predicate",
            "__init__.py::indent.<locals>.prefixed_lines",
        ),
        refactorings={
            "rename": (Rename("_wrap_chunks", "_fill_lines"),),
            "reorder": (Reorder("__init__.py", "TextWrapper._wrap_chunks"),),
        },
    ),
    Workload(
        "zipfile",
        "C-heavy: zlib, struct, crc32",
        "std:zipfile",
        {
            "third_6": "__init__.py::ZipFile.open",
            "tenth_20": "__init__.py::ZipExtFile._read1",
            "one_percent": "__init__.py::ZipInfo.FileHeader",
            "five_5": "__init__.py::ZipFile._write_end_record",
            "faster": "__init__.py::ZipFile.writestr",
        },
        held=0.052,
        refactorings={"rename": (Rename("_read1", "_read_some"),)},
    ),
    Workload(
        "copy",
        "allocation-heavy",
        "std:copy",
        {
            "third_6": "__init__.py::_deepcopy_list",
            "tenth_20": "__init__.py::_keep_alive",
            "one_percent": "__init__.py::_deepcopy_tuple",
            "five_5": "__init__.py::_keep_alive",
            "faster": "__init__.py::_deepcopy_tuple",
        },
        held=0.078,
        refactorings={
            "inline": (
                Replace(
                    "__init__.py",
                    "        _keep_alive(x, memo) # Make sure x lives at least as long as d\n",
                    "        try:\n            memo[id(memo)].append(x)\n        except KeyError:\n            memo[id(memo)] = [x]\n",
                ),
            ),
            "rename": (Rename("_keep_alive", "_remember"),),
            "reorder": (Reorder("__init__.py", "_keep_alive"),),
        },
    ),
    Workload(
        "tokenize",
        "generators, regular expressions",
        "std:tokenize",
        {
            "third_6": "__init__.py::_tokenize",
            "tenth_20": "__init__.py::Untokenizer.untokenize",
            "one_percent": "__init__.py::Untokenizer.add_whitespace",
            "five_5": "__init__.py::Untokenizer.add_whitespace",
            "faster": "__init__.py::_tokenize",
        },
        held=0.061,
        twice=(
            Replace(
                "__init__.py",
                "            self.add_whitespace(start)\n",
                "            self.add_whitespace(start)\n            self.add_whitespace(start)\n",
            ),
            "__init__.py::Untokenizer.add_whitespace",
            "__init__.py::Untokenizer.untokenize",
        ),
        refactorings={
            "rename": (Rename("add_whitespace", "pad"),),
            "reorder": (Reorder("__init__.py", "Untokenizer.add_whitespace"),),
        },
    ),
    Workload(
        "queues",
        "async: tasks and queues of asyncio",
        "std:asyncio/queues.py",
        {
            "third_6": "queues.py::Queue.get_nowait",
            "tenth_20": "queues.py::Queue.put_nowait",
            "one_percent": "queues.py::Queue._wakeup_next",
            "five_5": "queues.py::Queue.full",
            "faster": "queues.py::Queue.get_nowait",
        },
        held=0.042,
        twice=(
            Replace("queues.py", "        if self.full():\n", "        self.full()\n        if self.full():\n"),
            "queues.py::Queue.full",
            "queues.py::Queue.put_nowait",
        ),
        refactorings={
            "rename": (Rename("_wakeup_next", "_wake_one"),),
            "reorder": (Reorder("queues.py", "Queue.get"),),
        },
    ),
    Workload(
        "dumb",
        "I/O: files of dbm.dumb",
        "std:dbm/dumb.py",
        {
            "third_6": "__init__.py::_Database._addval",
            "tenth_20": "__init__.py::_Database._commit",
            "one_percent": "__init__.py::_Database.__getitem__",
            "five_5": "__init__.py::_Database._commit",
            "faster": "__init__.py::_Database._addkey",
        },
        held=0.063,
        refactorings={"rename": (Rename("_addval", "_append_value"),)},
    ),
    Workload(
        "native",
        "a C library through ctypes",
        "native:words.c",
        {
            "third_6": "words.c::hash_word",
            "one_percent": "words.c::insert",
            "faster": "words.c::hash_word",
        },
        refactorings={"rename": (Rename("hash_word", "hash_of_word"),)},
    ),
    Workload(
        "sqlparse",
        "generators, a package from PyPI",
        "wheel:sqlparse==0.5.3",
        {
            "third_6": "sql.py::TokenList._token_matching",
            "tenth_20": "lexer.py::Lexer.get_tokens",
            "one_percent": "sql.py::Token.match",
            "five_5": "sql.py::Token.__init__",
            "faster": "lexer.py::Lexer.get_tokens",
        },
        held=0.038,
        refactorings={"rename": (Rename("_token_matching", "_first_matching"),)},
    ),
    Workload(
        "mistune",
        "regular expressions, a package from PyPI",
        "wheel:mistune==3.1.3",
        {
            "third_6": "block_parser.py::BlockParser.parse",
            "tenth_20": "list_parser.py::_parse_list_item",
            "one_percent": "util.py::escape",
            "five_5": "block_parser.py::BlockParser.parse_block_quote",
            "faster": "inline_parser.py::InlineParser.parse_link",
        },
        held=0.045,
        refactorings={"rename": (Rename("_parse_list_item", "_parse_item"),)},
    ),
)
BY_NAME = {workload.name: workload for workload in WORKLOADS}


def variants(workload: Workload) -> list[Variant]:
    """The variants a workload has, `same` first."""
    found = [Variant("same", "same", edits=(SAME,))]
    for name, effect in {**PLANTED, "five_5": FIVE_5 * workload.held}.items():
        if name in workload.places:
            place = workload.places[name]
            found.append(Variant(name, "slower", (Plant(place, effect),), guilty=place))
    if workload.twice is not None:
        edit, guilty, edited = workload.twice
        found.append(Variant("cheap_twice", "slower", edits=(edit,), guilty=guilty, edited=edited))
    faster = Plant(workload.places["faster"], FASTER, base=True)
    found.append(Variant("improved", "faster", (faster,)))
    if "five_5" in workload.places:
        place = workload.places["five_5"]
        plants = (Plant(place, FIVE_5 * workload.held), faster)
        found.append(Variant("five_5_faster", "slower", plants, guilty=place))
    found += [Variant(name, "same", edits=edits) for name, edits in workload.refactorings.items()]
    return found
