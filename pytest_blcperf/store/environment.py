"""What a measurement depends on besides the code, and how two such environments differ."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_blcperf.bench.interpreter_facts import DISTRIBUTION_LIMIT, interpreter_facts
from pytest_blcperf.errors import TargetError
from pytest_blcperf.model.environment import Environment
from pytest_blcperf.model.warning import Warning
from pytest_blcperf.store.checked import Fields, MalformedError

SHOWN_PACKAGES = 8
"""Changed packages a warning names; the others are counted."""

_NAMES = {
    "machine": "the architecture",
    "cpu_model": "the CPU model",
    "cpu_count": "the number of CPUs",
    "memory_bytes": "the memory",
    "system": "the operating system",
    "kernel": "the kernel",
    "python": "Python",
    "python_build": "the build of Python",
    "backend": "the profiling backend",
}
_CPUINFO = Path("/proc/cpuinfo")
_CPUINFO_LIMIT = 1 << 16
"""Bytes: the first processor is enough, and 200 of them make a megabyte."""


def current() -> Environment:
    """The environment of this process."""
    return from_facts(interpreter_facts())


def from_facts(facts: Mapping[str, Any]) -> Environment:
    """The environment of an interpreter on this machine, from what `bench/interpreter_facts.py` printed there.

    Raises TargetError when the facts are not what that script prints.
    """
    import psutil

    fields = Fields(dict(facts), "interpreter facts")
    try:
        return Environment(
            machine=fields.text("machine"),
            cpu_model=cpu_model(),
            cpu_count=psutil.cpu_count() or 0,
            memory_bytes=psutil.virtual_memory().total,
            system=fields.text("system"),
            kernel=fields.text("kernel"),
            python=fields.text("python"),
            python_build=fields.text("python_build"),
            packages=fields.text_table("packages", DISTRIBUTION_LIMIT),
        )
    except MalformedError as error:
        raise TargetError(f"the interpreter described itself badly: {error}", "check --blcperf-base-python") from error


def cpu_model() -> str:
    """The name of the first CPU, "" when unknown."""
    try:
        with _CPUINFO.open(encoding="utf-8", errors="replace") as file:
            text = file.read(_CPUINFO_LIMIT)
    except OSError:
        import platform

        return platform.processor()
    return parse_cpu_model(text)


def parse_cpu_model(cpuinfo: str) -> str:
    """The model of the first processor in the text of /proc/cpuinfo.

    x86 has a `model name`; aarch64 has none, only numbers: `implementer 0x41 part 0xd0c` is a Neoverse N1.
    """
    first: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            first.setdefault(key.strip(), value.strip())
    for key in ("model name", "cpu model", "cpu"):
        if first.get(key):
            return re.sub(r"\s+", " ", first[key])[:200]
    arm = [
        f"{word} {first[key]}"
        for word, key in (("implementer", "CPU implementer"), ("part", "CPU part"), ("variant", "CPU variant"))
        if first.get(key)
    ]
    return " ".join(arm)[:200]


def drift(base: Environment, head: Environment) -> tuple[Warning, ...]:
    """One warning for each thing that differs, packages together in one; empty for equal environments."""
    if base == head:
        return ()
    if not base.backend or not head.backend:  # a side without profiles, or a run of a release that did not note it
        base, head = replace(base, backend=""), replace(head, backend="")
    changes = _changes(base, head)
    warnings = [
        Warning("environment-" + field.replace("_", "-"), f"{name} differs: {_arrow(*changes[field,])}")
        for field, name in _NAMES.items()
        if (field,) in changes
    ]
    packages = sorted((path[1], *values) for path, values in changes.items() if path[0] == "packages")
    if packages:
        warnings.append(Warning("environment-packages", _packages_text(packages)))
    return tuple(warnings)


def _changes(base: Environment, head: Environment) -> dict[tuple[str, ...], tuple[str, str]]:
    """What differs by path in the environment, before and after."""
    from deepdiff import DeepDiff  # 150 ms

    # Absent packages become "": with equal keys everywhere every change is a changed value, and deepdiff's rule that
    # tables with few common keys are replaced as a whole (new in version 8, no such option before) never applies.
    names = sorted({*base.packages, *head.packages})
    found = DeepDiff(_flat(base, names), _flat(head, names), view="tree")
    return {
        tuple(map(str, change.path(output_format="list"))): (change.t1, change.t2)
        for change in found.get("values_changed", ())
    }


def _flat(environment: Environment, packages: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {field: str(getattr(environment, field) or "") for field in _NAMES}
    values["memory_bytes"] = f"{environment.memory_bytes / 2**30:.1f} GiB" if environment.memory_bytes else ""
    return values | {"packages": {name: environment.packages.get(name, "") for name in packages}}


def _arrow(before: str, after: str) -> str:
    return f"{before or 'unknown'} → {after or 'unknown'}"


def _packages_text(changes: list[tuple[str, str, str]]) -> str:
    shown = [_package_text(*change) for change in changes[:SHOWN_PACKAGES]]
    more = len(changes) - len(shown)
    return "packages differ: " + ", ".join(shown) + (f" and {more} more" if more else "")


def _package_text(name: str, before: str, after: str) -> str:
    if before and after:
        return f"{name} {before} → {after}"
    return f"{name} {after} added" if after else f"{name} {before} removed"
