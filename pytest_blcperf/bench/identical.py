"""Whether what a benchmark loads is the same on both sides: then nothing needs to be measured."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pytest_blcperf.bench.loaded_files import LoadedFiles
from pytest_blcperf.bench.repository import ADDED, DELETED, Difference

_PARSE_LIMIT = 1 << 20
_IMPORTABLE = (".py", ".so", ".pyd", ".pyc")

Read = Callable[[str], "bytes | None"]


@dataclass(frozen=True)
class Proof:
    """Whether the sides are proven identical; `reason` is one sentence for the report either way."""

    identical: bool
    reason: str


def prove_identical(
    loaded: LoadedFiles, differences: Sequence[Difference], overlaid: Collection[str], read_base: Read, read_head: Read
) -> Proof:
    """Whether no file that the benchmark loads differs between the two trees.

    `loaded` is what the head loads, or better both sides merged. `overlaid` are the paths laid over the base; they are
    the same on both sides, so take those out of it that `restore` put back. `read_base` and `read_head` give a file's
    content, None where there is none; they are called for every loaded file, because git knows nothing of ignored ones
    such as extensions built in place. OSError counts as a difference.
    """
    if loaded.outside:
        return Proof(False, f"one side loads {loaded.outside[0]} from the other side's checkout")
    if loaded.spawned:
        return Proof(False, "the benchmark starts other processes, and what those load is not seen")
    if loaded.overflow:
        return Proof(False, "the benchmark loads more files than are recorded")
    files, code = set(loaded.files), set(loaded.modules).difference(loaded.opened)
    relevant = [difference for difference in differences if difference.path not in overlaid]
    same_code = 0
    differing = {difference.path for difference in relevant}
    for path in sorted(files.difference(overlaid)):
        reason = _file_differs(path, path in differing, path in code, read_base, read_head)
        if reason:
            return Proof(False, reason)
        same_code += path in differing
    reach = _Reach.of(loaded)
    untouched = [difference for difference in relevant if difference.path not in files]
    for difference in untouched:
        reason = _presence_matters(difference, reach)
        if reason:
            return Proof(False, reason)
    return Proof(True, _proven(len(untouched), same_code))


def imports_nothing(loaded: LoadedFiles, differences: Sequence[Difference], overlaid: Collection[str]) -> bool:
    """Whether code of the repository differs, but none of it is what the benchmark imports, on either side.

    That is what an installed copy of the package looks like: both sides measure that copy, and the change is not seen.
    """
    if set(loaded.modules).difference(overlaid):
        return False
    return any(
        difference.path.endswith(_IMPORTABLE) and difference.path not in overlaid and not _is_test(difference.path)
        for difference in differences
    )


def _is_test(path: str) -> bool:
    return any(part in ("tests", "test", "benchmarks", "docs", "examples") for part in path.split("/")[:-1])


def _file_differs(path: str, listed: bool, code: bool, read_base: Read, read_head: Read) -> str:
    """Why a loaded file is not the same on both sides; "" when it is.

    `listed`: git says that it differs. `code`: it was imported, and never read as data.
    """
    if listed and not code:
        return f"{path} differs"
    try:
        base, head = read_base(path), read_head(path)
    except OSError as error:
        return f"{path} cannot be compared: {error.strerror or error}"
    if base == head:
        return ""
    if not listed:
        return f"{path} differs, and git does not track it"
    return "" if path.endswith(".py") and _same_code(base, head) else f"{path} differs"


def _same_code(base: bytes | None, head: bytes | None) -> bool:
    """Whether two sources differ in comments and layout only. Line numbers, which tracebacks show, do not count."""
    if base is None or head is None or max(len(base), len(head)) > _PARSE_LIMIT:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.dump(ast.parse(base)) == ast.dump(ast.parse(head))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False


@dataclass(frozen=True)
class _Reach:
    """Where a benchmark would notice that a file is new or gone.

    `touched` are folders that a loaded file lies in, `occupied` those and all above them, "." for the root.
    """

    touched: frozenset[str]
    occupied: frozenset[str]
    listed: frozenset[str]
    attempted: frozenset[str]

    @classmethod
    def of(cls, loaded: LoadedFiles) -> _Reach:
        """From what was loaded."""
        return cls(
            frozenset(PurePosixPath(path).parent.as_posix() for path in loaded.files),
            frozenset(folder for path in loaded.files for folder in _folders(path)),
            frozenset(loaded.directories),
            frozenset(loaded.attempted),
        )

    def lists(self, path: str) -> bool:
        """Whether a listing shows the path, or a folder above it that may exist on one side only."""
        entry = path
        for folder in _folders(path):
            if folder in self.listed and entry not in self.occupied:
                return True
            entry = folder
        return False

    def looks_for(self, path: str) -> bool:
        """Whether an import looked for the module at that path, or for a package that exists only with it."""
        new_folders = [folder for folder in _folders(path) if folder not in self.occupied and folder != "."]
        modules = [path] if path.endswith(_IMPORTABLE) else []
        return any(name in self.attempted for place in [*modules, *new_folders] for name in _module_names(place))

    def holds(self, path: str) -> bool:
        """Whether a file that is gone may have been loaded: it lies beside loaded files, or is code below some."""
        parent, *above = _folders(path)
        if parent in self.touched:
            return True
        return path.endswith(_IMPORTABLE) and any(folder in self.touched for folder in above if folder != ".")


def _presence_matters(difference: Difference, reach: _Reach) -> str:
    """Why a differing file that was not loaded may matter all the same; "" when it cannot."""
    path, kind = difference.path, difference.kind
    if path.endswith(".pth"):
        return f"{path} differs, and it can change what is imported"
    if kind not in (ADDED, DELETED):
        return ""
    if reach.lists(path):
        return f"{path} is {kind}, in a folder that the benchmark lists"
    if reach.looks_for(path):
        return f"{path} is {kind}, and the benchmark looks for a module of that name"
    if kind == DELETED and reach.holds(path):
        return f"{path} is deleted, and the benchmark may have loaded it"
    return ""


def _folders(path: str) -> Iterator[str]:
    """The folders above a path, innermost first, "." last."""
    return (folder.as_posix() for folder in PurePosixPath(path).parents)


def _module_names(path: str) -> Iterator[str]:
    """Every name a module at that path can have, depending on which folder above it is on sys.path."""
    parts = list(PurePosixPath(path).parts)
    parts[-1] = parts[-1].partition(".")[0]
    if parts[-1] == "__init__":
        parts.pop()
    return (".".join(parts[start:]) for start in range(len(parts)))


def _proven(elsewhere: int, same_code: int) -> str:
    if not elsewhere and not same_code:
        return "no file of the repository differs"
    notes = []
    if elsewhere:
        notes.append(f"{elsewhere} {'file differs' if elsewhere == 1 else 'files differ'} elsewhere")
    if same_code:
        notes.append(f"{same_code} {'differs' if same_code == 1 else 'differ'} in comments or layout only")
    return f"no file that the benchmark loads differs ({', '.join(notes)})"
