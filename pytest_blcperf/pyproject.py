"""`[tool.blcperf]` of a project."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pytest_blcperf.errors import UsageError


def table(folder: Path) -> dict[str, Any]:
    """The table in the folder's pyproject.toml, {} without one. Raises UsageError for a file that cannot be read."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    path = folder / "pyproject.toml"
    try:
        with path.open("rb") as file:
            found = tomllib.load(file).get("tool", {}).get("blcperf", {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path.name} cannot be read: {error}", "correct the file") from None
    if not isinstance(found, dict):
        raise UsageError(f"{path.name}: [tool.blcperf] is no table", "write [tool.blcperf] on a line of its own")
    return found
