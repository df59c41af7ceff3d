"""Measures the HTML pages in a real headless Chromium: size, first paint, drawing, search, brush.

    python tests/benchmarks/report_pages.py            # needs Chromium: make reporttools

Each figure is the median of several fresh loads, with its range. Figures go to docs/reports.md; run on a quiet machine.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import capture_pages
import numpy as np
import report_pages
from browser import MISSING, Browser, browser

from pytest_blcperf.report import html_comparison, html_run
from pytest_blcperf.report.run_page import RunPage
from pytest_blcperf.store import capture_file

LOADS = 7
PANEL = "[...document.querySelectorAll('.flame-panel')].find((one) => one.offsetParent)?.flamePanel"

TIMED = """(() => {{
  const begin = performance.now();
  {0};
  return performance.now() - begin;
}})()"""


def summary(values: Iterable[float], unit: str = "ms") -> str:
    """Median and range."""
    found = sorted(values)
    return f"{statistics.median(found):.0f} {unit} [{found[0]:.0f}, {found[-1]:.0f}]"


def load(window: Browser, path: Path) -> dict[str, float]:
    """One fresh load: when something was painted first, and when the flame graph was, in ms after the navigation."""
    window.open(path)
    drawn = window.wait(f"{PANEL}?.graph.painted", 60)
    paint = window.wait("performance.getEntriesByName('first-contentful-paint')[0]?.startTime", 60)
    return {"first paint": paint, "flame graph drawn": drawn}


def interact(window: Browser, path: Path) -> dict[str, float]:
    """What a reader does on a loaded page, each until the new frame is painted; ms."""
    window.open(path)
    window.wait(f"{PANEL}?.graph.painted", 60)
    window.run(f"window.panel = {PANEL}")
    actions = {
        "search": "panel.search('handler1'); panel.graph.paint()",
        "one frame of a zoom": "panel.graph.paint()",
        "callers first": "panel.state.reversed = true; panel.rebuild(); panel.graph.paint()",
        "callers last again": "panel.state.reversed = false; panel.rebuild(); panel.graph.paint()",
        "hide native frames": "panel.state.hidden.add(1); panel.rebuild(); panel.graph.paint()",
        "show them again": "panel.state.hidden.clear(); panel.rebuild(); panel.graph.paint()",
    }
    if window.run("typeof run !== 'undefined' && Boolean(run.timeline)"):
        actions["brush"] = "run.timeline.brush(10, Math.floor(run.timeline.cells / 2)); panel.graph.paint()"
    return {name: window.run(TIMED.format(script)) for name, script in actions.items()}


def measured(window: Browser, path: Path, what: Callable[[Browser, Path], dict[str, float]]) -> dict[str, list[float]]:
    """Several rounds of `what`, by name."""
    rounds = [what(window, path) for _ in range(LOADS)]
    return {name: [one[name] for one in rounds] for name in rounds[0]}


def report(window: Browser, title: str, path: Path) -> None:
    """Prints all figures of a page."""
    print(f"\n{title}: {path.stat().st_size / 1e6:.2f} MB", flush=True)
    for what in (load, interact):
        for name, values in measured(window, path, what).items():
            print(f"  {name:<24} {summary(values)}", flush=True)


def page(folder: Path, name: str, draw: Callable[[], str]) -> Path:
    """Renders a page into a file, and says how long that took."""
    begin = time.perf_counter()
    text = draw()
    print(f"rendered {name} in {time.perf_counter() - begin:.1f} s", flush=True)
    (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return folder / f"{name}.html"


def capture_files(folder: Path) -> None:
    """Size and time of a capture file."""
    capture = capture_pages.large(5_000, 600_000)
    path = folder / "capture.blcperf"
    steps: list[tuple[str, Callable[[], Any]]] = [
        ("write", lambda: capture_file.write([capture], path)),
        ("read", lambda: capture_file.read(path)),
    ]
    for name, step in steps:
        begin = time.perf_counter()
        step()
        print(f"capture file, 600,000 samples of 5,000 stacks: {name} {time.perf_counter() - begin:.2f} s")
    print(f"capture file: {path.stat().st_size / 1e6:.2f} MB")


def comparison(stacks: int) -> str:
    """A comparison page whose first benchmark has so many stacks on each side."""
    base, head = report_pages.runs()
    profiles = [report_pages.many_stacks(stacks, np.random.default_rng(5)) for _ in (base, head)]
    return html_comparison.render(report_pages.with_profiles(base, head, *profiles))


def main() -> int:
    """Everything, one after the other. 0, or 1 without a browser."""
    if MISSING:
        print(MISSING, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        capture_files(folder)
        pages = {
            "comparison, 5,000 stacks a side": page(folder, "comparison-5k", lambda: comparison(5_000)),
            "comparison, 100,000 stacks a side": page(folder, "comparison-100k", lambda: comparison(100_000)),
            "capture, 5,000 stacks, 60,000 samples": page(
                folder, "capture-5k", lambda: html_run.render(RunPage(captures=(capture_pages.large(5_000, 60_000),)))
            ),
            "capture, 100,000 stacks, 600,000 samples": page(
                folder,
                "capture-100k",
                lambda: html_run.render(RunPage(captures=(capture_pages.large(100_000, 600_000),))),
            ),
        }
        with browser(folder / "profile") as window:
            window.size(1280, 900)
            for title, path in pages.items():
                report(window, title, path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
