"""What a worker imports and opens below its checkout, from Python's audit events. Standard library only.

Not seen: what C code opens by itself and closes again (mapped files are seen), and questions such as `os.path.exists`.
An audit hook costs a Python call on every event for the rest of the process, also when it is switched off: record in
a process whose rounds are not timed, or in both sides alike.
"""

# os.path throughout: pathlib is imported and called too slowly for a hook.
# ruff: noqa: PTH100, PTH109, PTH115, PTH118, PTH119, PTH120, PTH123
from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from types import FrameType
from typing import Any
from urllib.parse import unquote

_LIMIT = 200_000
_FLAGS = ("spawned", "overflow")
_MAPS_LIMIT = 16 << 20

# Not part of a checkout's content, or the same for both sides.
_SKIPPED_TOP = frozenset(
    (".git", ".blcperf", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", ".tox", ".nox")
)
_SKIPPED = frozenset(("site-packages", "dist-packages"))
_SPAWNING = frozenset(
    ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn")
)
# multiprocessing starts processes without an audit event in some versions; each of these is imported only to do so.
_SPAWNING_MODULES = (
    "multiprocessing.popen_fork",
    "multiprocessing.popen_spawn_posix",
    "multiprocessing.popen_forkserver",
)


@dataclass(frozen=True)
class LoadedFiles:
    """What a process loaded; paths are relative to its checkout, with slashes, sorted.

    `modules` are sources and extensions of imported modules, `opened` files read as data (or tried) or mapped,
    `directories` those that the code listed ("." is the root), `attempted` names of modules that imports looked for.
    `outside` are modules that came from the other side's tree (relative to that one): a leak. `spawned` says that other
    processes were started, whose files are not seen; `overflow` that there was more than is recorded.
    """

    modules: tuple[str, ...] = ()
    opened: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    attempted: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    spawned: bool = False
    overflow: bool = False

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that was imported or opened, sorted."""
        return tuple(sorted({*self.modules, *self.opened}))

    def merge(self, other: LoadedFiles) -> LoadedFiles:
        """What either of two processes loaded."""
        mine, theirs = asdict(self), asdict(other)
        either = {name: mine[name] or theirs[name] for name in _FLAGS}
        names = {name: tuple(sorted({*mine[name], *theirs[name]})) for name in mine if name not in _FLAGS}
        return LoadedFiles.from_data({**names, **either})

    def as_data(self) -> dict[str, Any]:
        """JSON data."""
        return asdict(self)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> LoadedFiles:
        """The inverse of `as_data`. Raises KeyError for missing keys."""
        names = {item.name: tuple(map(str, data[item.name])) for item in fields(cls) if item.name not in _FLAGS}
        return cls(spawned=bool(data["spawned"]), overflow=bool(data["overflow"]), **names)


class Recorder:
    """Records what this process loads below `root` from `install()` on; modules imported before count as well.

    `forbidden_root` is the other side's tree; either may lie inside the other. At most `limit` distinct names of a kind
    are kept.
    """

    def __init__(self, root: str, forbidden_root: str | None = None, limit: int = _LIMIT) -> None:
        self.active = False
        self._root = os.path.realpath(root)
        self._names = (os.path.abspath(root), self._root)
        self._forbidden = os.path.realpath(forbidden_root) if forbidden_root else None
        self._limit = limit
        self._installed = False
        self._opened: set[str] = set()
        self._imported: set[str] = set()
        self._listed: set[str] = set()
        self._attempted: set[str] = set()
        self._spawned = False
        self._overflow = False

    def install(self) -> None:
        """Starts recording. The hook stays in the process for good; `stop()` makes it do nothing."""
        self.active = True
        if not self._installed:
            self._installed = True
            sys.addaudithook(self._hook())

    def stop(self) -> None:
        """Stops recording; what is recorded stays."""
        self.active = False

    def snapshot(self) -> LoadedFiles:
        """What was loaded so far."""
        active, self.active = self.active, False
        try:
            opened = set(self._below_root([*self._opened, *_mapped_files()]))
            modules = set(self._below_root([*self._imported, *_module_files()]))
            return LoadedFiles(
                modules=tuple(sorted(modules)),
                opened=tuple(sorted(opened)),
                directories=tuple(sorted(set(self._below_root(self._listed)))),
                attempted=tuple(sorted(self._attempted)),
                outside=self._leaked(),
                spawned=self._spawned or any(name in sys.modules for name in _SPAWNING_MODULES),
                overflow=self._overflow,
            )
        finally:
            self.active = active

    def _hook(self) -> Callable[[str, tuple[Any, ...]], None]:
        handlers: dict[str, Callable[[tuple[Any, ...]], None]] = {
            "open": self._on_open,
            "import": self._on_import,
            "os.listdir": self._on_list,
            "os.scandir": self._on_list,
            "sqlite3.connect": self._on_database,
            "ctypes.dlopen": self._on_library,
        }
        handlers.update(dict.fromkeys(_SPAWNING, self._on_spawn))

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            if not self.active or event not in handlers:
                return
            try:
                handlers[event](arguments)
            except Exception:
                # An exception here would be raised in the project's code. What was missed cannot be vouched for.
                self._overflow = True

        return hook

    # Frames: hook is 1 above a handler, the code that caused the event 2.

    def _on_open(self, arguments: tuple[Any, ...]) -> None:
        path, _, flags = arguments
        if isinstance(path, int) or _only_written(flags):
            return
        frame = sys._getframe(2)
        if not _removing(frame):
            self._keep(self._imported if _importing(frame) else self._opened, _absolute(path))

    def _on_import(self, arguments: tuple[Any, ...]) -> None:
        name, path = arguments[:2]
        self._keep(self._attempted, str(name))
        if path:
            self._keep(self._imported, _absolute(path))

    def _on_list(self, arguments: tuple[Any, ...]) -> None:
        # Who only looks for names that it already has: imports, pytest's collection, the search for entry points.
        frame = sys._getframe(2)
        module = frame.f_globals.get("__name__", "")
        if not (_importing(frame) or _removing(frame) or module.startswith(("_pytest.", "importlib.metadata"))):
            self._keep(self._listed, _absolute(arguments[0]))

    def _on_database(self, arguments: tuple[Any, ...]) -> None:
        path = os.fsdecode(arguments[0])
        if path.startswith("file:"):
            path = unquote(path[len("file:") :].partition("?")[0])
            path = "/" + path.lstrip("/") if path.startswith("//") else path
        if path and not path.startswith(":memory:"):
            self._keep(self._opened, _absolute(path))

    def _on_library(self, arguments: tuple[Any, ...]) -> None:
        if arguments[0] and "/" in os.fsdecode(arguments[0]):
            self._keep(self._opened, _absolute(arguments[0]))

    def _on_spawn(self, _: tuple[Any, ...]) -> None:
        self._spawned = True

    def _keep(self, names: set[str], name: str) -> None:
        if len(names) < self._limit:
            names.add(name)
        elif name not in names:
            self._overflow = True

    def _below_root(self, paths: Iterable[str]) -> Iterable[str]:
        """Both names of each path: as it was written, and with links resolved; either may be what differs."""
        shared = _shared_folders(self._root)
        for path in paths:
            source = _source(os.path.normpath(path))
            real = os.path.realpath(source)
            if self._forbidden and _owner(real, self._root, self._forbidden) == self._forbidden:
                continue
            if any(_within(real, folder) for folder in shared):
                continue
            for name in {source, real}:
                relative = next((name[len(root) + 1 :] or "." for root in self._names if _within(name, root)), None)
                if relative is not None and _counts(relative):
                    yield relative

    def _leaked(self) -> tuple[str, ...]:
        if self._forbidden is None:
            return ()
        shared = _shared_folders(self._forbidden)
        leaked = set()
        for path in _module_files():
            real = os.path.realpath(_source(path))
            if _owner(real, self._root, self._forbidden) == self._forbidden:
                relative = real[len(self._forbidden) + 1 :]
                if _counts(relative) and not any(_within(real, folder) for folder in shared):
                    leaked.add(relative)
        return tuple(sorted(leaked))


def _importing(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith("<frozen importlib")


def _removing(frame: FrameType) -> bool:
    """shutil.rmtree, as at the end of `tmp_path`: it opens names relative to a folder that the event does not tell."""
    return frame.f_code.co_name.startswith(("_rmtree", "rmtree")) and frame.f_globals.get("__name__") == "shutil"


def _absolute(path: Any) -> str:
    """The path of an audit event as an absolute one; it may be None (here), a descriptor, bytes or a path object."""
    if isinstance(path, int):
        return os.readlink(f"/proc/self/fd/{path}")
    text = "." if path is None else os.fsdecode(path)
    return text if text.startswith("/") else os.getcwd() + "/" + text


def _only_written(flags: Any) -> bool:
    """Opened for writing, or emptied first: what was in the file does not matter."""
    return isinstance(flags, int) and (flags & os.O_ACCMODE == os.O_WRONLY or bool(flags & os.O_TRUNC))


def _module_files() -> list[str]:
    """Files of everything in sys.modules, without waking lazy modules."""
    found = []
    for module in list(sys.modules.values()):
        try:
            namespace = object.__getattribute__(module, "__dict__")
            spec = namespace.get("__spec__")
            candidates = (
                namespace.get("__file__"),
                getattr(spec, "origin", None) if getattr(spec, "has_location", 0) else None,
            )
        except Exception:
            continue
        found += [os.path.abspath(path) for path in candidates if isinstance(path, str) and "/" in path]
    return found


def _mapped_files() -> list[str]:
    """Files mapped into this process, such as libraries that extensions load (proc(5), /proc/PID/maps)."""
    try:
        with open("/proc/self/maps", "rb") as file:
            lines = file.read(_MAPS_LIMIT).splitlines()
    except OSError:
        return []
    paths = {line.split(None, 5)[5] for line in lines if b" /" in line}
    return [os.fsdecode(path) for path in paths if path.startswith(b"/") and not path.endswith(b" (deleted)")]


def _source(path: str) -> str:
    """The source of cached bytecode; any other path unchanged."""
    if not path.endswith(".pyc"):
        return path
    try:
        return importlib.util.source_from_cache(path)
    except ValueError:
        folder, name = os.path.split(path)
        # pytest's own bytecode has a tag of its own: test_a.cpython-311-pytest-8.3.2.pyc
        return os.path.join(os.path.dirname(folder), name.partition(".")[0] + ".py") if _is_cache(folder) else path


def _is_cache(folder: str) -> bool:
    return os.path.basename(folder) == "__pycache__"


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _owner(path: str, *roots: str) -> str | None:
    """The innermost of the roots that the path lies in."""
    return max((root for root in roots if _within(path, root)), key=len, default=None)


def _counts(relative: str) -> bool:
    parts = relative.split("/")
    return parts[0] not in _SKIPPED_TOP and _SKIPPED.isdisjoint(parts) and not _is_cache(relative)


def _shared_folders(root: str) -> list[str]:
    """Where this interpreter keeps what both sides share; not when the checkout itself lies in there (/usr/src/app)."""
    folders = {sys.prefix, sys.exec_prefix, sys.base_prefix}
    folders.update(sysconfig.get_path(name) or "" for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    return [real for real in map(os.path.realpath, filter(None, folders)) if not _within(root, real)]
