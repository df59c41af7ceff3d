"""Takes the pictures of docs/reports.md: `python tests/benchmarks/screenshots.py`; needs Chromium: make reporttools.

The pages are those of the tests: a made-up library and a made-up service, judged by the real gate.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import capture_pages
import report_pages
import trend_pages
from browser import MISSING, Browser, browser

from pytest_blcperf.compare.trend import trend
from pytest_blcperf.report import html_comparison, html_run, html_trend
from pytest_blcperf.report.run_page import RunPage

IMAGES = Path(__file__).parents[2] / "docs" / "images"
WIDTH = 1320


def take(window: Browser, path: Path, scheme: str, height: int, prepare: Callable[[], None] = lambda: None) -> None:
    """One picture of a page, after `prepare`."""
    window.size(WIDTH, height)
    window.media(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
    window.open(path, "#from=7.6&to=9.2" if path.stem == "run" else "")
    window.wait("[...document.querySelectorAll('.flame-panel')].every((one) => !one.offsetParent || one.flamePanel)")
    prepare()
    window.wait("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")
    window.screenshot(IMAGES / f"{path.stem}.png")
    print(IMAGES / f"{path.stem}.png")


def main() -> int:
    """The three pages. 0, or 1 without a browser."""
    if MISSING:
        print(MISSING, file=sys.stderr)
        return 1
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name, browser(Path(name) / "profile") as window:
        folder = Path(name)
        shown = RunPage(captures=(capture_pages.service(),), findings=capture_pages.findings()[:1])
        pages = {
            "comparison": html_comparison.render(report_pages.compared(folder / "repository")),
            "run": html_run.render(shown),
            "trend": html_trend.render(trend(trend_pages.runs())),
        }
        for stem, text in pages.items():
            (folder / f"{stem}.html").write_text(text, encoding="utf-8")
        take(window, folder / "comparison.html", "light", 1560, lambda: window.one("button.expand").click())
        take(window, folder / "run.html", "dark", 1610)
        take(window, folder / "trend.html", "light", 1120)
    return 0


if __name__ == "__main__":
    sys.exit(main())
