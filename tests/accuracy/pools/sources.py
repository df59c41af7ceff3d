"""Where the workloads' code comes from: the standard library of this interpreter, wheels from PyPI, C next to this file."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from accuracy.pools.workloads import Workload

_NATIVE = '''\
"""The words of a text, counted in C."""

import ctypes
from pathlib import Path

_library = ctypes.CDLL(str(Path(__file__).with_name("words.so")))
_library.count_words.argtypes = [ctypes.c_char_p, ctypes.c_size_t]


def count_words(text):
    return _library.count_words(text, len(text))
'''


def package_files(workload: Workload) -> dict[str, str]:
    """The workload's package: text by file name inside it, as it is before anything is changed."""
    kind, _, name = workload.source.partition(":")
    if kind == "wheel":
        return _wheel(name, workload.package)
    if kind == "native":
        return {name: (Path(__file__).parent / "native" / name).read_text(), "__init__.py": _NATIVE}
    return _standard(name)


def _standard(name: str) -> dict[str, str]:
    if name == "asyncio/queues.py":
        # What it imports from its package comes from the original.
        code = _origin("asyncio.queues").read_text()
        code = code.replace("from . import", "from asyncio import")
        return {"__init__.py": "", "queues.py": code}
    origin = _origin(name.removesuffix(".py").replace("/", "."))
    if origin.name == "__init__.py" and name != "zipfile":
        return {file.name: file.read_text() for file in origin.parent.glob("*.py")}
    return {"__init__.py": origin.read_text()}


def _origin(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin)


def _wheel(requirement: str, package: str) -> dict[str, str]:
    """A package's files from its wheel, with its own name exchanged everywhere."""
    name = requirement.partition("==")[0]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, requirement]
        subprocess.run(command, check=True, capture_output=True)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            files = {
                entry.removeprefix(f"{name}/"): wheel.read(entry).decode()
                for entry in wheel.namelist()
                if entry.startswith(f"{name}/") and entry.endswith(".py")
            }
    return {file: re.sub(rf"\b{name}\b", package, text) for file, text in files.items()}
