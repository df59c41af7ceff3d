"""What a run says of its environment, and what two of them differ in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_blcperf.bench import interpreter_facts
from pytest_blcperf.errors import TargetError
from pytest_blcperf.model.environment import Environment
from pytest_blcperf.store import environment

BASE = Environment(
    "x86_64", "CPU A", 2, 8 << 30, "Linux", "6.1", "CPython 3.12.1", "GCC 12", {"numpy": "1.26", "six": "1"}
)

X86 = """processor\t: 0
vendor_id\t: AuthenticAMD
model\t\t: 1
model name\t: AMD  EPYC 7763

processor\t: 1
model name\t: B
"""
ARM = """processor\t: 0
BogoMIPS\t: 50
CPU implementer\t: 0x41
CPU variant\t: 0x3
CPU part\t: 0xd0c
"""
POWER = "processor\t: 0\ncpu\t\t: POWER9 (architected)\nclock\t\t: 2200MHz\n"


@pytest.mark.parametrize(
    ("text", "model"),
    [
        (X86, "AMD EPYC 7763"),
        (ARM, "implementer 0x41 part 0xd0c variant 0x3"),
        (POWER, "POWER9 (architected)"),
        ("", ""),
        ("nonsense", ""),
        ("model name\t: " + "x" * 1000, "x" * 200),
    ],
)
def test_cpu_model(text: str, model: str) -> None:
    assert environment.parse_cpu_model(text) == model


def test_the_current_environment_is_this_one() -> None:
    now = environment.current()
    assert now.python.endswith(f" {sys.version.split()[0]}")
    assert "pytest" in now.packages
    assert now.cpu_count > 0
    assert now.memory_bytes > 1 << 20
    assert now == environment.current()
    assert os.uname().nodename not in (now.machine, now.system)


def test_the_facts_of_another_interpreter_come_from_a_script(tmp_path: Path) -> None:
    """GIVEN an interpreter without this package THEN the script gives what `current` gives."""
    run = subprocess.run(
        [sys.executable, "-I", interpreter_facts.__file__], capture_output=True, check=True, cwd=tmp_path, text=True
    )
    assert environment.from_facts(json.loads(run.stdout)) == environment.current()


def test_facts_of_the_wrong_shape_are_refused() -> None:
    good = interpreter_facts.interpreter_facts()
    for wrong in ({}, good | {"packages": ["numpy"]}, good | {"python": None}, good | {"kernel": "x" * 10_001}):
        with pytest.raises(TargetError, match="described itself badly"):
            environment.from_facts(wrong)


def test_package_names_are_normalised() -> None:
    names = list(interpreter_facts.packages())
    assert names == sorted(names)
    assert all(name == name.lower() and "_" not in name for name in names)


def test_no_drift_between_equal_environments() -> None:
    assert environment.drift(BASE, replace(BASE)) == ()


def test_drift_names_what_changed_once_each() -> None:
    head = replace(BASE, cpu_model="CPU B", memory_bytes=16 << 30, packages={"numpy": "2.0", "rich": "13"})
    assert [(warning.code, warning.text) for warning in environment.drift(BASE, head)] == [
        ("environment-cpu-model", "the CPU model differs: CPU A → CPU B"),
        ("environment-memory-bytes", "the memory differs: 8.0 GiB → 16.0 GiB"),
        ("environment-packages", "packages differ: numpy 1.26 → 2.0, rich 13 added, six 1 removed"),
    ]


def test_drift_from_nothing_known() -> None:
    codes = [warning.code for warning in environment.drift(Environment(), BASE)]
    assert len(codes) == 9
    assert "the kernel differs: unknown → 6.1" in [warning.text for warning in environment.drift(Environment(), BASE)]


def test_many_changed_packages_are_counted_and_odd_names_survive() -> None:
    head = replace(BASE, packages={f"p{number:03}'][\"x": "1" for number in range(100)} | dict(BASE.packages))
    [warning] = environment.drift(BASE, head)
    assert warning.text.startswith("packages differ: p000'][\"x 1 added, ")
    assert warning.text.endswith(" and 92 more")


def test_another_backend_is_drift_where_both_are_known() -> None:
    ring, timer = replace(BASE, backend="perf-bytecode"), replace(BASE, backend="timer")
    (warning,) = environment.drift(ring, timer)
    assert (warning.code, warning.text) == (
        "environment-backend",
        "the profiling backend differs: perf-bytecode → timer",
    )
    assert environment.drift(BASE, timer) == () and ring.comparable_times(timer)
