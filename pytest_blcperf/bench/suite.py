"""The benchmarks pytest collected, and how a worker is told to collect the same ones in another checkout."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_blcperf.bench.worker_process import Side
from pytest_blcperf.settings import Settings

# What belongs to the controller's own session (reports, selection, distribution, debuggers, coverage), by pytest's and
# its common plugins' option names. Everything else goes to the workers as the user gave it.
_NEUTRAL: dict[str, Any] = {
    "keyword": "",
    "markexpr": "",
    "deselect": None,
    "maxfail": 0,
    "usepdb": False,
    "trace": False,
    "collectonly": False,
    "lf": False,
    "failedfirst": False,
    "newfirst": False,
    "stepwise": False,
    "stepwise_skip": False,
    "stepwise_reset": False,
    "cacheclear": False,
    "cacheshow": None,
    "xmlpath": None,
    "basetemp": None,
    "log_file": None,
    "report_log": None,
    "htmlpath": None,
    "json_report": False,
    "pastebin": None,
    "plugins": [],
    "numprocesses": None,
    "maxprocesses": None,
    "dist": "no",
    "tx": [],
    "no_cov": True,
    "cov_source": [],
    "reruns": 0,
    "durations": None,
    "timeout": 0,
    # pytest-benchmark's: the workers measure, the controller shows, saves and compares.
    "benchmark_disable": False,
    "benchmark_save": None,
    "benchmark_autosave": None,
    "benchmark_save_data": False,
    "benchmark_json": None,
    "benchmark_compare": [],
    "benchmark_compare_fail": None,
    "benchmark_cprofile": None,
    "benchmark_cprofile_dump": [],
    "benchmark_histogram": [],
    "benchmark_storage": "file://./.benchmarks",
    "debug": None,
    "blcperf_worker": True,
}


@dataclass(frozen=True)
class Item:
    """One collected benchmark. `nodeid` is pytest's (relative to rootdir); `id` is relative to the repository."""

    id: str
    nodeid: str
    file: str
    line: int
    settings: Settings
    lockstep: bool = True
    service: bool = False
    """A test that drives something else: measured only by the metrics it reports."""


@dataclass(frozen=True)
class Suite:
    """Everything a side needs besides its checkout. All paths are the head's; `side` maps them into another tree."""

    root: Path
    rootdir: Path
    folder: Path
    config_file: Path | None
    items: tuple[Item, ...]
    options: Mapping[str, Any]
    plugins: tuple[str, ...]
    folder_on_path: bool
    asv_folder: Path | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """The benchmark files, relative to the root."""
        return tuple(dict.fromkeys(item.file for item in self.items))

    @property
    def config_name(self) -> str | None:
        """Pytest's configuration file relative to the root; None when there is none or it lies outside."""
        if self.config_file is None or not self.config_file.is_relative_to(self.root):
            return None
        return str(self.config_file.relative_to(self.root))

    def side(
        self,
        name: str,
        root: Path,
        source_roots: Sequence[str],
        package_link: Path,
        python: str | None = None,
    ) -> Side:
        """A side whose checkout is `root`. `package_link` is a folder that holds this package and nothing else."""
        moved = _Mover(self.root, root)
        options = {
            **self.options,
            "rootdir": moved.text(self.rootdir),
            # The controller's own log file must not be opened again.
            "override_ini": [*(self.options.get("override_ini") or []), "log_file="],
            "blcperf_asv_dir": moved.text(self.asv_folder) if self.asv_folder is not None else None,
            # Without a configuration file none must be found: the base may have one of its own, or lie below one.
            "inifilename": moved.text(self.config_file) if self.config_file else os.devnull,
            "confcutdir": moved.text(Path(self.options.get("confcutdir") or self.rootdir)),
        }
        inherited = [
            moved.text(Path(entry).absolute()) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry
        ]
        sources = [str(root / source) if source != "." else str(root) for source in source_roots]
        return Side(
            name=name,
            root=root,
            folder=Path(moved.text(self.folder)),
            python=python or sys.executable,
            path=tuple(dict.fromkeys([*sources, *inherited, str(package_link)])),
            options=options,
            plugins=self.plugins,
            files=tuple(str(root / file) for file in self.files),
            forbidden_root=None if root == self.root else str(self.root),
            folder_on_path=self.folder_on_path,
        )


class _Mover:
    """Maps paths of one tree into another; paths outside stay."""

    def __init__(self, source: Path, destination: Path) -> None:
        self._source, self._destination = source, destination

    def text(self, path: Path) -> str:
        if path.is_relative_to(self._source):
            return str(self._destination / path.relative_to(self._source))
        return str(path)


def worker_options(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Pytest's option namespace as far as it is plain data, with what belongs to the controller made neutral."""
    # `file_or_dir` is given as arguments; argparse warns, at length, of a namespace that holds it already.
    options = {key: value for key, value in namespace.items() if key != "file_or_dir" and _is_plain(value)}
    options.update({key: value for key, value in _NEUTRAL.items() if key in namespace or key == "blcperf_worker"})
    return options


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True
