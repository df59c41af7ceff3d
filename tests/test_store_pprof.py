"""pprof output, decoded with protobuf from a descriptor built here: profile.proto, field by field."""

from __future__ import annotations

import gzip
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from formats.make_run_1 import sample_profile
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from pytest_blcperf.model.function import Function
from pytest_blcperf.store import pprof

# github.com/google/pprof/blob/main/proto/profile.proto: message → (field, number, type), "*" for repeated.
MESSAGES: dict[str, list[tuple[str, int, str]]] = {
    "ValueType": [("type", 1, "int64"), ("unit", 2, "int64")],
    "Label": [("key", 1, "int64"), ("str", 2, "int64")],
    "Sample": [("location_id", 1, "uint64*"), ("value", 2, "int64*"), ("label", 3, "Label*")],
    "Mapping": [
        ("id", 1, "uint64"),
        ("filename", 5, "int64"),
        ("has_functions", 7, "bool"),
        ("has_filenames", 8, "bool"),
        ("has_line_numbers", 9, "bool"),
    ],
    "Line": [("function_id", 1, "uint64"), ("line", 2, "int64")],
    "Location": [("id", 1, "uint64"), ("mapping_id", 2, "uint64"), ("line", 4, "Line*")],
    "Function": [
        ("id", 1, "uint64"),
        ("name", 2, "int64"),
        ("system_name", 3, "int64"),
        ("filename", 4, "int64"),
        ("start_line", 5, "int64"),
    ],
    "Profile": [
        ("sample_type", 1, "ValueType*"),
        ("sample", 2, "Sample*"),
        ("mapping", 3, "Mapping*"),
        ("location", 4, "Location*"),
        ("function", 5, "Function*"),
        ("string_table", 6, "string*"),
        ("duration_nanos", 10, "int64"),
        ("comment", 13, "int64*"),
        ("default_sample_type", 14, "int64"),
    ],
}


@pytest.fixture(scope="module")
def profile_class() -> Any:
    Field = descriptor_pb2.FieldDescriptorProto  # noqa: N806
    file = descriptor_pb2.FileDescriptorProto(name="pprof.proto", package="perftools.profiles", syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, given in fields:
            label = Field.LABEL_REPEATED if given.endswith("*") else Field.LABEL_OPTIONAL
            kind = given.rstrip("*")
            added = message.field.add(name=field, number=number, label=label)
            if kind in MESSAGES:
                added.type, added.type_name = Field.TYPE_MESSAGE, f".perftools.profiles.{kind}"
            else:
                added.type = getattr(Field, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("perftools.profiles.Profile"))


def decode(profile_class: Any, data: bytes) -> Any:
    profile = profile_class()
    profile.ParseFromString(gzip.decompress(data))
    return profile


def stacks(profile: Any) -> dict[tuple[str, ...], tuple[int, ...]]:
    """(name:line, leaf first) → values."""
    text = profile.string_table
    functions = {one.id: one for one in profile.function}
    names = {one.id: f"{text[functions[one.line[0].function_id].name]}:{one.line[0].line}" for one in profile.location}
    return {tuple(names[index] for index in one.location_id): tuple(one.value) for one in profile.sample}


def test_stacks_carry_samples_and_time_summed_over_launches(profile_class: Any) -> None:
    profile = decode(profile_class, pprof.encode(sample_profile()))
    lambda_ = "Parser.parse.<locals>.<lambda>:20"
    assert stacks(profile) == {
        (lambda_, "Parser.parse:12"): (11, 11_000_000),
        ("JSONDecoder.decode:0", lambda_, "Parser.parse:12"): (3, 3_000_000),
        ("Parser.parse:12",): (1, 1_500_000),
    }


def test_tables_are_complete(profile_class: Any) -> None:
    profile = decode(profile_class, pprof.encode(sample_profile()))
    text = profile.string_table
    assert text[0] == ""
    assert [(text[one.type], text[one.unit]) for one in profile.sample_type] == [
        ("samples", "count"),
        ("cpu", "nanoseconds"),
    ]
    assert text[profile.default_sample_type] == "cpu"
    assert [text[one.filename] for one in profile.function][:3] == [
        "src/shop/parse.py",
        "src/shop/parse.py",
        "<stdlib>/json/decoder.py",
    ]
    assert {one.mapping_id for one in profile.location} == {profile.mapping[0].id}
    assert profile.mapping[0].has_functions


def test_total_time_only_is_said(profile_class: Any) -> None:
    profile = decode(profile_class, pprof.encode(replace(sample_profile(), self_time=False)))
    assert any("total time only" in profile.string_table[index] for index in profile.comment)


def test_large_tables_and_undecodable_names(profile_class: Any) -> None:
    """GIVEN indices and weights of several varint bytes, and a name UTF-8 has not THEN all arrive."""
    functions = tuple(Function("f.py", f"name{number}\udcff") for number in range(300))
    large = replace(
        sample_profile(),
        functions=functions,
        stacks=(tuple(range(299, -1, -1)),),
        launch=np.array([0]),
        stack=np.array([0]),
        weight=np.array([123_456_789_012.0]),
        samples=np.array([70_000]),
    )
    [(names, values)] = stacks(decode(profile_class, pprof.encode(large))).items()
    assert names[0] == "name299\\udcff:0"
    assert len(names) == 300
    assert values == (70_000, 123_456_789_012)


def test_an_empty_profile_is_a_profile(profile_class: Any) -> None:
    none = np.array([], dtype=np.int64)
    empty = replace(
        sample_profile(), functions=(), stacks=(), launch=none, stack=none, weight=none.astype(np.float64), samples=none
    )
    assert not decode(profile_class, pprof.encode(empty)).sample
