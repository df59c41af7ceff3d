"""What one interpreter is: version, build, installed distributions. Standard library only, runs in any Python ≥ 3.10.

`PYTHON pytest_blcperf/bench/interpreter_facts.py` prints the facts of another interpreter as JSON; this package need
not be installed there.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
import sys
import sysconfig

DISTRIBUTION_LIMIT = 5_000
NAME_LIMIT = 200


def interpreter_facts() -> dict[str, object]:
    """JSON data: `machine`, `system`, `kernel`, `python`, `python_build`, `packages` (normalised name → version)."""
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "kernel": platform.release(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "python_build": build(),
        "packages": packages(),
    }


def build() -> str:
    """The compiler and what makes one build of a version faster than another, such as `GCC 12.2.0, PGO, LTO`."""
    configured = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    flags = {
        "PGO": "--enable-optimizations" in configured,
        "LTO": "--with-lto" in configured,
        "JIT": "--enable-experimental-jit" in configured,
        "debug": bool(sysconfig.get_config_var("Py_DEBUG")) or hasattr(sys, "gettotalrefcount"),
        "free-threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    }
    return ", ".join([platform.python_compiler().strip(), *(name for name, present in flags.items() if present)])


def packages() -> dict[str, str]:
    """Installed distributions, sorted; the first of a name on `sys.path` is the one that is imported."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        try:
            name, version = distribution.metadata["Name"], distribution.version
        except Exception:  # a damaged installation must not end a measurement
            continue
        if isinstance(name, str) and isinstance(version, str):
            normalised = re.sub(r"[-_.]+", "-", name).lower()[:NAME_LIMIT]  # PEP 503
            found.setdefault(normalised, version[:NAME_LIMIT])
        if len(found) >= DISTRIBUTION_LIMIT:
            break
    return dict(sorted(found.items()))


if __name__ == "__main__":
    print(json.dumps(interpreter_facts()))
