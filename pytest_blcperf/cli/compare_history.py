"""`blcperf compare --history`: the run where a benchmark or a function changed for good."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_blcperf.cli import common
from pytest_blcperf.cli.compare_captures import limit
from pytest_blcperf.errors import BaselineError, BlcperfError, ExitCode, UsageError

if TYPE_CHECKING:
    from pytest_blcperf.model.history import History
    from pytest_blcperf.model.run import Run

_MOST_RUNS = 500
"""The newest runs that are looked at; every one is read with its profiles."""


class HistoryAction(argparse.Action):
    """`--history [RUN …]`: with it, A and B need not be given."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        """Keep the runs."""
        setattr(namespace, self.dest, list(values or ()))
        for action in parser._actions:
            if action.dest in ("base", "head"):
                action.required = False


def add_options(parser: argparse.ArgumentParser) -> None:
    """The option, and what it is given instead of A and B."""
    parser.add_argument(
        "--history",
        metavar="RUN",
        nargs="*",
        action=HistoryAction,
        help="instead of A and B: what changed for good over saved runs (files or folders; default: those kept here), "
        "or of a branch with `compare BRANCH --history`",
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints the changes; returns 0, or 1 when one for good is above `--fail-over`. Raises BlcperfError."""
    from pytest_blcperf.compare.history import history
    from pytest_blcperf.compare.trend import trend

    if arguments.markdown or arguments.html:
        raise UsageError("--markdown and --html show two runs", "blcperf trend --html trend.html shows all of them")
    most = limit(arguments.fail_over)
    names = [name for name in (arguments.base, arguments.head) if name is not None] + arguments.history
    chosen = _chosen(names)
    found = history(trend(chosen.runs[-_MOST_RUNS:], ordered=chosen.ordered))
    if not arguments.quiet:
        _print(found, arguments.json)
    grown = most is not None and any(one.lasting and one.change > most for one in found.changes)
    return ExitCode.REGRESSION if grown and not arguments.no_fail else ExitCode.OK


@dataclass(frozen=True)
class _Chosen:
    """Runs, and whether they stand in the order of a branch's commits."""

    runs: list[Run]
    ordered: bool = False


def _chosen(names: Sequence[str]) -> _Chosen:
    if not names:
        runs = list(_heads(_kept()))
        if not runs:
            raise BaselineError("there is no run to look at", "runs are kept by `pytest --blcperf`; see --blcperf-keep")
        return _Chosen(runs)
    if len(names) == 1 and not Path(names[0]).exists():
        return _of_branch(names[0])
    runs = list(_heads(one for name in names for one in _loaded(name)))
    if not runs:
        raise BaselineError("these runs are all bases of lockstep measurements", "name the heads, or leave names out")
    return _Chosen(runs)


def _of_branch(name: str) -> _Chosen:
    """The kept runs of a branch's commits in their order; or of the runs' own name, where there is no such branch."""
    from pytest_blcperf.bench.repository import find

    kept = list(_heads(_kept()))
    try:
        commits = find(Path.cwd()).commits(name)
    except BlcperfError as error:
        named = [one for one in kept if one.name == name]
        if not named:
            raise BaselineError(f"{name[:80]!r} is no branch and no run: {error.message}", error.hint) from None
        return _Chosen(named)
    place = {commit: -number for number, commit in enumerate(commits)}
    found = [one for one in kept if one.commit in place and not one.dirty]
    if not found:
        raise BaselineError(
            f"none of the {len(kept)} runs kept here was of a commit of {name[:80]}",
            "measure its commits with `pytest --blcperf`, or name run files: blcperf compare --history RUN …",
        )
    return _Chosen(sorted(found, key=lambda one: (place[one.commit], one.created)), ordered=True)


def _kept() -> Iterator[Run]:
    from pytest_blcperf.store import baselines, run_file

    for path in reversed(baselines.sorted_runs(common.root_folder())):
        yield run_file.read(path)


def _loaded(name: str) -> Iterator[Run]:
    folder = Path(name)
    if not folder.is_dir():
        yield common.load(name)
        return
    paths = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix == ".blcperf")
    if not paths:
        raise BaselineError(f"{name}: no run in this folder", "name run files, or a folder of them")
    for path in paths:
        yield common.load(str(path))


def _heads(runs: Iterator[Run]) -> Iterator[Run]:
    """Without the bases of lockstep sessions: they are older commits measured again."""
    return (one for one in runs if not (one.pair and one.name == "base"))


def _print(found: History, as_json: bool) -> None:
    from pytest_blcperf.report import history

    if as_json:
        common.print_json(history.as_data(found))
        return
    shown = common.terminal()
    for line in history.render(found):
        print(shown.show(line))
