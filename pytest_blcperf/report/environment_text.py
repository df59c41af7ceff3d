"""A run's environment in words."""

from __future__ import annotations

from pytest_blcperf.model.environment import Environment
from pytest_blcperf.report.text import clean


def machine(environment: Environment) -> str:
    """Where something was measured, in one clean line without what is unknown."""
    memory = environment.memory_bytes
    known = [
        f"{environment.cpu_model or environment.machine or 'unknown machine'} × {environment.cpu_count}",
        f"{memory / 2**30:.1f} GiB" if memory else "",
        f"{environment.system} {environment.kernel}".strip(),
        environment.python,
    ]
    return clean(", ".join(part for part in known if part), 400)


def environment_rows(environment: Environment) -> list[tuple[str, str]]:
    """(what, value) of everything but the packages, "" where unknown; always the same rows."""
    memory = environment.memory_bytes
    return [
        ("machine", environment.machine),
        ("CPU model", environment.cpu_model),
        ("CPUs", str(environment.cpu_count or "")),
        ("memory", f"{memory / 2**30:.1f} GiB" if memory else ""),
        ("system", environment.system),
        ("kernel", environment.kernel),
        ("Python", environment.python),
        ("Python build", environment.python_build),
        ("profiling backend", environment.backend),
    ]


def compared_environments(base: Environment, head: Environment) -> list[tuple[str, str, str, bool]]:
    """(what, base, head, whether they differ), where either is known; packages only where they differ. Nothing when a
    side's environment is not known.
    """
    if Environment() in (base, head):
        return []
    rows = [
        (what, before, after)
        for (what, before), (_, after) in zip(environment_rows(base), environment_rows(head), strict=True)
        if before or after
    ]
    for package in sorted({*base.packages, *head.packages}):
        before, after = base.packages.get(package, "absent"), head.packages.get(package, "absent")
        if before != after:
            rows.append((package, before, after))
    return [(clean(what, 400), clean(one, 400), clean(two, 400), one != two) for what, one, two in rows]
