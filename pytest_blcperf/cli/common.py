"""What the verbs share: the root folder, finding a run, and the terminal."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_blcperf.model.capture import Capture
    from pytest_blcperf.model.run import Run


def root_folder(start: Path | None = None) -> Path:
    """The nearest folder from `start` (default: the current one) upwards with `.git` or `.blcperf`, or `start`."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / ".git").exists() or (folder / ".blcperf").is_dir():
            return folder
    return start


def load(name: str, profiles: bool = True) -> Run:
    """The run that a path or the name of a stored baseline means. Raises BaselineError."""
    from pytest_blcperf.store import baselines, run_file

    root = root_folder()
    path = baselines.find(root, name)
    if path is None:
        raise baselines.missing(root, name)
    return run_file.read(path, profiles)


def load_measured(name: str) -> Run | tuple[Capture, ...]:
    """The run or the captures that a path means, whoever wrote the file, or the name of a stored baseline.

    Raises BaselineError.
    """
    from pytest_blcperf.store import baselines, capture_file, run_file
    from pytest_blcperf.store.foreign import opening

    root = root_folder()
    path = baselines.find(root, name)
    if path is not None:
        return capture_file.read(path) if capture_file.holds_captures(path) else run_file.read(path)
    if not Path(name).is_file():
        raise baselines.missing(root, name)
    if opening.is_perf_data(Path(name)):
        from pytest_blcperf.capture_session import read_perf_data

        return read_perf_data(Path(name))
    return (opening.read(Path(name)),)


@dataclass(frozen=True)
class Terminal:
    """What standard output can show: columns, ANSI colours, characters beyond ASCII."""

    width: int
    color: bool
    unicode: bool

    def show(self, text: str) -> str:
        """The text in characters the terminal has."""
        from pytest_blcperf.report.text import to_ascii

        return text if self.unicode else to_ascii(text)

    def paint(self, text: str, code: str) -> str:
        """The text in a colour, where there are colours."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.color else text


def terminal() -> Terminal:
    """Standard output as it is now; NO_COLOR and FORCE_COLOR (no-color.org, force-color.org) are obeyed."""
    forced, refused = os.environ.get("FORCE_COLOR"), os.environ.get("NO_COLOR")
    is_terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "")
    return Terminal(
        width=shutil.get_terminal_size((100, 24)).columns,
        color=not refused and (bool(forced) or is_terminal),
        unicode=encoding in ("utf8", "utf16", "utf32", "gb18030"),
    )


def write_report(path: Path, data: str | bytes) -> None:
    """Writes a file whole or not at all, text as UTF-8. Raises BlcperfError with the path and the reason."""
    from pytest_blcperf.errors import BlcperfError
    from pytest_blcperf.report.write import write_file

    try:
        write_file(path, data.encode("utf-8") if isinstance(data, str) else data)
    except OSError as error:
        raise BlcperfError(
            f"{path} cannot be written: {error.strerror or error}", "give a path in a folder that you may write to"
        ) from error


def print_json(data: Any) -> None:
    """Prints JSON data, ASCII only."""
    print(json_text(data), end="")


def json_text(data: Any) -> str:
    """JSON data as text, ASCII only, with a final line end."""
    return json.dumps(data, indent=2, allow_nan=False) + "\n"


def print_table(rows: list[list[str]], right: frozenset[int] = frozenset()) -> None:
    """Prints rows, the first of them the header, in aligned columns; those in `right` are aligned right."""
    from pytest_blcperf.report.text import aligned

    show = terminal().show
    for line in aligned([[show(text) for text in row] for row in rows], right):
        print(line)
