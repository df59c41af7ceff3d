"""pytest-benchmark's options where it is not installed, so that a command line or `addopts` that has them still works.

Standard library only, and loaded only in that case.
"""

from __future__ import annotations

from typing import Any

_FLAGS = (
    "disable-gc",
    "skip",
    "disable",
    "enable",
    "only",
    "autosave",
    "save-data",
    "verbose",
    "quiet",
)
_VALUES = (
    "min-time",
    "max-time",
    "min-rounds",
    "precision",
    "confidence",
    "timer",
    "calibration-precision",
    "warmup-iterations",
    "save",
    "json",
    "cprofile",
    "cprofile-loops",
    "cprofile-top",
    "storage",
    "sort",
    "group-by",
    "columns",
    "name",
    "time-unit",
)
_MAYBE_VALUES = ("warmup", "compare", "cprofile-dump", "netrc", "histogram")
HELP = "accepted for suites written for pytest-benchmark, which is not installed"

EFFECTIVE = frozenset({"disable-gc", "skip", "disable", "enable", "only", "min-rounds", "verbose", "quiet"})
"""What means the same here, or asks for what happens anyway."""


def add_options(parser: Any) -> None:
    """Register every option of pytest-benchmark's releases up to 5.3; all default to None."""
    group = parser.getgroup("benchmark", "pytest-benchmark's options (pytest-blcperf)")
    for name in _FLAGS:
        group.addoption(f"--benchmark-{name}", action="store_true", default=None, dest=_dest(name), help=HELP)
    for name in _VALUES:
        kind = {"type": int} if name == "min-rounds" else {}
        group.addoption(f"--benchmark-{name}", default=None, dest=_dest(name), metavar="VALUE", help=HELP, **kind)
    for name in _MAYBE_VALUES:
        group.addoption(
            f"--benchmark-{name}", nargs="?", const="", default=None, dest=_dest(name), metavar="VALUE", help=HELP
        )
    group.addoption(
        "--benchmark-compare-fail", nargs="+", default=None, dest=_dest("compare-fail"), metavar="EXPR", help=HELP
    )


def without_effect(option: Any) -> list[str]:
    """The flags that were given and do nothing here."""
    names = (*_FLAGS, *_VALUES, *_MAYBE_VALUES, "compare-fail")
    return [
        f"--benchmark-{name}"
        for name in names
        if name not in EFFECTIVE and getattr(option, _dest(name), None) is not None
    ]


def _dest(name: str) -> str:
    return "benchmark_" + name.replace("-", "_")
