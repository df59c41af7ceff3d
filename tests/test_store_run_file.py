"""Run files: what is written is read again, and what is wrong is refused in one line."""

from __future__ import annotations

import copy
import io
import json
import re
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from formats.make_run_1 import SAMPLE, sample_profile, sample_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_blcperf.errors import BaselineError
from pytest_blcperf.model.profile import Profile
from pytest_blcperf.model.run import Benchmark, Run
from pytest_blcperf.report import run_json
from pytest_blcperf.store import archive, checked, run_file

SCHEMA = json.loads((Path(__file__).parents[1] / "docs/schemas/blcperf.run-1.json").read_text(encoding="utf-8"))
PROFILE = "profiles/0001.json"
FUZZ = settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])


def profile_data(profile: Profile | None) -> Any:
    """A profile as something that compares."""
    if profile is None:
        return None
    columns = [getattr(profile, name).tolist() for name in ("launch", "stack", "weight", "samples")]
    details = [(function.line, function.fingerprint) for function in profile.functions]
    return profile.functions, details, profile.stacks, columns, profile.backend, profile.self_time


def same(one: Run, two: Run) -> bool:
    """Equality; profiles are arrays and compare by identity otherwise."""
    profiles = [[profile_data(benchmark.profile) for benchmark in run.benchmarks] for run in (one, two)]
    bare = [
        replace(run, benchmarks=tuple(replace(benchmark, profile=None) for benchmark in run.benchmarks))
        for run in (one, two)
    ]
    return profiles[0] == profiles[1] and bare[0] == bare[1]


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as zipped:
        return {name: zipped.read(name) for name in zipped.namelist()}


def zipped(parts: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in parts.items():
            target.writestr(name, data)
    return file.getvalue()


def refusal(path: Path, data: bytes) -> BaselineError:
    """The error for a file of those bytes."""
    path.write_bytes(data)
    with pytest.raises(BaselineError) as caught:
        run_file.read(path)
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value


def documents_of(data: bytes) -> dict[str, Any]:
    """A file's JSON documents."""
    return {name: json.loads(part) for name, part in members(data).items() if name.endswith(".json")}


@pytest.fixture
def documents() -> dict[str, Any]:
    """The sample's JSON documents, to be spoilt."""
    return documents_of(SAMPLE.read_bytes())


def spoilt(documents: dict[str, Any]) -> bytes:
    return zipped({name: json.dumps(document).encode() for name, document in documents.items()})


def test_the_sample_of_format_1_is_read_for_ever() -> None:
    assert same(run_file.read(SAMPLE), sample_run())


def test_a_run_survives_writing_and_reading(tmp_path: Path) -> None:
    run_file.write(sample_run(), tmp_path / "a.blcperf")
    assert same(run_file.read(tmp_path / "a.blcperf"), sample_run())


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    run_file.write(sample_run(), tmp_path / "a.blcperf")
    run_file.write(sample_run(), tmp_path / "b.blcperf")
    assert (tmp_path / "a.blcperf").read_bytes() == (tmp_path / "b.blcperf").read_bytes()


def test_kinds_of_code_are_kept(tmp_path: Path) -> None:
    profile = sample_profile()
    kinds = ["native", *("python" for _ in profile.functions[1:])]
    functions = tuple(replace(one, kind=kind) for one, kind in zip(profile.functions, kinds, strict=True))
    run_file.write(with_benchmark(profile=replace(profile, functions=functions)), tmp_path / "x.blcperf")
    read = run_file.read(tmp_path / "x.blcperf").benchmarks[0].profile
    assert read is not None
    assert [one.kind for one in read.functions] == kinds


def test_without_profiles_the_rest_is_read() -> None:
    run = run_file.read(SAMPLE, profiles=False)
    assert [benchmark.profile for benchmark in run.benchmarks] == [None, None]
    assert run.benchmarks[0].launches == sample_run().benchmarks[0].launches


def test_documents_follow_the_published_schema(documents: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(documents["run.json"], SCHEMA)
    jsonschema.validate(documents[PROFILE], {"$ref": "#/$defs/profile", "$defs": SCHEMA["$defs"]})


def paths(tree: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every value but the root."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*place, key)
        yield from paths(value, (*place, key))


FREE = {"params", "extra_info", "settings", "packages", "writer"}


def test_the_reader_and_the_schema_need_the_same_members(documents: dict[str, Any], tmp_path: Path) -> None:
    """GIVEN a valid document WHEN any one member is taken out THEN both refuse it (but for what is free-form)."""
    for name, rules in (("run.json", SCHEMA), (PROFILE, {"$ref": "#/$defs/profile", "$defs": SCHEMA["$defs"]})):
        validator = jsonschema.Draft202012Validator(rules)
        for place in paths(documents[name]):
            if not isinstance(place[-1], str) or FREE & set(place[:-1]) or place[-1] == "writer":
                continue
            tree = copy.deepcopy(documents)
            parent = tree[name]
            for key in place[:-1]:
                parent = parent[key]
            del parent[place[-1]]
            assert not validator.is_valid(tree[name]), place
            assert "is missing" in refusal(tmp_path / "x.blcperf", spoilt(tree)).message


class Color(str, Enum):
    RED = "red"


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (Color.RED, "red"),
        (np.float64(1.5), 1.5),
        (np.int64(3), 3),
        (float("nan"), "nan"),
        ((1, 2), [1, 2]),
        ({1: "a"}, {"1": "a"}),
        (b"\xff", "b'\\xff'"),
        ({"x"}, "{'x'}"),
        (10**40, str(10**40)),
        (Unprintable(), "<Unprintable>"),
        (b"x" * 1000, repr(b"x" * 1000)[:199] + "…"),
        ("\udcff", "\udcff"),
    ],
)
def test_extra_info_is_kept_as_json_or_as_its_repr(value: Any, kept: Any, tmp_path: Path) -> None:
    run = with_benchmark(extra_info={"value": value})
    run_file.write(run, tmp_path / "x.blcperf")
    assert run_file.read(tmp_path / "x.blcperf").benchmarks[0].extra_info == {"value": kept}


def test_endless_extra_info_ends(tmp_path: Path) -> None:
    endless: dict[str, Any] = {}
    endless["again"] = endless
    run_file.write(with_benchmark(extra_info=endless), tmp_path / "x.blcperf")
    assert "again" in run_file.read(tmp_path / "x.blcperf").benchmarks[0].extra_info


def test_a_huge_parameter_in_a_node_id_stays_unique(tmp_path: Path) -> None:
    run = sample_run()
    ids = [f"tests/t.py::test[{'x' * 20_000}{end}]" for end in "ab"]
    benchmarks = tuple(replace(run.benchmarks[1], id=identifier) for identifier in ids)
    run_file.write(replace(run, benchmarks=benchmarks), tmp_path / "x.blcperf")
    read = [benchmark.id for benchmark in run_file.read(tmp_path / "x.blcperf").benchmarks]
    assert read == [checked.bounded(identifier) for identifier in ids]
    assert len(set(read)) == 2
    assert max(map(len, read)) <= checked.TEXT_LIMIT


def with_benchmark(**changes: Any) -> Run:
    run = sample_run()
    benchmark: Benchmark = replace(run.benchmarks[0], **changes)
    return replace(run, benchmarks=(benchmark,))


def test_what_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    wrong = replace(sample_profile(), weight=np.array([1.0, float("nan"), 1.0, 1.0]))
    (tmp_path / "x.blcperf").write_bytes(b"older")
    with pytest.raises(BaselineError, match="cannot be saved"):
        run_file.write(with_benchmark(profile=wrong), tmp_path / "x.blcperf")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"older"]


def test_a_run_that_packs_like_a_bomb_is_still_read(tmp_path: Path) -> None:
    run = with_benchmark(extra_info={"log": ["x" * 10_000] * 2_000})
    run_file.write(run, tmp_path / "x.blcperf")
    assert run_file.read(tmp_path / "x.blcperf").benchmarks[0].extra_info == run.benchmarks[0].extra_info


# ---- refused


def test_missing_folder_and_other_things_that_are_no_file(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "none.blcperf", "No such file"),
        (tmp_path, "not a regular file"),
        (Path("/dev/zero"), "not a regular file"),
        (Path("a\0b"), "not a path"),
        (Path("x" * 5000), "too long"),
    ):
        with pytest.raises(BaselineError, match=reason):
            run_file.read(path)


def test_a_newer_version_says_to_upgrade(documents: dict[str, Any], tmp_path: Path) -> None:
    documents["run.json"]["schema"] = "blcperf.run/7"
    error = refusal(tmp_path / "x.blcperf", spoilt(documents))
    assert "written by a newer pytest-blcperf (schema blcperf.run/7)" in error.message
    assert "pip install --upgrade" in error.hint


CASES: list[tuple[str, str, tuple[Any, ...], Any]] = [
    ("a profile's launch", PROFILE, ("rows", "launch", 0), 10**6),
    ("a stack that is not there", PROFILE, ("rows", "stack", 0), 3),
    ("a negative stack", PROFILE, ("rows", "stack", 0), -1),
    ("a function that is not there", PROFILE, ("stacks", "frames", 0), 4),
    ("falling offsets", PROFILE, ("stacks", "offsets"), [0, 5, 2, 6]),
    ("a column too short", PROFILE, ("rows", "samples"), [1]),
    ("a negative weight", PROFILE, ("rows", "weight", 0), -1.0),
    ("a row twice", PROFILE, ("rows", "stack"), [0, 0, 0, 2]),
    (
        "a function twice",
        PROFILE,
        ("functions",),
        {"file": ["f"] * 4, "name": ["g"] * 4, "line": [1] * 4, "fingerprint": [""] * 4},
    ),
    ("a kind of code that is not there", PROFILE, ("functions", "kind"), ["python"] * 3 + ["perl"]),
    ("a column of kinds too short", PROFILE, ("functions", "kind"), ["native"]),
    ("negative time", "run.json", ("benchmarks", 0, "launches", 0, "rounds", "cpu_ns", 0), -1),
    ("no iterations", "run.json", ("benchmarks", 0, "launches", 0, "rounds", "iterations", 0), 0),
    ("a bool for a number", "run.json", ("benchmarks", 0, "line"), True),
    ("a number for a bool", "run.json", ("dirty",), 1),
    ("an option for a commit", "run.json", ("commit",), "--output=/etc/passwd"),
    ("an unknown phase", "run.json", ("benchmarks", 0, "launches", 0, "phase"), "later"),
    ("a profile outside", "run.json", ("benchmarks", 0, "profile"), "../../etc/passwd"),
    ("a long string", "run.json", ("name",), "x" * 10_001),
    ("not a date", "run.json", ("created",), "yesterday"),
    ("deep extra_info", "run.json", ("benchmarks", 0, "extra_info"), {"a": json.loads("[" * 30 + "]" * 30)}),
    ("no calls column", "run.json", ("benchmarks", 0, "counts", "calls"), {}),
]


@pytest.mark.parametrize(("name", "place", "value"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_wrong_values_are_refused(
    name: str, place: tuple[Any, ...], value: Any, documents: dict[str, Any], tmp_path: Path
) -> None:
    put(documents[name], place, value)
    message = refusal(tmp_path / "x.blcperf", spoilt(documents)).message
    assert (
        next(part for part in reversed(place) if isinstance(part, str)) in message
        or "rows" in message
        or "functions" in message
    )


def put(tree: Any, place: tuple[Any, ...], value: Any) -> None:
    for key in place[:-1]:
        tree = tree[key]
    tree[place[-1]] = value


def test_duplicates_are_refused(documents: dict[str, Any], tmp_path: Path) -> None:
    benchmarks = documents["run.json"]["benchmarks"]
    benchmarks[1]["id"] = benchmarks[0]["id"]
    assert "twice" in refusal(tmp_path / "x.blcperf", spoilt(documents)).message
    benchmarks[1] |= {"id": "other", "profile": benchmarks[0]["profile"]}
    assert "twice" in refusal(tmp_path / "x.blcperf", spoilt(documents)).message
    benchmarks[1]["profile"] = None
    launches = benchmarks[0]["launches"]
    launches[1] |= {"index": launches[0]["index"], "phase": launches[0]["phase"]}
    assert "twice" in refusal(tmp_path / "x.blcperf", spoilt(documents)).message


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"schema": "blcperf.run/1", "schema": "blcperf.run/1"}', "twice"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b"[" + b"[],[]," * 600_000 + b"0]", "more than 1,000,000"),
        (b'{"schema": NaN}', "not a JSON number"),
        (b'{"schema": 1e999}', "out of range"),
        (b'{"schema": ' + b"9" * 5000 + b"}", "digits"),
        (b'{"schema": "\xff"}', "UTF-8"),
        (b"{", "not JSON"),
        (b"", "not JSON"),
        (b"[]", "expected an object"),
        (b'{"schema": "blcperf.verdict/1"}', "expected blcperf.run/1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_json_is_refused(data: bytes, reason: str, tmp_path: Path) -> None:
    assert reason in refusal(tmp_path / "x.blcperf", zipped({"run.json": data})).message


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/../../b", "c:\\x", "a\\..\\b"])
def test_members_that_point_outside_are_refused(name: str, tmp_path: Path) -> None:
    data = zipped(members(SAMPLE.read_bytes()) | {name: b"x"})
    assert "points outside" in refusal(tmp_path / "x.blcperf", data).message


def test_unknown_members_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "x.blcperf").write_bytes(zipped(members(SAMPLE.read_bytes()) | {"profiles/0001.svg": b"x"}))
    assert same(run_file.read(tmp_path / "x.blcperf"), sample_run())


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    assert "times as many" in refusal(tmp_path / "x.blcperf", zipped({"run.json": b" " * (20 << 20)})).message
    big = zipped({"run.json": b"{}", "other": b" " * (17 << 20)})
    assert "times as many" in refusal(tmp_path / "x.blcperf", big).message


def test_a_member_that_is_larger_than_it_may_be(tmp_path: Path) -> None:
    data = bytearray(zipped({"run.json": b"{}"}))
    start = data.rindex(b"PK\x01\x02")
    struct.pack_into("<I", data, start + 24, (128 << 20) + 1)
    assert "bytes, more than" in refusal(tmp_path / "x.blcperf", bytes(data)).message


def test_many_members_are_refused(tmp_path: Path) -> None:
    data = zipped({f"m{number}": b"" for number in range(archive.MEMBER_LIMIT + 1)})
    assert "members" in refusal(tmp_path / "x.blcperf", data).message


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_twice_is_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as target:
        target.writestr("run.json", b"{}")
        target.writestr("run.json", b"{}")
    assert "twice" in refusal(tmp_path / "x.blcperf", file.getvalue()).message


def test_lzma_is_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as target:
        target.writestr("run.json", b"{}")
    assert "unknown way" in refusal(tmp_path / "x.blcperf", file.getvalue()).message


def test_cells_are_bounded(documents: dict[str, Any], tmp_path: Path) -> None:
    """GIVEN a small profile whose stacks × launches table would take gigabytes THEN it is refused."""
    count = 9_000
    profile = documents[PROFILE]
    profile["stacks"] = {"offsets": [0] * (count + 1), "frames": []}
    profile["rows"] = {
        "launch": list(range(count)),
        "stack": [0] * count,
        "weight": [1] * count,
        "samples": [1] * count,
    }
    assert "launches, more than" in refusal(tmp_path / "x.blcperf", spoilt(documents)).message


# ---- fuzzing: whatever the bytes, a run that every later stage can take, or one line


def read_or_refuse(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    try:
        run = run_file.read(path)
    except BaselineError as error:
        assert "\n" not in error.message
        assert error.hint
    else:
        json.dumps(run_json.of_run(run, 5), allow_nan=False)
        run_file.write(run, path)
        assert same(run_file.read(path), run)


@FUZZ
@given(data=st.data())
def test_mutated_bytes(data: st.DataObject, tmp_path: Path) -> None:
    spoilt_bytes = bytearray(SAMPLE.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        spoilt_bytes[data.draw(st.integers(0, len(spoilt_bytes) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.sampled_from([len(spoilt_bytes), data.draw(st.integers(0, len(spoilt_bytes)))]))
    read_or_refuse(tmp_path / "x.blcperf", bytes(spoilt_bytes[:end]))


@FUZZ
@given(data=st.binary(max_size=200))
def test_random_json_bytes(data: bytes, tmp_path: Path) -> None:
    read_or_refuse(tmp_path / "x.blcperf", zipped({"run.json": data}))


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(
        [0, 1, -1, 2**31, 2**63, "", "look", "profiles/0001.json", "profiles/0002.json", 1e308, "\ud800\x1b[31m\n"]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)


def test_names_of_a_stranger_are_escaped_in_errors(tmp_path: Path) -> None:
    parts = members(SAMPLE.read_bytes())
    trees = {name: json.loads(parts[name]) for name in ("run.json", PROFILE)}
    trees["run.json"]["environment"]["packages"] = {"\x1b[31m\n": None}
    (tmp_path / "x.blcperf").write_bytes(spoilt(trees))
    with pytest.raises(BaselineError, match=re.escape(r"environment.packages.'\x1b[31m\n': expected a string")):
        run_file.read(tmp_path / "x.blcperf")


@FUZZ
@given(data=st.data())
def test_mutated_trees(data: st.DataObject, tmp_path: Path) -> None:
    parts = members(SAMPLE.read_bytes())
    trees = {name: json.loads(parts[name]) for name in ("run.json", PROFILE)}
    for _ in range(data.draw(st.integers(1, 3))):
        tree = trees[data.draw(st.sampled_from(sorted(trees)))]
        places = list(paths(tree))
        place = places[data.draw(st.integers(0, len(places) - 1))]
        put(tree, place, data.draw(JUNK))
    read_or_refuse(tmp_path / "x.blcperf", spoilt(trees))
