"""The Pythons of this machine, for tests that must hold in each of them."""

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14", "3.15")


@cache
def interpreter(version: str) -> str | None:
    """A Python of that version: this one, one on the PATH, or one that pyenv has installed."""
    if sys.version.startswith(version + "."):
        return sys.executable
    installed = sorted(Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python{version}"))
    for path in [shutil.which(f"python{version}"), *map(str, installed)]:
        if path and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
            return path
    return None


def of(version: str) -> str:
    """The same; skips the test where there is none."""
    found = interpreter(version)
    if found is None:
        pytest.skip(f"Python {version} is not installed (pyenv install {version})")
    return found
