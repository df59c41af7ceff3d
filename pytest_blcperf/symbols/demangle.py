"""C++ and Rust names as people write them, in another process: a hostile name costs that process, not ours.

The libraries: `cxxfilt`, which calls the C++ runtime's own `__cxa_demangle`, and `rust-demangler`. Both can be made to
run for ages, take all memory or (the C++ runtime, which is native code) crash by names of some hundred characters.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from pytest_blcperf.model.warning import Warning
from pytest_blcperf.symbols import demangle_worker

MAX_MANGLED = 8192
"""Characters of a name that is demangled; longer ones stay as they are."""
MAX_DEMANGLED = 4096
"""Characters of a name that are kept."""
BATCH_S = 20
_FAILURES = 5


def is_mangled(name: str) -> bool:
    """Whether a name looks mangled by C++ or Rust."""
    return name.startswith(("_Z", "_R", "__Z", "___Z"))


class Demangler:
    """Demangled names, each asked for once. `warnings` says what could not be done."""

    def __init__(self, seconds: float = BATCH_S) -> None:
        self._seconds = seconds
        self._known: dict[str, str] = {}
        self._failures = 0
        self._said = ""

    def all(self, names: Iterable[str]) -> list[str]:
        """Each name demangled, or as it is where that cannot be done. `function@plt` keeps its ending."""
        names = list(names)
        wanted = {plain(name)[0] for name in names if is_mangled(name)}
        self._learn([name for name in dict.fromkeys(wanted) if name not in self._known and len(name) <= MAX_MANGLED])
        return [self._demangled(name) for name in names]

    @property
    def warnings(self) -> tuple[Warning, ...]:
        """At most one: why some names stayed mangled."""
        return (Warning("names-mangled", self._said),) if self._said else ()

    def _demangled(self, name: str) -> str:
        begin, ending = plain(name)
        return self._known.get(begin, begin)[:MAX_DEMANGLED] + ending[:MAX_DEMANGLED]

    def _learn(self, names: list[str]) -> None:
        """A worker answers in order; the name at which it dies stays mangled, and the next worker goes on after it."""
        while names and self._failures < _FAILURES:
            answers, said = _asked(names, self._seconds)
            self._known.update(zip(names, answers, strict=False))
            names = names[len(answers) :]
            if said:
                self._said = f"names that could not be demangled are shown as they are: {said}"
            if names:
                self._failures += 1
                self._known[names[0]] = names[0]
                names = names[1:]


def plain(name: str) -> tuple[str, str]:
    """(mangled name, ending): `_Z1fv@plt` is `_Z1fv` and `@plt`."""
    begin, at, ending = name.partition("@")
    return begin, at + ending


def _asked(names: list[str], seconds: float) -> tuple[list[str], str]:
    """(answers of a worker for the first names, what was wrong with it)."""
    command = [sys.executable, "-I", demangle_worker.__file__, *_import_paths()]
    text = "".join(json.dumps(name) + "\n" for name in names)
    try:
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=seconds, check=False)
        output, lines = done.stdout, done.stderr.decode("utf-8", "backslashreplace").splitlines()
        said = lines[-1][:200] if lines else ""
        if done.returncode and not said:
            said = f"a name took too much time or memory (status {done.returncode})"
    except subprocess.TimeoutExpired as error:
        output, said = error.stdout or b"", f"the demangler took longer than {seconds} s"
    except OSError as error:
        return [], f"the demangler cannot be started: {error}"
    answers = []
    for line in output.splitlines(keepends=True)[: len(names)]:
        with contextlib.suppress(ValueError):
            if line.endswith(b"\n"):
                answers.append(str(json.loads(line))[:MAX_DEMANGLED])
    return answers, said


def _import_paths() -> list[str]:
    """Where the worker, which is isolated from the environment, finds the libraries."""
    return [path for path in sys.path if path and Path(path).is_dir()]
