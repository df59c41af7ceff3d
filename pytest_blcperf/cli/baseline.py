"""Lists, shows, saves and removes stored baselines: runs with a name, kept under .blcperf/baselines.

`push` keeps them somewhere else, `fetch` gets them back for the commit and the machine at hand.

For example:
  blcperf baseline list
  blcperf baseline show main
  blcperf baseline save .blcperf/runs/20260101T120000Z-1a2b3c4d5-0f0f0f.blcperf main
  blcperf baseline save downloaded.blcperf feature/x
  blcperf baseline remove feature/x
  blcperf baseline fetch main --from github
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pytest_blcperf.cli import baseline_remote, common
from pytest_blcperf.cli import report as report_verb

if TYPE_CHECKING:
    from pytest_blcperf.store.baselines import Stored

NAME = "baseline"
SUMMARY = "list, show, save, remove, fetch and push stored baselines"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's own verbs."""
    verbs = parser.add_subparsers(metavar="list|show|save|remove|fetch|push", required=True)

    one = verbs.add_parser("list", help="the stored baselines", description="Lists the stored baselines.")
    one.add_argument("--json", action="store_true", help="print JSON (schema blcperf.baselines/1)")
    one.add_argument("--quiet", action="store_true", help="names only")
    one.set_defaults(run_baseline=_list)

    one = verbs.add_parser("show", help="what a baseline measured", description="Shows what a baseline measured.")
    one.add_argument("run_name", metavar="NAME", help="a stored baseline or a run file")
    report_verb.add_view_options(one)
    one.set_defaults(run_baseline=report_verb.run)

    one = verbs.add_parser("save", help="keep a run under a name", description="Keeps a run under a name.")
    one.add_argument("run_name", metavar="RUN", help="a run file or a stored baseline")
    one.add_argument("name", metavar="NAME", help="such as main or feature/x; an older baseline of that name goes")
    one.add_argument("--quiet", action="store_true", help="print nothing")
    one.set_defaults(run_baseline=_save)

    one = verbs.add_parser("remove", help="remove a baseline", description="Removes a stored baseline.")
    one.add_argument("name", metavar="NAME", help="a stored baseline")
    one.add_argument("--quiet", action="store_true", help="print nothing")
    one.set_defaults(run_baseline=_remove)

    baseline_remote.configure_fetch(verbs.add_parser("fetch", help="get a baseline that another machine measured"))
    baseline_remote.configure_push(verbs.add_parser("push", help="keep a baseline for other machines"))


def run(arguments: argparse.Namespace) -> int:
    """Runs the chosen verb; returns 0."""
    return int(arguments.run_baseline(arguments))


def _list(arguments: argparse.Namespace) -> int:
    from pytest_blcperf.store import baselines

    stored = baselines.list_baselines(common.root_folder())
    if arguments.quiet and not arguments.json:
        for item in stored:
            print(item.name)
        return 0
    rows = [_summary(item) for item in stored]
    if arguments.json:
        common.print_json({"schema": "blcperf.baselines/1", "baselines": rows})
    elif rows:
        _print_list(rows)
    else:
        print("no baseline is stored here; save one with `pytest --blcperf --blcperf-save=NAME`")
    return 0


def _summary(item: Stored) -> dict[str, Any]:
    """One baseline as JSON data; `error` says why the rest is missing."""
    from pytest_blcperf.errors import BaselineError
    from pytest_blcperf.store import run_file

    known: dict[str, Any] = {"name": item.name, "path": str(item.path), "size": item.size}
    try:
        run = run_file.read(item.path, profiles=False)
    except BaselineError as error:
        return known | {"error": error.message}
    return known | {
        "commit": run.commit,
        "dirty": run.dirty,
        "created": run.created,
        "benchmarks": len(run.benchmarks),
        "machine": run.environment.cpu_model or run.environment.machine,
        "cpu_count": run.environment.cpu_count,
        "python": run.environment.python,
    }


def _print_list(rows: list[dict[str, Any]]) -> None:
    from pytest_blcperf.report.text import clean

    table = [["name", "commit", "date", "benchmarks", "machine", "size"]]
    for row in rows:
        size = f"{row['size'] / 1024:,.0f} kB"
        if "error" in row:
            table.append([clean(row["name"]), "unreadable", "", "", "", size])
            continue
        commit = row["commit"][:9] + ("+dirty" if row["dirty"] else "") if row["commit"] else "no git"
        machine = f"{clean(row['machine'], 40)} × {row['cpu_count']}"
        table.append([clean(row["name"]), commit, row["created"][:16], str(row["benchmarks"]), machine, size])
    common.print_table(table, right=frozenset({3, 5}))
    for row in rows:
        if "error" in row:
            print(clean(row["error"], 500))


def _save(arguments: argparse.Namespace) -> int:
    from pytest_blcperf.report.text import clean
    from pytest_blcperf.store import baselines

    baselines.check_name(arguments.name)
    path = baselines.save_baseline(common.root_folder(), common.load(arguments.run_name), arguments.name)
    if not arguments.quiet:
        print(f"saved as baseline {arguments.name}: {clean(str(path), 1000)}")
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    from pytest_blcperf.store import baselines

    baselines.remove(common.root_folder(), arguments.name)
    if not arguments.quiet:
        print(f"removed baseline {arguments.name}")
    return 0
