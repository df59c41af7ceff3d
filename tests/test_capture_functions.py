"""Files, names and fingerprints of code objects."""

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import CodeType

import pytest

from pytest_blcperf.capture.functions import Roots, describe, fingerprint, normal_file, qualified_name, source_names


def functions(source: str, file: str = "f.py") -> dict[str, CodeType]:
    """All code objects of a source by name."""
    found: dict[str, CodeType] = {}

    def visit(code: CodeType) -> None:
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                found[constant.co_name] = constant
                visit(constant)

    visit(compile(source, file, "exec", dont_inherit=True))
    return found


def print_of(source: str, file: str = "f.py") -> str:
    return fingerprint(functions(source, file)["f"])


BODY = """def f(x, *, y=2):
    try:
        g = lambda z: {"c", "b", "a", 1.5, None} & {z}
        return [g(i) for i in x if i in ("p", "q")]
    except ValueError:
        yield 10 ** 30
"""


@pytest.mark.parametrize(
    "other",
    [
        "# comment\n\n" + BODY,
        "def other():\n    pass\n\n" + BODY,
        BODY.replace("    try:", "    # why\n\n    try:"),
        BODY.replace("    except", "    # why\n    except"),
        BODY.replace("    try:", '    "What it does."\n    try:'),
    ],
    ids=["comment above", "moved down", "comment inside", "comment in the middle", "docstring"],
)
def test_fingerprints_do_not_see_place_comments_and_docstrings(other):
    assert print_of(BODY) == print_of(other, "elsewhere.py")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1.5", "1.25"),
        ("10 **", "11 **"),
        ("i in (", "i not in ("),
        ("ValueError", "KeyError"),
        ("*, y", "y"),
        ('{"c"', '{"d"'),
        ("lambda z:", "lambda z: z or"),
        ('("p", "q")', '("q", "p")'),
        ("    yield", "    return"),
    ],
)
def test_fingerprints_see_what_changes_behaviour(old, new):
    assert old in BODY
    assert print_of(BODY) != print_of(BODY.replace(old, new))


def test_the_values_of_defaults_belong_to_the_code_around():
    module, other = (compile(source, "f.py", "exec") for source in (BODY, BODY.replace("y=2", "y=3")))
    assert print_of(BODY) == print_of(BODY.replace("y=2", "y=3"))
    assert fingerprint(module) != fingerprint(other)


def test_constants_of_other_types_and_signs_differ():
    texts = ["0", "0.0", "-0.0", "False", "0j", "None", "'0'", "b'0'", "...", "()", "(0,)", "((),)"]
    prints = {print_of(f"def f():\n    return g({text}, 'x')\n") for text in texts}
    assert len(prints) == len(texts)


def test_huge_integers_have_fingerprints():
    assert print_of("def f():\n    return " + hex(1 << 40_000)) != print_of("def f():\n    return " + hex(1 << 40_001))


def test_many_constants_do_not_confuse_it():
    many = "def f():\n" + "".join(f"    a = {number}.5\n" for number in range(700))
    assert print_of(many) == print_of("\n\n" + many)
    assert print_of(many) == print_of(many.replace("def f():\n", "def f():\n    'Text.'\n"))
    assert print_of(many) != print_of(many.replace("a = 650.5", "a = 650.25"))


def test_running_does_not_change_a_fingerprint():
    namespace: dict = {}
    exec("def f(n):\n    t = 0\n    for i in range(n):\n        t += len(str(i)) * 2\n    return t\n", namespace)
    function = namespace["f"]
    before = fingerprint(function.__code__)
    function(20_000)
    assert fingerprint(function.__code__) == before


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring is there from Python 3.12 on")
def test_instrumentation_does_not_change_a_fingerprint():
    function = functions.__code__
    before = fingerprint(function)
    sys.monitoring.use_tool_id(4, "test")
    try:
        sys.monitoring.set_events(4, sys.monitoring.events.PY_START | sys.monitoring.events.LINE)
        functions("x = 1")
        assert fingerprint(function) == before
    finally:
        sys.monitoring.set_events(4, 0)
        sys.monitoring.free_tool_id(4)


def test_fingerprints_do_not_depend_on_the_hash_seed():
    program = (
        "from pytest_blcperf.capture.functions import fingerprint\n"
        f"code = compile({BODY!r}, 'f.py', 'exec').co_consts\n"
        "print(*(fingerprint(c) for c in code if hasattr(c, 'co_code')))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2", "3")
    }
    assert outputs == {print_of(BODY)}
    assert re.fullmatch("[0-9a-f]{16}", outputs.pop())


NAMES = """
import functools
def plain(): pass
class Outer:
    class Inner:
        @staticmethod
        @functools.lru_cache(
            maxsize=None)
        def method():
            def local():
                return [lambda: 1]
            return local, (x for x in ())
        attribute = lambda self: 2
async def coroutine():
    class Local:
        def method(self): pass
"""


def test_names_from_the_source_are_those_of_the_compiler(tmp_path):
    file = tmp_path / "names.py"
    file.write_text(NAMES)
    names = source_names(str(file))
    assert set(names.values()) == {
        "plain",
        "Outer",
        "Outer.Inner",
        "Outer.Inner.method",
        "Outer.Inner.method.<locals>.local",
        "Outer.Inner.method.<locals>.local.<locals>.<lambda>",
        "Outer.Inner.method.<locals>.<genexpr>",
        "Outer.Inner.<lambda>",
        "coroutine",
        "coroutine.<locals>.Local",
        "coroutine.<locals>.Local.method",
    }
    assert names[6, "method"] == "Outer.Inner.method"
    for code in functions(NAMES, str(file)).values():
        assert qualified_name(code) == names[code.co_firstlineno, code.co_name]


def test_without_a_source_the_bare_name_is_left(tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("def f(:")
    assert source_names(str(broken)) == source_names(str(tmp_path / "missing.py")) == {}
    assert qualified_name(functions("def f(): pass", str(broken))["f"]) == "f"


def test_files_are_relative_to_the_innermost_root(tmp_path):
    roots = Roots.of(str(tmp_path))
    packages = Path(sysconfig.get_path("purelib"))
    library = Path(sysconfig.get_path("stdlib"))
    expected = {
        str(tmp_path / "src" / "x.py"): "src/x.py",
        str(tmp_path / ".venv/lib/python3.10/site-packages/pkg/x.py"): "<site>/pkg/x.py",
        str(packages / "pkg" / "x.py"): "<site>/pkg/x.py",
        "/usr/lib/python3/dist-packages/pkg/x.py": "<site>/pkg/x.py",
        str(library / "json" / "decoder.py"): "<stdlib>/json/decoder.py",
        "/nowhere/x.py": "/nowhere/x.py",
        "<string>": "<string>",
        "<frozen importlib._bootstrap>": "<frozen importlib._bootstrap>",
    }
    assert {file: normal_file(file, roots) for file in expected} == expected


def test_a_checkout_below_a_package_directory_is_still_the_checkout():
    assert normal_file("/a/site-packages/repo/x.py", Roots.of("/a/site-packages/repo")) == "x.py"


def test_a_name_that_only_begins_like_the_checkout_is_outside():
    assert normal_file("/a/repository/x.py", Roots.of("/a/repo")) == "/a/repository/x.py"


def test_symbolic_links_are_resolved_unless_that_leads_out(tmp_path):
    checkout, cache = tmp_path / "real", tmp_path / "cache"
    (checkout / "lib").mkdir(parents=True)
    cache.mkdir()
    for file in (checkout / "lib" / "x.py", cache / "y.py"):
        file.touch()
    (tmp_path / "link").symlink_to(checkout)
    packages = tmp_path / "site-packages"
    packages.mkdir()
    (packages / "y.py").symlink_to(cache / "y.py")
    (packages / "x.py").symlink_to(checkout / "lib" / "x.py")
    for root in (checkout, tmp_path / "link"):
        roots = Roots.of(str(root))
        assert normal_file(str(tmp_path / "link" / "lib" / "x.py"), roots) == "lib/x.py"
        assert normal_file(str(packages / "x.py"), roots) == "lib/x.py"
        assert normal_file(str(packages / "y.py"), roots) == "<site>/y.py"


def test_describe_gives_all_four(tmp_path):
    file = tmp_path / "m.py"
    source = "\nclass A:\n    def f(self):\n        return 1\n"
    file.write_text(source)
    code = functions(source, str(file))["f"]
    assert describe(code, Roots.of(str(tmp_path))) == ("m.py", "A.f", 3, fingerprint(code))
