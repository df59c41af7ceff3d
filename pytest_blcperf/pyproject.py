"""`[tool.blcperf]` of a project, and `.blcperf-accept.toml` beside it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pytest_blcperf.errors import UsageError

ACCEPT_FILE = ".blcperf-accept.toml"


def table(folder: Path) -> dict[str, Any]:
    """The table in the folder's pyproject.toml, {} without one; `accept` also holds what ACCEPT_FILE accepts.

    Raises UsageError for a file that cannot be read.
    """
    tool = _file(folder / "pyproject.toml").get("tool", {})
    found = tool.get("blcperf", {}) if isinstance(tool, dict) else None
    if not isinstance(found, dict):
        raise UsageError("pyproject.toml: [tool.blcperf] is no table", "write [tool.blcperf] on a line of its own")
    more = _file(folder / ACCEPT_FILE)
    if set(more) - {"accept"}:
        raise UsageError(
            f"{ACCEPT_FILE} has an unknown key {sorted(set(more) - {'accept'})[0]!r}", "it holds [[accept]] tables only"
        )
    accept, listed = more.get("accept", []), found.get("accept", [])
    if not isinstance(accept, list):
        raise UsageError(f"{ACCEPT_FILE}: `accept` is no list of tables", "write [[accept]] on a line of its own")
    return found | {"accept": [*listed, *accept]} if accept and isinstance(listed, list) else found


def _file(path: Path) -> dict[str, Any]:
    """A TOML file, {} where there is none."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path.name} cannot be read: {error}", "correct the file") from None
